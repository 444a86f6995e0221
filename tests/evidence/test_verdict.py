"""The verdict's statistics, on tables small enough to check by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sfda.evidence import verdict
from sfda.metric.ranking import regret, weighted_tau, weighted_taus

MODELS, TASKS = ["a", "b", "c", "d"], ["t", "u", "v"]


def truth(noise=0.01):
    """Long table of accuracies; networks get better from a to d on t and u, worse on v."""
    rng = np.random.default_rng(0)
    rows = [(m, t, s, (0.5 + 0.1 * i if t != "v" else 0.9 - 0.1 * i) + noise * rng.standard_normal())
            for i, m in enumerate(MODELS) for t in TASKS for s in range(2)]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "task", "seed", "accuracy"])


def score_table(**metrics):
    rows = [(name, m, t, float(value(i, t)))
            for name, value in metrics.items() for i, m in enumerate(MODELS) for t in TASKS]  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "model", "task", "score"])


def write(folder, **tables):
    for name, rows in tables.items():
        rows.to_csv(folder / f"{name}.csv", index=False)


def test_by_seed_puts_every_cell_in_its_place():
    table = truth()
    values, models, tasks = verdict.by_seed(table.sample(frac=1, random_state=1))
    assert values.shape == (4, 3, 2) and set(models) == set(MODELS) and set(tasks) == set(TASKS)
    for row in table.itertuples():
        assert values[models.index(row.model), tasks.index(row.task), row.seed] == row.accuracy
    with pytest.raises(ValueError, match="^accuracies: expected every network .* no a on u, seed 1, and 1 more"):
        verdict.by_seed(table.drop(index=[3, 11]))
    with pytest.raises(ValueError, match="^accuracies: a on t, seed 0, stands there twice$"):
        verdict.by_seed(pd.concat([table, table[:1]]))


def test_spread_by_hand():
    table = pd.DataFrame({"model": list("aabb"), "task": "t", "seed": [0, 1, 0, 1], "accuracy": [0.1, 0.3, 0.6, 0.6]})
    found = verdict.spread(table).loc["t"]
    # The means are 0.2 and 0.6; a seed's variance is the mean of 0.02 and 0.
    assert found["seeds"] == pytest.approx(0.01**0.5)
    assert found["networks"] == pytest.approx((0.08 - 0.01 / 2) ** 0.5)
    assert found["ratio"] == pytest.approx(found["networks"] / found["seeds"])


@pytest.mark.parametrize("statistic", [weighted_tau, regret])
def test_judge_is_the_statistic_of_each_task(statistic):
    table = truth()
    scores = score_table(up=lambda i, t: i, down=lambda i, t: -i, flat=lambda i, t: 1)
    found = verdict.judge(scores, table, statistic)
    assert list(found.index) == ["up", "down", "flat"] and list(found) == TASKS
    for task in TASKS:
        mean = table[table["task"] == task].groupby("model")["accuracy"].mean()[MODELS].round(12)
        assert found.loc["up", task] == pytest.approx(statistic([0, 1, 2, 3], mean.tolist()), rel=0, abs=1e-12)
    if statistic is weighted_tau:
        assert found.loc["up"].tolist() == pytest.approx([1, 1, -1]) and found.loc["flat"].isna().all()
    # Rows may be in any order, but must all be there.
    scores = score_table(up=lambda i, t: i + (t == "u"), wave=lambda i, t: (i * 7) % 4)
    shuffled = scores.sample(frac=1, random_state=3), table.sample(frac=1, random_state=4)
    found = verdict.judge(*shuffled, statistic).loc[["up", "wave"], TASKS]
    pd.testing.assert_frame_equal(found, verdict.judge(scores, table, statistic), check_names=False)
    assert list(verdict.judge(scores.iloc[:-1], table, statistic).index) == ["up"]


def test_pooled_interval_of_one_group_is_students():
    scores, table = score_table(up=lambda i, t: i // 2, wave=lambda i, t: (i * 7) % 4), truth(noise=0.1)
    found, taus = verdict.pooled_interval([(scores, table)], level=0.9), verdict.judge(scores, table)
    for name, each in taus.iterrows():
        expected = stats.ttest_1samp(each, 0).confidence_interval(0.9)
        assert found.loc[name, ["mean", "low", "high"]].tolist() == pytest.approx([each.mean(), *expected])
    # The difference of two metrics, task by task.
    gap = stats.ttest_1samp(taus.loc["wave"] - taus.loc["up"], 0).confidence_interval(0.95)
    found = verdict.pooled_interval([(scores, table)], versus="up")
    assert found.loc["wave", ["low", "high"]].tolist() == pytest.approx([*gap]) and (found.loc["up"] == 0).all()
    # What says nothing counts as 0, everywhere.
    flat = verdict.pooled_interval([(score_table(flat=lambda i, t: 1), table)])
    assert flat.loc["flat"].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="^versus: expected one of up, wave, got 'SFDA'$"):
        verdict.pooled_interval([(scores, table)], versus="SFDA")


@pytest.mark.parametrize("n", [2, 5, 11])
def test_many_taus_at_once_are_those_of_scipy(n):
    rng = np.random.default_rng(n)
    x, y = rng.integers(4, size=(2, 60, n)).astype(float)
    y[:20] += 0.1 * rng.standard_normal((20, n))
    expected = [stats.weightedtau(a, b).statistic for a, b in zip(x, y)]
    np.testing.assert_allclose(weighted_taus(x, y), expected, rtol=0, atol=1e-12)


def test_yardsticks_and_networks_below_their_probe():
    facts = pd.DataFrame({"model": MODELS[::-1], "parameters": [40, 30, 20, 10], "dimension": [8, 8, 4, 4],
                          "source_accuracy": [0.4, 0.3, 0.2, 0.1]})  # fmt: skip
    found = verdict.yardsticks(facts, truth())
    wide = found.pivot(index=["metric", "task"], columns="model", values="score")
    assert wide.loc["parameters", "t"].tolist() == [10, 20, 30, 40]
    assert wide.loc["features", "u"].tolist() == [4, 4, 8, 8]
    assert wide.loc["source accuracy", "v"].tolist() == [0.1, 0.2, 0.3, 0.4]
    # The other tasks of t are u, which ranks the networks 1 to 4, and v, which ranks them 4 to 1.
    assert wide.loc["rank on other tasks", "t"].tolist() == [2.5] * 4
    assert wide.loc["rank on other tasks", "v"].tolist() == [1, 2, 3, 4]
    assert list(dict.fromkeys(found["model"])) == MODELS, "the order of the accuracies"
    some = facts.replace({"source_accuracy": {0.3: np.nan}})
    assert "source accuracy" not in set(verdict.yardsticks(some, truth())["metric"])
    probes = pd.DataFrame({"model": ["a", "d"], "task": "t", "accuracy": [0.95, 0.2]})
    found = verdict.below_probe(truth(), probes)
    assert found[["model", "task"]].to_numpy().tolist() == [["a", "t"]]
    assert found["gap"].item() == pytest.approx(0.95 - found["accuracy"].item())


def test_tables_and_predictions_of_a_folder(tmp_path):
    with pytest.raises(ValueError, match="acuracy.csv is missing: .*; tables that are there: ablations, accuracy, curves, "):
        verdict.table("acuracy")
    with pytest.raises(FileNotFoundError, match="scores.csv is missing: `python -m sfda --help` .* there: none$"):
        verdict.table("scores", folder=tmp_path)
    rows = [("t", "development"), ("u", "reporting"), ("v", "development")]
    write(tmp_path, tasks=pd.DataFrame(rows, columns=["name", "half"]))
    assert verdict.table("tasks", folder=tmp_path)["name"].tolist() == TASKS
    assert verdict.halves(folder=tmp_path) == {"development": ["t", "v"], "reporting": ["u"]}
    with pytest.raises(FileNotFoundError, match="digits.npz is missing"):
        verdict.predictions("digits", folder=tmp_path)
    (tmp_path / "predictions").mkdir()
    p = np.array([[0.25, 0.75], [1, 0]], dtype=np.float16)
    np.savez(tmp_path / "predictions" / "digits.npz", labels=np.uint8([1, 0]), **{"a_b.0": p, "a_b.1": p[::-1]})
    found, y = verdict.predictions("digits", folder=tmp_path)
    assert set(found) == {("a_b", 0), ("a_b", 1)} and y.tolist() == [1, 0]
    assert found["a_b", 1].tolist() == [[1, 0], [0.25, 0.75]]


def test_summary():
    scores = score_table(up=lambda i, t: i, flat=lambda i, t: 1, down=lambda i, t: -i)
    found = verdict.summary(scores, truth(noise=0), {"reporting": ["u", "v"], "development": ["t"]})
    assert list(found.index) == ["up", "down"]  # flat says nothing about any task
    assert found["development"].tolist() == pytest.approx([1, -1])
    # Right about u and wrong about v, or the other way round.
    assert found["reporting"].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert found["regret"].tolist() == pytest.approx([15, 15])
    assert list(found) == ["development", "reporting", "from", "to", "regret"]
    # Of 1 and -1 the standard error is 1, and half of all t of one degree of freedom are within 1.
    half = verdict.summary(scores, truth(noise=0), {"reporting": ["u", "v"], "development": ["t"]}, level=0.5)
    assert half["from"].tolist() == pytest.approx([-1, -1]) and half["to"].tolist() == pytest.approx([1, 1])
    assert found["to"].tolist() == pytest.approx([12.706, 12.706], abs=1e-3)


def test_chance():
    table = truth(noise=0)
    alike, one = table[table["task"] != "v"], table[table["task"] == "t"]
    # Of all 24 orders the best one is reached by 4.2 %: the 95 % point is the second best.
    # Tasks that rank the networks alike are one task; v turns the order round.
    taus = [weighted_tau(order, [1, 2, 3, 4]) for order in itertools.permutations(range(4))]
    for tasks in (one, alike):
        assert verdict.chance(tasks, orders=20_000) == pytest.approx(sorted(taus)[-2])
    assert verdict.chance(table[table["task"] != "u"], orders=20_000) < 0.5
    # Of several groups it is that of their mean: here two groups, two orders.
    found = verdict.chance(one, one, orders=40_000)
    assert found == pytest.approx(np.quantile([(a + b) / 2 for a in taus for b in taus], 0.95), abs=0.03)
    assert found < verdict.chance(one) - 0.1


def test_contest(tmp_path):
    facts = pd.DataFrame({"model": [*MODELS, "e"], "parameters": 1, "dimension": 2, "source_accuracy": 0.5})
    other = truth().query("model == 'a'").replace({"model": {"a": "e"}}).assign(group="transformer")
    scores = score_table(SFDA=lambda i, t: 1 + i, LogME=lambda i, t: i)
    # A twin that gives all images the same features has no score.
    write(tmp_path, accuracy=pd.concat([truth().assign(group="supervised"), other]), models=facts, scores=scores,
          untrained_scores=scores.iloc[1:])  # fmt: skip
    found, accuracies, yards = verdict.contest("supervised", folder=tmp_path)
    assert set(accuracies["model"]) == set(found["model"]) == set(MODELS)
    for name in ("transformer", "transformers"):
        assert set(verdict.contest(name, folder=tmp_path)[1]["model"]) == {"e"}
    with pytest.raises(ValueError, match="^group: expected one of supervised, transformer, got 'vit'$"):
        verdict.contest("vit", folder=tmp_path)
    assert yards == ["parameters", "features", "source accuracy", "rank on other tasks", "SFDA of the twin"]
    assert set(found["metric"]) == {"SFDA", "LogME", *yards}
    assert not found.duplicated(["metric", "model", "task"]).any()
    twins = found.query("metric == 'SFDA of the twin'")["score"]
    assert len(twins) == 12 and (twins == 0).sum() == 1


def test_rounding_does_not_rank():
    # The same accuracies in another order: their sums differ by a rounding error, of which NumPy and every pandas
    # make their own.
    assert np.mean([0.1, 0.2, 0.3]) != np.mean([0.3, 0.2, 0.1])
    table = pd.DataFrame({"model": list("aaabbbccc"), "task": "t", "seed": [0, 1, 2] * 3,
                          "accuracy": [0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.9, 0.9, 0.9]})  # fmt: skip
    scores = pd.DataFrame({"metric": "m", "model": list("abc"), "task": "t", "score": [0.0, 1.0, 2.0]})
    assert verdict.judge(scores, table).loc["m", "t"] == weighted_tau([0, 1, 2], [0.2, 0.2, 0.9])
    scores = score_table(same=lambda i, t: 1 - 1e-8 * i, apart=lambda i, t: 1 - 1e-5 * i)
    found = verdict.judge(scores, truth(noise=0))
    assert found.loc["same"].isna().all()
    assert found.loc["apart"].tolist() == pytest.approx([-1, -1, 1])
    pd.testing.assert_frame_equal(verdict.judge(scores.assign(score=1e-9 * scores["score"]), truth(noise=0)), found)
    with pytest.raises(ValueError, match="^scores: expected finite numbers, found infinity for apart$"):
        verdict.judge(scores.replace({"score": {1 - 1e-5: np.inf}}), truth(noise=0))


def test_pooled_interval_of_several_groups():
    metrics = {"up": lambda i, t: i, "wave": lambda i, t: (i * 7) % 4}
    one, other = (score_table(**metrics), truth(noise=0.1)), (score_table(**metrics), truth(noise=0.3))
    found = verdict.pooled_interval([one, other])
    means = (verdict.judge(*one) + verdict.judge(*other)[TASKS]) / 2  # over the groups, then over tasks
    low, high = stats.ttest_1samp(means.loc["wave"], 0).confidence_interval(0.95)
    assert found.loc["wave"].tolist() == pytest.approx([means.loc["wave"].mean(), low, high])
    # Tasks may come in another order; what a group lacks is left out.
    again = other[0], other[1].iloc[::-1]
    pd.testing.assert_frame_equal(verdict.pooled_interval([one, again]), found)
    few = score_table(up=lambda i, t: -i, few=lambda i, t: i), truth(noise=0)
    mixed = verdict.pooled_interval([(one[0], few[1]), few])
    assert list(mixed.index) == ["up"] and mixed.loc["up"].tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    with pytest.raises(ValueError, match="^contests: expected the same tasks"):
        verdict.pooled_interval([one, (one[0], truth().query("task != 'v'"))])

