"""Small images from formulas and a seed: a source to pre-train on, and three targets.

A network can learn to see from pictures nobody took. The source has 128
classes of 32x32 drawings: letters of four scripts, fractals, textures and
shapes; there is no end to its samples, and nothing to download. The three
targets, other fractals, textures that are hard to tell apart and counting,
are drawn by the same brushes but share no class with it.

Sample i depends only on its task, its class, i and the seed, so that a longer
draw begins with the shorter one. Foregrounds, backgrounds and hues are drawn
without regard to the class: colour does not give it away.

References
----------
H. Kataoka et al., *Pre-training without Natural Images*, IJCV 2022 (FractalDB).

M. F. Barnsley, *Fractals Everywhere*, 1988: the chaos game.
"""

import numbers
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 32

# Letters that look like no Latin letter, no digit, and not like one another
# (Cyrillic has its own gamma, pi and phi: they are left to Greek).
GLYPHS = "ΓΔΛΞΠΣΦΨΩλ" + "ДЖИЛЦШЩЮЯЉ" + "ԲԴԹԺԸԽՃՊՌՖ" + "ლთფდღშჭტჟჯ"

FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
)  # fmt: skip

# The keys of the random systems; no key is in both.
SOURCE_FRACTALS = tuple(range(40))
TARGET_FRACTALS = tuple(range(1000, 1016))

# Generator, its parameters, and how far a sample may be turned (degrees).
# Frequencies are cycles per image, periods and distances are pixels.
SOURCE_TEXTURES = (
    ("grating", (4, 0, "sine"), 9),
    ("grating", (4, 45, "square"), 9),
    ("grating", (7, 90, "sine"), 9),
    ("grating", (7, 135, "saw"), 9),
    ("grating", (10, 20, "square"), 9),
    ("plaid", (4, 90, 0), 12),
    ("plaid", (7, 60, 15), 12),
    ("plaid", (5, 35, 90), 12),
    ("noise", (1, 4, 0, 180), 180),
    ("noise", (5, 8, 0, 180), 180),
    ("noise", (3, 9, 0, 20), 15),
    ("noise", (3, 9, 90, 20), 15),
    ("blobs", (2, 4, 0.7), 180),
    ("blobs", (4, 7, 1.0), 180),
    ("cells", (11, 1.0, "edges"), 180),
    ("cells", (5, 1.0, "cones"), 180),
    ("cells", (8, 1.0, "mosaic"), 180),
    ("lattice", (8, "checker"), 45),
    ("lattice", (7, "bricks"), 45),
    ("lattice", (7, "dots"), 45),
    ("lattice", (9, "crosses"), 45),
    ("spiral", (1, 6), 180),
    ("spiral", (4, 9), 180),
    ("spiral", (0, 5), 180),
)
# Families of three neighbours each, at any angle: only the fine structure tells.
TARGET_TEXTURES = (
    ("grating", (5.5, 0, "sine"), 180),
    ("grating", (5.5, 0, "square"), 180),
    ("grating", (5.5, 0, "saw"), 180),
    ("noise", (2, 6, 0, 180), 180),
    ("noise", (2, 6, 0, 45), 180),
    ("noise", (4, 10, 0, 180), 180),
    ("cells", (7, 0.35, "edges"), 180),
    ("cells", (7, 1.0, "edges"), 180),
    ("cells", (7, 1.0, "cones"), 180),
    ("plaid", (5.5, 90, 0), 180),
    ("plaid", (5.5, 60, 0), 180),
    ("lattice", (6, "dots"), 180),
)

KINDS = ("disc", "triangle", "square", "star", "cross", "ellipse", "half disc", "crescent")
PAIRS = (
    ("disc", "beside", "disc"),
    ("square", "beside", "square"),
    ("triangle", "beside", "disc"),
    ("star", "beside", "cross"),
    ("disc", "inside", "square"),
    ("square", "inside", "disc"),
    ("triangle", "inside", "disc"),
    ("cross", "inside", "square"),
)
SHAPES = (
    *((kind, "filled") for kind in KINDS),
    *((kind, "outline") for kind in KINDS),
    *PAIRS,
)

