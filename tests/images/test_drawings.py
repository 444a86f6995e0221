"""The drawn data sets: shapes and balance, the same images again, and no easy way out."""

import unicodedata

import numpy as np
import pytest

from sfda.images.drawn import drawings, fractals, letters, shapes

TASKS = {"source": (drawings.source, 128), "fractals": (drawings.fractals, 16),
         "textures": (drawings.textures, 12), "counting": (drawings.counting, 8)}  # fmt: skip


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


def test_images_and_labels(task):
    draw, n_classes = task
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


@pytest.mark.parametrize("n", [0, -1, 2.0, "3", None, True, [4]])
def test_bad_n(task, n):
    with pytest.raises(ValueError, match="n is .*expected a positive integer"):
        task[0](n)


@pytest.mark.parametrize("seed", [-1, 0.5, None, "0", False])
def test_bad_seed(task, seed):
    with pytest.raises(ValueError, match="seed is .*expected a non-negative integer"):
        task[0](5, seed=seed)


def test_names():
    names = drawings.source(1)[2]
    assert len(names) == len(set(names)) == 128
    counts = [sum(name.startswith(kind) for name in names) for kind in ("glyph ", "fractal ", "texture ", "shape ")]
    assert counts == [40, 40, 24, 24]
    assert "glyph Ж" in names and "fractal 07" in names and "shape disc inside square" in names


def test_glyphs_are_letters_but_neither_latin_nor_digits():
    assert len(set(drawings.GLYPHS)) == 40
    scripts = [unicodedata.name(letter).split()[0] for letter in drawings.GLYPHS]
    assert {script: scripts.count(script) for script in scripts} == dict.fromkeys(
        ("GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN"), 10
    )
    assert all(unicodedata.category(letter).startswith("L") for letter in drawings.GLYPHS)
    # Capitals and small letters drawn like a Latin letter or a digit.
    look_alikes = "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧνοΑВЕЅЗІЈКМНОРСТУХЬЧЭБаеорсухՈՍՏՕԼՀՑՁՂՔՅԶՄԳვეძბ"
    assert not set(drawings.GLYPHS) & set(look_alikes)


@pytest.mark.parametrize("letter", drawings.GLYPHS)
def test_every_font_of_a_glyph_has_it(letter):
    fonts = letters._fonts_of(letter)
    assert len(fonts) >= 8
    for name in fonts:
        font = letters._font(name, 40)
        drawn, missing = (bytes(font.getmask(c)) for c in (letter, "\U0010fffd"))
        # A font without the letter draws the box for what is missing.
        assert sum(drawn) and drawn != missing


def test_target_parameters_are_not_in_the_source():
    assert len(set(drawings.SOURCE_FRACTALS)) == 40 and len(set(drawings.TARGET_FRACTALS)) == 16
    assert not set(drawings.SOURCE_FRACTALS) & set(drawings.TARGET_FRACTALS)
    systems = [fractals._system(k) for k in drawings.SOURCE_FRACTALS + drawings.TARGET_FRACTALS]
    assert len({maps.tobytes() for maps, _, _ in systems}) == 56
    bare = [
        {(generator, parameters) for generator, parameters, _ in textures}
        for textures in (drawings.SOURCE_TEXTURES, drawings.TARGET_TEXTURES)
    ]
    assert [len(textures) for textures in bare] == [24, 12]
    assert not bare[0] & bare[1]
    assert len(set(drawings.SHAPES)) == 24


def test_fractals_contract_and_spread():
    for key in drawings.SOURCE_FRACTALS + drawings.TARGET_FRACTALS:
        maps, shares, points = fractals._system(key)
        matrices = maps[:4].T.reshape(-1, 2, 2)
        # Even bent by a sample's 7 percent.
        assert 2 <= len(matrices) <= 5 and np.linalg.norm(matrices, 2, axis=(1, 2)).max() < 0.91
        assert shares[-1] == 1 and (np.diff(shares) > 0).all()
        filled = (fractals._hits(fractals._centred(points), 32) > 0).mean()
        assert 0.12 < filled < 0.45


def test_shapes_are_told_from_strangers():
    with pytest.raises(ValueError, match="kind is 'heart'; expected one of disc"):
        shapes._distance("heart", 16, 16, 5, 0)


def nearest_mean_accuracy(feature, labels):
    """Of one number, with the class means of the first half, on the second half."""
    half = len(labels) // 2
    means = np.array([feature[:half][labels[:half] == k].mean() for k in range(8)])
    guesses = np.abs(feature[half:, None] - means).argmin(1)
    return (guesses == labels[half:]).mean()


def test_colour_does_not_give_the_class_away():
    # Chance is 1/128; nearest means of the three channels' means.
    images, _, _ = drawings.source(128 * 16)
    colours = images.mean((2, 3)).reshape(16, 128, 3)
    means = colours[:8].mean(0)
    guesses = np.linalg.norm(colours[8:, :, None] - means, axis=-1).argmin(-1)
    assert (guesses == np.arange(128)).mean() < 0.04


def test_neither_brightness_nor_area_nor_size_counts():
    # Chance is 1/8.
    images, labels = drawings.counting(1600)
    flat = images.astype(float).reshape(len(images), -1)
    for feature in (
        flat.mean(1),
        np.abs(flat - flat.mean(1, keepdims=True)).mean(1),
        np.abs(np.diff(images.astype(float), axis=3)).mean((1, 2, 3)),
    ):
        assert nearest_mean_accuracy(feature, labels) < 0.3
    # Not even with the true mask of the objects.
    area = np.empty(len(labels))
    for i, label in enumerate(labels):
        rng = np.random.default_rng([drawings._COUNTING, label, i, 0])
        area[i] = shapes._scene(rng, label + 1)[1].sum()
    assert nearest_mean_accuracy(area, labels) < 0.35
    assert nearest_mean_accuracy(area / (labels + 1), labels) < 0.35


def test_objects_lie_apart_and_inside():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        radii = np.full(8, 7.0)  # cannot fit: they must shrink
        places = np.array(shapes._places(rng, radii))
        apart = np.hypot(*(places[:, None] - places).transpose(2, 0, 1))
        apart[np.arange(8), np.arange(8)] = np.inf
        assert (apart >= radii[:, None] + radii).all()
        assert (places >= radii[:, None]).all() and (places <= 32 - radii[:, None]).all()
