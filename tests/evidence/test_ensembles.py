"""The truth about ensembles: averaged predictions, all of one size, and how far a choice falls short."""

import itertools

import numpy as np
import pandas as pd
import pytest

from sfda.evidence import ensembles, verdict
from sfda.evidence.ensembles import (
    Predictions,
    evaluate,
    first_of,
    limits,
    pair_gains,
    points_lost,
    regrets,
    write_limits,
)

NAMES = ["ada", "bob", "cyd", "dan", "eve", "fay"]
POOLS = {"all": NAMES, "few": NAMES[:5]}


@pytest.fixture
def folder(tmp_path):
    """Predictions of six networks on two tasks, as the benchmark writes them."""
    (tmp_path / "predictions").mkdir()
    pd.DataFrame({"model": NAMES}).to_csv(tmp_path / "models.csv", index=False)
    pd.DataFrame({"name": ["one", "two"]}).to_csv(tmp_path / "tasks.csv", index=False)
    for task, seed in (("one", 0), ("two", 1)):
        rng = np.random.default_rng(seed)
        y = rng.integers(4, size=120).astype(np.uint8)
        arrays = {"labels": y}
        for i, name in enumerate(reversed(NAMES)):
            for s in (0, 1):
                logits = rng.standard_normal((120, 4)) + (0.5 + 0.2 * i) * np.eye(4)[y]
                p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
                arrays[f"{name}.{s}"] = ((p * 1024).round() / 1024).astype(np.float16)
        np.savez(tmp_path / "predictions" / f"{task}.npz", **arrays)
    return tmp_path


def literal_accuracy(folder, task, members):
    found, y = verdict.predictions(task, folder=folder)
    return [np.mean(np.mean([found[m, s] for m in members], axis=0).argmax(1) == y) for s in (0, 1)]


def test_an_ensemble_averages_probabilities_seed_by_seed_and_every_one_is_tried(folder):
    found = Predictions("one", folder=folder)
    assert found.names == NAMES and found.probabilities.shape == (2, 6, 120, 4)
    for members in (["eve"], ["fay", "ada"], NAMES):
        assert found.accuracy(members) == pytest.approx(literal_accuracy(folder, "one", members))
    both, y = verdict.predictions("one", folder=folder)
    assert found.twice("ada") == pytest.approx(np.mean((both["ada", 0] + both["ada", 1]).argmax(1) == y))
    for size in (1, 2, 3, 6):
        members, each = found.every(size)
        assert members == list(itertools.combinations(NAMES, size))
        for names, accuracies in zip(members, each):
            assert accuracies == pytest.approx(found.accuracy(names))
    assert found.every(1, ["eve", "bob"])[0] == [("eve",), ("bob",)]


def test_greedy_grows_by_the_best_and_random_draws_sets_out_of_the_pool(folder):
    found = Predictions("one", folder=folder)
    chosen = found.greedy(3)
    for k in range(3):
        best = max(found.accuracy([*chosen[:k], n]).mean() for n in NAMES if n not in chosen[:k])
        assert found.accuracy(chosen[: k + 1]).mean() == pytest.approx(best)
    first = found.greedy(1, seeds=slice(1, 2))[0]
    assert found.accuracy([first])[1] == max(found.accuracy([n])[1] for n in NAMES)
    drawn, (_, each) = found.random(2, draws=300), found.every(2)
    assert set(drawn.round(9)) <= set(each.mean(1).round(9))
    assert drawn.mean() == pytest.approx(each.mean(), abs=0.02)
    assert (found.random(2, draws=5) == drawn[:5]).all()
    only = found.random(2, ["ada", "bob"], draws=3)
    assert only == pytest.approx([found.accuracy(["ada", "bob"]).mean()] * 3)


def test_limits(folder):
    assert ensembles.SIZES == (2, 3, 4, 5) and ensembles.EXHAUSTIVE == 3  # as the page says
    table, found = limits("one", POOLS, folder=folder), Predictions("one", folder=folder)
    assert list(table["size"]) == [2, 3, 4, 5] * 2
    for row in table.itertuples():
        members = row.members.split()
        assert len(set(members)) == row.size and set(members) <= set(POOLS[row.pool])
        assert row.best == pytest.approx(found.accuracy(members).mean())
        assert row.random_5 <= row.random + 1e-9 and row.random_95 <= row.best + 1e-9
        assert 0.4 < row.best_other_seed < 1 and row.digest == found.digest(POOLS)
    pair, (_, each) = table.query("pool == 'all' and size == 2").iloc[0], found.every(2)
    assert pair["best"] == each.mean(1).max()
    other = [each[each[:, 0].argmax(), 1], each[each[:, 1].argmax(), 0]]
    assert pair["best_other_seed"] == pytest.approx(np.mean(other))


def test_limits_are_kept_while_they_hold(folder):
    path, lines = folder / "limits.csv", []

    def write(*tasks):
        write_limits(tasks, POOLS, table=path, folder=folder, progress=lines.append)
        return pd.read_csv(path)

    table = write("two", "one")
    assert list(table["task"].unique()) == ["one", "two"] and len(lines) == 2
    assert table["size"].dtype.kind == "i"
    write("one")
    assert len(lines) == 2
    # One network learns everything, which is in none of the best ensembles: done again, and the other task's rows
    # are left.
    best = set(" ".join(table.query("task == 'one' and size < 4")["members"]).split())
    worst = [name for name in NAMES if name not in best][-1]
    with np.load(folder / "predictions" / "one.npz") as file:
        arrays = dict(file)
    perfect = np.eye(4, dtype=np.float16)[arrays["labels"]]
    np.savez(folder / "predictions" / "one.npz", **arrays | {f"{worst}.{seed}": perfect for seed in (0, 1)})
    again = write("one", "two")
    assert len(lines) == 3 and len(again) == len(table)
    pd.testing.assert_frame_equal(again[again["task"] == "two"], table[table["task"] == "two"])
    assert not again["best"].equals(table["best"])


