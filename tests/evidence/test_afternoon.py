"""The six networks that the book follows: what is said of them is what the tables hold."""

import pandas as pd
import pytest

import afternoon
from sfda import Record, plots
from tree import ROOT


@pytest.fixture(scope="module")
def known():
    return afternoon.known()


def test_known_is_what_the_tables_hold(known):
    scores, runs = (pd.read_csv(ROOT / "data" / "real" / f"{name}.csv") for name in ("scores", "accuracy"))
    assert [*known.index] == [plots.NAMES[name] for name in afternoon.SIX] and known.notna().all(axis=None)
    for name in afternoon.SIX:
        (held,) = scores.query("model == @name and task == 'flowers' and metric == 'left-out probability'")["score"]
        assert known.loc[plots.NAMES[name], "left-out probability"] == pytest.approx(held, abs=5e-4)  # three digits
        tuned = runs.query("model == @name and task == 'flowers'")["accuracy"]
        assert known.loc[plots.NAMES[name], "fine-tuned"] == pytest.approx(tuned.mean(), abs=1e-12)
    # The record knows nothing of the flowers.
    past = runs[runs["task"] != "flowers"].pivot_table(index="model", columns="task", values="accuracy")
    alone = Record(past).forecast(afternoon.SIX)["forecast"].rename(plots.NAMES)
    assert known["record"].rank().equals(alone[known.index].rank())


def test_places(known):
    table = afternoon.so_far("SFDA", "fine-tuned")
    assert set(table["SFDA"]) == {"1 to 6"}, "the published score is 1.000 for all six"
    assert [*table["fine-tuned"]] == [str(place) for place in range(1, 7)]
    assert [*table.index] == [*known["fine-tuned"].sort_values(ascending=False).index]
