"""What records would have said, and committees: against counting by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from sfda import Record
from sfda.evidence import committees, hindsight, verdict
from sfda.evidence.hindsight import Contest
from sfda.metric.ranking import weighted_tau
from sfda.rivals.catalogue import METRICS

NAMES, TASKS = list("abcdef"), ["t0", "t1", "t2", "t3"]


@pytest.fixture(scope="module")
def contest():
    """Six networks on four tasks, one cell unknown, and two metrics, of which only the first is asked."""
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (6, 1)) + rng.normal(0, 0.7, (6, 4))
    accuracies = pd.DataFrame(1 / (1 + np.exp(-table)), NAMES, TASKS)
    accuracies.loc["f", "t1"] = np.nan
    scores = {"good": accuracies + rng.normal(0, 0.05, (6, 4)), "other": accuracies * np.nan}
    scores["other"].loc["a"] = 1.0
    return Contest(Record(accuracies, scores), ["t1", "t3"], ["good"])


def test_without_a_task_nothing_of_it_is_known(contest):
    before, truth, scores = hindsight.without(contest.record, "t1", metrics=["good"])
    assert list(before.accuracies) == ["t0", "t2", "t3"] and list(before.scores) == list(scores) == ["good"]
    assert list(truth.index) == list("abcde") == list(before.accuracies.index)  # f is unknown on it
    assert scores["good"].equals(contest.record.scores["good"].loc[list("abcde"), "t1"])
    assert list(hindsight.without(contest.record, "t3", ["t0", "t3"])[0].accuracies) == ["t0"]
    assert set(hindsight.without(contest.record, "t3")[2]) == {"good", "other"}


def test_forecasts(contest):
    found = hindsight.forecasts(contest)
    assert found.groupby(["by", "task"]).size().to_dict() == {(by, t): n for by in ("record", "score", "both") for t, n in (("t1", 5), ("t3", 6))}
    before, truth, scores = hindsight.without(contest.record, "t3", metrics=["good"])
    rows = {by: each.set_index("network") for by, each in found[found["task"] == "t3"].groupby("by")}
    expected = before.forecast(list(truth.index), scores=scores)
    pd.testing.assert_frame_equal(rows["both"][expected.columns], expected, check_names=False, check_dtype=False)
    # z as it came: of mean 0 and deviation 1, but for rounding.
    z = rows["both"]["z"]
    assert z.mean() == pytest.approx(0, abs=1e-12) and z.std(ddof=0) == pytest.approx(1, abs=1e-12)
    tau = hindsight.taus(found)
    assert tau.loc["score", "t3"] == pytest.approx(weighted_tau(scores["good"], truth), abs=1e-12)
    assert tau.loc["record", "t3"] == pytest.approx(weighted_tau(before.forecast()["forecast"][truth.index], truth), abs=1e-12)


def test_what_is_lost(contest):
    found = hindsight.spent(contest, hindsight.asked(contest, 6), budgets=(1, 2, 6)).set_index(["by", "task", "budget"])["lost"]
    truth = contest.record.accuracies["t3"]
    pairs = [truth[list(pair)].max() for pair in itertools.combinations(NAMES, 2)]
    assert found["chance", "t3", 2] == pytest.approx(100 * (truth.max() - np.mean(pairs)), abs=1e-9)
    assert found["chance", "t3", 1] == pytest.approx(100 * (truth.max() - truth.mean()), abs=1e-9)
    assert (found.xs(6, level="budget") == 0).all() and (found >= 0).all()
    first = contest.record.scores["good"]["t3"].idxmax()
    assert found["score", "t3", 1] == pytest.approx(100 * (truth.max() - truth[first]), abs=1e-12)
    assert found["asked again", "t3", 1] == found["both", "t3", 1]
    assert set(found.index.unique("by")) == {"record", "score", "both", "asked again", "chance"}


def test_what_was_promised(contest):
    found = hindsight.promised(hindsight.asked(contest, 10))  # until all are fine-tuned
    assert found.groupby("task")["observed"].apply(list).to_dict() == {"t1": [1, 2, 3, 4], "t3": [1, 2, 3, 4, 5]}
    assert found["chance"].between(0, 1).all() and ((found["gained"] > 0) == found["beats"]).all()
    truth = contest.record.accuracies["t3"]
    before, _, scores = hindsight.without(contest.record, "t3", metrics=["good"])
    start = before.next(NAMES, scores=scores)
    gained = found.loc[found["task"] == "t3", "gained"].sum()
    assert truth[start] * 100 + gained == pytest.approx(100 * truth.max(), abs=1e-9)


def test_halving_by_hand():
    found = hindsight.halving("real").set_index("task")
    curves, accuracies = (verdict.table(name, folder=hindsight.data_folder("real")) for name in ("curves", "accuracy"))
    curves = curves[(curves["seed"] == 0) & (curves["task"] == "flowers")].set_index("model")
    assert len(curves) == 18
    left = list(curves.index)
    for column, n in (("first_quarter", 9), ("second_quarter", 4), ("third_quarter", 2), ("last_quarter", 1)):
        left = sorted(left, key=curves[column].get)[:n]
    mean = accuracies[accuracies["task"] == "flowers"].groupby("model")["accuracy"].mean()
    assert found.loc["flowers", "lost"] == pytest.approx(100 * (mean.max() - mean[left[0]]), abs=1e-9)
    assert found.loc["flowers", "budget"] == (18 + 9 + 4 + 2) / 4


def test_the_halves_share_no_task_to_be_forecast():
    halves = {half: hindsight.contests(half) for half in ("development", "reporting")}
    for name, contest in halves["reporting"].items():
        assert set(contest.tasks) <= set(contest.record.accuracies) and set(contest.metrics) <= set(contest.record.scores)
        if name in halves["development"]:
            assert set(contest.tasks).isdisjoint(halves["development"][name].tasks)
    assert set(hindsight.DEVELOPMENT).isdisjoint(hindsight.REPORTING)
    beside = hindsight.alternatives(halves["reporting"]["tmlr"])
    scores, truth = halves["reporting"]["tmlr"].record.scores, halves["reporting"]["tmlr"].record.accuracies
    taus = {m: np.mean([weighted_tau(each[t], truth[t]) for t in truth]) for m, each in scores.items()}  # none undefined
    assert beside["ImageNet"] == pytest.approx(taus.pop("imagenet_top1"), abs=1e-12) and beside["of"] == len(taus) == 13
    assert beside["best metric"] == pytest.approx(max(taus.values()), abs=1e-12) and beside["which"] == max(taus, key=taus.get)


# --- committees -----------------------------------------------------------------------


def test_committees_have_one_member_a_kind():
    kinds = {metric: kind for kind, own in committees.KINDS.items() for metric in own}
    assert set(kinds) <= set(METRICS)
    assert sorted(committees.of_size(1)) == sorted((metric,) for metric in kinds)
    pairs = committees.of_size(2)
    assert all(kinds[a] != kinds[b] for a, b in pairs) and len(pairs) == len(set(map(frozenset, pairs)))
    sizes = [len(own) for own in committees.KINDS.values()]
    assert len(pairs) == (sum(sizes) ** 2 - sum(n * n for n in sizes)) // 2


def test_the_tau_of_a_committee_is_that_of_its_mean_rank():
    rng = np.random.default_rng(1)
    keys = pd.MultiIndex.from_product([["SFDA", "LogME", "PARC"], list("abcde"), ["x", "y"]], names=["metric", "model", "task"])
    scores = pd.Series(rng.integers(0, 4, len(keys)).astype(float), keys, name="score").reset_index()  # with ties
    runs = pd.MultiIndex.from_product([list("abcde"), ["x", "y"], [0, 1]], names=["model", "task", "seed"])
    accuracies = pd.Series(rng.random(len(runs)), runs, name="accuracy").reset_index()
    found = committees.committee_taus([("SFDA", "PARC"), ("LogME",)], scores, accuracies)
    truth = accuracies.groupby(["task", "model"])["accuracy"].mean()["x"]
    table = scores[scores["task"] == "x"].pivot(index="metric", columns="model", values="score")
    rank = sum(rankdata(table.loc[metric]) for metric in ("SFDA", "PARC"))
    assert found.loc[[("SFDA", "PARC")], "x"].item() == pytest.approx(weighted_tau(rank, truth), abs=1e-12)
    assert found.loc[[("LogME",)], "x"].item() == pytest.approx(weighted_tau(table.loc["LogME"], truth), abs=1e-12)
