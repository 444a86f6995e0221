"""The paper's experiment at full size, run on data sets of a few images and networks of a few weights."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from sfda import METRICS, leep, weighted_tau
from sfda.__main__ import main
from sfda.benchmark import paper
from sfda.benchmark.finetune import PAPER
from sfda.evidence import published
from sfda.images import official
from sfda.networks import backbones
from sfda.networks.backbones import Backbone
from sfda.networks.checkpoints import ZOOS

NAMES = ["resnet34", "densenet121", "byol"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """DTD as its publisher lays it out: two textures, five images each."""
    folder = tmp_path_factory.mktemp("images")
    root, rng, files = folder / "dtd" / "dtd", np.random.default_rng(0), {"train": [], "val": [], "test": []}
    for label, name in enumerate(("banded", "zigzagged")):
        (root / "images" / name).mkdir(parents=True)
        for i, part in enumerate(("train", "train", "val", "test", "test")):
            pixels = rng.integers(90 * label, 90 * label + 160, size=(60, 50 + i, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{name}_{i:04d}.jpg")
            files[part].append(f"{name}/{name}_{i:04d}.jpg\n")
    (root / "labels").mkdir()
    for part, lines in files.items():
        (root / "labels" / f"{part}1.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def tiny(monkeypatch):
    """Loading any network gives a tiny one, and is counted."""
    loaded = []

    def load(name, *, folder=None):
        loaded.append(name)
        torch.manual_seed(len(name))
        net = timm.create_model("mobilenetv2_035", num_classes=6).eval()
        steps = [Resize(32), ToTensor(), Normalize([0.5] * 3, [0.2 + len(name) / 100] * 3)]
        return Backbone(name, net, Compose(steps), source_classes=None if name.startswith("self") else 6)

    monkeypatch.setattr(backbones, "load", load)
    return loaded


def score(images, folder, names=NAMES, metrics=("H-score", "LEEP"), **options):
    lines = []
    options |= {"folder": folder, "images": images, "device": "cpu", "progress": lines.append}
    return paper.score(names, ["dtd"], metrics=metrics, **options), lines


def test_the_papers_networks_data_sets_and_protocol(images):
    truth = published.table("finetune_accuracy")
    assert list(paper.NETWORKS) == list(published.ZOO_GROUPS) == list(ZOOS)[:3]
    for group, names in paper.NETWORKS.items():
        assert set(names) == set(truth.loc[truth["group"] == published.ZOO_GROUPS[group], "model"])
        for loader in names.values():
            backbones.check(loader)
    assert set(paper.GRID.tasks) == set(truth.loc[truth["group"] == "supervised", "dataset"])
    assert len(paper.GRID.networks) == 33 and paper.GRID.options == PAPER
    # As its public code has it: SGD on a grid of four rates and five decays, 5,000 steps.
    assert np.log10(PAPER["rates"]).tolist() == [-4, -3, -2, -1]
    assert PAPER["decays"][0] == 0 and np.log10(PAPER["decays"][1:]) == pytest.approx([-6, -5, -4, -3])
    assert PAPER["steps"] == 5000 and PAPER["plain"] and PAPER["every_pair"]
    # A task at full size.
    task = paper.GRID.task("dtd", images)
    assert [len(part.images) for part in task.parts] == [4, 2, 4] and task.task.n_classes == 47
    assert task.train.images[0:2].shape == (2, 3, 224, 224) and task.train.labels.tolist() == [0, 0, 1, 1]
    logits = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 1]), 47).float()
    assert task.measure(logits, torch.tensor([0, 0, 1, 1])) == 0.75  # DTD is judged by accuracy


def test_scores_are_those_of_the_papers_view(images, tiny, tmp_path):
    table, lines = score(images, tmp_path, NAMES[:1])
    assert list(table) == paper.COLUMNS and len(lines) == 1 and lines[0].startswith("dtd: resnet34, 10 images, ")
    found = official.load_official("dtd", images)
    backbone = backbones.load("torchvision:resnet34:IMAGENET1K_V1")
    x = torch.stack([paper.centre(image, 224) for image, _ in found.everything]) / 255
    with torch.no_grad():
        net = backbone.network
        z = net.forward_head(net.forward_features((x - 0.5) / backbone.transform.transforms[-1].std[0]), pre_logits=True)
        theta = net.classifier(z).double().softmax(1)
    scores = table.set_index("metric")["score"]
    assert scores["H-score"] == pytest.approx(METRICS["H-score"](z, found.labels), rel=1e-4)
    assert scores["LEEP"] == pytest.approx(leep(theta, found.labels), rel=1e-4)
    assert set(table["n"]) == {10} and set(table["dimension"]) == {1280}


def test_what_is_there_is_not_computed_again(images, tiny, tmp_path):
    first, _ = score(images, tmp_path)
    pairs = [(name, metric) for name in NAMES for metric in ("H-score", "LEEP") if (name, metric) != ("byol", "LEEP")]
    assert len(tiny) == 3 and set(zip(first["model"], first["metric"])) == set(pairs)
    passes = pd.read_csv(tmp_path / "passes.csv")
    assert list(passes) == paper.PASSES and len(passes) == 3 and (passes["seconds"] > 0).all()
    second, lines = score(images, tmp_path, NAMES[:2])
    # Only what was asked for is returned; nothing was loaded for it.
    assert len(tiny) == 3 and not lines and set(second["model"]) == set(NAMES[:2])
    third, lines = score(images, tmp_path, metrics=("H-score", "LogME"))
    assert len(tiny) == 6 and len(lines) == 3 and len(third) == 6
    # Features are kept, too.
    _, lines = [score(images, tmp_path / each, NAMES[:1], cache=tmp_path / "cache") for each in ("one", "two")][1]
    assert len(lines) == 1 and not (tmp_path / "two" / "passes.csv").exists()


def test_streaming_gives_the_same_and_a_limit_takes_the_first_images_of_each_class(images, tiny, tmp_path, monkeypatch):
    few, _ = score(images, tmp_path / "kept", limit=2)
    kept, _ = score(images, tmp_path / "kept")
    assert set(few["n"]) == {4} and set(kept["n"]) == {10} and paper._few(np.array([1, 0, 1, 1, 0, 0]), 2) == [0, 1, 2, 4]
    monkeypatch.setattr(paper, "MEMORY", 0)
    streamed, _ = score(images, tmp_path / "streamed")
    pd.testing.assert_series_equal(kept["score"], streamed["score"])


def test_bad_input_is_found_before_any_work(images, tiny, tmp_path):
    for options, message in (
        ({"names": ["resnet18"]}, "names: expected some of resnet34, .*, got 'resnet18'"),
        ({"metrics": ["SFDB"]}, "metrics: expected some of SFDA, .*, got 'SFDB'"),
        ({"metrics": ["NCTI"]}, "metrics: NCTI compares networks, it scores none alone"),
    ):
        with pytest.raises(ValueError, match=message):
            score(images, tmp_path, **options)
    with pytest.raises(FileNotFoundError, match="dtd: Describable Textures Dataset is not all in "):
        score(tmp_path / "nothing", tmp_path)
    assert not tiny


def test_comparison_with_the_published_tables():
    truth = published.table("finetune_accuracy", "supervised").query("dataset == 'dtd'").set_index("model")["accuracy"]
    rows = [("SFDA", "supervised", name, "dtd", truth[name], 1, 9, 9) for name in paper.NETWORKS["supervised"]]
    table = pd.DataFrame(rows, columns=paper.COLUMNS)
    (row,) = paper.compare(table).itertuples()
    theirs = published.table("published_tau_w", "supervised").query("metric == 'SFDA' and dataset == 'dtd'")["tau_w"].item()
    assert (row.networks, row.published, row.tau) == (11, theirs, pytest.approx(1))
    assert row.difference == pytest.approx(1 - theirs)
    # Older tables have other names of groups.
    assert paper.compare(table.assign(group="vit")).equals(paper.compare(table))
    shuffled = table.assign(score=np.random.default_rng(0).permutation(table["score"]))
    expected = weighted_tau(shuffled["score"].to_numpy(), table["score"].to_numpy())
    assert paper.compare(shuffled)["tau"].item() == pytest.approx(expected)
    # Of a part of the networks no tau was published.
    assert np.isnan(paper.compare(table[:5])["published"].item()) and paper.compare(table[:1]).empty
    # With accuracies of one's own, where all of the networks have one; of several seeds the mean.
    own = pd.DataFrame([(name, "dtd", value) for name, value in (truth.rank(ascending=False) / 100).items() for _ in range(2)], columns=["model", "task", "accuracy"])
    own["accuracy"] += np.tile([0.001, -0.001], len(truth))
    assert paper.compare(table, own)["own"].item() == pytest.approx(-1) and "own" not in paper.compare(table)
    assert np.isnan(paper.compare(table, own[2:])["own"].item())


def test_the_command_that_compares(tmp_path, capsys):
    rows = [("LogME", "supervised", name, "pets", i, 1, 9, 9) for i, name in enumerate(NAMES[:2])]
    pd.DataFrame(rows, columns=paper.COLUMNS).to_csv(tmp_path / "scores.csv", index=False)
    command = ["paper", "compare", "--tables", str(tmp_path)]
    assert main(command) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["metric", "group", "task", "networks", "tau", "published", "difference"] and row.split()[:4] == ["LogME", "supervised", "pets", "2"]
    pd.DataFrame({"model": NAMES[:2], "task": "pets", "accuracy": [0.5, 0.6]}).to_csv(tmp_path / "accuracy.csv", index=False)
    assert main(command) == 0 and capsys.readouterr().out.splitlines()[1].split()[-1] == "1.0"
    for group in ("transformers", "vit"):  # "vit" is what the option once took
        assert main([*command, "--group", group]) == 0 and "LogME" not in capsys.readouterr().out
    assert main(["paper", "compare", "--tables", str(tmp_path / "none")]) == 2 and "scores.csv is missing: python -m sfda score paper" in capsys.readouterr().err
    assert main([*command, "--models", "resnet5"]) == 2 and "resnet5" in capsys.readouterr().err
