"""Labelled images: folders, the official data sets, the tasks of the pocket benchmark, and how networks see them."""
