"""Ranking networks: the scores, their intervals, what is tied, and runs that are stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sfda import METRICS, SaturationWarning, sfda_score, verdict
from sfda.__main__ import main
from sfda.baselines import RIVALS
from sfda.rank import (
    GROUPS,
    LEFT_OUT,
    WIDTH,
    Ranking,
    find_metric,
    forecast,
    groups,
    half_width,
    jackknife,
    rank,
    rank_features,
)
from sfda.score import log_posterior


def network(seed, y, D=8, strength=1.5, common=None, weight=0.0):
    """Features that tell the classes of y apart, with the noise of another network in it."""
    x = np.random.default_rng(seed).standard_normal((len(y), D))
    if common is not None:
        x = (1 - weight**2) ** 0.5 * x + weight * common
    return x + strength * np.eye(y.max() + 1, D)[y]


Y = np.arange(90) % 3
ZOO = {"weak": network(0, Y, strength=0.5), "good": network(1, Y, 6), "wide": network(2, Y, 20, 1.4)}


# --- metrics ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["logme", "LOGME", " LogME "])
def test_metrics_are_found_in_any_case(name):
    assert find_metric(name) == "LogME"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("left out probability", "got 'left out probability'; did you mean 'left-out probability'"),
        ("logm", "did you mean 'LogME'"),
        ("SFDB", "metric: expected one of SFDA, .*left-out probability.*, got 'SFDB'; did you mean 'SFDA'"),
        ("ncti", "NCTI scores networks against each other, .*; expected one of SFDA, "),
        ("LEEP", "LEEP needs the probabilities of the network's own classifier; expected one of"),
        ("&%", "got '&%'$"),
    ],
)
def test_metrics_that_are_none(name, message):
    with pytest.raises(ValueError, match=message):
        find_metric(name)


@pytest.mark.parametrize("metric", METRICS)
def test_the_score_is_the_metrics(metric):
    y = Y[:60]
    zoo = {name: x[:60] for name, x in ZOO.items()}
    found = rank_features(zoo, y, metric=metric.upper())
    table = found.table.set_index("network")
    for name, x in zoo.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)
            assert table.loc[name, "score"] == pytest.approx(METRICS[metric](x, y), rel=1e-9, abs=1e-12)
    assert found.metric == metric and list(found.table["rank"]) == [1, 2, 3]
    assert found.table["score"].is_monotonic_decreasing and found.best == found.table["network"][0]
    assert (table["low"] <= table["score"]).all() and (table["score"] <= table["high"]).all()
    low, high = RIVALS[metric].bounds
    assert not isinstance(low, (int, float)) or table["low"].min() >= low
    assert not isinstance(high, (int, float)) or table["high"].max() <= high


# --- intervals --------------------------------------------------------------------


def test_groups_take_their_share_of_every_class():
    y = np.repeat([0, 1, 2, 3], [40, 23, 2, 1])
    group = groups(y, 10)
    counts = np.stack([np.bincount(group[y == c], minlength=10) for c in (0, 1)])
    assert (counts[0] == 4).all() and set(counts[1]) == {2, 3}
    assert (group[y > 1] == -1).all()  # they would not be whole without one
    assert (groups(y, 10) == group).all() and (groups(y, 10, seed=1) != group).any()
    assert len(set(groups(np.repeat([0, 1], 3), 20))) == 6
    with pytest.raises(ValueError, match="expected a class with three samples"):
        groups(np.array([0, 0, 1, 1]))


def test_of_a_mean_the_interval_is_students():
    values = np.random.default_rng(0).standard_normal(20)
    replicates = np.array([np.delete(values, i).mean() for i in range(20)])
    expected = stats.t.ppf(0.975, 19) * values.std(ddof=1) / 20**0.5
    assert half_width(replicates) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", ["left-out probability", "GBC"])
def test_intervals_hold_the_mean_score(metric):
    """Of scores and of the difference of two networks that share half of their noise."""
    y = np.arange(60) % 3
    scores, widths, fixed = [], [], []
    for seed in range(100):
        common = np.random.default_rng(seed).standard_normal((60, 8))
        zoo = {
            "a": network(seed + 1000, y, common=common, weight=0.7),
            "b": network(seed + 2000, y, strength=1.3, common=common, weight=0.7),
        }
        score = [METRICS[metric](x, y) for x in zoo.values()]
        scores.append([*score, score[0] - score[1]])
        if seed < 30:
            a, b = (jackknife(x, y, metric=metric, seed=seed)[1] for x in zoo.values())
            widths.append([half_width(a), half_width(b), half_width(a - b)])
            p = np.exp(log_posterior(zoo["a"], y, challenge=False))[np.arange(60), y]
            fixed.append(sum(20 * p[y == c].var(ddof=1) for c in range(3)) ** 0.5 / 60)
    mean, deviation = np.mean(scores, 0), np.std(scores, 0, ddof=1)
    widths = np.array(widths)
    assert ((abs(scores[:30] - mean) <= widths).mean(0) >= 0.9).all()
    stated = (widths**2).mean(0) ** 0.5 / stats.t.ppf(0.975, GROUPS - 1)
    assert (stated > 0.9 * deviation).all() and (stated < 1.7 * deviation).all()
    if metric == "left-out probability":  # with the fit held fixed it would be too narrow
        assert np.mean(fixed) < 0.85 * deviation[0]


def test_order_and_company_change_nothing():
    columns = ["network", "score", "low", "high"]
    full = rank_features(ZOO, Y).table[columns].set_index("network")
    turned = rank_features(dict(reversed(ZOO.items())), Y).table[columns].set_index("network")
    pd.testing.assert_frame_equal(full, turned, rtol=0, atol=0)
    two = rank_features({name: ZOO[name] for name in ("weak", "good")}, Y).table[columns]
    pd.testing.assert_frame_equal(full.loc[["good", "weak"]], two.set_index("network"), rtol=0, atol=0)
    other = rank_features(ZOO, Y, seed=1).table[columns].set_index("network")
    assert (full["score"] == other["score"]).all() and (full["low"] != other["low"]).all()


def test_the_table_holds_what_the_jackknife_says():
    table = rank_features(ZOO, Y, metric="H-score", seed=5).table
    own = {name: jackknife(x, Y, metric="H-score", seed=5) for name, x in ZOO.items()}
    first, first_replicates = own[table["network"][0]]
    assert len(first_replicates) == GROUPS
    for row in table.itertuples():
        score, replicates = own[row.network]
        width = half_width(first_replicates - replicates)
        assert (row.score, row.behind) == (score, first - score)
        assert (row.behind_low, row.behind_high) == (row.behind - width, row.behind + width)
        low, high = score - half_width(replicates), score + half_width(replicates)
        assert (row.low, row.high) == (max(0, low), min(2, high))


def test_differences_are_paired():
    """Intervals that overlap, of networks that differ on every image a little."""
    x = network(0, Y, strength=1.2)
    worse = x - 0.35 * np.eye(3, 8)[Y]
    table = rank_features({"worse": worse, "better": x}, Y).table
    assert list(table["network"]) == ["better", "worse"]
    assert table["low"][0] < table["high"][1] and not table["tied"][1]
    row = table.iloc[1]
    assert row["behind"] == pytest.approx(table["score"][0] - table["score"][1])
    assert 0 < row["behind_low"] < row["behind"] < row["behind_high"]


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


def test_findings():
    assert rank_features({"a": ZOO["good"]}, Y).finding == "a alone was scored: nothing is ranked"
    both = rank_features({"a": ZOO["good"], "b": ZOO["good"].copy()}, Y)
    assert both.finding == "a is first, but the other is within noise of it"
    three = rank_features({name: ZOO["good"] for name in "cab"}, Y)
    assert three.finding == "a is first, but all 2 others are within noise of it"
    apart = rank_features({"a": network(0, Y, strength=4), "b": network(1, Y, strength=0.5)}, Y)
    assert apart.finding == "a is first, and no other is within noise of it"


# --- what else the table says -----------------------------------------------------


def test_saturated_scores_are_marked():
    y = np.arange(40) % 2
    zoo = {"wide": network(0, y, 60), "narrow": network(1, y, 4, strength=0.5)}
    found = rank_features(zoo, y, metric="SFDA")
    table = found.table.set_index("network")
    with pytest.warns(SaturationWarning):
        assert table.loc["wide", "score"] == pytest.approx(sfda_score(zoo["wide"], y))
    assert table.loc["wide", "saturated"] and not table.loc["narrow", "saturated"]
    assert any(note.startswith("saturated, here 1 of 2: ") for note in found.notes)
    assert found.finding == "1 of 2 scores have saturated, and their order says nothing"
    assert "smallest of them" not in str(found) and "wide" in found.best
    ceiling = rank_features({"a": network(0, y, strength=50)}, y, metric="left-out accuracy")
    assert ceiling.table["score"][0] == 1 and ceiling.table["saturated"][0]
    assert "saturated" not in str(rank_features(zoo, y))


def test_ensembles():
    y = np.arange(200) % 4
    zoo = {"low": network(0, y, 4, np.array([3, 3, 0, 0])), "high": network(1, y, 4, np.array([0, 0, 3, 3])),
           "all": network(2, y, 4, 1.0)}  # fmt: skip
    found = rank_features(zoo, y)
    assert set(found.ensembles[2]) == {"low", "high"} and set(found.ensembles[3]) == set(zoo)
    assert set(found.likelihoods) == {1, 2, 3} and found.likelihoods[2] > found.likelihoods[1]
    with_, alone = (f"{np.exp(found.likelihoods[k]):.3f}" for k in (2, 1))
    assert max(map(len, str(found).splitlines())) <= WIDTH
    line = " ".join(str(found).split()).partition("To average two")[2].partition("To average three")[0]
    assert with_ in line and f"{found.best} alone {alone}" in line and "not worth it" not in line


def test_ensembles_that_there_are_not():
    one = rank_features({"a": ZOO["good"]}, Y)
    assert one.ensembles == {} and not any("ensemble" in note for note in one.notes)
    same = rank_features({"a": ZOO["good"], "b": ZOO["good"].astype(np.float32)}, Y)
    assert same.ensembles == {} and "no ensembles: all networks have the same features" in same.notes
    twice = rank_features({"a": ZOO["good"], "b": ZOO["good"], "c": ZOO["wide"]}, Y)
    assert list(twice.ensembles) == [2] and "c" in twice.ensembles[2]
    alone = np.append(Y[:-1], 3)
    few = rank_features({name: ZOO[name] for name in ("good", "wide")}, alone, metric="SFDA")
    assert few.ensembles == {}
    assert any(note.startswith("no ensembles: labels: leave-one-out") for note in few.notes)
    assert any("classes of one or two images always stay whole, here 1" in note for note in few.notes)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ({}, Y, "features_by_model: expected at least one network, got none"),
        (ZOO["good"], Y, "features_by_model: expected a mapping"),
        ({"a": None}, Y, r"features_by_model\['a'\]: "),
        ({"a": ZOO["good"], "b": ZOO["good"][:9]}, Y, r"features_by_model\['b'\]: .*expected 90 .* got 9"),
        ({"a": ZOO["good"], "b": ZOO["good"] * np.nan}, Y, r"features_by_model\['b'\]: .*NaN, first in row 0"),
        ({"a": ZOO["good"]}, np.zeros(90, int), "labels: expected at least 2 classes"),
        ({"a": ZOO["good"]}, np.append(["x"], np.repeat(["y", "z"], [44, 45])),
         "found 1 in 'x': left-out probability judges .*take another metric, such as SFDA"),
    ],
)  # fmt: skip
def test_bad_features(features, labels, message):
    with pytest.raises(ValueError, match=message):
        rank_features(features, labels)


def test_sizes_of_networks_that_are_not_there():
    with pytest.raises(ValueError, match="parameters: expected names of features_by_model, got 'b'"):
        rank_features({"a": ZOO["good"]}, Y, parameters={"b": 1})


def test_the_forecast_is_that_of_the_pocket_benchmark():
    text = forecast("left-out probability")
    tau = float(re.search(r"accuracies was (-?\d\.\d\d)", text)[1])
    taus = []
    for group in ("supervised", "self-supervised", "transformer"):
        scores, accuracies, _ = verdict.contest(group)
        judged = verdict.judge(scores, accuracies).loc["left-out probability"]
        taus.append(judged[verdict.halves()["reporting"]].mean())
    assert tau == pytest.approx(np.mean(taus), abs=0.0051) and "33 small networks in 3 groups, 5 tasks" in text


def test_without_the_benchmark_there_are_no_figures(tmp_path):
    assert forecast("LogME", folder=tmp_path) == (
        "The intervals do not say how well the score forecasts fine-tuning."
    )
    assert not re.search(r"\d", forecast("no such metric"))


def test_everything_can_be_written():
    found = rank_features(ZOO, Y)
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again["table"][0]["network"] == found.best and again["table"][0]["parameters"] is None
    assert again["table"][0]["forward_seconds"] is None and again["n"] == 90
    assert again["classes"] == {"0": 30, "1": 30, "2": 30} and again["about"]["versions"]["sfda"]


# --- images -----------------------------------------------------------------------

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
safetensors_torch = pytest.importorskip("safetensors.torch")

from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from sfda import backbones, datasets, features
from sfda.backbones import Backbone

CLASSES = ("blau & grün", "it's [red]", "plain")


def write_images(folder, per_class=8, seed=0):
    """Small images with a shade of colour for each class and much noise."""
    rng = np.random.default_rng(seed)
    for c, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = rng.integers(0, 256, size=(24, 24, 3)) * 0.8
            pixels[..., c] += 3
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def small(name, seed=0, width=6):
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2)
    return Backbone(name, nn.Sequential(*layers), to_tensor)


class Broken(nn.Sequential):
    def forward(self, x):
        raise TypeError("no such thing\nas this")


def broken(name="broken"):
    return Backbone(name, Broken(nn.Linear(3, 3)), to_tensor)


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


def same_but_for_time(one, other):
    drop = [c for c in one if c.endswith("seconds") or c == "cached"]
    pd.testing.assert_frame_equal(one.drop(columns=drop), other.drop(columns=drop), rtol=0, atol=0)


def test_networks_on_a_folder(images, tmp_path):
    said = []
    found = rank([small("a"), small("b", 1)], images, cache=tmp_path / "cache",
                 progress=lambda *line: said.append(line))  # fmt: skip
    assert isinstance(found, Ranking) and found.n == 24
    assert found.classes == dict.fromkeys(CLASSES, 8) and found.about["images"] == "images"
    own = {}
    for net in (small("a"), small("b", 1)):
        own[net.name] = features.extract(net, datasets.load_images(images).everything, "x").features
    y = datasets.load_images(images).labels
    expected = rank_features(own, y, parameters={"a": 182, "b": 182})
    columns = ["network", "score", "low", "high", "behind", "tied", "features", "parameters"]
    pd.testing.assert_frame_equal(found.table[columns], expected.table[columns])
    assert found.ensembles == expected.ensembles and not found.table["cached"].any()
    finished = [text for text, last in said if last]
    assert re.fullmatch(r"\[1/2\] a: 24 images in \d+ s, \d+ a second; score 0\.\d+", finished[0])
    assert any(re.fullmatch(r"\[2/2\] b: 24 of 24 images, \d+ a second, 0 s left", text) for text, _ in said)
    again = rank([small("b", 1), small("a")], images, cache=tmp_path / "cache")
    assert again.table["cached"].all() and (again.table["forward_seconds"] == 0).all()
    same_but_for_time(found.table, again.table)
    assert "cached" in str(again) and "24 images of 3 classes (all of it, for it has no parts)" in str(again)


def test_the_test_part_is_not_scored_unless_all_is_asked_for(tmp_path):
    for part, n in (("train", 6), ("val", 2), ("test", 4)):
        write_images(tmp_path / "images" / part, n, seed=n)
    found = rank(small("a"), tmp_path / "images", cache=None)
    assert found.n == 24 and "the test part, 12 images, is left out" in found.about["part"]
    everything = rank(small("a"), tmp_path / "images", cache=None, part="all")
    assert everything.n == 36 and "the test part too" in everything.about["part"]
    whole = datasets.load_images(tmp_path / "images")
    x = features.extract(small("a"), whole.everything, "x").features
    assert everything.table["score"][0] == pytest.approx(jackknife(x, whole.labels)[0])
    expected = jackknife(x[:24], whole.labels[:24])[0]  # train, then validation
    assert found.table["score"][0] == pytest.approx(expected)
    assert found.about["fingerprint"] != everything.about["fingerprint"] == whole.fingerprint
    with pytest.raises(ValueError, match="part: expected 'train' or 'all', got 'test'"):
        rank(small("a"), whole, cache=None, part="test")


def test_so_many_images_a_class_are_the_same_for_all_networks(images, tmp_path):
    seen = {}

    class Looking(nn.Sequential):
        def forward(self, x):
            seen.setdefault(self.name, []).append(x.clone())
            return super().forward(x)

    def looking(name):
        net = Looking(*small(name).network)
        net.name = name
        return Backbone(name, net, to_tensor)

    found = rank([looking("a"), looking("b")], images, per_class=4, cache=tmp_path)
    assert found.n == 12 and set(found.classes.values()) == {4}
    assert torch.equal(seen["a"][0], seen["b"][0]) and len(seen["a"][0]) == 12
    other = rank([looking("c")], images, per_class=4, seed=1, cache=tmp_path)
    assert not torch.equal(seen["a"][0], seen["c"][0])
    fingerprints = {each.about["fingerprint"] for each in (found, other, rank(small("a"), images, cache=None))}
    assert len(fingerprints) == 3
    assert rank(small("a"), images, per_class=99, cache=None).n == 24
    with pytest.raises(ValueError, match="per_class: expected 1 or more, got 0"):
        rank(small("a"), images, per_class=0)
    with pytest.raises(ValueError, match="found 1 in 'blau & grün', .*left-out probability judges"):
        rank(small("a"), images, per_class=1)


def test_shuffled_labels_are_worth_nothing(tmp_path):
    images = write_images(tmp_path / "images", per_class=30)
    true, shuffled = (rank(small("a", width=12), images, shuffle=s, cache=tmp_path / "c") for s in (False, True))
    assert shuffled.table["cached"][0]  # the same features
    assert shuffled.classes == true.classes and shuffled.about["shuffled"] and not true.about["shuffled"]
    assert true.table["score"][0] > 0.5 > 0.4 > shuffled.table["score"][0]
    assert any(note.startswith("the labels are shuffled") for note in shuffled.notes)
    assert not any("shuffled" in note for note in true.notes)
    again = rank(small("a", width=12), images, shuffle=True, cache=tmp_path / "c")
    assert again.table["score"][0] == shuffled.table["score"][0]
    other = rank(small("a", width=12), images, shuffle=True, seed=1, cache=tmp_path / "c")
    assert other.table["score"][0] != shuffled.table["score"][0]


def test_any_data_set_of_torch():
    x = torch.randint(0, 256, (30, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = rank(small("a"), TensorDataset(x, torch.arange(30) % 2), cache=None, metric="LogME")
    assert found.n == 30 and found.metric == "LogME" and found.classes == {"0": 15, "1": 15}


def test_images_that_cannot_be_read(images, tmp_path):
    (images / "plain" / "3.png").write_bytes(b"no image")
    message = r"1 of 24 cannot be read, .*3\.png.*mend or remove them, .*\(--skip-unreadable\)"
    with pytest.raises(ValueError, match=message):
        rank([small("a"), small("b")], images, cache=tmp_path / "cache")
    found = rank([small("a"), small("b", 1)], images, cache=tmp_path / "cache", skip_unreadable=True)
    assert found.n == 23 and found.classes["plain"] == 7 and found.about["skipped"] == 1
    assert "images that could not be read and were left out: 1" in found.notes


def test_one_network_that_fails_does_not_stop_the_others(images, tmp_path):
    said = []
    networks = [small("a"), broken(), small("b", 1)]
    found = rank(networks, images, cache=None, progress=lambda text, last: said.append(text))
    assert set(found.table["network"]) == {"a", "b"}
    assert found.failures == {"broken": "TypeError: no such thing as this"}
    assert "[2/3] broken: failed: TypeError: no such thing as this" in said
    assert str(found).endswith("Not ranked: broken (TypeError: no such thing as this).")
    with pytest.raises(ValueError, match="networks: none of 1 could be ranked; broken: TypeError: no such"):
        rank(broken(), images, cache=None)


def test_memory_that_does_not_suffice(images, monkeypatch):
    def full(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("sfda.rank.LabelledFeatures.from_features", full)
    with pytest.raises(ValueError, match="not enough memory for 24 images: score fewer with per_class"):
        rank(small("a"), images, cache=None)


def test_a_full_disk_stops_everything(images, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        rank([small("a"), small("b")], images, cache=tmp_path / "cache")


def write_manifest(folder, sizes=(("a", 32), ("b", 48))):
    """Networks of timm with random weights, each with its own size of images."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for seed, (name, size) in enumerate(sizes):
        torch.manual_seed(seed)
        net = timm.create_model("test_efficientnet", pretrained=False, num_classes=7).eval()
        safetensors_torch.save_file(net.state_dict(), folder / f"{name}.safetensors")
        arguments = {"args": ["test_efficientnet"], "kwargs": {"num_classes": 7}}
        entries.append({
            "file": f"{name}.safetensors", "input_size": [3, size, size],
            "builder": {"callable": "timm.create_model"} | arguments,
            "normalisation": {"mean": [0.5] * 3, "std": [0.25] * 3},
        })  # fmt: skip
    path = folder / "manifest.json"
    path.write_text(json.dumps({"models": entries}), encoding="utf-8")
    return path


