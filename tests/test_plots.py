"""The figures hold what they were given and say it without colour, too."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from sfda import plots

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def fresh_figure():
    with plt.rc_context():
        plots.use_style()
        yield
        plt.close("all")


TABLE = pd.DataFrame({"pets": [90.0, 92.5, np.nan], "cars": [80.0, 70.0, 75.0]}, index=list("abc"))


def test_heatmap_writes_every_number_and_ranks_columns():
    ax = plots.heatmap(TABLE)
    assert sorted(text.get_text() for text in ax.texts) == ["70.0", "75.0", "80.0", "90.0", "92.5"]
    ranks = np.ma.filled(ax.images[0].get_array().astype(float), np.nan)
    assert ranks[:, 1].tolist() == [1, 3, 2]
    assert [label.get_text() for label in ax.get_yticklabels()] == list("abc")
    ax.figure.canvas.draw()


def test_dots_places_every_number():
    ax = plots.dots(TABLE, xlabel="accuracy (%)")
    x = [collection.get_offsets()[:, 0] for collection in ax.collections[1:]]
    assert np.allclose(np.ma.filled(x[1].astype(float), np.nan), TABLE["cars"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["pets", "cars"]
    assert ax.get_xlabel() == "accuracy (%)"


def test_classes_differ_in_colour_and_in_shape():
    y = np.arange(30) % 5
    z = np.random.default_rng(0).standard_normal((30, 2))
    ax = plots.scatter_classes(z, y, list("abcde"))
    shapes = {collection.get_paths()[0].vertices.tobytes() for collection in ax.collections}
    colours = {tuple(collection.get_facecolor()[0]) for collection in ax.collections}
    assert len(shapes) == len(colours) == 5
    assert np.vstack([c.get_offsets() for c in ax.collections]).shape == (30, 2)


def test_held_out_samples_are_outlines():
    ax = plots.scatter_classes(np.zeros((4, 2)), np.arange(4) % 2, "ab", filled=False)
    assert all(collection.get_facecolor().size == 0 for collection in ax.collections)
    assert all(collection.get_edgecolor().size for collection in ax.collections)


def test_colours_stay_apart_without_red_green_vision():
    # Deuteranopia after Vienot et al. (1999), in linear RGB.
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in plots.COLOURS])
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    lms = linear @ np.array(
        [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
    ).T
    lms[:, 1] = 0.494207 * lms[:, 0] + 1.24827 * lms[:, 2]
    seen = lms / lms.max(0)
    gaps = np.linalg.norm(seen[:, None] - seen, axis=-1) + 9 * np.eye(len(seen))
    assert gaps.min() > 0.05


def test_pictures():
    images = np.zeros((5, 3, 4, 6), np.uint8)
    images[3, 0] = 255  # red
    fig = plots.pictures(images, columns=3, titles=["one", "two"])
    axes = np.array(fig.axes).reshape(2, 3)
    shown = [len(ax.images) for ax in axes.flat]
    assert shown == [1, 1, 1, 1, 1, 0]
    picture = axes[1, 0].images[0].get_array()
    assert picture.shape == (4, 6, 3) and (picture == [255, 0, 0]).all()
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["one", "two"]
    plt.close(fig)


def test_intervals():
    table = pd.DataFrame({"mean": [0.5, 0.1], "low": [0.2, -0.1], "high": [0.7, 0.3]}, index=["a", "b"])
    ax = plots.intervals(table, others=["b"], xlabel="tau")
    lines = [c for c in ax.collections if hasattr(c, "get_segments")]
    assert [line.get_segments()[0][:, 0].tolist() for line in lines] == [[0.2, 0.7], [-0.1, 0.3]]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["metrics", "yardsticks"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"] and ax.get_xlabel() == "tau"


def test_ranked_tells_the_tied_from_the_others():
    table = pd.DataFrame({
        "network": list("abcd"), "score": [0.9, 0.88, 0.7, 0.6], "low": [0.85, 0.83, 0.66, 0.5],
        "high": [0.95, 0.92, 0.74, 0.7], "tied": [True, True, False, False],
    })  # fmt: skip
    ax = plots.ranked(table, xlabel="LogME", title="a is first")
    dots = [c for c in ax.collections if not hasattr(c, "get_segments")]
    assert [dot.get_offsets().tolist() for dot in dots] == [[[0.9, 0]], [[0.88, 1]], [[0.7, 2], [0.6, 3]]]
    assert len({tuple(dot.get_facecolor()[0]) for dot in dots}) == 3
    assert len({dot.get_paths()[0].vertices.tobytes() for dot in dots}) == 3
    lines = [c.get_segments()[0][:, 0].tolist() for c in ax.collections if hasattr(c, "get_segments")]
    assert lines == [[0.85, 0.95], [0.83, 0.92], [0.66, 0.74]]
    assert [t.get_text() for t in ax.get_yticklabels()] == list("abcd") and ax.yaxis_inverted()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["first", "within noise", "behind"]
    assert ax.get_xlabel() == "LogME" and ax.get_title(loc="left") == "a is first"


def test_ranked_of_one_network():
    table = pd.DataFrame({"network": ["a"], "score": [0.9], "low": [0.8], "high": [1.0], "tied": [True]})
    ax = plots.ranked(table)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["first"]
    ax.figure.canvas.draw()
