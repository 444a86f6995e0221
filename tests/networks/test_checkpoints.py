"""The paper's networks, from files of random weights under the official names: no network is needed."""

import dataclasses
import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import torchvision
from small_networks import Squares, as_images, equal, numbered, old_densenet, untrained

from sfda.networks.backbones import load
from sfda.networks.checkpoints import SELF_SUPERVISED, SUPERVISED, TRANSFORMERS
from sfda.networks.extract import checksum, extract


@pytest.mark.parametrize("name", SUPERVISED)
def test_the_papers_supervised_networks(name, tmp_path, undrawn):
    entry, (_, architecture, weights) = SUPERVISED[name], name.split(":")
    network = untrained(architecture, "meta")
    state = numbered(network.state_dict())
    old = architecture.startswith("densenet")
    torch.save(old_densenet(state) if old else state, tmp_path / entry.file)
    before = torch.hub.get_dir(), dict(os.environ)
    found = load(name, folder=tmp_path)
    assert (torch.hub.get_dir(), dict(os.environ)) == before
    assert equal(found.network, {
        key: value for key, value in state.items()
        if not key.lower().startswith("aux") and not (old and key.endswith("num_batches_tracked"))
    })  # fmt: skip
    side = 299 if architecture == "inception_v3" else 224
    assert as_images(found, 1).shape[2:] == found.input_size == (side, side)
    # The library says the same of where they are and how many.
    weights = torchvision.models.get_model_weights(architecture)[weights]
    assert entry.url == weights.url and entry.licence == "not stated"
    assert entry.sha256 == torch.hub.HASH_REGEX.search(entry.file)[1] and len(entry.sha256) >= 8
    whole = sum(p.numel() for p in network.parameters())  # Inception's number has its auxiliary classifier
    assert weights.meta["num_params"] == (whole if architecture == "inception_v3" else found.parameters)


@pytest.mark.parametrize("architecture", ["mobilenet_v2", "mnasnet1_0"])
def test_what_is_taken_of_supervised_networks(architecture, tmp_path):
    name = f"torchvision:{architecture}:IMAGENET1K_V1"
    torch.manual_seed(0)
    network = untrained(architecture)
    torch.save(network.state_dict(), tmp_path / SUPERVISED[name].file)
    found = load(name, folder=tmp_path)
    x = extract(found, Squares(), "x")
    layer = network.get_submodule(x.layer)
    with torch.no_grad():
        logits = network(as_images(found))
        ours = torch.from_numpy(x.features) @ layer.weight.T + layer.bias
    torch.testing.assert_close(ours, logits, rtol=1e-3, atol=1e-3)


MNASNET = "torchvision:mnasnet1_0:IMAGENET1K_V1"


def test_a_folder_of_weights_goes_before_that_of_the_hub(tmp_path, monkeypatch, undrawn):
    """Whichever way the hub was told where it is, it is there again afterwards."""
    name = "torchvision:mobilenet_v2:IMAGENET1K_V1"
    for folder, number in (("hub/checkpoints", 1.0), ("here", 2.0)):
        (tmp_path / folder).mkdir(parents=True)
        state = untrained("mobilenet_v2", "meta").state_dict()
        filled = {key: torch.tensor(number).expand(value.shape) for key, value in state.items()}
        torch.save(filled, tmp_path / folder / SUPERVISED[name].file)

    def loaded(folder):
        return load(name, folder=folder).network.classifier[1].bias[0].item()

    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert [loaded(tmp_path / "here"), loaded(None)] == [2, 1]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "later"))
    torch.hub.set_dir(tmp_path / "hub")
    assert [loaded(tmp_path / "here"), loaded(None)] == [2, 1]
    assert str(torch.hub.get_dir()) == str(tmp_path / "hub")


def test_weights_of_another_network_are_refused(tmp_path):
    other = numbered(untrained("mobilenet_v2", "meta").state_dict())
    torch.save(other, tmp_path / SUPERVISED[MNASNET].file)
    with pytest.raises(ValueError, match=f"{MNASNET}: "):
        load(MNASNET, folder=tmp_path)


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize(("name", "file"), [
    (MNASNET, SUPERVISED[MNASNET].file), ("self-supervised:swav", SELF_SUPERVISED["swav"].file),
    ("transformer:pvt_tiny", "pvt_tiny.pth"), ("torchvision:resnet18={}", "mine.pth"),
    ("timm:test_vit={}", "mine.pth"),
])
def test_a_pickle_that_runs_code_is_not_read(name, file, tmp_path, capsys):
    torch.save({"a": Evil()}, tmp_path / file)
    with pytest.raises(ValueError, match="could run code"):
        load(name.format(tmp_path / file), folder=tmp_path)
    assert "code was run" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def resnet50():
    torch.manual_seed(1)
    return torchvision.models.resnet50(weights=None).eval()