def test_a_manifest_stands_for_all_its_networks(images, tmp_path):
    first, second = write_manifest(tmp_path / "one"), write_manifest(tmp_path / "two", [("b", 32), ("c", 32)])
    found = rank([str(first), f"{second}:b", f"{first}:a"], images, cache=None)
    assert set(found.table["network"]) == {"a", f"{first}:b", f"{second}:b"}
    assert found.table["parameters"].nunique() == 1
    assert set(rank(str(second), images, cache=None).table["network"]) == {"b", "c"}


def never(*arguments, **options):
    raise AssertionError("a forward pass")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["resnet50"], "name: expected torchvision:NAME, .*, got 'resnet50'"),
        (["timm:vit_9000"], "timm has no 'vit_9000'"),
        (["gone.json"], "gone.json is missing"),
        ([], "networks: expected at least one, got none"),
        ([small("a"), small("a")], "networks: two different ones are called 'a'"),
    ],
)
def test_names_are_checked_before_any_work(images, monkeypatch, names, message):
    monkeypatch.setattr(features, "extract", never)
    monkeypatch.setattr(backbones, "load", never)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        rank(names, images, cache=None)


def test_weights_are_looked_for_before_any_work(images, tmp_path, monkeypatch):
    path = write_manifest(tmp_path, [("a", 32), ("b", 32), ("c", 32)])
    monkeypatch.setattr(features, "extract", never)
    (tmp_path / "b.safetensors").unlink()
    (tmp_path / "c.safetensors").write_bytes(b"half a file")
    message = r"b cannot be loaded \(.*b.safetensors is missing\); nor can c; nothing was computed"
    with pytest.raises(FileNotFoundError, match=message):
        rank(str(path), images, cache=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "NCTI"}, "metric: NCTI"),
        ({"dtype": "int8"}, "dtype: expected 'float32' or 'float16', got 'int8'"),
        ({"device": "cuda:77"}, "device: cannot compute on cuda:77"),
        ({"batch": 0}, "batch: expected 1 or more, got 0"),
    ],
)
def test_options_are_checked_before_any_work(images, monkeypatch, options, message):
    monkeypatch.setattr(features, "extract", never)
    with pytest.raises(ValueError, match=message):
        rank(small("a"), images, **({"cache": None} | options))


