"""Rankings of features: the scores, their intervals, what is tied."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sfda import METRICS, SaturationWarning, sfda_score
from sfda.evidence import verdict
from sfda.evidence.forecast import forecast
from sfda.metric.ensemble import calibrated
from sfda.metric.score import log_posterior
from sfda.rank.jackknife import FEW_GROUPS, GROUPS, SAMPLED, groups, half_width, jackknife
from sfda.rank.report import WIDTH
from sfda.rank.result import rank_features
from sfda.rivals.catalogue import RIVALS
from sfda.rivals.ridge import share_of_each


def network(seed, y, D=8, strength=1.5, common=0.0):
    """Features that tell the classes of y apart, with seven tenths of another's noise in it where that is given."""
    x = np.random.default_rng(seed).standard_normal((len(y), D))
    weight = 0.7 if np.ndim(common) else 0.0
    return (1 - weight**2) ** 0.5 * x + weight * common + strength * np.eye(y.max() + 1, D)[y]


Y = np.arange(90) % 3
ZOO = {"weak": network(0, Y, strength=0.5), "good": network(1, Y, 6), "wide": network(2, Y, 20, 1.4)}


@pytest.mark.filterwarnings("ignore::sfda.SaturationWarning")
@pytest.mark.parametrize("metric", METRICS)
def test_the_score_is_the_metrics(metric):
    y, zoo = Y[:60], {name: x[:60] for name, x in ZOO.items()}
    found = rank_features(zoo, y, metric=f" {metric.upper()}")  # in any case
    table = found.table.set_index("network")
    for name, x in zoo.items():
        assert table.loc[name, "score"] == pytest.approx(METRICS[metric](x, y), rel=1e-9, abs=1e-12)
    assert found.metric == metric and list(found.table["rank"]) == [1, 2, 3]
    assert found.table["score"].is_monotonic_decreasing and found.best == found.table["network"][0]
    assert (table["low"] <= table["score"]).all() and (table["score"] <= table["high"]).all()
    low, high = RIVALS[metric].bounds
    assert not isinstance(low, (int, float)) or table["low"].min() >= low
    assert not isinstance(high, (int, float)) or table["high"].max() <= high


def test_a_metric_that_looks_at_some_samples_looks_at_the_same_ones_without_a_group(monkeypatch):
    metric, rows = "left-out kernel ridge", share_of_each(Y, 30)
    monkeypatch.setitem(SAMPLED, metric, 30)
    found = rank_features(ZOO, Y, metric=metric)
    assert found.n == 90 and found.about["groups"] == FEW_GROUPS
    assert "left-out kernel ridge looked at 30 of the images, the same share of every class" in found.notes
    few = {name: x[rows] for name, x in ZOO.items()}
    columns = ["network", "score", "low", "high"]
    pd.testing.assert_frame_equal(found.table[columns], rank_features(few, Y[rows], metric=metric).table[columns])


def test_groups_take_their_share_of_every_class():
    y = np.repeat([0, 1, 2, 3], [40, 23, 2, 1])
    group = groups(y, 10)
    assert (np.bincount(group[y == 0]) == 4).all() and set(np.bincount(group[y == 1], minlength=10)) == {2, 3}
    assert (group[y > 1] == -1).all()  # they would not be whole without one
    assert (groups(y, 10) == group).all() and (groups(y, 10, seed=1) != group).any()
    assert len(set(groups(np.repeat([0, 1], 3), 20))) == 6
    with pytest.raises(ValueError, match="expected a class with three samples"):
        groups(np.array([0, 0, 1, 1]))


@pytest.mark.parametrize("metric", ["left-out probability", "GBC"])
def test_intervals_hold_the_mean_score(metric):
    """Of scores and of the difference of two networks that share half of their noise."""
    values = np.random.default_rng(0).standard_normal(20)  # of a mean, the interval is Student's
    expected = stats.t.ppf(0.975, 19) * values.std(ddof=1) / 20**0.5
    assert half_width(np.array([np.delete(values, i).mean() for i in range(20)])) == pytest.approx(expected, rel=1e-12)

    y, scores, widths, fixed = np.arange(60) % 3, [], [], []
    for seed in range(100):
        common = np.random.default_rng(seed).standard_normal((60, 8))
        zoo = [network(seed + 1000, y, common=common), network(seed + 2000, y, strength=1.3, common=common)]
        a, b = (METRICS[metric](x, y) for x in zoo)
        scores.append([a, b, a - b])
        if seed < 30:
            a, b = (jackknife(x, y, metric=metric, seed=seed)[1] for x in zoo)
            widths.append([half_width(a), half_width(b), half_width(a - b)])
            p = np.exp(log_posterior(zoo[0], y, challenge=False))[np.arange(60), y]
            fixed.append(sum(20 * p[y == c].var(ddof=1) for c in range(3)) ** 0.5 / 60)
    mean, deviation, widths = np.mean(scores, 0), np.std(scores, 0, ddof=1), np.array(widths)
    assert ((abs(scores[:30] - mean) <= widths).mean(0) >= 0.9).all()
    stated = (widths**2).mean(0) ** 0.5 / stats.t.ppf(0.975, GROUPS - 1)
    assert (stated > 0.9 * deviation).all() and (stated < 1.7 * deviation).all()
    if metric == "left-out probability":  # with the fit held fixed it would be too narrow
        assert np.mean(fixed) < 0.85 * deviation[0]


