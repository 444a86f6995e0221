"""Small images from formulas and a seed: a source to pre-train on, and three targets.

A network can learn to see from pictures nobody took. The source has 128 classes of 32x32 drawings: letters of four
scripts, fractals, textures and shapes; there is no end to its samples, and nothing to download. The three targets,
other fractals, textures that are hard to tell apart and counting, are drawn by the same brushes but share no class
with it.

Sample i depends only on its task, its class, i and the seed, so that a longer draw begins with the shorter one.
Foregrounds, backgrounds and hues are drawn without regard to the class: colour does not give it away.

References
----------
H. Kataoka et al., *Pre-training without Natural Images*, IJCV 2022 (FractalDB).

M. F. Barnsley, *Fractals Everywhere*, 1988: the chaos game.
"""

import numbers

import numpy as np

from sfda.images.drawn.canvas import SIDE
from sfda.images.drawn.fractals import draw_fractal
from sfda.images.drawn.letters import draw_letter
from sfda.images.drawn.shapes import KINDS, draw_objects, draw_shape
from sfda.images.drawn.textures import draw_texture

# Letters that look like no Latin letter, no digit, and not like one another (Cyrillic has its own gamma, pi and
# phi: they are left to Greek).
GLYPHS = "ΓΔΛΞΠΣΦΨΩλ" + "ДЖИЛЦШЩЮЯЉ" + "ԲԴԹԺԸԽՃՊՌՖ" + "ლთფდღშჭტჟჯ"

# The keys of the random systems; no key is in both.
SOURCE_FRACTALS = tuple(range(40))
TARGET_FRACTALS = tuple(range(1000, 1016))

# Generator, its parameters, and how far a sample may be turned (degrees). Frequencies are cycles per image, periods
# and distances are pixels.
SOURCE_TEXTURES = (
    ("grating", (4, 0, "sine"), 9), ("grating", (4, 45, "square"), 9), ("grating", (7, 90, "sine"), 9),
    ("grating", (7, 135, "saw"), 9), ("grating", (10, 20, "square"), 9), ("plaid", (4, 90, 0), 12),
    ("plaid", (7, 60, 15), 12), ("plaid", (5, 35, 90), 12), ("noise", (1, 4, 0, 180), 180),
    ("noise", (5, 8, 0, 180), 180), ("noise", (3, 9, 0, 20), 15), ("noise", (3, 9, 90, 20), 15),
    ("blobs", (2, 4, 0.7), 180), ("blobs", (4, 7, 1.0), 180), ("cells", (11, 1.0, "edges"), 180),
    ("cells", (5, 1.0, "cones"), 180), ("cells", (8, 1.0, "mosaic"), 180), ("lattice", (8, "checker"), 45),
    ("lattice", (7, "bricks"), 45), ("lattice", (7, "dots"), 45), ("lattice", (9, "crosses"), 45),
    ("spiral", (1, 6), 180), ("spiral", (4, 9), 180), ("spiral", (0, 5), 180),
)  # fmt: skip
# Families of three neighbours each, at any angle: only the fine structure tells.
TARGET_TEXTURES = (
    ("grating", (5.5, 0, "sine"), 180), ("grating", (5.5, 0, "square"), 180), ("grating", (5.5, 0, "saw"), 180),
    ("noise", (2, 6, 0, 180), 180), ("noise", (2, 6, 0, 45), 180), ("noise", (4, 10, 0, 180), 180),
    ("cells", (7, 0.35, "edges"), 180), ("cells", (7, 1.0, "edges"), 180), ("cells", (7, 1.0, "cones"), 180),
    ("plaid", (5.5, 90, 0), 180), ("plaid", (5.5, 60, 0), 180), ("lattice", (6, "dots"), 180),
)  # fmt: skip
PAIRS = (
    ("disc", "beside", "disc"), ("square", "beside", "square"), ("triangle", "beside", "disc"),
    ("star", "beside", "cross"), ("disc", "inside", "square"), ("square", "inside", "disc"),
    ("triangle", "inside", "disc"), ("cross", "inside", "square"),
)  # fmt: skip
SHAPES = (*((kind, "filled") for kind in KINDS), *((kind, "outline") for kind in KINDS), *PAIRS)

# The first number of every sample's seed: no task repeats another's draws. Fractals' systems have the next one.
_GLYPH, _FRACTAL, _TEXTURE, _SHAPE, _FRACTALS, _TEXTURES, _COUNTING = range(7)


