"""Scores of the pocket zoo: what is computed, by which metric, and only once."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sfda import METRICS, SaturationWarning
from sfda.benchmark import ablation, scores
from sfda.benchmark.ablation import FEW, VARIANTS, ablate_zoo, share_of
from sfda.benchmark.finetune import features
from sfda.benchmark.grids import POCKET
from sfda.benchmark.scores import COLUMNS, score_zoo
from sfda.images import tasks
from sfda.metric.score import sfda_score
from sfda.networks import pocket
from sfda.rivals.catalogue import RIVALS
from small_benchmark import save_untrained

NAMES = ["googlenet", "swin_tiny", "vit_tiny"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("weights"), [*NAMES, "simclr", "mnasnet"])


def zoo_of(names):
    return replace(POCKET, networks={n: POCKET.networks[n] for n in names}, groups={n: POCKET.groups[n] for n in names})


def score(table, weights, names=NAMES, metrics=("SFDA", "NCTI", "LEEP"), **options):
    lines = []
    options |= {"table": table, "weights": weights, "device": "cpu", "progress": lines.append}
    count = score_zoo(names, ["digits"], metrics=metrics, **options)
    assert len(lines) == 1 and lines[0].startswith("digits: ")
    return count, pd.read_csv(table)


def training(names, weights):
    """Features of the training images, a network, and their labels."""
    part = tasks.load_task("digits").train
    found = {name: features(POCKET.encoder(name, folder=weights), part.images).numpy() for name in names}
    return found, part.labels.numpy()


@pytest.mark.filterwarnings("ignore::sfda.SaturationWarning")
def test_a_score_is_the_metric_of_the_training_features_and_computed_once(weights, tmp_path):
    path = tmp_path / "scores.csv"
    count, table = score(path, weights)
    assert list(table) == COLUMNS and count == len(table)
    x, y = training(["googlenet"], weights)
    mine = (table["metric"] == "SFDA") & (table["model"] == "googlenet")
    assert table.loc[mine, "score"].item() == pytest.approx(METRICS["SFDA"](x["googlenet"], y), abs=1e-12)
    # What the table holds stays, even if it is wrong.
    table[mine].assign(score=0.5).to_csv(path, index=False)
    count, table = score(path, weights, ["googlenet", "vit_tiny"], ["SFDA", "H-score"])
    assert count == 3 and table.query("metric == 'SFDA' and model == 'googlenet'")["score"].item() == 0.5
    # mnasnet has more features than there are digits: its score is saturated, and nobody is warned.
    with warnings.catch_warnings():
        warnings.simplefilter("error", SaturationWarning)
        _, table = score(tmp_path / "saturated.csv", weights, ["mnasnet"], ["SFDA"])
    assert np.isfinite(table["score"]).all()


def test_zoo_metrics_compare_within_a_whole_group(weights, tmp_path):
    # Of googlenet's group there is a network more, on which its score would depend.
    _, table = score(tmp_path / "scores.csv", weights, metrics=["NCTI"], grid=zoo_of([*NAMES, "resnet_10"]))
    assert list(table["model"]) == ["vit_tiny", "swin_tiny"]
    assert dict(zip(table["model"], table["score"])) == pytest.approx(RIVALS["NCTI"](*training(table["model"], weights)))


def test_scores_of_other_weights_are_computed_again(weights, tmp_path):
    path = tmp_path / "scores.csv"
    _, before = score(path, weights, ["googlenet", "vit_tiny"], ["SFDA"])
    pocket.save(pocket.untrained("googlenet", seed=8), tmp_path / "other" / "googlenet.safetensors")
    count, after = score(path, tmp_path / "other", ["googlenet"], ["SFDA"])
    assert count == 1 and len(after) == 2
    for column in ("digest", "score"):
        assert ((before[column] == after[column]) == (after["model"] == "vit_tiny")).all()


def test_source_probabilities_need_a_trained_head(weights, tmp_path):
    _, table = score(tmp_path / "scores.csv", weights, ["simclr", "googlenet"], ["LEEP", "NCE"])
    assert set(table["model"]) == {"googlenet"} and (table["score"] < 0).all()
    # Twins, which need no weights, have none.
    _, table = score(tmp_path / "twins.csv", None, ["googlenet"], ["H-score", "LEEP"], untrained=True)
    assert list(table["metric"]) == ["H-score"]


def test_a_blind_twin_has_no_score(monkeypatch, tmp_path):
    def some_constant(encoder, images, device):
        x = features(encoder, images, device=device)
        return x[:1].expand_as(x) if isinstance(encoder, pocket.GoogLeNet) else x

    monkeypatch.setattr(scores, "features", some_constant)
    _, table = score(tmp_path / "twins.csv", None, metrics=["H-score", "NCTI"], untrained=True, grid=zoo_of(NAMES))
    assert set(table["model"]) == {"swin_tiny", "vit_tiny"}
    # Only a twin may be blind: of a trained network it is an error.
    pocket.save(pocket.untrained("googlenet"), tmp_path / "googlenet.safetensors")
    with pytest.raises(ValueError, match="H-score of googlenet on digits"):
        score(tmp_path / "scores.csv", tmp_path, ["googlenet"], ["H-score"])


def test_ablations(weights, tmp_path):
    path, lines = tmp_path / "ablations.csv", []
    options = {"table": path, "weights": weights, "device": "cpu", "progress": lines.append}
    count = ablate_zoo(["googlenet"], ["digits"], **options)
    table = pd.read_csv(path)
    assert list(table) == ablation.COLUMNS and count == len(table) == len(VARIANTS) + 3 * len(FEW)
    assert dict(zip(table["images"], table["n"])) == {"a quarter": 20, "half": 30, "training": 60, "all": 1600}
    x, y = training(["googlenet"], weights)
    for chosen, name in ((slice(None), "training"), (share_of(y, 0.5), "half")):
        expected = sfda_score(x["googlenet"][chosen], y[chosen], posterior="leave-one-out")
        found = table.query("variant == 'left-out SFDA' and images == @name")["score"].item()
        assert found == pytest.approx(expected, abs=1e-8)
    assert ablate_zoo(["googlenet"], ["digits"], **options) == 0 and len(lines) == 2
    # The shares are of each class.
    y = np.repeat([0, 1, 2], [20, 10, 3])
    chosen = share_of(y, 0.25)
    assert np.bincount(y[chosen]).tolist() == [5, 2, 2] and (np.diff(chosen) > 0).all()
    assert share_of(y, 1.0).tolist() == list(range(33))
    assert not np.array_equal(chosen, share_of(y, 0.25, seed=1))
