"""`python -m openankh.demo`: well-known proteins embedded, their neighbours told, their map drawn."""
