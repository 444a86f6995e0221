"""The verdict's statistics, on tables small enough to check by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest

from sfda.evidence import verdict
from sfda.metric.ranking import regret, weighted_tau, weighted_taus

MODELS, TASKS = ["a", "b", "c", "d"], ["t", "u", "v"]


def truth(n_seeds=2, noise=0.01, seed=0):
    """Long table of accuracies; networks get better from a to d on t and u, worse on v."""
    rng = np.random.default_rng(seed)
    rows = [
        (m, t, s, (0.5 + 0.1 * i if t != "v" else 0.9 - 0.1 * i) + noise * rng.standard_normal())
        for i, m in enumerate(MODELS) for t in TASKS for s in range(n_seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "task", "seed", "accuracy"])


def score_table(**metrics):
    rows = [
        (name, m, t, float(value(i, t)))
        for name, value in metrics.items() for i, m in enumerate(MODELS) for t in TASKS
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "model", "task", "score"])


def test_by_seed_puts_every_cell_in_its_place():
    table = truth().sample(frac=1, random_state=1)
    values, models, tasks = verdict.by_seed(table)
    assert values.shape == (4, 3, 2) and set(models) == set(MODELS) and set(tasks) == set(TASKS)
    for row in table.itertuples():
        assert values[models.index(row.model), tasks.index(row.task), row.seed] == row.accuracy


def test_a_missing_and_a_doubled_cell():
    table = truth()
    with pytest.raises(ValueError, match="^accuracies: expected every network .* no a on u, seed 1, and 1 more"):
        verdict.by_seed(table.drop(index=[3, 11]))
    with pytest.raises(ValueError, match="^accuracies: a on t, seed 0, stands there twice$"):
        verdict.by_seed(pd.concat([table, table[:1]]))


def test_spread_by_hand():
    rows = [("a", "t", 0, 0.1), ("a", "t", 1, 0.3), ("b", "t", 0, 0.6), ("b", "t", 1, 0.6)]
    found = verdict.spread(pd.DataFrame(rows, columns=["model", "task", "seed", "accuracy"])).loc["t"]
    # The means are 0.2 and 0.6; a seed's variance is the mean of 0.02 and 0.
    assert found["seeds"] == pytest.approx(0.01**0.5)
    assert found["networks"] == pytest.approx((0.08 - 0.01 / 2) ** 0.5)
    assert found["ratio"] == pytest.approx(found["networks"] / found["seeds"])


def test_the_same_accuracies_in_another_order_tie():
    """Their sums differ by a rounding error, of which NumPy and every pandas make their own."""
    rows = [(m, "t", s, a) for m, of in {"a": (0.1, 0.2, 0.3), "b": (0.3, 0.2, 0.1), "c": (0.9, 0.9, 0.9)}.items()
            for s, a in enumerate(of)]  # fmt: skip
    assert np.mean([0.1, 0.2, 0.3]) != np.mean([0.3, 0.2, 0.1])
    table = pd.DataFrame(rows, columns=["model", "task", "seed", "accuracy"])
    scores = pd.DataFrame([("m", name, "t", float(i)) for i, name in enumerate("abc")], columns=["metric", "model", "task", "score"])
    assert verdict.judge(scores, table).loc["m", "t"] == weighted_tau([0, 1, 2], [0.2, 0.2, 0.9])


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


def test_incomplete_metrics_are_left_out():
    scores = score_table(up=lambda i, t: i, some=lambda i, t: i).iloc[:-1]
    assert list(verdict.judge(scores, truth()).index) == ["up"]


def test_order_of_the_rows_does_not_matter():
    scores = score_table(up=lambda i, t: i + (t == "u"), wave=lambda i, t: (i * 7) % 4)
    shuffled = scores.sample(frac=1, random_state=3), truth().sample(frac=1, random_state=4)
    found = verdict.judge(*shuffled).loc[["up", "wave"], TASKS]
    pd.testing.assert_frame_equal(found, verdict.judge(scores, truth()), check_names=False)


def test_mean_interval():
    scores = score_table(up=lambda i, t: i if t != "v" else -i, wave=lambda i, t: (i * 7) % 4)
    found = verdict.mean_interval(scores, truth(noise=0.001), resamples=100)
    # A metric that is right about every task stays so in every resample, except where one
    # network is drawn four times and there is nothing to rank.
    assert found.loc["up", ["mean", "high"]].tolist() == pytest.approx([1, 1], abs=1e-12)
    assert found.loc["up", "low"] > 0.7
    assert found.loc["wave", "low"] < found.loc["wave", "mean"] < found.loc["wave", "high"]
    again = verdict.mean_interval(scores, truth(noise=0.001), resamples=100)
    pd.testing.assert_frame_equal(found, again)


def test_interval_is_the_bootstrap_one_resample_at_a_time():
    table, metrics = truth(noise=0.1), {"wave": lambda i, t: (i * 7) % 4, "up": lambda i, t: i // 2}
    scores, values = score_table(**metrics), verdict.by_seed(truth(noise=0.1))[0]
    for statistic in (weighted_tau, lambda x, y: weighted_tau(x, y)):
        found = verdict.mean_interval(scores, table, statistic, resamples=50, seed=3)
        rng = np.random.default_rng(3)
        drawn, networks = rng.integers(3, size=(50, 3)), rng.integers(4, size=(50, 4))
        chosen = rng.integers(2, size=(50, 4, 3, 2))
        for name, metric in metrics.items():
            means = []
            for r in range(50):
                taus = [
                    weighted_tau(
                        [metric(i, None) for i in networks[r]],
                        [values[i, task, chosen[r, i, task]].mean() for i in networks[r]],
                    )
                    for task in drawn[r]
                ]  # fmt: skip
                means.append(np.nan_to_num(taus).mean())
            expected = np.quantile(means, [0.025, 0.975])
            assert found.loc[name, ["low", "high"]].tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("n", [2, 5, 11])
def test_many_taus_at_once_are_those_of_scipy(n):
    rng = np.random.default_rng(n)
    x, y = rng.integers(4, size=(2, 60, n)).astype(float)
    y[:20] += 0.1 * rng.standard_normal((20, n))
    expected = [weighted_tau(a, b) for a, b in zip(x, y)]
    np.testing.assert_allclose(weighted_taus(x, y), expected, rtol=0, atol=1e-12)


def test_difference_of_two_metrics():
    scores = score_table(up=lambda i, t: i, same=lambda i, t: 2 * i, down=lambda i, t: -i)
    found = verdict.mean_interval(scores, truth(), resamples=100, versus="up")
    assert (found.loc[["up", "same"]] == 0).all(axis=None)
    assert found.loc["down", "mean"] == pytest.approx(-2 / 3)
    with pytest.raises(ValueError, match="^versus: expected one of up, same, down, got 'SFDA'$"):
        verdict.mean_interval(scores, truth(), versus="SFDA")


def test_noisy_seeds_widen_the_interval():
    scores = score_table(up=lambda i, t: i if t != "v" else -i)
    widths = []
    for noise in (0.001, 0.3):
        found = verdict.mean_interval(scores, truth(noise=noise), resamples=100).loc["up"]
        widths.append(found["high"] - found["low"])
    assert widths[0] == pytest.approx(0, abs=1e-12) and widths[1] > 0.1


def test_yardsticks():
    facts = pd.DataFrame({"model": MODELS[::-1], "parameters": [40, 30, 20, 10],
                          "dimension": [8, 8, 4, 4],
                          "source_accuracy": [0.4, 0.3, 0.2, 0.1]})  # fmt: skip
    found = verdict.yardsticks(facts, truth())
    wide = found.pivot(index=["metric", "task"], columns="model", values="score")
    assert wide.loc["parameters", "t"].tolist() == [10, 20, 30, 40]
    assert wide.loc["features", "u"].tolist() == [4, 4, 8, 8]
    assert wide.loc["source accuracy", "v"].tolist() == [0.1, 0.2, 0.3, 0.4]
    # The other tasks of t are u, which ranks the networks 1 to 4, and v, which ranks them 4 to 1.
    assert wide.loc["rank on other tasks", "t"].tolist() == [2.5] * 4
    assert wide.loc["rank on other tasks", "v"].tolist() == [1, 2, 3, 4]
    # The networks keep the order of the accuracies.
    assert list(dict.fromkeys(found["model"])) == MODELS


def test_no_source_accuracy_for_all():
    facts = pd.DataFrame({"model": MODELS, "parameters": 1, "dimension": 2, "source_accuracy": [0.4, np.nan, 0.2, 0.1]})
    assert "source accuracy" not in set(verdict.yardsticks(facts, truth())["metric"])


def test_below_probe():
    probes = pd.DataFrame({"model": ["a", "d"], "task": "t", "accuracy": [0.95, 0.2]})
    found = verdict.below_probe(truth(), probes)
    assert found[["model", "task"]].to_numpy().tolist() == [["a", "t"]]
    assert found["gap"].item() == pytest.approx(0.95 - found["accuracy"].item())


def test_tables_are_named(tmp_path):
    with pytest.raises(ValueError, match="^name: expected one of accuracy, .*, got 'acuracy'$"):
        verdict.table("acuracy")
    with pytest.raises(FileNotFoundError, match="scores.csv is missing: `python -m sfda --help`"):
        verdict.table("scores", folder=tmp_path)
    pd.DataFrame({"task": ["t"]}).to_csv(tmp_path / "tasks.csv", index=False)
    assert verdict.table("tasks", folder=tmp_path)["task"].tolist() == ["t"]


def test_summary():
    scores = score_table(up=lambda i, t: i, flat=lambda i, t: 1, down=lambda i, t: -i)
    found = verdict.summary(
        scores, truth(noise=0), {"reporting": ["u", "v"], "development": ["t"]}, resamples=50
    )
    assert list(found.index) == ["up", "down"]  # flat says nothing about any task
    assert found["development"].tolist() == pytest.approx([1, -1])
    # Right about u and wrong about v, or the other way round.
    assert found["reporting"].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert found["regret"].tolist() == pytest.approx([15, 15])
    assert list(found) == ["development", "reporting", "from", "to", "regret"]
    assert (found["from"] <= found["reporting"]).all() and (found["reporting"] <= found["to"]).all()


def test_chance_of_one_task_and_of_tasks_alike():
    table = truth(noise=0)
    one = verdict.chance(table[table["task"] == "t"], orders=20_000)
    # Of all 24 orders the best one is reached by 4.2 %: the 95 % point is the second best.
    taus = [weighted_tau(order, [1, 2, 3, 4]) for order in itertools.permutations(range(4))]
    assert one == pytest.approx(sorted(taus)[-2])
    # Tasks that rank the networks alike are one task; v turns the order round.
    both = verdict.chance(table[table["task"] != "v"], orders=20_000)
    assert both == pytest.approx(one)
    assert verdict.chance(table[table["task"] != "u"], orders=20_000) < 0.5


def test_chance_of_several_groups_is_that_of_their_mean():
    table = truth(noise=0).query("task == 't'")
    taus = [weighted_tau(order, [1, 2, 3, 4]) for order in itertools.permutations(range(4))]
    means = [(a + b) / 2 for a in taus for b in taus]  # two groups, two orders
    found = verdict.chance(table, table, orders=40_000)
    assert found == pytest.approx(np.quantile(means, 0.95), abs=0.03)
    assert found < verdict.chance(table) - 0.1


def test_contest(tmp_path):
    networks = pd.DataFrame({"model": [*MODELS, "e"], "parameters": 1, "dimension": 2,
                             "source_accuracy": 0.5})  # fmt: skip
    other = truth().query("model == 'a'").replace({"model": {"a": "e"}}).assign(group="transformer")
    pd.concat([truth().assign(group="supervised"), other]).to_csv(tmp_path / "accuracy.csv")
    scores = score_table(SFDA=lambda i, t: i, LogME=lambda i, t: i)
    for name, rows in (("models", networks), ("scores", scores), ("untrained_scores", scores)):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
    scores, accuracies, yards = verdict.contest("supervised", folder=tmp_path)
    assert set(accuracies["model"]) == set(scores["model"]) == set(MODELS)
    assert yards == ["parameters", "features", "source accuracy", "rank on other tasks", "SFDA of the twin"]
    assert set(scores["metric"]) == {"SFDA", "LogME", *yards}
    assert not scores.duplicated(["metric", "model", "task"]).any()


def test_a_twin_without_a_score_is_the_last(tmp_path):
    networks = pd.DataFrame({"model": MODELS, "parameters": 1, "dimension": 2, "source_accuracy": 0.5})
    truth().assign(group="supervised").to_csv(tmp_path / "accuracy.csv")
    scores = score_table(SFDA=lambda i, t: 1 + i)
    for name, rows in (("models", networks), ("scores", scores), ("untrained_scores", scores.iloc[1:])):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
    scores = verdict.contest("supervised", folder=tmp_path)[0]
    twins = scores.query("metric == 'SFDA of the twin'").set_index(["model", "task"])["score"]
    assert len(twins) == len(truth()) / truth()["seed"].nunique() and (twins == 0).sum() == 1


def test_halves(tmp_path):
    rows = [("t", "development"), ("u", "reporting"), ("v", "development")]
    pd.DataFrame(rows, columns=["name", "half"]).to_csv(tmp_path / "tasks.csv", index=False)
    found = verdict.halves(folder=tmp_path)
    assert found == {"development": ["t", "v"], "reporting": ["u"]}


def test_predictions(tmp_path):
    with pytest.raises(FileNotFoundError, match="digits.npz is missing"):
        verdict.predictions("digits", folder=tmp_path)
    (tmp_path / "predictions").mkdir()
    p = np.array([[0.25, 0.75], [1, 0]], dtype=np.float16)
    labels = np.array([1, 0], dtype=np.uint8)
    np.savez(tmp_path / "predictions" / "digits.npz", labels=labels, **{"a_b.0": p, "a_b.1": p[::-1]})
    found, y = verdict.predictions("digits", folder=tmp_path)
    assert set(found) == {("a_b", 0), ("a_b", 1)} and y.tolist() == [1, 0]
    assert found["a_b", 1].tolist() == [[1, 0], [0.25, 0.75]]


def test_rounding_does_not_rank():
    scores = score_table(same=lambda i, t: 1 - 1e-8 * i, apart=lambda i, t: 1 - 1e-5 * i)
    found = verdict.judge(scores, truth(noise=0))
    assert found.loc["same"].isna().all()
    assert found.loc["apart"].tolist() == pytest.approx([-1, -1, 1])
    small = scores.assign(score=1e-9 * scores["score"])
    pd.testing.assert_frame_equal(verdict.judge(small, truth(noise=0)), found)
    with pytest.raises(ValueError, match="^scores: expected finite numbers, found infinity for apart$"):
        verdict.judge(scores.replace({"score": {1 - 1e-5: np.inf}}), truth(noise=0))


def test_pooled_interval():
    metrics = {"up": lambda i, t: i, "wave": lambda i, t: (i * 7) % 4}
    one = score_table(**metrics), truth(noise=0.1).query("task != 'v'")
    alone = verdict.mean_interval(*one, level=0.6)
    twice = verdict.pooled_interval([one, one], level=0.6)
    assert twice["mean"].tolist() == pytest.approx(alone["mean"].tolist())
    # Networks are drawn in each group for itself: the mean of two varies less.
    width = [each["high"] - each["low"] for each in (alone, twice)]
    assert (width[1] < width[0]).all()
    exact = one[0], truth(noise=0).query("task != 'v'")
    other = score_table(up=lambda i, t: -i, few=lambda i, t: i), exact[1]
    mixed = verdict.pooled_interval([exact, other])
    assert list(mixed.index) == ["up"] and mixed.loc["up", "mean"] == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="^contests: expected the same tasks"):
        verdict.pooled_interval([one, (one[0], truth())])
