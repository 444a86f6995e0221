"""Networks by name: from a library, from weights of one's own, from a manifest."""

import argparse
import json
from itertools import chain
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import safetensors.torch as safetensors_torch
import timm
import torch
import torchvision
from PIL import Image
from small_networks import Squares, as_images, equal, file_of, old_densenet, untrained

from sfda.benchmark.finetune import features as pocket_features
from sfda.networks import pocket
from sfda.networks.backbones import check, full_name, load, names_in
from sfda.networks.checkpoints import TRANSFORMERS, ZOOS
from sfda.networks.extract import checksum, extract


def parallel(state):
    return {f"module.{key}": value for key, value in state.items()}


def without(state, layer, **others):
    return {key: value for key, value in state.items() if not key.startswith(f"{layer}.")} | others


def of_two_layers(state, layer):
    return without(state, layer, **{f"{layer}.0.weight": torch.zeros(4, 4), f"{layer}.2.weight": torch.zeros(2, 4)})


@pytest.mark.parametrize(("name", "layer", "saved", "classes"), [
    ("torchvision:resnet18=mine.pth", "fc",
     lambda state: {"state_dict": parallel(state), "epoch": 3, "args": argparse.Namespace(lr=0.1)}, 7),
    ("torchvision:resnet18=a=b:c.safetensors", "fc", lambda state: without(state, "fc"), 0),
    ("torchvision:resnet18=mine.pt", "fc", lambda state: parallel(of_two_layers(state, "fc")), 0),
    ("torchvision:squeezenet1_1=mine.safetensors", "classifier.1", dict, 7),
    ("torchvision:densenet121=mine.pth", "classifier", old_densenet, 7),
    ("torchvision:mnasnet0_5:IMAGENET1K_V1=a=b:c.pth", "classifier.1", dict, 7),
    ("torchvision:googlenet=mine.pth", "fc", lambda state: state | {"aux1.fc1.weight": torch.zeros(1)}, 7),
    ("timm:test_vit=a=b:c.pth", "head", lambda state: {"model": parallel(state)}, 7),
    ("timm:test_vit.r160_in1k=mine.pth", "head", lambda state: without(state, "head"), 0),
    ("timm:test_vit=mine.pth", "head", lambda state: of_two_layers(state, "head"), 0),
    ("timm:test_efficientnet=mine.safetensors", "classifier", dict, 7),
    ("timm:deit_tiny_distilled_patch16_224=mine.safetensors", "head_dist", dict, 7),
    # Published files that lie in the folder; DINO's has no classifier.
    ("torchvision:mobilenet_v2:IMAGENET1K_V1", "classifier.1", dict, 1000),
    ("torchvision:mnasnet1_0:IMAGENET1K_V1", "classifier.1", lambda state: state, 1000),
    ("timm:test_vit.r160_in1k", "head", dict, 1000),
    ("timm:vit_small_patch16_224.dino", "head", lambda state: without(state, "head"), 0),
])
def test_weights_from_a_file(name, layer, saved, classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind, architecture, *_ = name.partition("=")[0].split(":")
    torch.manual_seed(0)
    if kind == "torchvision":
        options = {"aux_logits": False} if architecture == "googlenet" else {}
        network = untrained(architecture, num_classes=classes or 7, **options)
    else:
        network = timm.create_model(architecture, pretrained=False, num_classes=classes or 7).eval()
    content, file = saved(network.state_dict()), file_of(name)
    safetensors_torch.save_file(content, file) if file.endswith(".safetensors") else torch.save(content, file)
    found = load(name, folder=tmp_path)
    loaded, state, last = found.network.state_dict(), network.state_dict(), found.network.get_submodule(layer)
    assert found.name == name and equal(found.network, {key: value for key, value in state.items() if key in loaded})
    if classes:
        assert len(last.weight) == classes and loaded.keys() == state.keys()
    else:  # the file has no classifier, and nothing random takes its place
        assert isinstance(last, torch.nn.Identity) and loaded.keys() == without(state, layer).keys()
        assert checksum(load(name, folder=tmp_path).network) == checksum(found.network)
    entered = []
    network.get_submodule(layer).register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    x, images = extract(found, Squares(1), "x"), as_images(found, 1)
    with torch.no_grad():
        network(images)
        expected = entered[0].mean((2, 3)) if entered[0].ndim == 4 else entered[0]
        if "distilled" in name:  # the mean of two tokens, each of which has a classifier
            expected = network.forward_head(network.forward_features(images), pre_logits=True)
    np.testing.assert_allclose(x.features, expected.numpy(), rtol=1e-3, atol=1e-4)
    side = 160 if architecture.startswith("test_") else 224
    assert x.layer == (layer if kind == "torchvision" else "pre-logits")
    assert found.input_size == found.own_size == images.shape[2:] == (side, side)
    assert found.source_classes == (classes or None)


def test_weights_of_a_pocket_network_may_lie_in_the_folder(tmp_path):
    own = pocket.untrained("googlenet", seed=3)
    pocket.save(own, tmp_path / "googlenet.safetensors")
    # Where the folder has none, those of the repository.
    for name, expected in (("googlenet", own.half().float()), ("resnet_10", pocket.pretrained("resnet_10"))):
        torch.testing.assert_close(load(f"pocket:{name}", folder=tmp_path).network.fc.bias, expected.fc.bias)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pocket_networks_take_images_of_any_size(mode):
    found, squares = load("pocket:googlenet"), Squares(mode=mode)
    x = extract(found, squares, "x")
    resized = [squares[i][0].convert("RGB").resize((39, 32), Image.BILINEAR).crop((4, 0, 36, 32)) for i in range(3)]
    encoder = pocket.pretrained("googlenet")
    pocket.replace_head("googlenet", encoder, torch.nn.Identity())
    expected = pocket_features(encoder, torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)).numpy()
    assert found.input_size == (32, 32) and found.parameters == pocket.parameters(found.network)
    assert x.layer == "fc" and np.corrcoef(x.features.ravel(), expected.ravel())[0, 1] > 0.999


