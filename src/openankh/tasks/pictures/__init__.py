"""Pictures of predictions: tracks of residues under the sequence, maps of contacts."""
