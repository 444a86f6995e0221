"""The rivals at a glance: the table of what moves each, against what their formulas say."""

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import portraits
from sfda.metric.score import SaturationWarning


@pytest.fixture(scope="module")
def moved():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 30)
    x = rng.standard_normal((90, 70)) * np.linspace(0.1, 1, 70) + rng.standard_normal((3, 70))[y] / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SaturationWarning)
        return portraits.moved_by(x, rng.standard_normal((90, 200)), {"first": x, "second": x[:, :65] ** 2}, y)


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("nearest neighbour", []),
        ("left-out probability", []),
        ("effective rank", ["rises with noise", "shuffled labels", "sees no labels"]),
        ("TransRate", ["rises with noise", "shuffled labels", "reads the unit"]),
        ("H-score", ["rises with noise", "shuffled labels", "saturates"]),
        ("LogME as published", ["rises with noise", "shuffled labels"]),
        ("LEEP", ["needs more"]),
    ],
)
def test_a_metric_is_moved_by_what_its_formula_says(moved, name, marks):
    row = moved[0].loc[name]
    assert list(row.index[row == 1]) == marks


def test_what_has_no_features_or_no_score_of_its_own_has_no_answer(moved):
    table = moved[0]
    assert table.loc["LEEP"].drop("needs more").isna().all()
    assert table.loc["NCTI", ["shuffled labels", "saturates"]].isna().all()
    assert "effective rank" in moved[1] and "nearest neighbour" not in moved[1]


def test_what_is_at_its_largest_value_cannot_rise_and_has_no_answer():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 30)
    x = 5 * rng.standard_normal((3, 70))[y] + 0.1 * rng.standard_normal((90, 70))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = portraits.moved_by(x, rng.standard_normal((90, 200)), {"first": x, "second": x[:, :65] ** 2}, y)[0]
    assert np.isnan(table.loc["SFDA", "rises with noise"]) and np.isnan(table.loc["linear probe", "rises with noise"])
    assert table.loc["effective rank", "rises with noise"] == 1


def test_rows_with_fewest_marks_come_first_and_costs_are_there(moved):
    ax = portraits.matrix(moved[0])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[-2:] == ["NCE", "LEEP"] and names.index("nearest neighbour") < names.index("TransRate")
    assert "nan" not in [text.get_text() for text in ax.texts]
    plt.close(ax.figure)  # or it is the one that the next test finds


def test_a_frame_goes_round_blocks_of_more_than_one():
    ax = plt.subplots()[1]
    portraits.frame(pd.Series([4, 4, 2, 3, 3, 3]), ax)
    assert [(patch.get_xy(), patch.get_width()) for patch in ax.patches] == [((0, 0), 2), ((3, 3), 3)]
    plt.close(ax.figure)


def test_an_arrow_points_to_the_place_with_noise():
    ax = portraits.climb({"fooled": (6, 2), "not fooled": (5, 6)}).axes[0]
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert [(*arrow.xyann, *arrow.xy) for arrow in arrows] == [(6, 0, 2, 0), (5, 1, 6, 1)]
    assert ax.get_xlim()[0] > ax.get_xlim()[1]  # the best place is on the right
    plt.close(ax.figure)