#: What the authors' files have around the encoder's weights.
BOXES = {
    "infomin": "model", "insdis": "model", "moco-v1": "state_dict", "moco-v2": "state_dict",
    "pcl-v1": "state_dict", "pcl-v2": "state_dict", "deit_tiny": "model", "deit_small": "model",
    "deit_base": "model", "mocov3_small": "state_dict", "swin_t": "model",
}  # fmt: skip


def boxed(name, state):
    return {BOXES[name]: state, "epoch": 200, "optimizer": {"lr": 0.1}} if name in BOXES else state


@pytest.mark.parametrize("name", SELF_SUPERVISED)
def test_the_papers_self_supervised_networks(name, tmp_path, resnet50, undrawn):
    """Files as their authors wrote them: other layers beside the encoder, other names, a box around."""
    entry = SELF_SUPERVISED[name]
    own = {k: v for k, v in resnet50.state_dict().items() if not k.startswith("fc.")}
    if entry.readable:
        state = {f"module.{entry.prefix}{k}": v for k, v in own.items()} | {
            f"module.{entry.prefix}fc.0.weight": torch.zeros(3), "module.prototypes.weight": torch.zeros(2),
            "module.projection_head.0.weight": torch.zeros(2), "module.head_jig.fc1.weight": torch.zeros(1),
        }  # fmt: skip
        if entry.prefix:
            state["module.encoder_k.conv1.weight"] = torch.zeros(1)
        content, file = boxed(name, state), entry.file
    else:
        with pytest.raises(FileNotFoundError, match=f"convert it to a state dict.*{name}.pth"):
            load(f"self-supervised:{name}", folder=tmp_path)
        content, file = own, f"{name}.pth"
    # The older of torch's two formats, as files of those years have it.
    torch.save(content, tmp_path / file, _use_new_zipfile_serialization=name != "moco-v1")
    found = load(f"self-supervised:{name}", folder=tmp_path)
    assert equal(found.network, own) and found.network.state_dict().keys() == own.keys()
    assert found.parameters == 23_508_032 and found.input_size == (224, 224)
    assert entry.licence and not entry.sha256 and (len(entry.md5) == 8) == name.startswith("moco")
    if name == "moco-v1":
        x = extract(found, Squares(2), "x")
        images = as_images(found, 2)
        with torch.no_grad():
            pooled = torch.nn.Sequential(*list(resnet50.children())[:-1])(images).flatten(1)
        np.testing.assert_allclose(x.features, pooled.numpy(), rtol=1e-3, atol=1e-4)
        preset = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
        torch.testing.assert_close(images[0], preset(Squares()[0][0]))
        # Nothing in it is random, or its features would never be found in a cache.
        again = load(f"self-supervised:{name}", folder=tmp_path)
        assert checksum(again.network) == checksum(found.network)


def test_a_checkpoint_of_another_encoder(tmp_path):
    file = tmp_path / SELF_SUPERVISED["moco-v2"].file
    torch.save({"state_dict": {"module.encoder_q.conv1.weight": torch.zeros(64, 3, 7, 7)}}, file)
    with pytest.raises(ValueError, match="self-supervised:moco-v2: these are not its weights"):
        load("self-supervised:moco-v2", folder=tmp_path)
    deeper = untrained("resnet101", "meta").state_dict()
    torch.save({"state_dict": {f"module.encoder_q.{k}": v for k, v in numbered(deeper).items()}}, file)
    with pytest.raises(ValueError, match="not its weights: layer3.6.conv1.weight"):
        load("self-supervised:moco-v2", folder=tmp_path)
    file.write_bytes(b"half a file")
    with pytest.raises(ValueError, match="moco_v2_800ep_pretrain.pth.tar cannot be read: it is damaged"):
        load("self-supervised:moco-v2", folder=tmp_path)


# As published, in millions: the model zoos of DeiT, DINO, PVT and Swin; MoCo v3's is DINO's encoder.
MILLIONS = {
    "deit_tiny": 5, "deit_small": 22, "deit_base": 86, "dino_small": 21, "mocov3_small": 21, "pvtv2_b2": 25.4,
    "pvt_tiny": 13.2, "pvt_small": 24.5, "pvt_medium": 44.2, "swin_t": 28,
}  # fmt: skip


