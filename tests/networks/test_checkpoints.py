"""The paper's networks, from files of random weights under the official names: no network is needed."""

import dataclasses
import functools
import hashlib
import os
import re
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import timm
import torch
import torchvision
from small_networks import Squares, as_images, equal, file_of, numbered, old_densenet, untrained

from sfda.networks.backbones import load
from sfda.networks.checkpoints import SELF_SUPERVISED, SUPERVISED, TRANSFORMERS, renamed_simclr_v2, shapes_of
from sfda.networks.extract import checksum, extract
from sfda.networks.weights import set_layer

MNASNET, SWAV, MOCO = "torchvision:mnasnet1_0:IMAGENET1K_V1", "self-supervised:swav", "self-supervised:moco-v1"
OTHER = "these are not its weights"
TOO_DEEP = {"layers.2.blocks.6.attn.relative_position_bias_table": torch.zeros(169, 12)}


@functools.cache
def state_of(name):
    """Weights of a transformer of the paper, or of a network of torchvision, in our names."""
    return numbered((TRANSFORMERS[name].build() if name in TRANSFORMERS else untrained(name, "meta")).state_dict())


@pytest.mark.parametrize("name", SUPERVISED)
def test_the_papers_supervised_networks(name, tmp_path, undrawn):
    entry, (_, architecture, weights) = SUPERVISED[name], name.split(":")
    network = untrained(architecture, "meta")
    state, old = numbered(network.state_dict()), architecture.startswith("densenet")
    torch.save(old_densenet(state) if old else state, tmp_path / entry.file)
    before = torch.hub.get_dir(), dict(os.environ)
    found = load(name, folder=tmp_path)
    assert (torch.hub.get_dir(), dict(os.environ)) == before
    assert equal(found.network, {
        key: value for key, value in state.items()
        if not key.lower().startswith("aux") and not (old and key.endswith("num_batches_tracked"))
    })
    side = 299 if architecture == "inception_v3" else 224
    assert as_images(found, 1).shape[2:] == found.input_size == (side, side)
    # The library says the same of where they are and how many.
    weights = torchvision.models.get_model_weights(architecture)[weights]
    assert entry.url == weights.url and entry.licence == "not stated"
    assert entry.sha256 == torch.hub.HASH_REGEX.search(entry.file)[1] and len(entry.sha256) >= 8
    whole = sum(p.numel() for p in network.parameters())  # Inception's number has its auxiliary classifier
    assert weights.meta["num_params"] == (whole if architecture == "inception_v3" else found.parameters)


def test_a_folder_of_weights_goes_before_that_of_the_hub(tmp_path, monkeypatch, undrawn):
    """Whichever way the hub was told where it is, it is there again afterwards."""
    name = "torchvision:mobilenet_v2:IMAGENET1K_V1"
    for folder, number in (("hub/checkpoints", 1.0), ("here", 2.0)):
        (tmp_path / folder).mkdir(parents=True)
        filled = {key: torch.full_like(value, number) for key, value in state_of("mobilenet_v2").items()}
        torch.save(filled, tmp_path / folder / SUPERVISED[name].file)
    for home, chosen in ((tmp_path, None), (tmp_path / "later", str(tmp_path / "hub"))):
        monkeypatch.setenv("TORCH_HOME", str(home))
        monkeypatch.setattr(torch.hub, "_hub_dir", chosen)  # as set_dir does
        networks = [load(name, folder=folder).network for folder in (tmp_path / "here", None)]
        assert [network.classifier[1].bias[0].item() for network in networks] == [2, 1]
        assert str(torch.hub.get_dir()) == str(tmp_path / "hub")


@pytest.fixture(scope="module")
def resnet50():
    torch.manual_seed(1)
    return torchvision.models.resnet50(weights=None).eval()


def boxed(name, state):
    """The encoder's weights within what the authors' files have around them."""
    for box, names in (("model", ["infomin", "insdis", "deit_tiny", "deit_small", "deit_base", "swin_t"]),
                       ("state_dict", ["moco-v1", "moco-v2", "pcl-v1", "pcl-v2", "mocov3_small"])):
        if name in names:
            return {box: state, "epoch": 200, "optimizer": {"lr": 0.1}}
    return state


