"""The drawn data sets: shapes and balance, the same images again, and no easy way out."""

import unicodedata
from collections import Counter

import numpy as np
import pytest

from sfda.images.drawn import drawings, fractals, letters, shapes


@pytest.mark.parametrize(("draw", "n_classes"), [
    (drawings.source, 128), (drawings.fractals, 16), (drawings.textures, 12), (drawings.counting, 8),
])
def test_images_labels_and_bad_numbers(draw, n_classes):
    images, labels = draw(4 * n_classes + 3)[:2]
    assert images.shape == (4 * n_classes + 3, 3, 32, 32)
    assert images.dtype == np.uint8 and images.flags.c_contiguous and labels.dtype == np.int64
    np.testing.assert_array_equal(labels, np.arange(len(images)) % n_classes)
    # Every image shows something, and none what another does.
    assert images.reshape(len(images), -1).std(1).min() > 2
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)
    for n in (1, 30):  # a longer draw begins with the shorter one
        shorter, its_labels = draw(n)[:2]
        np.testing.assert_array_equal(shorter, images[:n])
        assert its_labels.tolist() == labels[:n].tolist()
    again, other = (draw(30, seed=seed)[0] for seed in (0, np.int64(4)))
    np.testing.assert_array_equal(again, images[:30])
    assert not (again == other).all((1, 2, 3)).any()
    for bad in (0, -1, 2.0, "3", None, True, [4]):
        with pytest.raises(ValueError, match="n is .*expected a positive integer"):
            draw(bad)
    for bad in (-1, 0.5, None, "0", False):
        with pytest.raises(ValueError, match="seed is .*expected a non-negative integer"):
            draw(5, seed=bad)




def test_names_and_glyphs_that_are_letters_but_neither_latin_nor_digits():
    names = drawings.source(1)[2]
    assert len(names) == len(set(names)) == 128
    counts = [sum(name.startswith(kind) for name in names) for kind in ("glyph ", "fractal ", "texture ", "shape ")]
    assert counts == [40, 40, 24, 24]
    assert {"glyph Ж", "fractal 07", "shape disc inside square"} <= set(names)
    assert len(set(drawings.GLYPHS)) == 40
    scripts = [unicodedata.name(letter).split()[0] for letter in drawings.GLYPHS]
    assert Counter(scripts) == dict.fromkeys(("GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN"), 10)
    assert all(unicodedata.category(letter).startswith("L") for letter in drawings.GLYPHS)
    # Capitals and small letters drawn like a Latin letter or a digit.
    look_alikes = "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧνοΑВЕЅЗІЈКМНОРСТУХЬЧЭБаеорсухՈՍՏՕԼՀՑՁՂՔՅԶՄԳვეძბ"
    assert not set(drawings.GLYPHS) & set(look_alikes)
    for letter in drawings.GLYPHS:
        fonts = [letters._font(name, 40) for name in letters._fonts_of(letter)]
        assert len(fonts) >= 8
        for font in fonts:
            drawn, missing = (bytes(font.getmask(c)) for c in (letter, "\U0010fffd"))
            # A font without the letter draws the box for what is missing.
            assert sum(drawn) and drawn != missing, letter


def test_target_parameters_are_not_in_the_source_and_fractals_are_sound():
    assert len(set(drawings.SOURCE_FRACTALS)) == 40 and len(set(drawings.TARGET_FRACTALS)) == 16
    assert not set(drawings.SOURCE_FRACTALS) & set(drawings.TARGET_FRACTALS)
    systems = [fractals._system(k) for k in drawings.SOURCE_FRACTALS + drawings.TARGET_FRACTALS]
    assert len({maps.tobytes() for maps, _, _ in systems}) == 56
    both = drawings.SOURCE_TEXTURES, drawings.TARGET_TEXTURES
    bare = [{(generator, parameters) for generator, parameters, _ in textures} for textures in both]
    assert [len(textures) for textures in bare] == [24, 12] and not bare[0] & bare[1]
    assert len(set(drawings.SHAPES)) == 24
    for maps, shares, points in systems:  # fractals contract and spread
        matrices = maps[:4].T.reshape(-1, 2, 2)
        # Even bent by a sample's 7 percent.
        assert 2 <= len(matrices) <= 5 and np.linalg.norm(matrices, 2, axis=(1, 2)).max() < 0.91
        assert shares[-1] == 1 and (np.diff(shares) > 0).all()
        filled = (fractals._hits(fractals._centred(points), 32) > 0).mean()
        assert 0.12 < filled < 0.45


def test_objects_lie_apart_and_inside():
    with pytest.raises(ValueError, match="kind is 'heart'; expected one of disc"):
        shapes._distance("heart", 16, 16, 5, 0)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        radii = np.full(8, 7.0)  # cannot fit: they must shrink
        places = np.array(shapes._places(rng, radii))
        apart = np.hypot(*(places[:, None] - places).transpose(2, 0, 1))
        apart[np.arange(8), np.arange(8)] = np.inf
        assert (apart >= radii[:, None] + radii).all()
        assert (places >= radii[:, None]).all() and (places <= 32 - radii[:, None]).all()


def nearest_mean_accuracy(features, labels):
    """With the class means of the first half, on the second half."""
    half, features = len(labels) // 2, features.reshape(len(labels), -1)
    means = np.array([features[:half][labels[:half] == k].mean(0) for k in range(labels.max() + 1)])
    return (np.linalg.norm(features[half:, None] - means, axis=-1).argmin(1) == labels[half:]).mean()


def test_neither_colour_nor_brightness_nor_area_nor_size_gives_the_class_away(monkeypatch):
    scene, scenes = shapes._scene, []
    monkeypatch.setattr(shapes, "_scene", lambda *drawn: scenes.append(scene(*drawn)) or scenes[-1])
    images, labels, _ = drawings.source(128 * 16)
    assert nearest_mean_accuracy(images.mean((2, 3)), labels) < 0.04  # chance is 1/128
    images, labels = drawings.counting(1600)
    flat = images.astype(float).reshape(len(images), -1)
    spread = np.abs(flat - flat.mean(1, keepdims=True)).mean(1)
    edges = np.abs(np.diff(images.astype(float), axis=3)).mean((1, 2, 3))
    for feature in (flat.mean(1), spread, edges):
        assert nearest_mean_accuracy(feature, labels) < 0.3  # chance is 1/8
    # Not even with the true mask of the objects.
    area = np.array([covered.sum() for _, covered in scenes])
    assert max(nearest_mean_accuracy(feature, labels) for feature in (area, area / (labels + 1))) < 0.35
