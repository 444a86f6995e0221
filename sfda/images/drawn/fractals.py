"""Fractals: attractors of a few affine maps."""

from functools import cache

import numpy as np

from sfda.images.drawn.canvas import SIDE, another_colour, backdrop, halved

SYSTEM = 7  # the first number of a system's seed; the samples have those below, see sfda.images.drawn.drawings


def _chaos_game(rng, maps, shares, points, steps, keep):
    """Points of the attractor: all walkers step at once, the last `keep` steps count.

    maps has shape (6, maps): x' = a x + b y + e, y' = c x + d y + f.
    """
    choices = np.searchsorted(shares, rng.random((steps, points.shape[1])))
    path, chosen = [points], maps[[0, 2, 1, 3, 4, 5]].reshape(3, 2, -1).take(choices, 2)
    for step in range(steps):  # both coordinates at once
        x, y = path[-1]
        path.append(chosen[0, :, step] * x + chosen[1, :, step] * y + chosen[2, :, step])
    return np.stack(path[-keep:]).swapaxes(0, 1).reshape(2, -1)


def _centred(points):
    """Moved and scaled so that nearly all of it lies between -1 and 1."""
    points = points - np.median(points, axis=1, keepdims=True)
    return points / max(np.quantile(np.abs(points).max(0), 0.97), 1e-9)


def _hits(points, side):
    """How many points fall on each pixel of the square from -1.1 to 1.1."""
    column, row = np.floor((points / 2.2 + 0.5) * side).astype(int)
    on = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    return np.bincount(row[on] * side + column[on], minlength=side**2).reshape(side, side)


@cache
def _system(key):
    """The iterated function system of a key: maps, cumulated shares, attractor.

    Systems are drawn until one is neither a speck or a line nor a full square.
    """
    rng = np.random.default_rng([SYSTEM, key])
    while True:
        n_maps = rng.integers(2, 6)
        turns = rng.uniform(0, 2 * np.pi, (2, n_maps))
        large = rng.uniform(0.35, 0.9, n_maps)
        small = large * rng.uniform(0.2, 1, n_maps) * rng.choice([-1, 1], n_maps)
        (cos, kos), (sin, zin) = np.cos(turns), np.sin(turns)
        # Rotation, two scales (a reflection where one is negative), rotation.
        maps = np.stack([
            cos * large * kos - sin * small * zin,
            -cos * large * zin - sin * small * kos,
            sin * large * kos + cos * small * zin,
            -sin * large * zin + cos * small * kos,
            *rng.uniform(-1, 1, (2, n_maps)),
        ])  # fmt: skip
        # Maps are chosen by the area they cover, but none too seldom.
        weights = np.maximum(np.abs(large * small), 0.05)
        shares = np.cumsum(weights / weights.sum())
        shares[-1] = 1
        points = _chaos_game(rng, maps, shares, np.zeros((2, 1000)), 30, 4)
        hits = _hits(_centred(points), SIDE)
        spread = np.linalg.eigvalsh(np.cov(points))
        fills = 0.12 < (hits > 0).mean() < 0.45
        if fills and (hits > 0).any(0).mean() > 0.6 and spread[0] > 0.08 * spread[1]:
            return maps, shares, points


def draw_fractal(rng, key):
    """One sample of a fractal: bent, turned, moved, and in colours of its own.

    Parameters
    ----------
    rng : numpy.random.Generator
    key : int
        At least 0; it names the system of maps, which is drawn at the first use and kept.

    Returns
    -------
    ndarray of shape (32, 32, 3)
        Red, green and blue, 0 to 1 but for backgrounds that go beyond.
    """
    maps, shares, points = _system(key)
    # One factor for each number, near 1: the same fractal, a little bent.
    maps = maps * rng.uniform(0.93, 1.07, maps.shape)
    # From points of the unbent attractor a few steps lead to the bent one.
    start = points[:, rng.integers(0, points.shape[1], 1000)]
    points = _centred(_chaos_game(rng, maps, shares, start, 10, 6))
    angle, scale = np.deg2rad(rng.uniform(-25, 25)), rng.uniform(0.75, 1.1)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < 0.5:
        turn[:, 0] *= -1
    points = turn @ points + rng.uniform(-0.15, 0.15, (2, 1))
    density = np.log1p(halved(_hits(points, 2 * SIDE)))
    density = (density / max(density.max(), 1e-9)) ** rng.uniform(0.45, 0.8)
    dark = rng.random() < 0.5
    paper = rng.uniform(0, 0.15, 3) if dark else rng.random(3)
    low, high = another_colour(rng, paper), another_colour(rng, paper, 0.35)
    density = density[..., None]
    ink = low + density * (high - low)
    picture = np.tile(paper, (SIDE, SIDE, 1)) if dark else backdrop(rng, paper)
    return picture + np.minimum(1.5 * density, 1) * (ink - picture)
