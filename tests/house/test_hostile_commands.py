"""Hostile folders, files and names on the command line: one line on what is wrong, never a traceback."""

import contextlib
import io
import json
import os
import pickle
import re
import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfda.__main__ import build_parser, main

torch = pytest.importorskip("torch")
pytest.importorskip("timm")  # which brings safetensors

from safetensors.torch import save_file

from sfda import files
from sfda.images.image_sets import read_image
from sfda.networks import backbones
from sfda.networks.weights import read_state


def refused(arguments, capsys):
    """The one line with which a command ends."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m sfda: ") and error.count("\n") == 1, error
    return error


COMMANDS = next(action.choices for action in build_parser()._actions if action.choices)
WORDS = st.sampled_from([
    "", " ", "0", "-1", "1e9", "9" * 30, "nan", "\0", "\udcff", "\u0663", "\u00b2", "a\nb", "--", "-x", "*", "%s", "{}", "~", ".", "/",
    "/dev/null", "no/such", "a" * 300, "=", ":", "pocket:", "timm:", "timm:x", "torchvision:resnet18=", "torchvision:resnet18:X",
    "self-supervised:", "m.json:x", "byol", "digits", "paper", "vit", "SFDA", "cuda:99", "xpu:0", "meta", "tcp://127.0.0.1:9", "x.png",
]) | st.text(max_size=6)  # fmt: skip


@st.composite
def calls(draw):
    """A command with some of its options, and values that are mostly none; and what keeps it from work."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    options = [action for action in COMMANDS[command]._actions if action.option_strings]
    arguments = [command, *draw(st.lists(WORDS, max_size=2))]
    for option in draw(st.lists(st.sampled_from(options), max_size=4, unique=True)):
        most = 0 if option.nargs == 0 else 2 if option.nargs == "+" else 1
        arguments += [option.option_strings[-1], *draw(st.lists(WORDS, min_size=most and 1, max_size=most))]
    known = {name for option in options for name in option.option_strings}
    folders = [part for name in ("--tables", "--cells", "--weights", "--cache") if name in known for part in (name, "work")]
    return [*arguments, *folders, *(["--models", "no such network"] if "--models" in known else ["--tasks", "no such task"])]