@pytest.mark.parametrize("name", SELF_SUPERVISED)
def test_the_papers_self_supervised_networks(name, tmp_path, resnet50, undrawn):
    """Files as their authors wrote them: other layers beside the encoder, other names, a box around."""
    entry, full = SELF_SUPERVISED[name], f"self-supervised:{name}"
    own = {k: v for k, v in (resnet50.state_dict() if name == "moco-v1" else state_of("resnet50")).items() if not k.startswith("fc.")}
    others = [f"{entry.prefix}fc.0.weight", "prototypes.weight", "projection_head.0.weight", "head_jig.fc1.weight"]
    if entry.readable:
        others += ["encoder_k.conv1.weight"] if entry.prefix else []
        state = {f"module.{entry.prefix}{k}": v for k, v in own.items()}
        content, file = boxed(name, state | {f"module.{other}": torch.zeros(2) for other in others}), entry.file
    else:
        with pytest.raises(FileNotFoundError, match=f"convert it to a state dict.*{name}.pth"):
            load(full, folder=tmp_path)
        content, file = own, f"{name}.pth"
    # The older of torch's two formats, as files of those years have it.
    torch.save(content, tmp_path / file, _use_new_zipfile_serialization=name != "moco-v1")
    found = load(full, folder=tmp_path)
    assert equal(found.network, own) and found.network.state_dict().keys() == own.keys()
    assert found.parameters == 23_508_032 and found.input_size == (224, 224)
    assert entry.licence and not entry.sha256 and (len(entry.md5) == 8) == name.startswith("moco")
    if name == "moco-v1":
        x, images = extract(found, Squares(2), "x"), as_images(found, 2)
        with torch.no_grad():
            pooled = torch.nn.Sequential(*list(resnet50.children())[:-1])(images).flatten(1)
        np.testing.assert_allclose(x.features, pooled.numpy(), rtol=1e-3, atol=1e-4)
        preset = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
        torch.testing.assert_close(images[0], preset(Squares()[0][0]))
        # Nothing in it is random, or its features would never be found in a cache.
        assert checksum(load(full, folder=tmp_path).network) == checksum(found.network)


# As published, in millions: the model zoos of DeiT, DINO, PVT and Swin; MoCo v3's is DINO's encoder.
MILLIONS = {
    "deit_tiny": 5, "deit_small": 22, "deit_base": 86, "dino_small": 21, "mocov3_small": 21, "pvtv2_b2": 25.4,
    "pvt_tiny": 13.2, "pvt_small": 24.5, "pvt_medium": 44.2, "swin_t": 28,
}


def as_published(name, state):
    """Our network's weights in the names, and with the company, that the authors' file has them in."""
    if name == "pvtv2_b2":
        for ours, theirs in (
            (r"^patch_embed\.", "patch_embed1."), (r"\.dwconv\.", ".dwconv.dwconv."),
            (r"^stages\.(\d)\.downsample\.", lambda m: f"patch_embed{int(m[1]) + 1}."),
            (r"^stages\.(\d)\.(block|norm)s?\.", lambda m: f"{m[2]}{int(m[1]) + 1}."),
        ):
            state = {re.sub(ours, theirs, key): value for key, value in state.items()}
    elif name == "swin_t":
        state = {
            re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key)
            .replace("head.fc.", "head."): value for key, value in state.items()
        } | {
            "layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49),
            "layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64),
        }
    elif name == "mocov3_small":
        state = {f"module.base_encoder.{key}": value for key, value in state.items()} | {
            "module.base_encoder.head.0.weight": torch.zeros(2), "module.predictor.0.weight": torch.zeros(2),
            "module.momentum_encoder.norm.bias": torch.zeros(384),
        }
    return boxed(name, state)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_papers_transformers(name, tmp_path, undrawn):
    entry, state = TRANSFORMERS[name], state_of(name)
    torch.save(as_published(name, state), tmp_path / entry.file)
    found = load(f"transformer:{name}", folder=tmp_path)
    assert equal(found.network, state) and found.network.state_dict().keys() == state.keys()
    published, millions = MILLIONS[name], found.parameters / 1e6
    assert (round(millions, 1) if isinstance(published, float) else int(millions)) == published
    assert found.input_size == (224, 224) == as_images(found, 1).shape[2:]
    assert entry.licence in ("Apache-2.0", "MIT", "CC-BY-NC-4.0")
    assert entry.sha256 == (entry.file.removesuffix(".pth")[-8:] if name.startswith("deit") else "")
    if name in ("mocov3_small", "dino_small"):
        assert found.network.blocks[0].attn.num_heads == (12 if name == "mocov3_small" else 6)
    if name == "dino_small":  # the same weights in timm's names, as NAME.pth
        (tmp_path / entry.file).unlink()
        torch.save({"state_dict": state}, tmp_path / f"{name}.pth")
        assert equal(load(f"transformer:{name}", folder=tmp_path).network, state)