def as_published(name, state):
    """Our network's weights in the names, and with the company, that the authors' file has them in."""
    if name == "pvtv2_b2":
        for ours, theirs in (
            (r"^patch_embed\.", "patch_embed1."), (r"\.dwconv\.", ".dwconv.dwconv."),
            (r"^stages\.(\d)\.downsample\.", lambda m: f"patch_embed{int(m[1]) + 1}."),
            (r"^stages\.(\d)\.blocks\.", lambda m: f"block{int(m[1]) + 1}."),
            (r"^stages\.(\d)\.norm\.", lambda m: f"norm{int(m[1]) + 1}."),
        ):  # fmt: skip
            state = {re.sub(ours, theirs, key): value for key, value in state.items()}
    elif name == "swin_t":
        state = {
            re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key)
            .replace("head.fc.", "head."): value for key, value in state.items()
        } | {
            "layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49),
            "layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64),
        }  # fmt: skip
    elif name == "mocov3_small":
        state = {f"module.base_encoder.{key}": value for key, value in state.items()} | {
            "module.base_encoder.head.0.weight": torch.zeros(2), "module.predictor.0.weight": torch.zeros(2),
            "module.momentum_encoder.norm.bias": torch.zeros(384),
        }  # fmt: skip
    return boxed(name, state)


def test_the_transformers_are_those_with_published_accuracies():
    rows = pd.read_csv(Path(__file__).parents[2] / "data" / "published" / "finetune_accuracy.csv")
    assert list(TRANSFORMERS) == list(rows[rows.group == "vit"].model.unique()) == list(MILLIONS)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_papers_transformers(name, tmp_path, undrawn):
    entry = TRANSFORMERS[name]
    network = entry.build()
    state = numbered(network.state_dict())
    torch.save(as_published(name, state), tmp_path / entry.file)
    found = load(f"transformer:{name}", folder=tmp_path)
    assert equal(found.network, state) and found.network.state_dict().keys() == state.keys()
    published, millions = MILLIONS[name], found.parameters / 1e6
    assert (round(millions, 1) if isinstance(published, float) else int(millions)) == published
    assert found.input_size == (224, 224) == as_images(found, 1).shape[2:]
    assert entry.licence in ("Apache-2.0", "MIT", "CC-BY-NC-4.0")
    assert entry.sha256 == (entry.file.removesuffix(".pth")[-8:] if name.startswith("deit") else "")
    assert name != "mocov3_small" or found.network.blocks[0].attn.num_heads == 12
    assert name != "dino_small" or found.network.blocks[0].attn.num_heads == 6


def taken_by_hand(name, network, images):
    """What enters the last normalisation, layer by layer."""
    if name == "pvtv2_b2":
        x = network.patch_embed(images)
        for stage in network.stages[:3]:
            x = stage(x)
        last = network.stages[3]
        x = last.downsample(x)
        size, x = x.shape[1:3], x.flatten(1, 2)
        for block in last.blocks:
            x = block(x, size)
        return x.mean(1)
    if name == "swin_t":
        x = network.patch_embed(images)
        for layer in network.layers:
            x = layer(x)
        assert x.shape[1:] == (7, 7, 768)
        return x.flatten(1, 2).mean(1)
    if name == "pvt_tiny":
        kept = []
        network.block4[-1].register_forward_hook(lambda module, inputs, output: kept.append(output))
        network(images)
        return kept[0][:, 0]
    x = network._pos_embed(network.patch_embed(images))
    for block in network.blocks:
        x = block(x)
    assert x.shape[1] == 197
    return x[:, 0]


@pytest.mark.parametrize(
    ("name", "width"), [("deit_tiny", 192), ("pvtv2_b2", 512), ("pvt_tiny", 512), ("swin_t", 768)]
)
def test_what_is_taken_of_transformers(name, width, tmp_path):
    torch.manual_seed(0)
    network = TRANSFORMERS[name].build().eval()
    with torch.no_grad():
        for p in network.parameters():  # beside norms of one and biases of zero any pooling looks alike
            p.add_(torch.randn_like(p) * 0.02)
    torch.save(as_published(name, network.state_dict()), tmp_path / TRANSFORMERS[name].file)
    found = load(f"transformer:{name}", folder=tmp_path)
    x = extract(found, Squares(2), "x")
    assert x.layer == ("stages.3.norm" if name == "pvtv2_b2" else "norm")
    assert x.features.shape == (2, width)
    images = as_images(found, 2)
    with torch.no_grad():
        expected = taken_by_hand(name, network, images)
        np.testing.assert_allclose(x.features, expected.numpy(), rtol=1e-4, atol=1e-4)
        if name in ("deit_tiny", "pvt_tiny"):  # after the norm of the class token comes the classifier
            logits = network.head(network.norm(torch.from_numpy(x.features)))
            torch.testing.assert_close(logits, network(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "other"), [("pvt_tiny", "pvt_medium"), ("deit_tiny", "dino_small"), ("swin_t", "pvtv2_b2")]
)
def test_a_transformer_of_another_kind(name, other, tmp_path, undrawn):
    torch.save(numbered(TRANSFORMERS[other].build().state_dict()), tmp_path / TRANSFORMERS[name].file)
    with pytest.raises(ValueError, match=f"transformer:{name}: these are not its weights"):
        load(f"transformer:{name}", folder=tmp_path)
    if name == "swin_t":  # its renaming asks the network for every layer of the file
        state = as_published(name, numbered(TRANSFORMERS[name].build().state_dict()))
        state["model"]["layers.2.blocks.6.attn.relative_position_bias_table"] = torch.zeros(169, 12)
        torch.save(state, tmp_path / TRANSFORMERS[name].file)
        with pytest.raises(ValueError, match="transformer:swin_t: these are not its weights"):
            load("transformer:swin_t", folder=tmp_path)