def test_a_cache_that_cannot_be_written(images, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "extract", never)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cache: .*file/cache cannot be written .*name another folder"):
        rank(small("a"), images, cache=tmp_path / "file" / "cache")


# --- the command ------------------------------------------------------------------


def table_of(path):
    return pd.read_csv(path, keep_default_na=False)


def test_the_command_prints_and_writes(images, tmp_path, capsys):
    manifest = write_manifest(tmp_path / "weights")
    out = {kind: tmp_path / f"out.{kind}" for kind in ("csv", "json", "svg")}
    arguments = ["rank", str(images), "--models", str(manifest), "--cache", str(tmp_path / "cache"), "--half"]
    files = ["--csv", str(out["csv"]), "--json", str(out["json"]), "--figure", str(out["svg"])]
    assert main([*arguments, *files]) == 0
    captured = capsys.readouterr()
    assert re.search("^rank  network +score +95 % interval", captured.out, re.M)
    assert "[1/2] a: 24 images in " in captured.err
    written = json.loads(out["json"].read_text(encoding="utf-8"))
    assert written["best"] in ("a", "b") and written["about"]["dtype"] == "float16"
    assert list(written["classes"]) == sorted(CLASSES)
    assert list(table_of(out["csv"])["network"]) == [row["network"] for row in written["table"]]
    assert out["svg"].read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_figures_of_other_kinds(images, tmp_path, suffix, capsys):
    manifest = write_manifest(tmp_path / "weights")
    file = tmp_path / f"a.{suffix.upper()}"
    assert main(["rank", str(images), "--models", f"{manifest}:a", "--no-cache", "--figure", str(file)]) == 0
    assert file.read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[suffix])
    assert "a alone was scored" in capsys.readouterr().out