@pytest.mark.parametrize(("name", "width"), [("deit_tiny", 192), ("pvtv2_b2", 512), ("pvt_tiny", 512), ("swin_t", 768)])
def test_what_is_taken_of_transformers(name, width, tmp_path, undrawn):
    torch.manual_seed(0)
    network = TRANSFORMERS[name].build().eval()
    for p in network.parameters():  # beside norms of one and biases of zero any pooling looks alike
        p.data.normal_(0.5 * (p.ndim == 1), 0.03)
    torch.save(as_published(name, network.state_dict()), tmp_path / TRANSFORMERS[name].file)
    found = load(f"transformer:{name}", folder=tmp_path)
    x, images = extract(found, Squares(2), "x"), as_images(found, 2)
    assert x.layer == ("stages.3.norm" if name == "pvtv2_b2" else "norm") and x.features.shape == (2, width)
    with torch.no_grad():
        if name in ("deit_tiny", "pvt_tiny"):  # after the norm of the class token comes the classifier
            logits = network.head(network.norm(torch.from_numpy(x.features)))
            torch.testing.assert_close(logits, network(images), rtol=1e-3, atol=1e-4)
        # The network itself says what there is without its last normalisation and its classifier.
        for layer in (x.layer, "head.fc" if name == "swin_t" else "head"):
            set_layer(network, layer, torch.nn.Identity())
        np.testing.assert_allclose(x.features, network(images).numpy(), rtol=1e-4, atol=1e-4)


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


def of_moco(state):
    return {"state_dict": {f"module.encoder_q.{key}": value for key, value in state.items()}}


def test_simclr_v2_in_the_names_that_its_converter_writes():
    theirs = {
        "net.0.0.weight": "conv1.weight", "net.0.1.0.running_mean": "bn1.running_mean",
        "net.1.blocks.0.projection.shortcut.weight": "layer1.0.downsample.0.weight",
        "net.2.blocks.0.projection.bn.0.bias": "layer2.0.downsample.1.bias",
        "net.1.blocks.0.net.0.weight": "layer1.0.conv1.weight", "net.1.blocks.0.net.1.0.weight": "layer1.0.bn1.weight",
        "net.3.blocks.5.net.2.weight": "layer3.5.conv2.weight", "net.3.blocks.5.net.3.0.bias": "layer3.5.bn2.bias",
        "net.4.blocks.2.net.4.weight": "layer4.2.conv3.weight", "net.4.blocks.2.net.5.0.running_var": "layer4.2.bn3.running_var",
    }  # fmt: skip
    assert set(theirs.values()) < set(torchvision.models.resnet50().state_dict())
    numbers = {name: i for i, name in enumerate(theirs)}
    ours = renamed_simclr_v2(numbers)
    assert ours == {theirs[name]: i for name, i in numbers.items()} and renamed_simclr_v2(ours) is ours


