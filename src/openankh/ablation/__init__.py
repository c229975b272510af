"""The Ankh paper's experiments trained at equal compute and compared: one table, one plot."""
