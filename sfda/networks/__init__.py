"""Pre-trained networks, their weights, and the features that images have in them."""
