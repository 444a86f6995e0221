"""Colours, backgrounds and paint for small drawn images."""

import numpy as np
from PIL import Image

SIDE = 32
Y, X = np.mgrid[:SIDE, :SIDE] + 0.5
FINE_Y, FINE_X = (np.mgrid[: 2 * SIDE, : 2 * SIDE] + 0.5) / 2
_LUMA = np.array([0.299, 0.587, 0.114])


def two_colours(rng, gap=0.3):
    """Two random colours whose brightness differs by at least `gap`."""
    while True:
        first, second = rng.random((2, 3))
        if abs((first - second) @ _LUMA) > gap:
            return first, second


def another_colour(rng, colour, gap=0.25):
    """A random colour whose brightness differs from that of `colour` by at least `gap`."""
    while True:
        other = rng.random(3)
        if abs((other - colour) @ _LUMA) > gap:
            return other


def gradient(rng):
    """A plane over the image, from -1 to 1, in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return (np.cos(angle) * (X - SIDE / 2) + np.sin(angle) * (Y - SIDE / 2)) / (SIDE / 2)


def backdrop(rng, colour):
    """A background around `colour`: a gradient, soft noise and stray strokes, or less."""
    picture = np.tile(colour, (SIDE, SIDE, 1))
    if rng.random() < 0.2:
        return picture
    picture += gradient(rng)[..., None] * rng.uniform(-0.12, 0.12, 3)
    if rng.random() < 0.6:
        # Coarse noise, stretched smoothly: blotches of 4 to 11 pixels.
        coarse = rng.standard_normal((rng.integers(3, 9), rng.integers(3, 9))).astype(np.float32)
        soft = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture += np.asarray(soft)[..., None] * rng.uniform(-0.08, 0.08, 3)
    for _ in range(rng.integers(0, 4)):
        x, y, angle = rng.uniform(0, SIDE), rng.uniform(0, SIDE), rng.uniform(0, np.pi)
        across = (X - x) * np.cos(angle) + (Y - y) * np.sin(angle)
        along = (Y - y) * np.cos(angle) - (X - x) * np.sin(angle)
        # Bent by a parabola: stray strokes are not all straight.
        across = np.abs(across + rng.uniform(-0.03, 0.03) * along**2)
        inside = np.maximum(across - rng.uniform(0.3, 0.8), np.abs(along) - rng.uniform(4, 16))
        paint(picture, inside, colour + rng.uniform(-0.2, 0.2, 3))
    return picture


def paint(picture, distance, colour):
    """Colours where the signed distance is negative, with an edge one pixel wide."""
    picture += (0.5 - distance).clip(0, 1)[..., None] * (colour - picture)


def halved(fine):
    """A field (64, 64) as means of its squares of two by two, (32, 32)."""
    return fine.reshape(SIDE, 2, SIDE, 2).mean((1, 3))