# The first number of every sample's seed: no task repeats another's draws.
_GLYPH, _FRACTAL, _TEXTURE, _SHAPE, _FRACTALS, _TEXTURES, _COUNTING, _SYSTEM = range(8)

_Y, _X = np.mgrid[:SIDE, :SIDE] + 0.5
_FINE_Y, _FINE_X = (np.mgrid[: 2 * SIDE, : 2 * SIDE] + 0.5) / 2
_LUMA = np.array([0.299, 0.587, 0.114])


def source(n, *, seed=0):
    """The pre-training source: letters, fractals, textures and shapes in 128 classes.

    Classes 0 to 39 are letters (Greek, Cyrillic, Armenian, Georgian; none looks
    like a Latin letter or a digit), 40 to 79 fractals, 80 to 103 textures and
    104 to 127 shapes.

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
    Letters come from the fonts that Matplotlib brings along; another release
    of FreeType may draw their edges a little differently.

    References
    ----------
    H. Kataoka et al., *Pre-training without Natural Images*, IJCV 2022.

    Examples
    --------
    >>> from sfda.drawings import source
    >>> images, labels, names = source(3)
    >>> images.shape, labels.tolist(), names[47]
    ((3, 3, 32, 32), [0, 1, 2], 'fractal 07')
    """
    draws = [
        *((_GLYPH, _glyph, letter) for letter in GLYPHS),
        *((_FRACTAL, _fractal, key) for key in SOURCE_FRACTALS),
        *((_TEXTURE, _texture, texture) for texture in SOURCE_TEXTURES),
        *((_SHAPE, _shape, shape) for shape in SHAPES),
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
    n : int
        Number of images, at least 1.
    seed : int, default 0
        At least 0.

    Returns
    -------
    images : ndarray of shape (n, 3, 32, 32), uint8
        RGB, C-contiguous.
    labels : ndarray of shape (n,), int64
        ``arange(n) % 16``.

    Raises
    ------
    ValueError
        `n` is not a positive integer or `seed` not a non-negative one.

    Examples
    --------
    >>> from sfda.drawings import fractals
    >>> fractals(20)[1].tolist()[-5:]
    [15, 0, 1, 2, 3]
    """
    return _draw(n, seed, [(_FRACTALS, _fractal, key) for key in TARGET_FRACTALS])


def textures(n, *, seed=0):
    """A target: 12 textures, none of the source's, that are hard to tell apart.

    Neighbouring classes differ in the waveform, the direction or the regularity
    of the same pattern; samples are turned by any angle.

    Parameters
    ----------
    n : int
        Number of images, at least 1.
    seed : int, default 0
        At least 0.

    Returns
    -------
    images : ndarray of shape (n, 3, 32, 32), uint8
        RGB, C-contiguous.
    labels : ndarray of shape (n,), int64
        ``arange(n) % 12``.

    Raises
    ------
    ValueError
        `n` is not a positive integer or `seed` not a non-negative one.

    Examples
    --------
    >>> from sfda.drawings import textures
    >>> textures(14)[1].tolist()[-4:]
    [10, 11, 0, 1]
    """
    return _draw(n, seed, [(_TEXTURES, _texture, texture) for texture in TARGET_TEXTURES])


def counting(n, *, seed=0):
    """A target: how many objects there are, one to eight.

    The objects differ in shape, size and colour, do not touch and stand before
    clutter. A few may be large or many small, so that neither the area they
    cover nor their size alone tells how many there are.

    Parameters
    ----------
    n : int
        Number of images, at least 1.
    seed : int, default 0
        At least 0.

    Returns
    -------
    images : ndarray of shape (n, 3, 32, 32), uint8
        RGB, C-contiguous.
    labels : ndarray of shape (n,), int64
        ``arange(n) % 8``: the number of objects, less one.

    Raises
    ------
    ValueError
        `n` is not a positive integer or `seed` not a non-negative one.

    Examples
    --------
    >>> from sfda.drawings import counting
    >>> counting(10)[1].tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    """
    return _draw(n, seed, [(_COUNTING, _objects, count) for count in range(1, 9)])


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


# Colours and backgrounds


def _colours(rng, gap=0.3):
    """Two random colours whose brightness differs by at least `gap`."""
    while True:
        first, second = rng.random((2, 3))
        if abs((first - second) @ _LUMA) > gap:
            return first, second


def _unlike(rng, colour, gap=0.25):
    """A random colour whose brightness differs from that of `colour` by at least `gap`."""
    while True:
        other = rng.random(3)
        if abs((other - colour) @ _LUMA) > gap:
            return other


def _gradient(rng):
    """A plane over the image, from -1 to 1, in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return (np.cos(angle) * (_X - SIDE / 2) + np.sin(angle) * (_Y - SIDE / 2)) / (SIDE / 2)


def _backdrop(rng, colour):
    """A background around `colour`: a gradient, soft noise and stray strokes, or less."""
    picture = np.tile(colour, (SIDE, SIDE, 1))
    if rng.random() < 0.2:
        return picture
    picture += _gradient(rng)[..., None] * rng.uniform(-0.12, 0.12, 3)
    if rng.random() < 0.6:
        # Coarse noise, stretched smoothly: blotches of 4 to 11 pixels.
        coarse = rng.standard_normal((rng.integers(3, 9), rng.integers(3, 9))).astype(np.float32)
        soft = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture += np.asarray(soft)[..., None] * rng.uniform(-0.08, 0.08, 3)
    for _ in range(rng.integers(0, 4)):
        x, y, angle = rng.uniform(0, SIDE), rng.uniform(0, SIDE), rng.uniform(0, np.pi)
        across = (_X - x) * np.cos(angle) + (_Y - y) * np.sin(angle)
        along = (_Y - y) * np.cos(angle) - (_X - x) * np.sin(angle)
        # Bent by a parabola: stray strokes are not all straight.
        across = np.abs(across + rng.uniform(-0.03, 0.03) * along**2)
        inside = np.maximum(across - rng.uniform(0.3, 0.8), np.abs(along) - rng.uniform(4, 16))
        _paint(picture, inside, colour + rng.uniform(-0.2, 0.2, 3))
    return picture


def _paint(picture, distance, colour):
    """Colours where the signed distance is negative, with an edge one pixel wide."""
    picture += (0.5 - distance).clip(0, 1)[..., None] * (colour - picture)


def _halved(fine):
    return fine.reshape(SIDE, 2, SIDE, 2).mean((1, 3))


# Letters


def _font_path(font):
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"


@lru_cache(maxsize=None)
def _characters(font):
    return frozenset(FT2Font(str(_font_path(font))).get_charmap())


@lru_cache(maxsize=None)
def _fonts_of(letter):
    """The fonts that have the letter: the others would draw an empty box."""
    return tuple(font for font in FONTS if ord(letter) in _characters(font))


@lru_cache(maxsize=None)
def _font(font, size):
    # The basic layout is in every build of Pillow.
    return ImageFont.truetype(_font_path(font), size, layout_engine=ImageFont.Layout.BASIC)


def _glyph(rng, letter):
    side = 2 * SIDE
    fonts = _fonts_of(letter)
    name = fonts[rng.integers(len(fonts))]
    font = _font(name, int(rng.integers(8, 13)) * 4)
    stroke = int(rng.integers(-1, 2 if "Bol" in name else 3))
    left, top, right, bottom = font.getbbox(letter)
    page = Image.new("L", (side, side))
    corner = ((side - left - right) / 2, (side - top - bottom) / 2)
    ImageDraw.Draw(page).text(corner, letter, 255, font, stroke_width=max(stroke, 0))
    if stroke < 0 and name.startswith("DejaVuSans"):
        # Thinner; the hairlines of a serif face would be lost.
        page = page.filter(ImageFilter.MinFilter(3))
    page = page.transform(
        page.size, Image.Transform.MESH, _mesh(rng, side), Image.Resampling.BILINEAR
    )
    ink = _halved(np.asarray(page) / 255)[..., None]
    if rng.random() < 0.5:
        ink = ink if rng.random() < 0.5 else 1 - ink
        return np.repeat(ink, 3, axis=2)
    paper, colour = _colours(rng)
    picture = _backdrop(rng, paper)
    return picture + ink * (colour - picture)


def _mesh(rng, side, patches=4):
    """Turn, shear, scale and shift, bent a little: for each patch, where it comes from."""
    angle, shear = np.deg2rad(rng.uniform(-20, 20)), rng.uniform(-0.25, 0.25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ [[1, shear], [0, 1]] @ np.diag(rng.uniform(0.85, 1.2, 2))
    edges = np.linspace(0, side, patches + 1)
    grid = np.stack(np.meshgrid(edges, edges), axis=-1)  # (row, column, xy)
    grid = (grid - side / 2) @ matrix.T + side / 2 + rng.uniform(-4, 4, 2)
    # Neighbours share their corners, so that the bent page has no cracks.
    grid += rng.normal(0, 1.3, grid.shape)
    step = side // patches
    mesh = []
    for r in range(patches):
        for c in range(patches):
            quad = grid[[r, r + 1, r + 1, r], [c, c, c + 1, c + 1]]  # NW, SW, SE, NE
            box = (c * step, r * step, (c + 1) * step, (r + 1) * step)
            mesh.append((box, tuple(quad.ravel().tolist())))
    return mesh


# Fractals


def _chaos_game(rng, maps, shares, points, steps, keep):
    """Points of the attractor: all walkers step at once, the last `keep` steps count.

    maps has shape (6, maps): x' = a x + b y + e, y' = c x + d y + f.
    """
    x, y = points
    choices = np.searchsorted(shares, rng.random((steps, len(x))))
    path = []
    for choice in choices:
        a, b, c, d, e, f = maps[:, choice]
        x, y = a * x + b * y + e, c * x + d * y + f
        path.append((x, y))
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


@lru_cache(maxsize=None)
def _system(key):
    """The iterated function system of a key: maps, cumulated shares, attractor.

    Systems are drawn until one is neither a speck or a line nor a full square.
    """
    rng = np.random.default_rng([_SYSTEM, key])
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


def _fractal(rng, key):
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
    density = np.log1p(_halved(_hits(points, 2 * SIDE)))
    density = (density / max(density.max(), 1e-9)) ** rng.uniform(0.45, 0.8)
    dark = rng.random() < 0.5
    paper = rng.uniform(0, 0.15, 3) if dark else rng.random(3)
    low, high = _unlike(rng, paper), _unlike(rng, paper, 0.35)
    density = density[..., None]
    ink = low + density * (high - low)
    picture = np.tile(paper, (SIDE, SIDE, 1)) if dark else _backdrop(rng, paper)
    return picture + np.minimum(1.5 * density, 1) * (ink - picture)


# Textures


def _texture(rng, texture):
    generator, parameters, turn = texture
    angle = np.deg2rad(rng.uniform(-turn, turn))
    scale = rng.uniform(0.9, 1.1)
    field = _GENERATORS[generator](rng, angle, scale, *parameters)
    first, second = _colours(rng, 0.2)
    picture = first + field[..., None] * (second - first)
    shade = 1 + rng.uniform(0, 0.35) * _gradient(rng)
    return picture * shade[..., None] + rng.uniform(0, 0.06) * rng.standard_normal((SIDE, SIDE, 1))


def _turned(rng, angle, scale, shift=SIDE):
    """Coordinates of a 64x64 grid, in pixels of the image: turned, scaled, shifted."""
    x, y = _FINE_X - SIDE / 2, _FINE_Y - SIDE / 2
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    dx, dy = rng.uniform(-shift, shift, 2)
    return cos * x + sin * y + dx, cos * y - sin * x + dy


def _grating(rng, angle, scale, frequency, direction, profile):
    x, _ = _turned(rng, angle + np.deg2rad(direction), scale)
    phase = x * frequency / SIDE
    if profile == "sine":
        field = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
    elif profile == "square":
        field = (phase % 1 < 0.5).astype(float)
    else:
        field = phase % 1
    return _halved(field)


def _plaid(rng, angle, scale, frequency, between, direction):
    """Two gratings with an angle between them (degrees)."""
    x, y = _turned(rng, angle + np.deg2rad(direction), scale)
    turn = np.deg2rad(between)
    phases = np.stack([x, x * np.cos(turn) + y * np.sin(turn)]) * frequency / SIDE
    waves = np.sin(2 * np.pi * phases)
    return _halved(0.5 + 0.25 * waves.sum(0))


def _noise(rng, angle, scale, low, high, direction, spread):
    """Noise of some frequencies and directions; from about 0 to 1."""
    x, y = np.meshgrid(np.fft.fftfreq(2 * SIDE), np.fft.rfftfreq(2 * SIDE), indexing="ij")
    # The window is 32 of the 64 pixels: the other half keeps its edges from meeting.
    radius = np.hypot(x, y) * SIDE * scale
    turn = np.arctan2(y, x) - angle - np.deg2rad(direction)
    off = np.abs((turn + np.pi / 2) % np.pi - np.pi / 2)
    band = (radius >= low) & (radius <= high) & (off <= np.deg2rad(spread))
    spectrum = band * np.fft.rfft2(rng.standard_normal((2 * SIDE, 2 * SIDE)))
    field = np.fft.irfft2(spectrum, s=(2 * SIDE, 2 * SIDE))[:SIDE, :SIDE]
    return (0.5 + 0.25 * (field - field.mean()) / max(field.std(), 1e-9)).clip(0, 1)


def _blobs(rng, angle, scale, low, high, level):
    """Islands: where the noise is higher than so many standard deviations."""
    field = _noise(rng, angle, scale, low, high, 0, 180)
    return ((field - 0.5 - 0.25 * level) * 5 + 0.5).clip(0, 1)


def _cells(rng, angle, scale, distance, jitter, mode):
    """Cells around the points of a lattice, each moved by up to `jitter` of a step."""
    steps = np.arange(-np.ceil(26 / distance), np.ceil(26 / distance) + 1)
    points = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    points = points + rng.uniform(-0.5, 0.5, 2)
    points = (points + rng.uniform(-jitter, jitter, points.shape) / 1.6) * distance * scale
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = np.array([[cos, -sin], [sin, cos]]) @ points.T + SIDE / 2
    near = (np.abs(x - SIDE / 2) < SIDE * 0.75) & (np.abs(y - SIDE / 2) < SIDE * 0.75)
    x, y = x[near], y[near]
    # Squared distances as x^2 + y^2 of two short tables: few operations a pixel.
    squares = (_Y[:, :1] - y)[:, None] ** 2 + (_X[0][:, None] - x)[None] ** 2
    if mode == "mosaic":
        return rng.random(len(x))[squares.argmin(-1)]
    if mode == "cones":
        return (np.sqrt(squares.min(-1)) / distance * 1.4).clip(0, 1)
    nearest = np.argpartition(squares, 1, axis=-1)[..., :2]
    first, second = np.moveaxis(np.take_along_axis(squares, nearest, -1), -1, 0)
    # The distance to the edge halfway between the two nearest points.
    apart = np.hypot(np.diff(x[nearest]), np.diff(y[nearest]))[..., 0]
    return ((second - first) / (2 * apart + 1e-9)).clip(0, 1)


def _lattice(rng, angle, scale, period, kind):
    x, y = _turned(rng, angle, scale)
    x, y = x / period, y / period
    if kind == "checker":
        field = (np.floor(2 * x) + np.floor(2 * y)) % 2
    elif kind == "bricks":
        row = np.floor(2 * y)
        field = ((2 * y) % 1 > 0.25) & ((x + 0.5 * (row % 2)) % 1 > 0.15)
    elif kind == "dots":
        field = np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.3
    else:
        x, y = np.abs(x % 1 - 0.5), np.abs(y % 1 - 0.5)
        field = (np.minimum(x, y) < 0.12) & (np.maximum(x, y) < 0.38)
    return _halved(field.astype(float))


def _spiral(rng, angle, scale, arms, pitch):
    """Rings `pitch` pixels apart (no arms), or arms that wind around a centre."""
    x, y = _turned(rng, angle, scale, shift=9)
    phase = np.hypot(x, y) / pitch + arms * np.arctan2(y, x) / (2 * np.pi) + rng.random()
    return _halved(0.5 + 0.5 * np.sin(2 * np.pi * phase))


_GENERATORS = {
    "grating": _grating,
    "plaid": _plaid,
    "noise": _noise,
    "blobs": _blobs,
    "cells": _cells,
    "lattice": _lattice,
    "spiral": _spiral,
}


# Shapes


def _distance(kind, x, y, radius, angle):
    """About the distance to the outline, negative inside, of a shape around (x, y)."""
    cos, sin = np.cos(angle), np.sin(angle)
    u = (_X - x) * cos + (_Y - y) * sin
    v = (_Y - y) * cos - (_X - x) * sin
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


def _shape(rng, shape):
    paper = rng.random(3)
    picture = _backdrop(rng, paper)
    colour = _unlike(rng, paper)
    if len(shape) == 2:
        kind, style = shape
        radius = rng.uniform(5.5, 13)
        x, y = rng.uniform(radius, SIDE - radius, 2)
        distance = _distance(kind, x, y, radius, rng.uniform(0, 2 * np.pi))
        if style == "outline":
            half = rng.uniform(0.6, 1.1)
            distance = np.abs(distance + half) - half
        _paint(picture, distance, colour)
        return picture
    kind, relation, other = shape
    angles = rng.uniform(0, 2 * np.pi, 2)
    if relation == "inside":
        radius = rng.uniform(9, 14)
        x, y = rng.uniform(radius, SIDE - radius, 2)
        _paint(picture, _distance(other, x, y, radius, angles[0]), colour)
        small = radius * _INNER[other] * rng.uniform(0.6, 0.9)
        dx, dy = rng.uniform(-0.08, 0.08, 2) * radius
        _paint(picture, _distance(kind, x + dx, y + dy, small, angles[1]), _unlike(rng, colour))
        return picture
    radii = rng.uniform(4, 7.5, 2)
    (x, y), (z, w) = _places(rng, radii)
    _paint(picture, _distance(kind, x, y, radii[0], angles[0]), colour)
    second = colour if rng.random() < 0.5 else _unlike(rng, paper)
    _paint(picture, _distance(other, z, w, radii[1], angles[1]), second)
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
    picture = _backdrop(rng, paper)
    # Between equal total area (1) and equal size (0): the power of the count
    # by which objects shrink.
    power = rng.uniform(0.1, 1)
    radius = rng.uniform(4, 9.5) * count ** (-power / 2)
    radii = np.sort((radius * rng.uniform(0.75, 1.25, count)).clip(1.9, 11))[::-1].copy()
    places = _places(rng, radii)
    palette = [_unlike(rng, paper) for _ in range(3)]
    covered = np.zeros((SIDE, SIDE))
    for (x, y), size in zip(places, radii, strict=True):
        kind = KINDS[rng.integers(len(KINDS))]
        # The thin kinds cover less: below three pixels they would be lost.
        kind = "disc" if size < 2.4 and kind in ("crescent", "star", "ellipse") else kind
        distance = _distance(kind, x, y, size, rng.uniform(0, 2 * np.pi))
        _paint(picture, distance, palette[rng.integers(3)])
        covered += (0.5 - distance).clip(0, 1)
    return picture, covered


def _objects(rng, count):
    return _scene(rng, count)[0]
