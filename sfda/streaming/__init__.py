"""Scores of more samples than fit into memory, or of more than one machine."""