def test_order_and_company_change_nothing_and_differences_are_paired():
    full, turned, two, other = (
        rank_features(zoo, Y, seed=seed).table.set_index("network")[["score", "low", "high"]] for zoo, seed in (
            (ZOO, 0), (dict(reversed(ZOO.items())), 0), ({name: ZOO[name] for name in ("weak", "good")}, 0), (ZOO, 1))
    )  # fmt: skip
    pd.testing.assert_frame_equal(full, turned, rtol=0, atol=0)
    pd.testing.assert_frame_equal(full.loc[["good", "weak"]], two, rtol=0, atol=0)
    assert (full["score"] == other["score"]).all() and (full["low"] != other["low"]).all()
    # Differences are paired: intervals overlap, of networks that differ on every image a little.
    x = network(0, Y, strength=1.2)
    table = rank_features({"worse": x - 0.35 * np.eye(3, 8)[Y], "better": x}, Y).table
    assert list(table["network"]) == ["better", "worse"]
    assert table["low"][0] < table["high"][1] and not table["tied"][1]
    assert table["behind"][1] == pytest.approx(table["score"][0] - table["score"][1])
    assert 0 < table["behind_low"][1] < table["behind"][1] < table["behind_high"][1]


def test_scores_that_differ_by_rounding_are_in_the_order_of_names():
    x = ZOO["good"]
    turned = x @ np.linalg.qr(np.random.default_rng(0).standard_normal((x.shape[1], x.shape[1])))[0]
    zoos = {"b": x, "a": turned}, {"b": turned, "a": x}
    for table in (rank_features(zoo, Y, metric="H-score").table for zoo in zoos):
        assert list(table["network"]) == ["a", "b"] and list(table["behind"]) == [0, 0] and table["tied"].all()


def test_the_table_holds_what_the_jackknife_says_and_can_be_written():
    found = rank_features(ZOO, Y, metric="H-score", seed=5)
    own = {name: jackknife(x, Y, metric="H-score", seed=5) for name, x in ZOO.items()}
    first, first_replicates = own[found.best]
    assert len(first_replicates) == GROUPS
    for row in found.table.itertuples():
        score, replicates = own[row.network]
        width = half_width(first_replicates - replicates)
        assert (row.score, row.behind) == (score, first - score)
        assert (row.behind_low, row.behind_high) == (row.behind - width, row.behind + width)
        width = half_width(replicates)
        assert (row.low, row.high) == (max(0, score - width), min(2, score + width))
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again["table"][0]["network"] == found.best and again["table"][0]["parameters"] is None
    assert again["table"][0]["forward_seconds"] is None and again["n"] == 90
    assert again["classes"] == {"0": 30, "1": 30, "2": 30} and again["about"]["versions"]["sfda"]


def test_tied_networks_and_the_cheapest_of_them():
    zoo = {name: network(seed, Y) for seed, name in enumerate("abc")} | {"d": network(9, Y, strength=0.0)}
    sizes = {"a": 30, "b": 10, "c": 20, "d": 1}
    found = rank_features(zoo, Y, parameters=sizes)
    assert found.table["network"][3] == "d" and list(found.table["tied"]) == [True, True, True, False]
    assert found.cheapest == "b" and set(found.tied) == {"a", "b", "c"} - {found.best}
    assert found.finding == f"{found.best} is first, and 2 of the 3 others are within noise of it"
    assert list(found.table.set_index("network").loc[list("abcd"), "parameters"]) == [30, 10, 20, 1]
    smallest = "It is also the smallest of them." if found.best == "b" else "The smallest of them is b."
    assert smallest in str(found)
    assert rank_features(zoo, Y).cheapest == found.best  # nothing is known of their sizes


@pytest.mark.parametrize(("zoo", "finding"), [
    ({"a": ZOO["good"]}, "a alone was scored: nothing is ranked"),
    ({"a": ZOO["good"], "b": ZOO["good"].copy()}, "a is first, but the other is within noise of it"),
    (dict.fromkeys("cab", ZOO["good"]), "a is first, but all 2 others are within noise of it"),
    ({"a": network(0, Y, strength=4), "b": network(1, Y, strength=0.5)}, "a is first, and no other is within noise of it"),
])  # fmt: skip
def test_findings(zoo, finding):
    assert rank_features(zoo, Y).finding == finding