@pytest.mark.parametrize(("name", "content", "message"), [
    *((name, {"a": Evil()}, "could run code") for name in (
        MNASNET, SWAV, "transformer:pvt_tiny", "torchvision:resnet18=mine.pth", "timm:test_vit=mine.pth")),
    (MNASNET, lambda: state_of("mobilenet_v2"), f"{MNASNET}: "), (MOCO, b"half a file", "cannot be read: it is damag"),
    (MNASNET, lambda: headless(state_of("mnasnet1_0")), f"{OTHER}.*; missing: classifier.1.weight, classifier.1.bias"),
    (MOCO, of_moco({"conv1.weight": torch.zeros(64, 3, 7, 7)}), f"moco-v1: {OTHER}"),
    (MOCO, lambda: of_moco(state_of("resnet101")), f"{OTHER}, of which there are 318; unknown: layer3.6.conv1.weight"),
    ("transformer:pvt_tiny", lambda: state_of("pvt_medium"), f"transformer:pvt_tiny: {OTHER}"),
    ("transformer:deit_tiny", lambda: state_of("dino_small"), f"transformer:deit_tiny: {OTHER}"),
    ("transformer:swin_t", lambda: state_of("pvtv2_b2"), f"transformer:swin_t: {OTHER}"),
    # Swin's renaming asks the network for every layer of the file.
    ("transformer:swin_t", lambda: as_published("swin_t", TOO_DEEP | state_of("swin_t")), f"swin_t: {OTHER}"),
    ("torchvision:resnet18=mine.pth", None, "mine.pth is missing"),
    ("torchvision:resnet18=mine.pth", b"half a file", "mine.pth cannot be read: it is damaged"),
    ("torchvision:resnet18=mine.pth", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS, not the file"),
    ("timm:test_vit=mine.safetensors", b"half a file of tensors", "mine.safetensors cannot be read"),
    ("timm:test_vit=mine.pth", [1, 2], "expected mine.pth to hold a state dict.*found list"),
    ("timm:test_vit=mine.pth", {"net": {"w": torch.zeros(1)}, "epoch": 1}, "state dict.*found net, epoch"),
    ("torchvision:resnet18=mine.pth", {"conv1.weight": torch.zeros(64, 3, 7, 7)}, rf"{OTHER}.*; missing: bn1.weight, bn1.bias, bn1.running_mean \(99\)$"),
    ("timm:test_vit=mine.pth", {}, OTHER),
    ("timm:test_vit=mine.pth", {"model": {"a.b": torch.zeros(1)}}, rf"{OTHER}.*missing: cls_token, .*; unknown: a.b \(1\)$"),
])
def test_files_that_do_not_hold_the_networks_weights(name, content, message, tmp_path, monkeypatch, capsys, undrawn):
    monkeypatch.chdir(tmp_path)
    file, content = Path(file_of(name)), content() if callable(content) else content
    if content is not None:
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as refused:
        load(name, folder=tmp_path)
    assert "\n" not in str(refused.value) and "code was run" not in capsys.readouterr().out


def before(word, state):
    return {f"{word}{key}": value for key, value in state.items()}


# What training scripts save around a state dict, and which of it is said to be taken.
BOXES = {
    "module": (lambda s: before("module.", s), ""), "compile": (lambda s: before("_orig_mod.", s), "its weights are those under '_orig_mod.'"),
    "both": (lambda s: before("module._orig_mod.", s), "its weights are those under 'module._orig_mod.'"),
    "Lightning": (lambda s: {"epoch": 3, "state_dict": before("model.net.", s) | {"loss.weight": torch.ones(3)}}, "its weights are those under 'model.net.'; left out: 1 other"),
    "timm": (lambda s: {"arch": "x", "state_dict": other_than(s), "state_dict_ema": s}, "averaged weights, 'state_dict_ema', were taken"),
    "averages of parallel training": (lambda s: {"model": other_than(s), "model_ema": before("module.", s)}, "averaged weights, 'model_ema', were taken"),
    "backbone": (lambda s: before("backbone.", headless(s)) | {"projector.0.weight": torch.ones(2, 2)}, "its weights are those under 'backbone.'; left out: 1 other"),
    "without a head": (lambda s: headless(s), ""), "a box of any name": (lambda s: {"net": s, "optimizer": {"state": {0: torch.ones(2)}}}, ""),
    "a teacher": (lambda s: {"student": before("module.", other_than(s)), "teacher": s}, "averaged weights, 'teacher', were taken"),
    "averages beside": (lambda s: {"state_dict": before("model.", other_than(s)) | before("ema_model.", s)}, "averaged weights, 'ema_model.', were taken; left out: N others"),
    "buffers of another name": (lambda s: {"momentum": other_than(s), "model": s}, ""),
    "a larger teacher": (lambda s: {"student": s, "teacher": other_than(s) | {"more.weight": torch.ones(2)}}, ""),
    "two alike": (lambda s: {"first": s, "second": other_than(s)}, "of 2 alike those in 'first' were taken"),
    "averages of torch": (lambda s: before("module.", s) | {"n_averaged": torch.tensor(3)}, "left out: 1 other"),
}  # fmt: skip


def other_than(state):
    return {key: torch.zeros_like(value) for key, value in state.items()}


def headless(state):
    return {key: value for key, value in state.items() if not key.startswith(("fc.", "head.", "classifier."))}


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("name", ["torchvision:squeezenet1_1", "timm:test_vit", "torchvision:resnet18"])
def test_weights_as_training_scripts_save_them(name, box, tmp_path):
    library, _, architecture = name.partition(":")
    build = timm.create_model if library == "timm" else torchvision.models.get_model
    state, (saved, note) = build(architecture, num_classes=3).state_dict(), BOXES[box]
    torch.save(saved(state), tmp_path / "mine.pth")
    found = load(f"{name}={tmp_path / 'mine.pth'}")
    assert found.note == note.replace("N others", f"{len(state)} others")
    assert all(torch.equal(found.network.state_dict()[key], value) for key, value in headless(state).items())


@pytest.fixture
def published(tmp_path):
    """A small file of weights for MNASNet, where downloads come from."""
    (tmp_path / "elsewhere").mkdir()
    torch.save(state_of("mnasnet1_0"), tmp_path / "elsewhere" / "weights.pth")
    return tmp_path / "elsewhere" / "weights.pth"


def put(monkeypatch, name, file, **change):
    """The place of a network's weights, and more of it, becomes another."""
    if name == MNASNET:
        monkeypatch.setattr(torchvision.models.MNASNet1_0_Weights.IMAGENET1K_V1.value, "url", file.as_uri())
    elif name.startswith("timm:"):
        monkeypatch.setattr(timm, "create_model", Mock(side_effect=OSError("no route to host")))
    else:
        key = name.partition(":")[2]
        entry = dataclasses.replace(SELF_SUPERVISED[key], url=file.as_uri(), **change)
        monkeypatch.setitem(SELF_SUPERVISED, key, entry)


def test_the_checksum_of_a_download(published, tmp_path, monkeypatch):
    """torchvision's, ours by name and ours by MD5."""
    folder, content = tmp_path / "here", published.read_bytes()
    sha256, md5 = (hashlib.new(algorithm, content).hexdigest()[:8] for algorithm in ("sha256", "md5"))
    by_name = published.with_name(f"net-{sha256}.pth")
    by_name.write_bytes(content)
    ours = {"prefix": "", "build": lambda: untrained("mnasnet1_0"), "layer": "classifier.1"}
    put(monkeypatch, MNASNET, by_name)
    put(monkeypatch, SWAV, by_name, **ours)
    put(monkeypatch, MOCO, published, md5=md5, **ours)
    for name in (MNASNET, SWAV, MOCO):
        assert equal(load(name, folder=folder).network, state_of("mnasnet1_0"))
    assert {path.name for path in folder.iterdir()} == {by_name.name, published.name}
    by_name.unlink()
    published.unlink()
    for name in (MNASNET, SWAV, MOCO):  # found there now: the places they came from are not asked again
        load(name, folder=folder)


@pytest.mark.parametrize(("name", "file", "error", "message"), [
    (MNASNET, "net-0badc0de.pth", ValueError, f"^{MNASNET}: .*0badc0de"),
    (SWAV, "net-0badc0de.pth", ValueError, f"^{SWAV}: .*0badc0de"),
    (MOCO, "md5.pth", ValueError, f"^{MOCO}: .*0badc0de"),
    (SWAV, "half.pth", ValueError, "half.pth cannot be read: it is damaged"),
    (SWAV, "gone.pth", FileNotFoundError, "gone.pth is not in .*here and cannot be .*put file://.* there"),
    (MNASNET, "gone.pth", FileNotFoundError, f"{MNASNET}: gone.pth is not in .*here and cannot be"),
    ("timm:test_vit", "gone.pth", FileNotFoundError, "test_vit.safetensors is not in .*here .*no route.*put it there"),
])
def test_bad_downloads_leave_nothing(name, file, error, message, published, tmp_path, monkeypatch):
    for other, size in (("net-0badc0de.pth", None), ("md5.pth", None), ("half.pth", 1000)):
        published.with_name(other).write_bytes(published.read_bytes()[:size])
    put(monkeypatch, name, published.with_name(file), md5="0badc0de" if file == "md5.pth" else "")
    with pytest.raises(error, match=message) as refused:
        load(name, folder=tmp_path / "here")
    assert "\n" not in str(refused.value) and list((tmp_path / "here").glob("*")) == []


def test_shapes_need_no_numbers_but_where_a_library_asks_for_them():
    def asks():  # as timm's older transformers do
        return torch.nn.Linear(2, int(torch.linspace(0, 3, 4)[-1].item()))

    assert next(shapes_of(lambda: torch.nn.Linear(2, 3)).parameters()).is_meta
    network = shapes_of(asks)
    assert network.weight.shape == (3, 2) and network.weight.device.type == "cpu"
