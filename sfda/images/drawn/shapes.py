"""Geometric shapes, and scenes of several objects."""

import numpy as np

from sfda.images.drawn.canvas import SIDE, X, Y, another_colour, backdrop, paint

KINDS = ("disc", "triangle", "square", "star", "cross", "ellipse", "half disc", "crescent")


def _distance(kind, x, y, radius, angle):
    """About the distance to the outline, negative inside, of a shape around (x, y)."""
    cos, sin = np.cos(angle), np.sin(angle)
    u = (X - x) * cos + (Y - y) * sin
    v = (Y - y) * cos - (X - x) * sin
    if kind == "disc":
        return np.hypot(u, v) - radius
    if kind == "triangle":
        return np.maximum(v, np.abs(u) * 0.866 - v / 2) - radius / 2
    if kind == "square":
        return np.maximum(np.abs(u), np.abs(v)) - radius * 0.75
    if kind == "star":
        # Folded into half a point: one edge from the tip to the notch.
        turn = np.abs((np.arctan2(v, u) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        u, v = np.hypot(u, v) * np.cos(turn), np.hypot(u, v) * np.sin(turn)
        tip, notch = np.array([1, 0]), 0.42 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
        across = np.array([notch[1], tip[0] - notch[0]]) / np.hypot(*(tip - notch))
        return across[0] * (u - radius) + across[1] * v
    if kind == "cross":
        u, v = np.abs(u), np.abs(v)
        return np.minimum(np.maximum(u - 0.95 * radius, v - 0.3 * radius),
                          np.maximum(v - 0.95 * radius, u - 0.3 * radius))  # fmt: skip
    if kind == "ellipse":
        return (np.hypot(u, v / 0.5) - radius) * 0.6
    if kind == "half disc":
        return np.maximum(np.hypot(u, v) - radius, v)
    if kind == "crescent":
        return np.maximum(np.hypot(u, v) - radius, 0.75 * radius - np.hypot(u - 0.5 * radius, v))
    raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}.")


# What is left inside a shape, as a share of its radius.
_INNER = {"square": 0.62, "disc": 0.72}


def draw_shape(rng, shape):
    """One sample of a shape, or of two.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of str
        (kind, "filled" or "outline"), or (kind, "beside" or "inside", kind) with kinds of ``KINDS``.

    Returns
    -------
    ndarray of shape (32, 32, 3)
        Red, green and blue, 0 to 1 but for backgrounds that go beyond.

    Raises
    ------
    ValueError
        No such kind.
    """
    paper = rng.random(3)
    picture = backdrop(rng, paper)
    colour = another_colour(rng, paper)
    if len(shape) == 2:
        kind, style = shape
        radius = rng.uniform(5.5, 13)
        x, y = rng.uniform(radius, SIDE - radius, 2)
        distance = _distance(kind, x, y, radius, rng.uniform(0, 2 * np.pi))
        if style == "outline":
            half = rng.uniform(0.6, 1.1)
            distance = np.abs(distance + half) - half
        paint(picture, distance, colour)
        return picture
    kind, relation, other = shape
    angles = rng.uniform(0, 2 * np.pi, 2)
    if relation == "inside":
        radius = rng.uniform(9, 14)
        x, y = rng.uniform(radius, SIDE - radius, 2)
        paint(picture, _distance(other, x, y, radius, angles[0]), colour)
        small = radius * _INNER[other] * rng.uniform(0.6, 0.9)
        dx, dy = rng.uniform(-0.08, 0.08, 2) * radius
        paint(picture, _distance(kind, x + dx, y + dy, small, angles[1]), another_colour(rng, colour))
        return picture
    radii = rng.uniform(4, 7.5, 2)
    (x, y), (z, w) = _places(rng, radii)
    paint(picture, _distance(kind, x, y, radii[0], angles[0]), colour)
    second = colour if rng.random() < 0.5 else another_colour(rng, paper)
    paint(picture, _distance(other, z, w, radii[1], angles[1]), second)
    return picture


def _places(rng, radii, gap=1.2):
    """Centres for discs of these radii, inside the image and apart.

    `radii` shrinks in place until all of them find room.
    """
    while True:
        places = []
        for k, radius in enumerate(radii):
            tries = rng.uniform(radius + 0.5, SIDE - radius - 0.5, (40, 2))
            if k:
                away = np.hypot(*(tries[:, None] - np.array(places)).transpose(2, 0, 1))
                tries = tries[(away > radius + radii[:k] + gap).all(1)]
            if not len(tries):
                break
            places.append(tries[0])
        else:
            return places
        radii *= 0.93


def _scene(rng, count):
    """`count` objects before clutter: the picture, and the share of each pixel they cover."""
    paper = rng.random(3)
    picture = backdrop(rng, paper)
    # Between equal total area (1) and equal size (0): the power of the count by which objects shrink.
    power = rng.uniform(0.1, 1)
    radius = rng.uniform(4, 9.5) * count ** (-power / 2)
    radii = np.sort((radius * rng.uniform(0.75, 1.25, count)).clip(1.9, 11))[::-1].copy()
    places = _places(rng, radii)
    palette = [another_colour(rng, paper) for _ in range(3)]
    covered = np.zeros((SIDE, SIDE))
    for (x, y), size in zip(places, radii, strict=True):
        kind = KINDS[rng.integers(len(KINDS))]
        # The thin kinds cover less: below three pixels they would be lost.
        kind = "disc" if size < 2.4 and kind in ("crescent", "star", "ellipse") else kind
        distance = _distance(kind, x, y, size, rng.uniform(0, 2 * np.pi))
        paint(picture, distance, palette[rng.integers(3)])
        covered += (0.5 - distance).clip(0, 1)
    return picture, covered


def draw_objects(rng, count):
    """`count` objects before clutter, as an image like that of :func:`draw_shape`."""
    return _scene(rng, count)[0]
