"""Ranking networks on images, and the command: runs that fail, are stopped, and go on."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from forks import forked
from sfda import METRICS
from sfda.__main__ import main
from sfda.evidence.sizes import size_matters
from sfda.rank import rank
from sfda.rank.jackknife import LEFT_OUT, jackknife
from sfda.rank.result import Ranking, rank_features
from sfda.rivals.etran import etran
from sfda.rivals.source_classifier import leep

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from sfda.images import official
from sfda.networks import backbones, checkpoints, extract
from sfda.networks.backbones import Backbone
from small_benchmark import write_manifest

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


def images_of(folder):
    return official.load_images(folder).everything


def raising(error):
    def fail(*arguments, **options):
        raise error

    return fail


def broken():
    network = nn.Sequential(nn.Linear(3, 3))
    network.register_forward_pre_hook(raising(TypeError("no such thing\nas this")))
    return Backbone("broken", network, to_tensor)


never = raising(AssertionError("a forward pass"))


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


def same_but_for_time(one, other):
    drop = [c for c in one if c.endswith("seconds") or c == "cached"]
    pd.testing.assert_frame_equal(one.drop(columns=drop), other.drop(columns=drop), rtol=0, atol=0)


def test_networks_on_a_folder(images, tmp_path):
    said = []
    networks, cache = [small("a"), small("b", 1)], tmp_path / "cache"
    found = rank(networks, images, cache=cache, progress=lambda *line: said.append(line))
    assert isinstance(found, Ranking) and found.n == 24
    assert found.classes == dict.fromkeys(CLASSES, 8) and found.about["images"] == "images"
    whole = official.load_images(images)
    own = {net.name: extract.extract(net, whole.everything, "x").features for net in networks}
    expected = rank_features(own, whole.labels, parameters={"a": 182, "b": 182})
    columns = ["network", "score", "low", "high", "behind", "tied", "features", "parameters"]
    pd.testing.assert_frame_equal(found.table[columns], expected.table[columns])
    assert found.ensembles == expected.ensembles and not found.table["cached"].any()
    finished = [text for text, last in said if last]
    assert re.fullmatch(r"\[1/2\] a: 24 images in \d+ s, \d+ a second; score 0\.\d+", finished[0])
    assert any(re.fullmatch(r"\[2/2\] b: 100%\|#+\| 24/24 \[00:\d\d<00:00, .*\]", text) for text, _ in said)
    again = rank(networks[::-1], images, cache=cache)
    assert again.table["cached"].all() and (again.table["forward_seconds"] == 0).all()
    same_but_for_time(found.table, again.table)
    assert "cached" in str(again) and "24 images of 3 classes (all of it, for it has no parts)" in str(again)
    x = torch.randint(0, 256, (30, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = rank(small("a"), TensorDataset(x, torch.arange(30) % 2), cache=None, metric="LogME")  # any data set of torch
    assert found.n == 30 and found.metric == "LogME" and found.classes == {"0": 15, "1": 15}


def test_the_test_part_is_not_scored_unless_all_is_asked_for(tmp_path):
    for part, n in (("train", 6), ("val", 2), ("test", 4)):
        write_images(tmp_path / "images" / part, n, seed=n)
    whole = official.load_images(tmp_path / "images")
    found, everything = (rank(small("a"), whole, cache=None, part=part) for part in ("train", "all"))
    assert found.n == 24 and "the test part, 12 images, is left out" in found.about["part"]
    assert everything.n == 36 and "the test part too" in everything.about["part"]
    x = extract.extract(small("a"), whole.everything, "x").features
    assert everything.table["score"][0] == pytest.approx(jackknife(x, whole.labels)[0])
    expected = jackknife(x[:24], whole.labels[:24])[0]  # train, then validation
    assert found.table["score"][0] == pytest.approx(expected)
    assert rank(small("a"), tmp_path / "images", cache=None).about["fingerprint"] == found.about["fingerprint"]
    assert found.about["fingerprint"] != everything.about["fingerprint"] == whole.fingerprint
    with pytest.raises(ValueError, match="part: expected 'train' or 'all', got 'test'"):
        rank(small("a"), whole, cache=None, part="test")


def test_so_many_images_a_class_are_the_same_for_all_networks(images, tmp_path):
    seen = {}

    def looking(name):
        backbone = small(name)
        backbone.network.register_forward_pre_hook(lambda net, x: seen.setdefault(name, []).append(x[0].clone()))
        return backbone

    found = rank([looking("a"), looking("b")], images, per_class=4, cache=tmp_path, batch=12)
    assert found.n == 12 and set(found.classes.values()) == {4}
    assert torch.equal(seen["a"][0], seen["b"][0]) and len(seen["a"][0]) == 12
    other = rank([looking("c")], images, per_class=4, seed=1, cache=tmp_path, batch=12)
    assert not torch.equal(seen["a"][0], seen["c"][0])
    assert len({each.about["fingerprint"] for each in (found, other, rank(small("a"), images, cache=None))}) == 3
    assert rank(small("a"), images, per_class=99, cache=None).n == 24
    with pytest.raises(ValueError, match="found 1 in 'blau & grün', .*left-out probability judges .*take another metric, such as SFDA"):
        rank(small("a"), images, per_class=1)


def test_shuffled_labels_are_worth_nothing(tmp_path):
    images = write_images(tmp_path / "images", per_class=30)
    true, shuffled, again, other = (
        rank(small("a", width=12), images, cache=tmp_path / "c", **options)
        for options in ({}, {"shuffle": True}, {"shuffle": True}, {"shuffle": True, "seed": 1})
    )
    assert shuffled.table["cached"][0]  # the same features
    assert shuffled.classes == true.classes and shuffled.about["shuffled"] and not true.about["shuffled"]
    assert true.table["score"][0] > 0.5 > 0.4 > shuffled.table["score"][0]
    assert any(note.startswith("the labels are shuffled") for note in shuffled.notes)
    assert not any("shuffled" in note for note in true.notes)
    assert again.table["score"][0] == shuffled.table["score"][0] != other.table["score"][0]


@pytest.mark.parametrize("content", [b"no image", b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(40), bytes(1000)])
def test_images_that_cannot_be_read(images, tmp_path, content):
    (images / "plain" / "3.png").write_bytes(content)
    message = r"^images: 1 of 24 cannot be read, .*3\.png.*mend or remove them, .*\(--skip-unreadable\)"
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


def test_a_full_memory_or_disk_stops_everything(images, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sfda.metric.scatter.LabelledFeatures.from_features", raising(MemoryError()))
        with pytest.raises(ValueError, match="not enough memory for 24 images: score fewer with per_class"):
            rank(small("a"), images, cache=None)
    monkeypatch.setattr(np, "save", raising(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        rank([small("a"), small("b")], images, cache=tmp_path / "cache")
    # One that cannot be written at all is found before any work.
    monkeypatch.setattr(extract, "extract", never)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cache: .*file/cache cannot be written .*name another folder"):
        rank(small("a"), images, cache=tmp_path / "file" / "cache")


def test_a_manifest_stands_for_all_its_networks(images, tmp_path, monkeypatch):
    first, second = write_manifest(tmp_path / "one", "ab"), write_manifest(tmp_path / "two", "bcd")
    found = rank([str(first), f"{second}:b", f"{first}:a"], images, cache=None)
    assert set(found.table["network"]) == {"a", f"{first}:b", f"{second}:b"}
    assert found.table["parameters"].nunique() == 1
    assert set(rank(str(second), images, cache=None).table["network"]) == {"b", "c", "d"}
    # Weights are looked for before any work.
    monkeypatch.setattr(extract, "extract", never)
    (tmp_path / "two" / "c.safetensors").unlink()
    (tmp_path / "two" / "d.safetensors").write_bytes(b"half a file")
    message = r"c cannot be loaded \(.*c.safetensors is missing\); nor can d; nothing was computed"
    with pytest.raises(FileNotFoundError, match=message):
        rank(str(second), images, cache=None)


@pytest.mark.parametrize(("names", "options", "message"), [
    (["resnet50"], {}, "name: expected torchvision:NAME, .*, got 'resnet50'"),
    (["gone.json"], {}, "gone.json is missing"),
    ([], {}, "networks: expected at least one, got none"), ([small("a"), small("a")], {}, "networks: two different ones are called 'a'"),
    (small("a"), {"dtype": "int8"}, "dtype: expected 'float32' or 'float16', got 'int8'"),
    (small("a"), {"device": "cuda:77"}, "device: cannot compute on cuda:77"),
    (small("a"), {"side": 32}, "side: a is a Backbone"), (small("a"), {"metric": []}, "metric: expected at least one"),
    (small("a"), {"metric": ["SFDA", "LEEPP"]}, "got 'LEEPP'; did you mean 'LEEP'"),
    (small("a"), {"metric": "ETran"}, "ETran compares networks, and needs two at least, got 1"),
    (small("a"), {"metric": "leep"}, "LEEP needs a network's own classifier, and none of these has one"),
    (small("a"), {"batch": 0}, "batch: expected 1 or more, got 0"), (small("a"), {"per_class": 0}, "per_class: expected 1 or more, got 0"),
])  # fmt: skip
def test_names_and_options_are_checked_before_any_work(images, monkeypatch, names, options, message):
    monkeypatch.setattr(extract, "extract", never)
    monkeypatch.setattr(backbones, "load", never)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        rank(names, images, cache=None, **options)


def with_classifier(name, seed=0):
    return replace(small(name, seed), source_classes=2)


def test_several_metrics_in_one_pass(images, tmp_path):
    """LEEP where there is a classifier, ETran of all together, each as its function has it; images are seen once."""
    networks, seen = [with_classifier("a"), with_classifier("b", seed=1), small("c", seed=2)], []
    for each in networks:
        each.network.register_forward_pre_hook(lambda net, x: seen.append(len(x[0])))
    found = rank(networks, images, metric=["leep", "ETran", "H-score", "LEEP"], cache=tmp_path, batch=24)
    assert found.metric == "LEEP" and list(found.others) == ["ETran", "H-score"] and sum(seen) == 2 * 24
    assert found.failures == {"c": "LEEP needs a network's own classifier, which it has not"}
    # In the same batches: the same bits.
    x = {each.name: extract.extract(each, images_of(images), "x", logits=True, batch=24) for each in networks[:2]}
    y = x["a"].labels
    for row in found.table.itertuples():
        assert row.score == pytest.approx(leep(softmax(x[row.network].logits.astype(float), 1), y), rel=1e-9)
        assert row.low <= row.score <= row.high <= 0
    zoo = etran({name: each.features for name, each in x.items()}, y)
    assert found.others["ETran"].set_index("network")["score"].to_dict() == pytest.approx(zoo, rel=1e-9, abs=1e-12)
    text, written = str(found), found.to_dict()
    assert "by ETran; larger is better\n\nrank  network" in text and "among others their scores would be" in text
    assert [row["network"] for row in written["others"]["H-score"]] == list(found.others["H-score"]["network"])
    # Where another metric comes first, what has no classifier is ranked all the same.
    found = rank(networks, images, metric=["H-score", "LEEP"], cache=None)
    assert len(found.table) == 3 and len(found.others["LEEP"]) == 2 and not found.failures
    assert "LEEP needs a network's own classifier, which is not there: c" in found.notes


def test_metrics_that_compare_networks_leave_out_those_they_cannot(images):
    blind = small("blind")
    nn.init.zeros_(blind.network[0].weight)
    networks = [small("a"), small("b", seed=1), blind]
    found = rank(networks, images, metric="NCTI", cache=None, batch=8)
    assert set(found.table["network"]) == {"a", "b"} and "variation" in found.failures["blind"]
    beside = rank(networks, images, metric=["nearest neighbour", "NCTI"], cache=None, batch=8)
    assert len(beside.table) == 3 and any(note.startswith("NCTI of blind: ") for note in beside.notes)
    pd.testing.assert_series_equal(found.table["score"], beside.others["NCTI"]["score"])


def test_networks_of_another_number_of_pixels(images, tmp_path):
    names = ["pocket:vit_tiny", "pocket:googlenet"]
    own, larger = rank(names, images, cache=None), rank(names, images, side=48, cache=tmp_path)
    assert own.table["side"].tolist() == own.table["own_side"].tolist() == larger.table["own_side"].tolist() == [32, 32]
    assert larger.table["side"].tolist() == [48, 48] and larger.about["side"] == 48
    assert not np.allclose(own.table["score"].sort_values(), larger.table["score"].sort_values(), atol=1e-4)
    assert "at 32 pixels; by left-out" in str(own) and "at 48 pixels (own 32); by left-out" in str(larger)
    mixed = rank([*names, small("mine")], images, cache=tmp_path)
    assert re.search(r"pixels  features\n", str(mixed)) is None and " pixels " in str(mixed)  # mine: not known
    assert not any("different sizes" in note for found in (own, larger, mixed) for note in found.notes)


def test_networks_that_see_images_of_different_sizes(images, tmp_path):
    manifest = write_manifest(tmp_path, "abc", sizes=(32, 64, 48))
    found = rank(str(manifest), images, cache=None)
    (note,) = (note for note in found.notes if "different sizes" in note)
    assert note.startswith("the networks looked at images of different sizes, 32 to 64 pixels: ") and "side=N (--side N)" in note
    assert note.endswith(size_matters(found.metric)) and size_matters(found.metric)
    other = rank(str(manifest), images, metric="NCE", cache=None)  # which was not scored at two sizes
    assert any(note.endswith("scores them all at N pixels") for note in other.notes)
    assert not any("different sizes" in note for note in rank(str(manifest), images, side=40, cache=None).notes)


def test_the_time_left_is_that_of_all_networks(images):
    said = []
    rank([small("a"), small("b", 1), small("c", 2)], images, cache=None, batch=8, progress=lambda *a: said.append(a[0]))
    left = [text for text in said if "images" in text or "image/s" in text]
    assert [("all networks: about" in text) for text in left if text.startswith("[1/3]")] == [True, True, True, False]
    assert not any("all networks: about" in text for text in left if text.startswith("[3/3]"))


def test_the_command_prints_and_writes(images, tmp_path, monkeypatch, capsys):
    manifest = write_manifest(tmp_path / "weights", "ab")
    out = {kind: tmp_path / f"out.{kind}" for kind in ("csv", "json", "svg")}
    arguments = ["rank", str(images), "--cache", str(tmp_path / "cache"), "--half", "--models"]
    files = ["--csv", str(out["csv"]), "--json", str(out["json"]), "--figure", str(out["svg"])]
    assert main([*arguments, str(manifest), *files]) == 0
    captured = capsys.readouterr()
    assert re.search("^rank  network +score +95 % interval", captured.out, re.M)
    assert "[1/2] a: 24 images in " in captured.err
    written = json.loads(out["json"].read_text(encoding="utf-8"))
    assert written["best"] in ("a", "b") and written["about"]["dtype"] == "float16"
    assert list(written["classes"]) == sorted(CLASSES)
    assert list(pd.read_csv(out["csv"])["network"]) == [row["network"] for row in written["table"]]
    assert out["svg"].read_text(encoding="utf-8").lstrip().startswith("<?xml")
    for suffix, begin in (("PNG", b"\x89PNG"), ("PDF", b"%PDF")):
        assert main([*arguments, f"{manifest}:a", "--figure", str(tmp_path / f"a.{suffix}")]) == 0
        assert (tmp_path / f"a.{suffix}").read_bytes().startswith(begin)
        assert "a alone was scored" in capsys.readouterr().out
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    # Of several metrics every table is written, one below the other.
    several = ["--metric", "SFDA", "--metric", "NCTI", "--csv", str(out["csv"]), "--figure", str(out["svg"])]
    assert main([*arguments, str(manifest), *several]) == 0 and "by NCTI; larger is" in capsys.readouterr().out
    assert pd.read_csv(out["csv"])["metric"].tolist() == ["SFDA"] * 2 + ["NCTI"] * 2
    assert "NCTI with 95 % interval" in out["svg"].read_text(encoding="utf-8")
    # On a terminal, progress is one line a network.
    arguments = ["rank", str(images), "--models", str(manifest), "--no-cache"]
    with monkeypatch.context() as patch:
        patch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        assert main([*arguments, "--batch", "8"]) == 0
    first, second, rest = (lines.split("\r") for lines in capsys.readouterr().err.split("\n"))
    assert re.findall(r"\[1/2\] a: +(\d+)%\|[# \d]+\| (\d+)/24 \[", " ".join(first)) == [("33", "8"), ("67", "16"), ("100", "24")]
    assert first[-1].startswith("[1/2] a: 24 images in ") and second[-1].startswith("[2/2] b: 24 images in ")
    assert "choosing ensembles" in rest[-3] and not "".join(rest[-2:]).strip()  # and the line is empty again
    # It says which network failed.
    load = backbones.load
    monkeypatch.setattr(backbones, "load", lambda name, **o: broken() if name.endswith(":a") else load(name, **o))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "Not ranked: a (TypeError: no such thing as this)." in captured.out
    assert "[1/2] a: failed: TypeError" in captured.err


# The command, whose second network never ends: wherever it is stopped, that one is at work.
COMMAND = """
import signal, sys, time
from sfda.__main__ import main
from sfda.networks import backbones

