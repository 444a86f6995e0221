"""Networks by name, from files of random weights under the official names: no network is needed."""

import json
import os
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")
safetensors_torch = pytest.importorskip("safetensors.torch")

from PIL import Image

from sfda import models
from sfda.backbones import SELF_SUPERVISED, SUPERVISED, load
from sfda.features import extract
from sfda.finetune import features as pocket_features


class Squares(torch.utils.data.Dataset):
    def __init__(self, n=3, side=40, mode="RGB"):
        self.n, self.side, self.mode = n, side, mode

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        pixels = np.random.default_rng(i).integers(256, size=(self.side, self.side + 9, 3), dtype=np.uint8)
        return Image.fromarray(pixels).convert(self.mode), i


def official(name, folder, seed=0):
    """Random weights under the name of torchvision's file, as torchvision's files are written."""
    _, architecture, weights = name.split(":")
    file = torchvision.models.get_model_weights(architecture)[weights].url.rpartition("/")[2]
    torch.manual_seed(seed)
    options = {"init_weights": False} if architecture in ("googlenet", "inception_v3") else {}
    network = torchvision.models.get_model(architecture, weights=None, **options)
    state = network.state_dict()
    if architecture.startswith("densenet"):  # whose published files are older, with other names
        state = {
            re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value
            for key, value in state.items() if not key.endswith("num_batches_tracked")
        }  # fmt: skip
    torch.save(state, folder / file)
    return network.eval()


@pytest.mark.parametrize("name", SUPERVISED)
def test_the_papers_supervised_networks(name, tmp_path):
    network = official(name, tmp_path)
    hub, safe = torch.hub._hub_dir, os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    found = load(name, folder=tmp_path)
    assert (torch.hub._hub_dir, os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")) == (hub, safe)
    own, theirs = found.network.state_dict(), network.state_dict()
    assert all(torch.equal(own[key], theirs[key]) for key in own if not key.lower().startswith("aux"))
    if name.split(":")[1] in ("mobilenet_v2", "mnasnet1_0"):
        x = extract(found, Squares(), "x")
        images = torch.stack([found.transform(Squares()[i][0]) for i in range(3)])
        layer = network.get_submodule(x.layer)
        with torch.no_grad():
            logits = network(images)
            ours = torch.from_numpy(x.features) @ layer.weight.T + layer.bias
        torch.testing.assert_close(ours, logits, rtol=1e-3, atol=1e-3)
        assert images.shape[2:] == (224, 224)


def test_weights_of_another_network_are_refused(tmp_path):
    official("torchvision:mobilenet_v2:IMAGENET1K_V1", tmp_path)
    (file,) = tmp_path.iterdir()
    wanted = torchvision.models.MNASNet1_0_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    file.rename(tmp_path / wanted)
    with pytest.raises(ValueError, match="torchvision:mnasnet1_0:IMAGENET1K_V1: "):
        load("torchvision:mnasnet1_0:IMAGENET1K_V1", folder=tmp_path)


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


def test_a_pickle_that_runs_code_is_not_read(tmp_path, capsys):
    wanted = torchvision.models.MNASNet1_0_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save({"a": Evil()}, tmp_path / wanted)
    with pytest.raises(ValueError, match="[Ww]eights"):
        load("torchvision:mnasnet1_0:IMAGENET1K_V1", folder=tmp_path)
    assert "code was run" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def resnet50():
    torch.manual_seed(1)
    return torchvision.models.resnet50(weights=None).eval()


@pytest.mark.parametrize("name", SELF_SUPERVISED)
def test_the_papers_self_supervised_networks(name, tmp_path, resnet50):
    """Files as their authors wrote them: other layers beside the encoder, other names, a box around."""
    entry = SELF_SUPERVISED[name]
    own = {k: v for k, v in resnet50.state_dict().items() if not k.startswith("fc.")}
    if entry.readable:
        state = {entry.prefix + k: v for k, v in own.items()} | {
            entry.prefix + "fc.0.weight": torch.zeros(3), "module.prototypes.weight": torch.zeros(2),
            "module.encoder_k.conv1.weight": torch.zeros(1), "module.head_jig.fc1.weight": torch.zeros(1),
        }  # fmt: skip
        content = {entry.inside: state, "epoch": 200} if entry.inside else state
        file = entry.url.rpartition("/")[2].partition("?")[0]
    else:
        with pytest.raises(FileNotFoundError, match=f"convert it to a state dict.*{name}.pth"):
            load(f"self-supervised:{name}", folder=tmp_path)
        content, file = own, f"{name}.pth"
    torch.save(content, tmp_path / file)
    found = load(f"self-supervised:{name}", folder=tmp_path)
    weights = found.network.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in own.items())
    if name == "moco-v1":
        x = extract(found, Squares(2), "x")
        images = torch.stack([found.transform(Squares()[i][0]) for i in range(2)])
        with torch.no_grad():
            pooled = torch.nn.Sequential(*list(resnet50.children())[:-1])(images).flatten(1)
        np.testing.assert_allclose(x.features, pooled.numpy(), rtol=1e-3, atol=1e-4)