def test_a_converted_transformer(tmp_path, undrawn):
    """The same weights in timm's names, as NAME.pth."""
    state = numbered(TRANSFORMERS["dino_small"].build().state_dict())
    torch.save({"state_dict": state}, tmp_path / "dino_small.pth")
    assert equal(load("transformer:dino_small", folder=tmp_path).network, state)


# --- downloads --------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path):
    """A folder that downloads come from, and a small file of weights for MNASNet in it."""
    source = tmp_path / "elsewhere"
    source.mkdir()
    torch.save(numbered(untrained("mnasnet1_0", "meta").state_dict()), source / "weights.pth")
    return source


def digest(path, algorithm):
    return hashlib.new(algorithm, path.read_bytes()).hexdigest()


@pytest.mark.parametrize("right", [True, False])
def test_the_checksum_of_a_download(right, elsewhere, tmp_path, monkeypatch):
    """torchvision's, ours by name and ours by MD5: the wrong file is refused and not kept."""
    file, folder = elsewhere / "weights.pth", tmp_path / "here"
    digits = digest(file, "sha256")[:8] if right else "0badc0de"
    published = file.rename(elsewhere / f"net-{digits}.pth")
    weights = torchvision.models.MNASNet1_0_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights.value, "url", published.as_uri())
    state = torch.load(published, weights_only=True)
    other = elsewhere / "other.pth"
    other.write_bytes(published.read_bytes())
    md5 = digest(other, "md5")[:8] if right else "0badc0de"
    for name, change in (
        ("swav", {"url": published.as_uri()}), ("moco-v1", {"url": other.as_uri(), "md5": md5})
    ):  # fmt: skip
        change |= {"prefix": "", "build": lambda: untrained("mnasnet1_0"), "layer": "classifier.1"}
        entry = dataclasses.replace(SELF_SUPERVISED[name], **change)
        monkeypatch.setitem(SELF_SUPERVISED, name, entry)
    for name in (MNASNET, "self-supervised:swav", "self-supervised:moco-v1"):
        if right:
            assert equal(load(name, folder=folder).network, state)
        else:
            with pytest.raises(ValueError, match=f"^{name}: .*0badc0de") as refused:
                load(name, folder=folder)
            assert "\n" not in str(refused.value)
    kept = {published.name, other.name} if right else set()
    assert {path.name for path in folder.iterdir()} == kept
    if right:  # found there now: the places they came from are not asked again
        for path in elsewhere.iterdir():
            path.unlink()
        for name in (MNASNET, "self-supervised:swav", "self-supervised:moco-v1"):
            load(name, folder=folder)


def test_downloads_that_break_off_leave_nothing(elsewhere, tmp_path, monkeypatch):
    (elsewhere / "half.pth").write_bytes((elsewhere / "weights.pth").read_bytes()[:1000])
    for file, error, message in (
        ("half.pth", ValueError, "half.pth cannot be read: it is damaged"),
        ("gone.pth", FileNotFoundError, "gone.pth is not in .*here and cannot be .*put file://.* there"),
    ):
        entry = dataclasses.replace(SELF_SUPERVISED["swav"], url=(elsewhere / file).as_uri())
        monkeypatch.setitem(SELF_SUPERVISED, "swav", entry)
        with pytest.raises(error, match=message):
            load("self-supervised:swav", folder=tmp_path / "here")
        assert list((tmp_path / "here").iterdir()) == []
    weights = torchvision.models.MNASNet1_0_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights.value, "url", (elsewhere / "gone.pth").as_uri())
    with pytest.raises(FileNotFoundError, match=f"{MNASNET}: gone.pth is not in .*here and cannot be"):
        load(MNASNET, folder=tmp_path / "here")


def test_without_a_connection_timm_says_what_to_do(tmp_path, monkeypatch):
    def offline(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(FileNotFoundError, match="test_vit.safetensors is not in .*no route.*put it there"):
        load("timm:test_vit", folder=tmp_path)
