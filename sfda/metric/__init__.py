"""SFDA itself: the discriminant, the challenge and the score (``score`` first), ensembles, and the weighted tau."""