def test_first_of_every_metric_and_members_in_their_order(folder):
    scores = pd.DataFrame(
        [("a", name, "one", value) for name, value in zip(NAMES, [3, 1, 2, 2, 9, 0])]
        + [("b", name, "one", 1.0) for name in NAMES[:5]], columns=["metric", "model", "task", "score"],
    )  # fmt: skip
    found = first_of(scores, POOLS, 3).set_index(["method", "pool"])["members"]
    # Ties keep their order; what has not all networks is left out.
    assert found.to_dict() == {("top a", "all"): "eve ada cyd", ("top a", "few"): "eve ada cyd",
                               ("top b", "few"): "ada bob cyd"}  # fmt: skip
    order = ["cyd", "fay", "ada", "bob", "eve"]
    choices = pd.DataFrame({"method": "m", "pool": "all", "task": ["one", "two"], "members": " ".join(order)})
    table = evaluate(choices, folder=folder).set_index(["task", "size", "seed"])["accuracy"]
    assert len(table) == 2 * 4 * 2
    for size in (2, 5):
        assert table["two", size].tolist() == pytest.approx(literal_accuracy(folder, "two", order[:size]))


def test_regrets_by_hand():
    rows = [("one", 0, 0.5), ("one", 1, 0.7), ("two", 0, 0.8), ("two", 1, 0.8)]
    accuracies = pd.DataFrame(rows, columns=["task", "seed", "accuracy"]).assign(method="m", pool="all", size=2)
    best = pd.DataFrame({"pool": "all", "size": 2, "task": ["one", "two"], "best": [0.7, 0.9]})
    # The tasks' means over the seeds are 10 and 10: nothing varies but the seeds.
    assert regrets(accuracies, best).loc["m", "all", 2].tolist() == pytest.approx([10, 10, 10])
    accuracies["accuracy"] -= (accuracies["task"] == "two") * 0.1
    assert points_lost(accuracies, best).loc["m", "all", 2].to_dict() == pytest.approx({"one": 10, "two": 20})
    half = 12.706 * 5  # Student's t of one degree of freedom, and the standard error of 10 and 20
    assert regrets(accuracies, best).loc["m", "all", 2].tolist() == pytest.approx([15, 15 - half, 15 + half], abs=0.01)
    equal = regrets(accuracies.assign(accuracy=0.6), best.assign(best=0.65))
    assert equal.loc["m", "all", 2].tolist() == pytest.approx([5, 5, 5])


def test_a_method_and_its_base_are_compared_task_by_task():
    rng = np.random.default_rng(0)
    rows = [("base", "all", t, 2, s, rng.uniform(0.3, 0.8)) for t in "abcde" for s in (0, 1)]
    base = pd.DataFrame(rows, columns=["method", "pool", "task", "size", "seed", "accuracy"])
    pair = pd.concat([base, base.assign(method="better", accuracy=base["accuracy"] + 0.01)])
    best = pd.DataFrame({"pool": "all", "size": 2, "task": list("abcde"), "best": 1.0})
    table = regrets(pair, best, versus="base")
    assert table.loc["better", "all", 2].tolist() == pytest.approx([-1, -1, -1])
    assert table.loc["base", "all", 2].tolist() == pytest.approx([0, 0, 0])
    both, best = pd.concat([pair, pair.assign(size=3)]), pd.concat([best, best.assign(size=3, best=0.9)])
    means, each = regrets(both, best, over=["size"])["mean"], regrets(both, best)["mean"].unstack("size")
    assert means["base", "all"] == pytest.approx(each.loc[("base", "all")].mean())
    table = regrets(both, best, over=["pool", "size"], versus="base")
    assert list(table.index) == ["base", "better"] and table.loc["better"].tolist() == pytest.approx([-1, -1, -1])
    with pytest.raises(ValueError, match="versus: expected one of base, better"):
        regrets(pair, best, versus="none")


def test_gains_of_pairs(folder):
    found = [Predictions(task, folder=folder) for task in ("one", "two")]
    table = pair_gains(found)
    assert list(table) == list(table.index) == NAMES
    assert np.isnan(np.diag(table)).all() and table.equals(table.T)
    means = [[each.accuracy(names).mean() for names in (["bob", "eve"], ["bob"], ["eve"])] for each in found]
    assert table.loc["bob", "eve"] == pytest.approx(100 * np.mean([both - max(alone) for both, *alone in means]))


def test_the_contest_holds_every_method_and_yardstick():
    table = ensembles.contest(["SFDA"])
    assert {"held-out", "diverse", "top SFDA", "top parameters", "top rank on other tasks", "top accuracy",
            "random"} <= set(table["method"]) and "top LogME" not in set(table["method"])  # fmt: skip
    assert (table.groupby(["method", "pool"]).size() == 11 * 4 * 2).all()  # tasks, sizes, seeds
    assert table["accuracy"].between(0, 1).all()
    means = table.groupby("method")["accuracy"].mean()
    assert means["random"] < means["held-out"] < means["top accuracy"]
