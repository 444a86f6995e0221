"""Networks by name: from a library, from weights of one's own, from a manifest."""

import argparse
import json

import numpy as np
import pytest
import safetensors.torch as safetensors_torch
import timm
import torch
import torchvision
from PIL import Image
from small_networks import Squares, as_images, equal, old_densenet, untrained

from sfda.benchmark.finetune import features as pocket_features
from sfda.networks import pocket
from sfda.networks.backbones import check, load, names_in
from sfda.networks.checkpoints import ZOOS
from sfda.networks.extract import checksum, extract


def test_timm_from_a_local_file(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("test_vit.r160_in1k", pretrained=False).eval()
    safetensors_torch.save_file(network.state_dict(), tmp_path / "test_vit.r160_in1k.safetensors")
    found = load("timm:test_vit.r160_in1k", folder=tmp_path)
    assert torch.equal(found.network.head.weight, network.head.weight)
    x = extract(found, Squares(), "x")
    assert x.layer == "head" and x.features.shape == (3, network.num_features)
    assert found.transform(Squares()[0][0]).shape == (3, *found.input_size) == (3, 160, 160)


def test_timm_without_a_classifier(tmp_path):
    """DINO's file has none: what would enter it is taken, not what enters the last linear layer."""
    torch.manual_seed(0)
    network = timm.create_model("vit_small_patch16_224.dino", pretrained=False).eval()
    safetensors_torch.save_file(network.state_dict(), tmp_path / "vit_small_patch16_224.dino.safetensors")
    found = load("timm:vit_small_patch16_224.dino", folder=tmp_path)
    x = extract(found, Squares(1), "x")
    with torch.no_grad():
        np.testing.assert_allclose(x.features, network(as_images(found, 1)).numpy(), rtol=1e-3, atol=1e-4)
    assert x.layer == "head"


def parallel(state):
    return {f"module.{key}": value for key, value in state.items()}


def without(state, layer):
    return {key: value for key, value in state.items() if not key.startswith(f"{layer}.")}


def of_two_layers(state, layer):
    two = {f"{layer}.0.weight": torch.zeros(4, 4), f"{layer}.2.weight": torch.zeros(2, 4)}
    return without(state, layer) | two


def in_a_box(state):
    return {"state_dict": parallel(state), "epoch": 3, "args": argparse.Namespace(lr=0.1)}


@pytest.mark.parametrize(("name", "layer", "saved", "suffix"), [
    ("torchvision:resnet18", "fc", in_a_box, ".pth"),
    ("torchvision:resnet18", "fc", lambda state: without(state, "fc"), ".safetensors"),
    ("torchvision:resnet18", "fc", lambda state: parallel(of_two_layers(state, "fc")), ".pt"),
    ("torchvision:squeezenet1_1", "classifier.1", dict, ".safetensors"),
    ("torchvision:densenet121", "classifier", old_densenet, ".pth"),
    ("torchvision:mnasnet0_5:IMAGENET1K_V1", "classifier.1", dict, ".pth"),
    ("torchvision:googlenet", "fc", lambda state: state | {"aux1.fc1.weight": torch.zeros(1)}, ".pth"),
    ("timm:test_vit", "head", lambda state: {"model": parallel(state)}, ".pth"),
    ("timm:test_vit.r160_in1k", "head", lambda state: without(state, "head"), ".pth"),
    ("timm:test_efficientnet", "classifier", dict, ".safetensors"),
    ("timm:deit_tiny_distilled_patch16_224", "head_dist", dict, ".safetensors"),
])
def test_weights_of_ones_own(name, layer, saved, suffix, tmp_path):
    kind, architecture, *_ = name.split(":")
    torch.manual_seed(0)
    if kind == "torchvision":
        options = {"aux_logits": False} if architecture == "googlenet" else {}
        network = untrained(architecture, num_classes=7, **options)
    else:
        network = timm.create_model(architecture, pretrained=False, num_classes=7).eval()
    content, path = saved(network.state_dict()), tmp_path / f"a=b:c{suffix}"
    safetensors_torch.save_file(content, path) if suffix == ".safetensors" else torch.save(content, path)
    found = load(f"{name}={path}")
    own, last = found.network.state_dict(), found.network.get_submodule(layer)
    assert found.name == f"{name}={path}"
    assert equal(found.network, {key: value for key, value in network.state_dict().items() if key in own})
    if isinstance(last, torch.nn.Identity):  # the file has no classifier, and nothing random takes its place
        assert own.keys() == {key for key in network.state_dict() if not key.startswith(f"{layer}.")}
        assert checksum(load(f"{name}={path}").network) == checksum(found.network)
    else:
        assert len(last.weight) == 7 and own.keys() == network.state_dict().keys()
    entered = []
    network.get_submodule(layer).register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    images = as_images(found, 1)
    with torch.no_grad():
        network(images)
    x = extract(found, Squares(1), "x")
    expected = entered[0].mean((2, 3)) if entered[0].ndim == 4 else entered[0]
    np.testing.assert_allclose(x.features, expected.numpy(), rtol=1e-3, atol=1e-4)
    assert x.layer == layer and found.input_size == images.shape[2:]


def test_which_files_of_ones_own_lose_their_classifier(tmp_path):
    """What the case above decides by what was loaded, said outright."""
    torch.manual_seed(0)
    state = timm.create_model("test_vit", pretrained=False, num_classes=7).state_dict()
    for saved, classes in ((state, 7), (without(state, "head"), 0), (of_two_layers(state, "head"), 0)):
        torch.save(saved, tmp_path / "mine.pth")
        head = load(f"timm:test_vit={tmp_path / 'mine.pth'}").network.head
        assert getattr(head, "out_features", 0) == classes


@pytest.mark.parametrize(("name", "content", "message"), [
    ("torchvision:resnet18", None, "mine.pth is missing"),
    ("torchvision:resnet18", b"half a file", "mine.pth cannot be read: it is damaged"),
    ("timm:test_vit", [1, 2], "expected mine.pth to hold a state dict.*found list"),
    ("timm:test_vit", {"net": {"w": torch.zeros(1)}, "epoch": 1}, "state dict.*found net, epoch"),
    ("torchvision:resnet18", {"conv1.weight": torch.zeros(64, 3, 7, 7)}, "not its weights: bn1.weight"),
    ("timm:test_vit", {}, "these are not its weights: "),
])
def test_weights_of_ones_own_that_are_none(name, content, message, tmp_path):
    path = tmp_path / "mine.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as refused:
        load(f"{name}={path}")
    assert "\n" not in str(refused.value)


def test_damaged_safetensors(tmp_path):
    path, _ = write_manifest(tmp_path)
    for name, file in ((f"timm:test_vit={tmp_path / 'mine.safetensors'}", "mine"), (str(path), "net")):
        (tmp_path / f"{file}.safetensors").write_bytes(b"half a file of tensors")
        with pytest.raises(ValueError, match=f"{file}.safetensors cannot be read"):
            load(name)


def test_weights_of_a_pocket_network_may_lie_in_the_folder(tmp_path):
    own = pocket.untrained("googlenet", seed=3)
    pocket.save(own, tmp_path / "googlenet.safetensors")
    bias = "fc.bias"
    found = load("pocket:googlenet", folder=tmp_path).network.state_dict()[bias]
    torch.testing.assert_close(found, own.state_dict()[bias].half().float())
    # Where the folder has none, those of the repository.
    other = load("pocket:resnet_10", folder=tmp_path).network.state_dict()[bias]
    torch.testing.assert_close(other, pocket.pretrained("resnet_10").state_dict()[bias])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pocket_networks_take_images_of_any_size(mode):
    found = load("pocket:googlenet")
    x = extract(found, Squares(mode=mode), "x")
    images = torch.stack([
        torch.from_numpy(np.array(Squares(mode=mode)[i][0].convert("RGB").resize((39, 32), Image.BILINEAR)
                                  .crop((4, 0, 36, 32)))).permute(2, 0, 1) for i in range(3)
    ])  # fmt: skip
    encoder = pocket.pretrained("googlenet")
    pocket.replace_head("googlenet", encoder, torch.nn.Identity())
    expected = pocket_features(encoder, images).numpy()
    assert found.input_size == (32, 32) and found.parameters == pocket.parameters(found.network)
    assert x.layer == "fc" and np.corrcoef(x.features.ravel(), expected.ravel())[0, 1] > 0.999


def write_manifest(folder, **change):
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", pretrained=False, num_classes=7).eval()
    safetensors_torch.save_file(network.state_dict(), folder / "net.safetensors")
    entry = {
        "file": "net.safetensors", "input_size": [3, 48, 48],
        "builder": {"callable": "timm.create_model", "args": ["test_efficientnet"], "kwargs": {"num_classes": 7}},
        "normalisation": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
    } | change  # fmt: skip
    path = folder / "manifest.json"
    path.write_text(json.dumps({"models": [entry]}), encoding="utf-8")
    return path, network


@pytest.mark.parametrize("suffix", ["", ":net"])
def test_a_manifest(tmp_path, suffix):
    path, network = write_manifest(tmp_path)
    found = load(f"{path}{suffix}")
    x = extract(found, Squares(), "x")
    images = torch.stack([found.transform(Squares()[i][0]) for i in range(3)])
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(images), pre_logits=True)
    np.testing.assert_allclose(x.features, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert images.shape == (3, 3, 48, 48) and found.input_size == (48, 48) and found.name == "net"
    assert names_in(path) == [f"{path}:net"]


@pytest.mark.parametrize(("change", "message"), [
    ({"file": "net.pt"}, "pickles can run code"), ({"file": "gone.safetensors"}, "gone.safetensors is missing"),
    ({"builder": {"callable": "os.system", "args": ["true"], "kwargs": {}}},
     "net cannot be built .ValueError: os.system is refused, only torchvision and timm are called"),
    ({"builder": {"callable": "timm.create_model", "args": ["test_vit"]}},
     "net cannot be built .KeyError: 'kwargs'"),
    ({"builder": {"callable": "timm.nonesuch", "args": [], "kwargs": {}}},
     "net cannot be built .AttributeError"),
    ({"normalisation": {"mean": [0.5]}}, "net cannot be built .TypeError"),
    ({"builder": {"callable": "timm.create_model", "args": ["test_vit"], "kwargs": {}}}, "not its weights"),
])
def test_a_bad_manifest(tmp_path, change, message):
    path, _ = write_manifest(tmp_path, **change)
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

    def never(*arguments, **options):
        raise AssertionError("a name is checked before any work")

    for module, function in (
        (torch, "load"), (torchvision.models, "get_model"), (timm, "create_model"),
        (safetensors_torch, "load_file"), (torch.hub, "download_url_to_file"), (pocket, "pretrained"),
    ):  # fmt: skip
        monkeypatch.setattr(module, function, never)
    for names in ZOOS.values():
        for name in names:
            check(name)
    own = (f"torchvision:vgg11={path}", f"timm:test_vit={path}")
    for name in (str(path), f"{path}:net", "torchvision:vgg11", "timm:resnet18", *own):
        check(name)


def test_zoos():
    assert [len(names) for names in ZOOS.values()] == [11, 12, 10, 33]
    assert list(ZOOS) == ["supervised", "self-supervised", "transformers", "pocket"]
    everything = [name for names in ZOOS.values() for name in names]
    assert len(set(everything)) == len(everything) and "pocket:googlenet" in everything


def test_a_manifest_of_several(tmp_path):
    path, _ = write_manifest(tmp_path)
    entry = json.loads(path.read_text("utf-8"))["models"][0]
    (tmp_path / "other.safetensors").write_bytes((tmp_path / "net.safetensors").read_bytes())
    path.write_text(json.dumps({"models": [entry, entry | {"file": "other.safetensors"}]}), encoding="utf-8")
    assert names_in(str(path)) == [f"{path}:net", f"{path}:other"]
    assert [load(name).name for name in names_in(path)] == ["net", "other"]
    for function in (load, check):
        with pytest.raises(ValueError, match="expected one of net, other, got ''"):
            function(str(path))
    with pytest.raises(FileNotFoundError, match="gone.json is missing"):
        names_in(tmp_path / "gone.json")
    with pytest.raises(ValueError, match="net.safetensors: expected a manifest, NAME.json"):
        names_in(tmp_path / "net.safetensors")


def test_manifest_that_is_none(tmp_path):
    (tmp_path / "m.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ValueError, match="expected JSON with a list 'models'"):
        load(str(tmp_path / "m.json"))
    path, _ = write_manifest(tmp_path)
    with pytest.raises(ValueError, match="expected one of net, got 'other'"):
        load(f"{path}:other")