def source(n, *, seed=0):
    """The pre-training source: letters, fractals, textures and shapes in 128 classes.

    Classes 0 to 39 are letters (Greek, Cyrillic, Armenian, Georgian; none looks like a Latin letter or a digit), 40
    to 79 fractals, 80 to 103 textures and 104 to 127 shapes.

    Parameters
    ----------
    n : int
        Number of images, at least 1.
    seed : int, default 0
        At least 0. Another seed draws other images of the same classes.

    Returns
    -------
    images : ndarray of shape (n, 3, 32, 32), uint8
        RGB, C-contiguous.
    labels : ndarray of shape (n,), int64
        ``arange(n) % 128``: the classes take turns.
    names : list of str
        Of the 128 classes, such as ``"fractal 07"``.

    Raises
    ------
    ValueError
        `n` is not a positive integer or `seed` not a non-negative one.

    Notes
    -----
    Letters come from the fonts that Matplotlib brings along; another release of FreeType may draw their edges a
    little differently.

    References
    ----------
    H. Kataoka et al., *Pre-training without Natural Images*, IJCV 2022.

    Examples
    --------
    >>> from sfda.images.drawn.drawings import source
    >>> images, labels, names = source(3)
    >>> images.shape, labels.tolist(), names[47]
    ((3, 3, 32, 32), [0, 1, 2], 'fractal 07')
    """
    draws = [
        *((_GLYPH, draw_letter, letter) for letter in GLYPHS),
        *((_FRACTAL, draw_fractal, key) for key in SOURCE_FRACTALS),
        *((_TEXTURE, draw_texture, texture) for texture in SOURCE_TEXTURES),
        *((_SHAPE, draw_shape, shape) for shape in SHAPES),
    ]
    names = [
        *(f"glyph {letter}" for letter in GLYPHS),
        *(f"fractal {key:02d}" for key in SOURCE_FRACTALS),
        *(f"texture {k:02d} {texture[0]}" for k, texture in enumerate(SOURCE_TEXTURES)),
        *("shape " + " ".join(shape) for shape in SHAPES),
    ]
    return *_draw(n, seed, draws), names


def fractals(n, *, seed=0):
    """A target: 16 fractals that are not among those of the source.

    Parameters
    ----------
    n, seed
        As in :func:`source`; errors as well.

    Returns
    -------
    images, labels : ndarray of shape (n, 3, 32, 32), uint8, and of shape (n,), int64
        As in :func:`source`; the labels are ``arange(n) % 16``.

    Examples
    --------
    >>> from sfda.images.drawn.drawings import fractals
    >>> fractals(20)[1].tolist()[-5:]
    [15, 0, 1, 2, 3]
    """
    return _draw(n, seed, [(_FRACTALS, draw_fractal, key) for key in TARGET_FRACTALS])


def textures(n, *, seed=0):
    """A target: 12 textures, none of the source's, that are hard to tell apart.

    Neighbouring classes differ in the waveform, the direction or the regularity of the same pattern; samples are
    turned by any angle.

    Parameters
    ----------
    n, seed
        As in :func:`source`; errors as well.

    Returns
    -------
    images, labels : ndarray of shape (n, 3, 32, 32), uint8, and of shape (n,), int64
        As in :func:`source`; the labels are ``arange(n) % 12``.

    Examples
    --------
    >>> from sfda.images.drawn.drawings import textures
    >>> textures(14)[1].tolist()[-4:]
    [10, 11, 0, 1]
    """
    return _draw(n, seed, [(_TEXTURES, draw_texture, texture) for texture in TARGET_TEXTURES])


def counting(n, *, seed=0):
    """A target: how many objects there are, one to eight.

    The objects differ in shape, size and colour, do not touch and stand before clutter. A few may be large or many
    small, so that neither the area they cover nor their size alone tells how many there are.

    Parameters
    ----------
    n, seed
        As in :func:`source`; errors as well.

    Returns
    -------
    images, labels : ndarray of shape (n, 3, 32, 32), uint8, and of shape (n,), int64
        As in :func:`source`; the labels are ``arange(n) % 8``: the number of objects, less one.

    Examples
    --------
    >>> from sfda.images.drawn.drawings import counting
    >>> counting(10)[1].tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    """
    return _draw(n, seed, [(_COUNTING, draw_objects, count) for count in range(1, 9)])


def _draw(n, seed, draws):
    """n images, `draws` taking turns: (task, function of a generator and `what`, what)."""
    _check("n", n, 1, "a positive integer")
    _check("seed", seed, 0, "a non-negative integer")
    images = np.empty((n, 3, SIDE, SIDE), np.uint8)
    for i in range(n):
        label = i % len(draws)
        task, draw, what = draws[label]
        rng = np.random.default_rng([task, label, i, int(seed)])
        picture = draw(rng, what)
        picture = picture + rng.uniform(0, 0.05) * rng.standard_normal(picture.shape)
        images[i] = (picture.clip(0, 1) * 255).round().transpose(2, 0, 1)
    return images, np.arange(n, dtype=np.int64) % len(draws)


def _check(name, value, least, expected):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not whole or value < least:
        raise ValueError(f"{name} is {value!r}; expected {expected}.")
