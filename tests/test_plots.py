"""The figures hold what they were given and say it without colour, too."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt
from scipy.spatial.distance import pdist

from sfda import plots
from sfda.evidence import published, verdict
from sfda.files import data_folder

TABLE = pd.DataFrame({"pets": [90.0, 92.5, np.nan], "cars": [-0.04, 70.0, 75.0]}, index=list("abc"))


@pytest.fixture(autouse=True)
def fresh_figure():
    plt.switch_backend("Agg")
    with plt.rc_context():
        plots.use_style()
        yield
        plt.close("all")


def words(ax):
    texts = ax.get_legend().get_texts(), ax.get_yticklabels()
    return *([text.get_text() for text in each] for each in texts), ax.get_xlabel(), ax.yaxis_inverted()


def points(ax):
    """Where the points are, and their colours and shapes."""
    lines, found = ax.collections
    kinds = [(tuple(colour), path.vertices.tobytes()) for colour, path in zip(found.get_facecolor(), found.get_paths())]
    return found.get_offsets().tolist(), kinds, [line[:, 0].tolist() for line in lines.get_segments()]


def test_heatmap_writes_every_number_and_ranks_columns():
    ax = plots.heatmap(TABLE)
    written = {text.get_position(): (text.get_text(), text.get_color()) for text in ax.texts}
    assert written == {(0.5, 0.5): ("90.0", "black"), (1.5, 0.5): ("0.0", "black"), (0.5, 1.5): ("92.5", "white"),
                       (1.5, 1.5): ("70.0", "black"), (1.5, 2.5): ("75.0", "white")}  # fmt: skip
    ranks = np.ma.filled(ax.collections[0].get_array().reshape(3, 2), np.nan)
    np.testing.assert_array_equal(ranks, [[2, 3], [1, 2], [np.nan, 1]])
    assert [tick.get_text() for tick in (*ax.get_xticklabels(), *ax.get_yticklabels())] == ["pets", "cars", *"abc"]


def test_dots_places_every_number():
    ax = plots.dots(TABLE, xlabel="accuracy (%)")
    places, (pets, cars, *others), _ = points(ax)
    assert places == [[90.0, 0], [-0.04, 0], [92.5, 1], [70.0, 1], [75.0, 2]] and others == [pets, cars, cars]
    assert pets[0] != cars[0] and pets[1] != cars[1], "another colour and another shape"
    assert words(ax) == (["pets", "cars"], list("abc"), "accuracy (%)", True)


@pytest.mark.parametrize("filled", [True, False])
def test_classes_differ_in_colour_and_in_shape(filled):
    z, y = np.random.default_rng(0).standard_normal((30, 2)), np.arange(30) % 5
    found = plots.scatter_classes(z, y, list("abcde"), filled=filled).collections
    assert len({each.get_paths()[0].vertices.tobytes() for each in found}) == 5
    assert len({tuple(each.get_edgecolor()[0]) for each in found}) == 5
    assert [len(each.get_facecolor()) for each in found] == [filled] * 5  # samples held out are outlines
    assert np.vstack([each.get_offsets() for each in found]).shape == (30, 2)


def test_colours_stay_apart_without_red_green_vision():
    # Deuteranopia after Vienot et al. (1999), in linear RGB.
    rgb = colors.to_rgba_array(plots.COLOURS)[:, :3]
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    lms = linear @ np.transpose([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.02996, 0.1843, 1.4671]])
    lms[:, 1] = 0.494207 * lms[:, 0] + 1.24827 * lms[:, 2]
    assert pdist(lms / lms.max(0)).min() > 0.05


def test_pictures():
    images = np.zeros((5, 3, 4, 6), np.uint8)
    images[3, 0] = 255  # red
    axes = np.array(plots.pictures(images, columns=3, titles=["one", "two"]).axes).reshape(2, 3)
    assert [len(ax.images) for ax in axes.flat] == [1, 1, 1, 1, 1, 0]
    np.testing.assert_array_equal(axes[1, 0].images[0].get_array(), np.full((4, 6, 3), [255, 0, 0]))
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["one", "two"]


def test_intervals():
    table = pd.DataFrame({"mean": [0.5, 0.1], "low": [0.2, -0.1], "high": [0.7, 0.3]}, index=["a", "b"])
    ax = plots.intervals(table, others=["b"], xlabel="tau")
    places, kinds, lines = points(ax)
    assert places == [[0.5, 0], [0.1, 1]] and lines == [[0.2, 0.7], [-0.1, 0.3]] and kinds[0] != kinds[1]
    assert words(ax) == (["metrics", "yardsticks"], ["a", "b"], "tau", True)


@pytest.mark.parametrize("n, kinds", [(4, ["first", "within noise", "behind"]), (1, ["first"])])
def test_ranked_tells_the_tied_from_the_others(n, kinds):
    table = pd.DataFrame([["a", 0.9, 0.85, 0.95, True], ["b", 0.88, 0.83, 0.92, True], ["c", 0.7, 0.66, 0.74, False],
                          ["d", 0.6, 0.5, 0.7, False]], columns=["network", "score", "low", "high", "tied"])[:n]  # fmt: skip
    ax = plots.ranked(table, xlabel="LogME", title="a is first")
    places, found, lines = points(ax)
    assert places == [[score, row] for row, score in enumerate(table["score"])]
    assert lines == table[["low", "high"]].to_numpy().tolist()
    assert found[n - 2] == found[n - 1] and all(len(set(each)) == len(kinds) for each in zip(*found))
    assert words(ax) == (kinds, list("abcd")[:n], "LogME", True) and ax.get_title(loc="left") == "a is first"
    ax.figure.canvas.draw()


def test_tau_map_is_written_in_hundredths_and_fade_below_chance():
    table = pd.DataFrame({"pets": [0.9, -0.7, np.nan], "cars": [0.2, -0.001, 0.5]}, index=list("abc"))
    ax = plots.tau_map(table, chance=0.3)
    assert [text.get_text() for text in ax.texts] == ["90", "20", "-70", "0", "50"]
    shown = np.ma.filled(ax.collections[0].get_array().reshape(3, 2), np.nan)
    np.testing.assert_allclose(shown, [[0.9, 0.06], [-0.7, -0.0003], [np.nan, 0.5]])
    assert [text.get_color() for text in ax.texts] == ["white", "0.35", "white", "0.35", "black"]
    assert ax.collections[0].get_clim() == (-1, 1), "0 is in the middle"


def test_means_shows_every_value_and_their_mean():
    table = pd.DataFrame({"pets": [0.5, 0.1, 0.2], "cars": [0.7, np.nan, 0.2]}, index=list("abc"))
    ax = plots.means(table, others=["b"], ours=["c"], band=(-0.3, 0.3), xlabel="tau")
    dots = [each.get_offsets().tolist() for each in ax.collections]
    assert dots == [[[0.5, 0], [0.7, 0]], [[0.1, 1]], [[0.2, 2], [0.2, 2]]]
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[0.6, 0]], [[0.1, 1]], [[0.2, 2]]]
    assert len({line.get_marker() for line in ax.lines}) == len({line.get_color() for line in ax.lines}) == 3
    assert [text.get_text() for text in ax.texts] == ["0.60", "0.10", "0.20"] and ax.yaxis_inverted()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list("abc") and ax.get_xlabel() == "tau"
    (band,) = ax.patches
    assert (band.get_x(), band.get_width()) == (-0.3, 0.6)
    ends = pd.DataFrame({"low": [0.1, -0.1, 0.3], "high": [0.4, 0.2, 0.5]}, index=list("cba"))
    ax = plots.means(table, hollow=["b"], ends=ends, ax=plt.figure().add_subplot())
    assert len(ax.patches) == 0 and [line.get_mfc() == "white" for line in ax.lines[:3]] == [False, True, False]
    assert [line.get_xdata().tolist() for line in ax.lines[3:6]] == [[0.3, 0.5], [-0.1, 0.2], [0.1, 0.4]]
    assert [line.get_linewidth() for line in ax.lines[3:6]] == [2.5, 1, 2.5]


def test_every_network_and_task_of_the_benchmarks_and_of_the_tables_that_are_drawn_has_a_name():
    pocket = {*verdict.table("models")["model"], *verdict.table("tasks")["name"]}
    table = published.accuracy_table("supervised")
    paper = {*table.index, *table.columns}
    real = {*verdict.table("models", folder=data_folder("real"))["model"]}
    others = [{*published.record(name)[0].index} for name in ("tmlr", "stable-transfer")]
    assert set(plots.NAMES) == set().union(pocket, paper, real, *others)
    for those in (pocket, paper, real, *others):  # of one figure
        assert len({plots.NAMES[code] for code in those}) == len(those)
    ax = plots.heatmap(pd.DataFrame({"cifar10": [0.5, 0.6], "eurosat": [0.1, 0.2]}, index=["mnasnet1_0", "unknown"]))
    assert [tick.get_text() for tick in (*ax.get_xticklabels(), *ax.get_yticklabels())] == ["CIFAR-10", "eurosat", "MNASNet", "unknown"]