def never_ending(name, load=backbones.load, **options):
    backbone = load(name, **options)
    if name.endswith(":b"):
        backbone.network.register_forward_pre_hook(lambda *_: print("at work", file=sys.stderr, flush=True) or time.sleep(600))
    return backbone
backbones.load = never_ending
# Where the tests run in the background, SIGINT is ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(["rank", *arguments]))
"""


def stopped(arguments, how):
    """Run the command, stop it when the second network is at work, and return its exit code and the rest of what it wrote."""
    run, lines = forked(COMMAND, arguments=arguments)
    with lines:
        first = lines.readline() + lines.readline()
        os.kill(run.pid, how)
        rest = lines.read()
    run.join(120)
    assert re.fullmatch(r"\[1/2\] a: .*\nat work\n", first), first + rest
    return run.exitcode, rest


def test_a_killed_run_goes_on_where_it_was(images, tmp_path, capsys):
    cache = tmp_path / "cache"
    arguments = [str(images), "--models", str(write_manifest(tmp_path / "weights", "ab")), "--batch", "1", "--cache"]
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
        tables.append(pd.read_csv(tmp_path / "out.csv"))
        captured, resumed = capsys.readouterr(), folder == cache
        assert ("[1/2] a: 24 images from the cache" in captured.err) == resumed
        assert "[2/2] b: 24 images in " in captured.err
        assert (len(re.findall(r"  cached  ", captured.out)) == 1) == resumed
    same_but_for_time(*tables)
    assert tables[0].set_index("network")["cached"].to_dict() == {"a": True, "b": False}


def test_the_zoos_are_those_of_the_library_and_torch_waits_until_it_is_needed():
    code = "import sys, sfda.rank.run, sfda.__main__ as m\ntry: m.main(['rank', '--help'])\nfinally: print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"{{{','.join(checkpoints.ZOOS)}}}" in run.stdout and run.returncode == 0 and run.stdout.endswith("\nFalse\n")
    assert set(LEFT_OUT) <= set(METRICS)
