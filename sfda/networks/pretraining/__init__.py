"""Pre-training from nothing, with which the pocket zoo was made."""
