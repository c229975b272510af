"""Dossiers: all that the models here can say of a protein, in one value that page, JSON and command share."""
