"""Textures from formulas."""

import numpy as np

from sfda.images.drawn.canvas import FINE_X, FINE_Y, SIDE, X, Y, gradient, halved, two_colours


def draw_texture(rng, texture):
    """One sample of a texture, in two colours and shaded.

    Parameters
    ----------
    rng : numpy.random.Generator
    texture : tuple (generator, parameters, turn)
        A row of :data:`sfda.images.drawn.drawings.SOURCE_TEXTURES`; it is turned by up to `turn` degrees.

    Returns
    -------
    ndarray of shape (32, 32, 3)
        Red, green and blue, 0 to 1 but for noise and shade that go beyond.
    """
    generator, parameters, turn = texture
    angle = np.deg2rad(rng.uniform(-turn, turn))
    scale = rng.uniform(0.9, 1.1)
    field = _GENERATORS[generator](rng, angle, scale, *parameters)
    first, second = two_colours(rng, 0.2)
    picture = first + field[..., None] * (second - first)
    shade = 1 + rng.uniform(0, 0.35) * gradient(rng)
    return picture * shade[..., None] + rng.uniform(0, 0.06) * rng.standard_normal((SIDE, SIDE, 1))


def _turned(rng, angle, scale, shift=SIDE):
    """Coordinates of a 64x64 grid, in pixels of the image: turned, scaled, shifted."""
    x, y = FINE_X - SIDE / 2, FINE_Y - SIDE / 2
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
    return halved(field)


def _plaid(rng, angle, scale, frequency, between, direction):
    """Two gratings with an angle between them (degrees)."""
    x, y = _turned(rng, angle + np.deg2rad(direction), scale)
    turn = np.deg2rad(between)
    phases = np.stack([x, x * np.cos(turn) + y * np.sin(turn)]) * frequency / SIDE
    waves = np.sin(2 * np.pi * phases)
    return halved(0.5 + 0.25 * waves.sum(0))


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
    squares = (Y[:, :1] - y)[:, None] ** 2 + (X[0][:, None] - x)[None] ** 2
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
    return halved(field.astype(float))


def _spiral(rng, angle, scale, arms, pitch):
    """Rings `pitch` pixels apart (no arms), or arms that wind around a centre."""
    x, y = _turned(rng, angle, scale, shift=9)
    phase = np.hypot(x, y) / pitch + arms * np.arctan2(y, x) / (2 * np.pi) + rng.random()
    return halved(0.5 + 0.5 * np.sin(2 * np.pi * phase))


_GENERATORS = {
    "grating": _grating, "plaid": _plaid, "noise": _noise, "blobs": _blobs, "cells": _cells, "lattice": _lattice,
    "spiral": _spiral,
}  # fmt: skip
