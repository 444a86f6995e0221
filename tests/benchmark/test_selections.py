"""Ensembles of the pocket zoo: the stored choices are those of the module."""

import shutil
import warnings

import numpy as np
import pandas as pd
import pytest

from sfda import SaturationWarning, select_ensemble
from sfda.benchmark import selections
from sfda.benchmark.finetune import features
from sfda.benchmark.grids import POCKET
from sfda.benchmark.selections import COLUMNS, METHODS, choose_members, evidence, pools, select_zoo
from sfda.images import tasks
from sfda.metric import ensemble
from sfda.networks import pocket
from small_benchmark import save_untrained

NAMES = ["resnet_10", "googlenet", "mnasnet", "simclr", "byol", "swin_tiny", "vit_tiny"]
POOLS = pools()  # of the whole zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Seven networks of another seed than the twins', as if they had been trained; the table of what they gave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pocket, "POCKET", {name: pocket.POCKET[name] for name in NAMES})
        patch.setattr(selections, "SIZE", 2)  # the smallest group has no more
        folder = save_untrained(tmp_path_factory.mktemp("weights"), NAMES, apart=1)  # or simclr and byol would be the same
        yield folder, *run(folder / "ensembles.csv", folder)


def run(table, weights):
    count = select_zoo(["digits"], table=table, weights=weights, device="cpu", progress=lambda line: None)
    return count, pd.read_csv(table, dtype={"digest": str})


def test_every_method_chooses_out_of_every_pool(zoo, tmp_path):
    assert {pool: len(names) for pool, names in POOLS.items()} == {
        "all": 33, "supervised": 11, "self-supervised": 12, "transformer": 10,
    }  # fmt: skip
    assert POOLS["all"] == [name for pool in list(POOLS)[1:] for name in POOLS[pool]]
    folder, count, table = zoo
    assert list(table) == COLUMNS and count == len(table) == len(METHODS) * 4
    assert not table.duplicated(["method", "pool", "task"]).any()
    for row in table.itertuples():
        members = row.members.split()
        assert len(set(members)) == 2 and set(members) <= set(pools()[row.pool])
    # Again: nothing to do. Of other weights: the pools that hold the network.
    other = shutil.copytree(folder, tmp_path / "other")
    assert run(other / "ensembles.csv", other)[0] == 0
    pocket.save(pocket.untrained("vit_tiny", seed=80), other / "vit_tiny.safetensors")
    count, again = run(other / "ensembles.csv", other)
    assert count == len(table) == len(again)
    changed = again["digest"] != table["digest"]
    assert set(again[changed]["pool"]) == {"all", "transformer"}


def test_the_choices_are_those_of_the_module(zoo):
    folder, _, table = zoo
    part, reading = tasks.load_task("digits").train, "classes, sample, once, standard"
    x = {n: features(POCKET.encoder(n, folder=folder), part.images).numpy() for n in NAMES}
    for method, name, options in (
        ("held-out", "held-out", {}), ("held-out, challenged", "held-out", {"challenge": True}), ("diverse", "diverse", {}),
        (f"nuclear, published, SFDA, {reading}", "nuclear", {}),
        (f"nuclear, left out, left-out probability, {reading}", "nuclear", {"shrinkage": "leave-one-out"}),
    ):  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)
            found = select_ensemble(x, part.labels.numpy(), 2, method=name, **options)
        stored = table.query("method == @method and pool == 'all'")["members"].item()
        assert stored.split() == found.members, method


def test_by_what_is_chosen():
    rng, y = np.random.default_rng(0), np.arange(80) % 4
    own = np.arange(80), y
    seen = evidence({i: rng.standard_normal((80, 5)) + 0.4 * i * np.eye(5)[y] for i in range(4)}, y)
    p = seen[False, True]

    def by_power(average, power):
        return (average[own] ** power / (average**power).sum(1)).mean()

    worth = {
        "held-out": lambda average: by_power(average, 4),
        **{f"held-out, power {power}": lambda average, power=power: by_power(average, power) for power in (1, 2, 8)},
        "held-out, accuracy": lambda average: (average.argmax(1) == y).mean(),
        "held-out, likelihood": lambda average: np.log(average[own]).mean(),
        "held-out, likelihood, calibrated again": lambda average: ensemble.calibrated(np.log(average), y)[own].mean(),
    }  # fmt: skip
    for method, value in worth.items():
        chosen, steps = choose_members(method, seen, range(4), y, size=3)
        for k, step in enumerate(steps, 1):
            # 1e-7: ties between accuracies are decided by 1e-8 of the likelihood.
            assert step.criterion == pytest.approx(value(np.mean([p[m] for m in chosen[:k]], axis=0)), abs=1e-7)
        pairs = [value((p[a] + p[b]) / 2) for a in range(4) for b in range(a)]
        assert steps[1].criterion == pytest.approx(max(pairs), abs=1e-7)
    assert choose_members("held-out", seen, [1, 3], y, size=1)[0] == [1]
    # Alone, and as they come.
    alone = [ensemble.soft_accuracy(each, y) for each in p]
    chosen, steps = choose_members("top soft accuracy", seen, range(4), y, size=3)
    assert chosen == list(np.argsort(alone)[::-1][:3]) and steps[0].criterion == max(alone)
    raw = [ensemble.soft_accuracy(each, y) for each in seen[False, False]]
    assert choose_members("top soft accuracy, not calibrated", seen, range(4), y, size=1)[1][0].criterion == max(raw)