def test_the_command_says_which_network_failed(images, tmp_path, monkeypatch, capsys):
    manifest = write_manifest(tmp_path / "weights")
    load = backbones.load
    monkeypatch.setattr(
        backbones, "load",
        lambda name, **options: broken() if name.endswith(":a") else load(name, **options),
    )  # fmt: skip
    assert main(["rank", str(images), "--models", str(manifest), "--no-cache"]) == 2
    captured = capsys.readouterr()
    assert "Not ranked: a (TypeError: no such thing as this)." in captured.out
    assert "[1/2] a: failed: TypeError" in captured.err


COMMAND = [sys.executable, "-m", "sfda", "rank"]


def stopped(arguments, how, after="[1/2] a: "):
    """Run the command, stop it when the first network is done, and return its exit code and stderr."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        COMMAND + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        # Where the tests run in the background, SIGINT is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as run:
        first = run.stderr.readline()
        assert first.startswith(after), first + run.stderr.read()
        time.sleep(0.3)  # the second is at work
        run.send_signal(how)
        _, rest = run.communicate(timeout=60)
    return run.returncode, rest


def test_a_killed_run_goes_on_where_it_was(images, tmp_path, capsys):
    manifest = write_manifest(tmp_path / "weights", [("a", 32), ("b", 800)])
    arguments = [str(images), "--models", str(manifest), "--batch", "1", "--cache"]
    cache = tmp_path / "cache"
    code, rest = stopped([*arguments, str(cache)], signal.SIGINT)
    assert code == 130 and "what was finished is kept, and the same command goes on" in rest
    assert rest.count("\n") == 1 and [p.name[:2] for p in cache.iterdir()] == ["a-"]
    for entry in cache.iterdir():
        entry.rename(tmp_path / "kept")
    code, rest = stopped([*arguments, str(cache)], signal.SIGKILL)
    assert code == -signal.SIGKILL and not rest
    assert [p.name[:2] for p in cache.iterdir() if not p.name.startswith(".")] == ["a-"]
    tables = []
    for folder in (cache, tmp_path / "another"):
        assert main(["rank", *arguments, str(folder), "--csv", str(tmp_path / "out.csv")]) == 0
        tables.append(table_of(tmp_path / "out.csv"))
        captured = capsys.readouterr()
        resumed = folder == cache
        assert ("[1/2] a: 24 images from the cache" in captured.err) == resumed
        assert "[2/2] b: 24 images in " in captured.err
        assert (len(re.findall(r"  cached  ", captured.out)) == 1) == resumed
    same_but_for_time(*tables)
    assert tables[0].set_index("network")["cached"].to_dict() == {"a": True, "b": False}


def test_progress_on_a_terminal_is_one_line_a_network(images, tmp_path, monkeypatch, capsys):
    manifest = write_manifest(tmp_path / "weights")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["rank", str(images), "--models", str(manifest), "--no-cache", "--batch", "8"]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 2 and said.endswith("\r\x1b[K")
    lines = said.split("\n")
    assert [part.split(",")[0] for part in lines[0].split("\r\x1b[K") if "of 24" in part] == [
        "[1/2] a: 8 of 24 images", "[1/2] a: 16 of 24 images", "[1/2] a: 24 of 24 images",
    ]  # fmt: skip


def test_the_zoos_are_those_of_the_library():
    help_text = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True).stdout
    assert f"{{{','.join(backbones.ZOOS)}}}" in help_text
    assert set(LEFT_OUT) <= set(METRICS)


def test_torch_waits_until_it_is_needed():
    code = "import sys, sfda.rank, sfda.__main__; sfda.__main__.build_parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
