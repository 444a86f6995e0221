"""The metrics that SFDA is compared with, one a file, and the catalogue of all of them."""