def test_saturated_scores_are_marked():
    y = np.arange(40) % 2
    zoo = {"wide": network(0, y, 60), "narrow": network(1, y, 4, strength=0.5)}
    found = rank_features(zoo, y, metric="SFDA")
    table = found.table.set_index("network")
    with pytest.warns(SaturationWarning):
        assert table.loc["wide", "score"] == pytest.approx(sfda_score(zoo["wide"], y))
    assert table["saturated"].to_dict() == {"wide": True, "narrow": False}
    assert any(note.startswith("saturated, here 1 of 2: ") for note in found.notes)
    assert found.finding == "1 of 2 scores have saturated, and their order says nothing"
    assert "smallest of them" not in str(found) and "wide" in found.best
    ceiling = rank_features({"a": network(0, y, strength=50)}, y, metric="left-out accuracy").table
    assert ceiling["score"][0] == 1 and ceiling["saturated"][0]
    assert "saturated" not in str(rank_features(zoo, y))


def test_ensembles():
    y = np.arange(200) % 4
    zoo = {"low": network(0, y, 4, np.array([3, 3, 0, 0])), "high": network(1, y, 4, np.array([0, 0, 3, 3])),
           "all": network(2, y, 4, 1.0)}  # fmt: skip
    found = rank_features(zoo, y)
    assert set(found.ensembles[2]) == {"low", "high"} and set(found.ensembles[3]) == set(zoo)
    assert set(found.accuracies) == {1, 2, 3} and found.accuracies[2] > found.accuracies[1]
    for k, names in {1: [found.best], **found.ensembles}.items():
        p = [np.exp(calibrated(log_posterior(zoo[name], y, challenge=False), y)) for name in names]
        assert found.accuracies[k] == (np.mean(p, axis=0).argmax(1) == y).mean()
    with_, alone = (f"on {100 * found.accuracies[k]:.1f} %" for k in (2, 1))
    assert max(map(len, str(found).splitlines())) <= WIDTH
    line = " ".join(str(found).split()).partition("To average two")[2].partition("To average three")[0]
    assert with_ in line and f"{found.best} alone {alone}" in line and "not worth it" not in line
    # Those that there are not.
    good, wide = ZOO["good"], ZOO["wide"]
    one = rank_features({"a": good}, Y)
    assert one.ensembles == {} and not any("ensemble" in note for note in one.notes)
    same = rank_features({"a": good, "b": good.astype(np.float32)}, Y)
    assert same.ensembles == {} and "no ensembles: all networks have the same features" in same.notes
    twice = rank_features({"a": good, "b": good, "c": wide}, Y)
    assert list(twice.ensembles) == [2] and "c" in twice.ensembles[2]
    few = rank_features({"good": good, "wide": wide}, np.append(Y[:-1], 3), metric="SFDA")
    assert few.ensembles == {}
    assert any(note.startswith("no ensembles: labels: leave-one-out") for note in few.notes)
    assert any("classes of one or two images always stay whole, here 1" in note for note in few.notes)


@pytest.mark.parametrize(("features", "labels", "message"), [
    ({}, Y, "features_by_model: expected at least one network, got none"),
    (ZOO["good"], Y, "features_by_model: expected a mapping"),
    ({"a": None}, Y, r"features_by_model\['a'\]: "),
    ({"a": ZOO["good"], "b": ZOO["good"][:9]}, Y, r"features_by_model\['b'\]: .*expected 90 .* got 9"),
    ({"a": ZOO["good"], "b": ZOO["good"] * np.nan}, Y, r"features_by_model\['b'\]: .*NaN, first in row 0"),
    ({"a": ZOO["good"]}, np.zeros(90, int), "labels: expected at least 2 classes"),
])  # fmt: skip
def test_bad_features(features, labels, message):
    with pytest.raises(ValueError, match=message):
        rank_features(features, labels)
    with pytest.raises(ValueError, match="parameters: expected names of features_by_model, got 'b'"):
        rank_features({"a": ZOO["good"]}, Y, parameters={"b": 1})


def test_the_forecast_is_that_of_the_pocket_benchmark(tmp_path):
    text, taus = forecast("left-out probability"), []
    for group in ("supervised", "self-supervised", "transformer"):
        scores, accuracies, _ = verdict.contest(group)
        judged = verdict.judge(scores, accuracies).loc["left-out probability"]
        taus.append(judged[verdict.halves()["reporting"]].mean())
    tau = float(re.search(r"accuracies was (-?\d\.\d\d)", text)[1])
    assert tau == pytest.approx(np.mean(taus), abs=0.0051) and "33 small networks in 3 groups, 5 tasks" in text
    # Without the benchmark there are no figures.
    assert forecast("LogME", folder=tmp_path) == "The intervals do not say how well the score forecasts fine-tuning."
    assert not re.search(r"\d", forecast("no such metric"))