def built(function, *args, **kwargs):
    return {"builder": {"callable": function, "args": args, "kwargs": kwargs}}


def write_manifest(folder, *changes):
    """The manifest of one network, or of as many as there are changes to its entry, and the network."""
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", pretrained=False, num_classes=7).eval()
    for file in ("net", "other"):
        safetensors_torch.save_file(network.state_dict(), folder / f"{file}.safetensors")
    (folder / "half.safetensors").write_bytes(b"half a file of tensors")
    entry = {
        "file": "net.safetensors", "input_size": [3, 48, 48],
        "normalisation": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
    } | built("timm.create_model", "test_efficientnet", num_classes=7)
    path = folder / "manifest.json"
    path.write_text(json.dumps({"models": [entry | change for change in changes or [{}]]}), encoding="utf-8")
    return path, network


@pytest.mark.parametrize("suffix", ["", ":net"])
def test_a_manifest(tmp_path, suffix):
    path, network = write_manifest(tmp_path)
    found = load(f"{path}{suffix}")
    x, images = extract(found, Squares(), "x"), as_images(found)
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(images), pre_logits=True)
    np.testing.assert_allclose(x.features, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert images.shape == (3, 3, 48, 48) and found.input_size == (48, 48) and found.name == "net"
    assert names_in(path) == [f"{path}:net"]


def test_a_manifest_of_several(tmp_path):
    path, _ = write_manifest(tmp_path, {}, {"file": "other.safetensors"})
    assert names_in(str(path)) == [f"{path}:net", f"{path}:other"]
    assert [load(name).name for name in names_in(path)] == ["net", "other"]
    for function, name, error, message in (
        (load, str(path), ValueError, "expected one of net, other, got ''"),
        (load, f"{path}:third", ValueError, "expected one of net, other, got 'third'"),
        (check, str(path), ValueError, "expected one of net, other, got ''"),
        (names_in, tmp_path / "gone.json", FileNotFoundError, "gone.json is missing"),
        (names_in, tmp_path / "net.safetensors", ValueError, "net.safetensors: expected a manifest, NAME.json"),
    ):
        with pytest.raises(error, match=message):
            function(name)


@pytest.mark.parametrize(("change", "message"), [
    ({"file": "net.pt"}, "pickles can run code"), ({"file": "gone.safetensors"}, "gone.safetensors is missing"),
    ({"file": "half.safetensors"}, "half.safetensors cannot be read"),
    (built("os.system", "true"), "net cannot be built .ValueError: os.system is refused, only torchvision and timm"),
    ({"builder": {"callable": "timm.create_model", "args": ["test_vit"]}}, "net cannot be built .KeyError: 'kwargs'"),
    (built("timm.nonesuch"), "net cannot be built .AttributeError"),
    ({"normalisation": {"mean": [0.5]}}, "net cannot be built .TypeError"),
    (built("timm.create_model", "test_vit"), "not its weights"),
    (None, "expected JSON with a list 'models'"),
])
def test_a_bad_manifest(tmp_path, change, message):
    path, _ = write_manifest(tmp_path, change or {})
    if change is None:
        path.write_text("[1]", encoding="utf-8")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(str(path))


@pytest.mark.parametrize(("name", "message"), [
    ("resnet50", "name: expected torchvision:NAME, .* or MANIFEST.json:NAME, got 'resnet50'"),
    ("torchvision", "torchvision has no ''"), ("torchvision:resnet49", "torchvision has no 'resnet49'"),
    ("torchvision:resnet50:IMAGENET2K", "torchvision has no 'resnet50:IMAGENET2K'"),
    ("torchvision:resnet49=x.pth", "torchvision has no 'resnet49'"),
    ("torchvision:resnet50=gone.pth", "gone.pth is missing"),
    ("torchvision:resnet50=", "the file after = is missing"), ("timm:vit_9000", "timm has no 'vit_9000'"),
    ("timm:resnet18.nonesuch", "timm has no 'resnet18.nonesuch'"),
    ("timm:resnet18=gone.pth", "gone.pth is missing"),
    ("transformer:swin", "expected one of deit_tiny, .*, got 'swin'"),
    ("self-supervised:moco", "expected one of byol, .*, got 'moco'"),
    ("pocket:vit_9000", "model: expected one of resnet_10"), ("gone.json:net", "gone.json is missing"),
])
def test_names_that_mean_nothing(name, message):
    said = []
    for function in (load, check):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as refused:
            function(name)
        said.append((refused.type, str(refused.value)))
    assert said[0] == said[1]


def test_checking_names_loads_nothing(tmp_path, monkeypatch):
    path, _ = write_manifest(tmp_path)
    for module, function in (
        (torch, "load"), (torchvision.models, "get_model"), (timm, "create_model"),
        (safetensors_torch, "load_file"), (torch.hub, "download_url_to_file"), (pocket, "pretrained"),
    ):
        monkeypatch.setattr(module, function, Mock(side_effect=AssertionError("a name is checked before any work")))
    own = [f"torchvision:vgg11={path}", f"timm:test_vit={path}"]
    for name in chain([str(path), f"{path}:net", "torchvision:vgg11", "timm:resnet18", *own], *ZOOS.values()):
        check(name)


def test_names_in_full():
    for name, full in (
        ("torchvision:resnet50", "torchvision:resnet50:IMAGENET1K_V2"), ("torchvision:resnet50:IMAGENET1K_V1", "torchvision:resnet50:IMAGENET1K_V1"),
        ("torchvision:resnet18", "torchvision:resnet18:IMAGENET1K_V1"), ("timm:resnet18", "timm:resnet18.a1_in1k"), ("timm:resnet18.tv_in1k", "timm:resnet18.tv_in1k"),
    ):
        assert full_name(name) == full == full_name(full)
        check(full)
    for name in ("torchvision:resnet50=w.pth", "timm:resnet18=w/x.y.pth", "pocket:byol", "transformer:pvt_small", "self-supervised:byol", "w/manifest.json:net", "mine"):
        assert full_name(name) == name
    assert all(full_name(full_name(name)) == full_name(name) for names in ZOOS.values() for name in names)


def test_zoos():
    assert [len(names) for names in ZOOS.values()] == [11, 12, 10, 33]
    assert list(ZOOS) == ["supervised", "self-supervised", "transformers", "pocket"]
    assert len(set().union(*ZOOS.values())) == 66 and "pocket:googlenet" in ZOOS["pocket"]
    rows = pd.read_csv(Path(__file__).parents[2] / "data" / "published" / "finetune_accuracy.csv")
    assert list(TRANSFORMERS) == list(rows[rows.group == "vit"].model.unique())


@pytest.mark.parametrize(("name", "side", "fits"), [
    ("torchvision:resnet18", 96, True), ("torchvision:vit_b_32", 96, True), ("torchvision:swin_t", 100, True),
    ("torchvision:vit_b_32", 100, "of this size .*patch"), ("timm:test_vit.r160_in1k", 64, True),
    ("timm:test_vit.r160_in1k", 60, "of this size .*patch"), ("timm:test_efficientnet.r160_in1k", 99, True),
    ("timm:convit_tiny.fb_in1k", 96, "of this size .*its own is fixed"), ("pocket:vit_tiny", 48, True),
    ("pocket:googlenet", 40, True), ("torchvision:resnet18", 0, "side: expected a number of pixels from 1"),
])  # fmt: skip
def test_images_of_another_size(name, side, fits, tmp_path):
    """Weights of one's own or published, the network takes images of `side` pixels: as much of the picture as before."""
    kind, _, rest = name.partition(":")
    for own in (False, True):
        if kind == "torchvision":
            file = tmp_path / torchvision.models.get_model_weights(rest).DEFAULT.url.rpartition("/")[2]
            torch.save(untrained(rest).state_dict(), file)
        elif kind == "timm":
            file = tmp_path / f"{rest}.safetensors"
            safetensors_torch.save_file(timm.create_model(rest, pretrained=False).state_dict(), file)
        elif own:
            continue
        called = f"{name}={file}" if own else name
        if fits is not True:
            with pytest.raises(ValueError, match=fits):
                load(called, folder=None if kind == "pocket" else tmp_path, side=side)
            continue
        before, found = (load(called, folder=None if kind == "pocket" else tmp_path, side=n) for n in (None, side))
        assert found.input_size == (side, side) and found.own_size == before.own_size == before.input_size
        shown = found.transform(Squares(side=600)[0][0])
        assert shown.shape[1:] == (side, side) and found.source_classes == before.source_classes
        x = extract(found, Squares(2, side=90), "x").features
        assert x.shape == extract(before, Squares(2, side=90), "x").features.shape and np.isfinite(x).all()


def test_what_published_heads_are(tmp_path, monkeypatch):
    """Classes of ImageNet and others; embeddings that captions are compared with are none."""
    heads = {"test_vit.r160_in1k": 1000, "vit_tiny_patch16_224.augreg_in21k": 21843, "mvitv2_base_cls.fb_inw21k": 19168,
             "vit_base_patch32_clip_224.openai": None, "resnet50_clip.openai": None,
             "vit_small_patch16_224.dino": None}  # fmt: skip
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **o: create(name, pretrained=False))
    with torch.device("meta"):
        assert {name: load(f"timm:{name}").source_classes for name in heads} == heads


@pytest.mark.parametrize(("classes", "known"), [(512, None), (7, 7)])
def test_a_head_of_ones_own_is_a_classifier_unless_it_is_timms_of_embeddings(classes, known, tmp_path):
    name = "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"
    state = timm.create_model(name, num_classes=classes, depth=1).state_dict()
    whole = timm.create_model(name, pretrained=False).state_dict() | state
    safetensors_torch.save_file(whole, tmp_path / "mine.safetensors")
    assert load(f"timm:{name}={tmp_path / 'mine.safetensors'}").source_classes == known
