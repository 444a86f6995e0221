"""The pocket zoo: every network builds, and its weights survive the file they are kept in."""

from collections import Counter

import pytest
import torch
from small_networks import equal
from torch import nn

from sfda.networks import pocket
from sfda.networks.pocket import POCKET
from sfda.networks.pretraining.objectives import OBJECTIVES

WRONG = "{name} of {0}: these are not its weights"
TOO_LARGE = "^bn1.running_var holds numbers that float16 cannot, NaN or above 65504$"


def test_groups():
    groups = Counter(network.group for network in POCKET.values())
    assert groups == {"supervised": 11, "self-supervised": 12, "transformer": 10}
    assert all(network.name == name and network.objective in OBJECTIVES for name, network in POCKET.items())
    assert [name for name in POCKET if POCKET[name].views == "strong"] == ["deit_tiny", "deit_small"]


@pytest.mark.parametrize("name", POCKET)
def test_network_its_encoder_and_its_seed(name):
    torch.manual_seed(4)  # must not matter
    state = torch.random.get_rng_state()
    network, images = pocket.untrained(name, n_classes=7), torch.rand(2, 3, 32, 32, generator=torch.Generator())
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    assert equal(network, pocket.untrained(name, n_classes=7).state_dict())
    head, other = pocket.head(name, network), pocket.untrained(name, seed=1, n_classes=7)
    assert not torch.equal(head.weight, pocket.head(name, other).weight)
    # Batch statistics move within a few steps; the self-supervised networks are one architecture.
    assert all(norm.momentum == 0.1 for norm in network.modules() if isinstance(norm, nn.BatchNorm2d))
    if POCKET[name].group == "self-supervised":
        shapes = {k: v.shape for k, v in pocket.untrained("simclr", n_classes=7).state_dict().items()}
        assert {k: v.shape for k, v in network.state_dict().items()} == shapes
    assert not network.training and all(p.requires_grad for p in network.parameters())
    with torch.inference_mode():
        logits, total = network(images), pocket.parameters(network)
        assert logits.shape == (2, 7) and logits.isfinite().all()
        assert isinstance(head, nn.Linear) and head.out_features == 7
        assert pocket.replace_head(name, network, nn.Identity()) is head
        features = network(images)
        assert features.shape == (2, head.in_features)
        assert pocket.parameters(network) + pocket.parameters(head) == total
        torch.testing.assert_close(head(features), logits)  # it is the last layer: nothing comes after it
        pocket.replace_head(name, network, head)
        assert torch.equal(network(images), logits)


def test_all_weights_are_small(tmp_path):
    for name, entry in POCKET.items():
        head = "" if entry.objective == "supervised" else entry.head
        pocket.save(pocket.untrained(name), tmp_path / f"{name}.safetensors", without=head)
    assert len(list(tmp_path.iterdir())) == 33
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 13e6


@pytest.mark.parametrize("name", [
    "resnet_10", "densenet_26", "mobilenet_v2", "vit_tiny", "swin_tiny", "googlenet",  # whose heads lie elsewhere
    "simclr", "dino_small", "moco_v3_small",
])
def test_weights_survive_the_file(name, tmp_path):
    """All but the heads that have learnt nothing, which are left out."""
    network, path = pocket.untrained(name, seed=3), tmp_path / "new" / f"{name}.safetensors"
    head = "" if POCKET[name].objective == "supervised" else POCKET[name].head
    pocket.save(network, path, without=head)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    read, twin = pocket.pretrained(name, folder=path.parent), pocket.untrained(name)
    assert not read.training and list(read.state_dict()) == list(network.state_dict())
    for key, value in read.state_dict().items():
        source = twin if head and key.startswith(f"{head}.") else network
        expected = source.state_dict()[key]
        if source is network and expected.is_floating_point():
            expected = expected.half().float()
        assert value.dtype == expected.dtype and torch.equal(value, expected), key
    first = path.read_bytes()
    pocket.save(read, path, without=head)
    assert path.read_bytes() == first


@pytest.mark.parametrize(("value", "error", "message"), [
    (0.0, OSError, "No space left"), (1e6, ValueError, TOO_LARGE), (float("nan"), ValueError, TOO_LARGE)
])
def test_a_failure_leaves_the_old_file(value, error, message, tmp_path, monkeypatch):
    def full(state, part):
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    network, path = pocket.untrained("resnet_10"), tmp_path / "resnet_10.safetensors"
    pocket.save(network, path)
    before = path.read_bytes()
    network.bn1.running_var[0] = value
    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(error, match=message):
        pocket.save(network, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "other", "without", "message"), [
    ("resnet_10", "vit_tiny", "", f"{WRONG}, of which there are 80; missing: conv1.weight, bn1.weight, bn1.bias (67); unknown: "),
    ("resnet_10", "resnet_18", "", f"{WRONG}, of which there are 80; unknown: "),
    ("resnet_10", "resnet_10", "fc", f"{WRONG}, of which there are 80; missing: fc.weight, fc.bias (2)"),
    ("byol", "byol", "bn1", f"{WRONG}, of which there are 98; missing: bn1.weight, bn1.bias, bn1.running_mean (4)"),
    ("vit_tiny", "vit_small", "head", f"{WRONG}, of which there are 56; missing: head.weight, head.bias (2); of another shape: cls_token, pos_embed, patch_embed.proj.weight (54)"),
    ("byol", None, "", "{0}/byol.safetensors is missing: `python -m sfda pretrain --models byol --weights {0}` "),
])
def test_weights_that_are_missing_or_another_networks(name, other, without, message, tmp_path):
    if other:
        pocket.save(pocket.untrained(other), tmp_path / f"{name}.safetensors", without=without)
    with pytest.raises(ValueError if other else FileNotFoundError) as error:
        pocket.pretrained(name, folder=tmp_path)
    assert str(error.value).startswith(message.format(tmp_path, name=name))


@pytest.mark.parametrize("function", [pocket.find, pocket.untrained, pocket.pretrained])
def test_unknown_network(function):
    with pytest.raises(ValueError, match=f"^model: expected one of {', '.join(POCKET)}, got 'resnet_50'$"):
        function("resnet_50")


def test_multiplications_are_counted():
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 32 * 32, 7))
    assert pocket.multiplications(network) == (32 * 32 * 5 * 3 * 9 + 5 * 32 * 32 * 7) / 1e6
    # Of attention, as well:
    n, d = 17, 48  # patches of 8 x 8 pixels and the class token
    block = n * d * 3 * d + 2 * n * n * d + n * d * d + 2 * n * d * 3 * d
    expected = 16 * d * 3 * 64 + 4 * block + d * 128
    assert pocket.multiplications(pocket.untrained("vit_tiny")) == expected / 1e6