@given(calls())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_arguments_end_in_one_line(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    # As of a process, which names that are no text do not stop.
    said = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(arguments)
        except SystemExit as stop:  # argparse's
            code = stop.code
            assert code in (0, 2)
    said.flush()
    text = said.buffer.getvalue().decode()
    if code == 0:
        assert not text and {"--collect", "--help"} & {*arguments}
    elif text.startswith("usage: "):
        assert code == 2 and re.search(r"^python -m sfda( \w+)?: error: ", text, re.M)
    else:
        assert code == 2 and re.fullmatch(r"python -m sfda: .+\n", text)


@pytest.mark.parametrize("name", ["a\nb", "\u202eevil", "😀", "-x", "[a]*", "%s{0}", "é" * 127, "\udcff", " "])
def test_classes_of_any_name(tmp_path, name, capsys):
    for folder in (name, "other"):
        (tmp_path / "images" / folder).mkdir(parents=True)
    (tmp_path / "images" / "other" / "a.png").write_bytes(b"")
    line = refused(["rank", str(tmp_path / "images"), "--models", "pocket:byol"], capsys)
    assert "has no images; put some there or remove its folder" in line


def test_an_image_bomb_is_not_decoded():
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(OSError, match="bomb cannot be read .DecompressionBomb"):
        read_image(io.BytesIO(bomb + struct.pack(">I", 0) + b"IDAT" + bytes(4)), "bomb")


def test_circles_of_links(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "c")
    for place in (tmp_path, tmp_path / "c"):
        refused(["rank", str(place), "--models", "pocket:byol"], capsys)


class Code:
    def __reduce__(self):
        return os.mkdir, (str(Code.place),)


def test_code_in_pickles_and_manifests_is_refused_without_being_run(tmp_path, capsys):
    Code.place = tmp_path / "ran"
    array = np.empty(1, object)
    array[0] = Code()
    np.savez(tmp_path / "images.npz", **dict.fromkeys(("buf", "off", "label", "classes", "split", "name"), array))
    refused(["rank", str(tmp_path / "images.npz"), "--models", "pocket:byol"], capsys)
    for name in ("net.pth", "net.safetensors", "net.bin"):
        (tmp_path / name).write_bytes(pickle.dumps({"state_dict": Code()}))
        with pytest.raises(ValueError, match="cannot be read"):
            read_state("x", tmp_path / name)
    torch.save({"w": Code()}, tmp_path / "saved.pth")
    with pytest.raises(ValueError, match="could run code"):
        read_state("x", tmp_path / "saved.pth")
    # Nor does a manifest call anything but builders.
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Code()))
    save_file({"a": torch.ones(1)}, tmp_path / "n.safetensors")
    for callable_ in (
        "timm.models.load_checkpoint", "timm.models._helpers.load_state_dict", "torchvision.datasets.utils.download_url",
        "torchvision.datasets.utils.extract_archive", "torchvision.models.resnet.load_state_dict_from_url", "timm.list_models",
    ):  # fmt: skip
        entry = {"file": "n.safetensors", "input_size": [3, 32, 32], "normalisation": {"mean": [0] * 3, "std": [1] * 3},
                 "builder": {"callable": callable_, "args": [str(tmp_path / "evil.pth")], "kwargs": {}}}  # fmt: skip
        (tmp_path / "m.json").write_text(json.dumps({"models": [entry]}))
        with pytest.raises(ValueError, match="is refused|cannot be built"):
            backbones.load(f"{tmp_path / 'm.json'}:n")
    assert not Code.place.exists()


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 10**9) + b"{" * 50,
                                     struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,4]}}'])  # fmt: skip
def test_weights_with_absurd_headers(tmp_path, content, capsys):
    (tmp_path / "byol.safetensors").write_bytes(content)
    arguments = ["score", "--models", "byol", "--tasks", "digits", "--weights", str(tmp_path), "--tables", str(tmp_path)]
    assert "byol.safetensors cannot be read" in refused(arguments, capsys)


@pytest.mark.parametrize(("text", "message"), [
    ("networks = 5", "networks: expected a list of names, got 5"), ("networks = [5]\ntasks=['digits']", "networks: expected a list of names"),
    ("networks = ['timm:x']\ntasks = 'digits'", "tasks: expected a list of names"), ("seeds = ['a']", "seeds: expected a list of whole"),
    ("side = 'x'", "side: expected a whole number"), ("group = []", "group: expected a name"), ("protocol = []", "protocol: expected a table"),
    ("\0", "expected TOML"), ("seeds = = 3", "expected TOML"), ("", "expected a list 'networks'"),
    ("task = 5", "expected the keys networks, group, tasks, seeds, side, protocol, got 'task'"),
    ("[protocol]\nstep = 2", "expected the keys rates, decays, every_pair, steps, batch, plain, got 'step'"),
    ("networks = ['timm:resnet18']\ntasks = []", "expected a list 'tasks'"),
    ("networks = ['timm:resnet18']\ntasks = ['imagenet']", "expected tasks among digits, "),
    ("networks = ['timm:resnet18', 'timm:resnet18']\ntasks = ['digits']", "two networks have one name"),
    ("networks = ['torchvision:resnet1000']\ntasks = ['digits']", "torchvision has no 'resnet1000'"),
])  # fmt: skip
def test_grids_that_are_none(tmp_path, text, message, capsys):
    (tmp_path / "g.toml").write_text(text)
    line = refused(["benchmark", str(tmp_path / "g.toml"), "--cells", str(tmp_path)], capsys)
    assert message in line and ("g.toml" in line or "resnet1000" in line)


def test_names_that_are_no_text_are_printed_as_escapes(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    files.say("class \udcff")
    assert out.buffer.getvalue() == b"class \\udcff\n"
