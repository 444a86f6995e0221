"""Letters of many fonts, bent."""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from sfda.images.drawn.canvas import SIDE, backdrop, halved, two_colours

FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
)  # fmt: skip


def _font_path(font):
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"


@cache
def _characters(font):
    return frozenset(FT2Font(str(_font_path(font))).get_charmap())


@cache
def _fonts_of(letter):
    """The fonts that have the letter: the others would draw an empty box."""
    return tuple(font for font in FONTS if ord(letter) in _characters(font))


@cache
def _font(font, size):
    # The basic layout is in every build of Pillow, which before 10.1 takes no Path.
    return ImageFont.truetype(str(_font_path(font)), size, layout_engine=ImageFont.Layout.BASIC)


def draw_letter(rng, letter):
    """One sample of a letter: in some font and weight, bent, half of them in colour.

    Parameters
    ----------
    rng : numpy.random.Generator
    letter : str
        One character that a font of ``FONTS`` has.

    Returns
    -------
    ndarray of shape (32, 32, 3)
        Red, green and blue, 0 to 1 but for backgrounds that go beyond.

    Raises
    ------
    ValueError
        No font has it.
    """
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
    page = page.transform(page.size, Image.Transform.MESH, _mesh(rng, side), Image.Resampling.BILINEAR)
    ink = halved(np.asarray(page) / 255)[..., None]
    if rng.random() < 0.5:
        ink = ink if rng.random() < 0.5 else 1 - ink
        return np.repeat(ink, 3, axis=2)
    paper, colour = two_colours(rng)
    picture = backdrop(rng, paper)
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