def test_a_checkpoint_of_another_encoder(tmp_path):
    torch.save({"state_dict": {"module.encoder_q.conv1.weight": torch.zeros(64, 3, 7, 7)}},
               tmp_path / "moco_v2_800ep_pretrain.pth.tar")  # fmt: skip
    with pytest.raises(ValueError, match="self-supervised:moco-v2: these are not its weights"):
        load("self-supervised:moco-v2", folder=tmp_path)
    (tmp_path / "moco_v2_800ep_pretrain.pth.tar").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="moco_v2_800ep_pretrain.pth.tar cannot be read"):
        load("self-supervised:moco-v2", folder=tmp_path)


def test_timm_from_a_local_file(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("test_vit.r160_in1k", pretrained=False).eval()
    safetensors_torch.save_file(network.state_dict(), tmp_path / "test_vit.r160_in1k.safetensors")
    found = load("timm:test_vit.r160_in1k", folder=tmp_path)
    assert torch.equal(found.network.head.weight, network.head.weight)
    x = extract(found, Squares(), "x")
    assert x.layer == "head" and x.features.shape == (3, network.num_features)
    assert found.transform(Squares()[0][0]).shape == (3, 160, 160)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pocket_networks_take_images_of_any_size(mode):
    found = load("pocket:googlenet")
    x = extract(found, Squares(mode=mode), "x")
    images = torch.stack([
        torch.from_numpy(np.array(Squares(mode=mode)[i][0].convert("RGB").resize((39, 32), Image.BILINEAR)
                                  .crop((4, 0, 36, 32)))).permute(2, 0, 1) for i in range(3)
    ])  # fmt: skip
    encoder = models.pretrained("googlenet")
    models.replace_head("googlenet", encoder, torch.nn.Identity())
    expected = pocket_features(encoder, images).numpy()
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
    assert images.shape == (3, 3, 48, 48)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "net.pt"}, "pickles can run code"),
        ({"file": "gone.safetensors"}, "gone.safetensors is missing"),
        ({"builder": {"callable": "os.system", "args": ["true"], "kwargs": {}}}, "builder os.system is refused"),
        ({"builder": {"callable": "timm.create_model", "args": ["test_vit"], "kwargs": {}}}, "not its weights"),
    ],
)
def test_a_bad_manifest(tmp_path, change, message):
    path, _ = write_manifest(tmp_path, **change)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(str(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50", "name: expected torchvision:NAME, .* or MANIFEST.json:NAME, got 'resnet50'"),
        ("torchvision:resnet49", "torchvision has no 'resnet49'"),
        ("torchvision:resnet50:IMAGENET2K", "torchvision has no 'resnet50:IMAGENET2K'"),
        ("timm:vit_9000", "timm has no 'vit_9000'"),
        ("self-supervised:moco", "expected one of byol, .*, got 'moco'"),
        ("pocket:vit_9000", "model: expected one of resnet_10"),
        ("gone.json:net", "gone.json is missing"),
    ],
)
def test_names_that_mean_nothing(name, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(name)


def test_manifest_that_is_none(tmp_path):
    (tmp_path / "m.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ValueError, match="expected JSON with a list 'models'"):
        load(str(tmp_path / "m.json"))
    path, _ = write_manifest(tmp_path)
    with pytest.raises(ValueError, match="expected one of net, got 'other'"):
        load(f"{path}:other")
