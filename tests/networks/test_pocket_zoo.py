"""The pocket zoo: every network builds, and its weights survive the file they are kept in."""

from collections import Counter

import pytest
import torch
from torch import nn

from sfda.networks import pocket
from sfda.networks.pocket import POCKET
from sfda.networks.pretraining.objectives import OBJECTIVES

# A network for each class whose head lies elsewhere.
HEADS = ["resnet_10", "densenet_26", "mobilenet_v2", "vit_tiny", "swin_tiny", "googlenet"]


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


def left_out(name):
    """What `save` has to leave out: heads that have learnt nothing."""
    return "" if POCKET[name].objective == "supervised" else POCKET[name].head


def test_groups():
    groups = Counter(network.group for network in POCKET.values())
    assert groups == {"supervised": 11, "self-supervised": 12, "transformer": 10}
    assert list(POCKET) == [network.name for network in POCKET.values()]
    assert all(network.objective in OBJECTIVES for network in POCKET.values())
    assert [name for name in POCKET if POCKET[name].views == "strong"] == ["deit_tiny", "deit_small"]


@pytest.mark.parametrize("name", POCKET)
def test_network_and_its_encoder(name):
    network, images = pocket.untrained(name, n_classes=7), torch.rand(2, 3, 32, 32)
    assert not network.training and all(p.requires_grad for p in network.parameters())
    with torch.inference_mode():
        logits = network(images)
        assert logits.shape == (2, 7) and logits.isfinite().all()
        head = pocket.head(name, network)
        assert isinstance(head, nn.Linear) and head.out_features == 7
        total = pocket.parameters(network)
        assert pocket.replace_head(name, network, nn.Identity()) is head
        features = network(images)
        assert features.shape == (2, head.in_features)
        assert pocket.parameters(network) + pocket.parameters(head) == total
        # The head is the last layer: nothing comes after it.
        torch.testing.assert_close(head(features), logits)
        pocket.replace_head(name, network, head)
        assert torch.equal(network(images), logits)


@pytest.mark.parametrize("name", POCKET)
def test_seed_fixes_the_initial_weights(name):
    torch.manual_seed(4)  # must not matter
    state = torch.random.get_rng_state()
    network = pocket.untrained(name)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    assert equal(network, pocket.untrained(name))
    other = pocket.untrained(name, seed=1)
    assert not torch.equal(pocket.head(name, network).weight, pocket.head(name, other).weight)
    # Batch statistics move within a few steps; the self-supervised networks are one architecture.
    assert all(norm.momentum == 0.1 for norm in network.modules() if isinstance(norm, nn.BatchNorm2d))
    if POCKET[name].group == "self-supervised":
        shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in (network, pocket.untrained("simclr"))]
        assert shapes[0] == shapes[1]


def test_all_weights_are_small(tmp_path):
    for name in POCKET:
        pocket.save(pocket.untrained(name), tmp_path / f"{name}.safetensors", without=left_out(name))
    assert len(list(tmp_path.iterdir())) == 33
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 13e6


@pytest.mark.parametrize("name", [*HEADS, "simclr", "dino_small", "moco_v3_small"])
def test_weights_survive_the_file(name, tmp_path):
    network = pocket.untrained(name, seed=3)
    path = tmp_path / "new" / f"{name}.safetensors"
    pocket.save(network, path, without=left_out(name))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    read, twin = pocket.pretrained(name, folder=path.parent), pocket.untrained(name)
    assert not read.training and list(read.state_dict()) == list(network.state_dict())
    for key, value in read.state_dict().items():
        source = twin if left_out(name) and key.startswith(left_out(name) + ".") else network
        expected = source.state_dict()[key]
        if source is network and expected.is_floating_point():
            expected = expected.half().float()
        assert value.dtype == expected.dtype and torch.equal(value, expected), key
    # Written again, not a byte changes.
    first = path.read_bytes()
    pocket.save(read, path, without=left_out(name))
    assert path.read_bytes() == first


def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    def full(state, part):
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    path = tmp_path / "vit_tiny.safetensors"
    pocket.save(pocket.untrained("vit_tiny"), path)
    before = path.read_bytes()
    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        pocket.save(pocket.untrained("vit_tiny", seed=1), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_numbers_that_float16_cannot_hold(value, tmp_path):
    network = pocket.untrained("resnet_10")
    network.bn1.running_var[0] = value
    with pytest.raises(ValueError) as error:
        pocket.save(network, tmp_path / "resnet_10.safetensors")
    assert str(error.value) == ("bn1.running_var holds numbers that float16 cannot, NaN or above 65504")
    assert not list(tmp_path.iterdir())


def test_missing_weights(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        pocket.pretrained("byol", folder=tmp_path)
    path = tmp_path / "byol.safetensors"
    advice = f"`python -m sfda pretrain --models byol --weights {tmp_path}` makes it"
    assert str(error.value) == f"{path} is missing: {advice}"


@pytest.mark.parametrize(("name", "other", "without", "wrong"), [
    ("resnet_10", "vit_tiny", "", "conv1.weight, bn1.weight, bn1.bias"),
    ("resnet_10", "resnet_18", "", "layer1.0.conv1.weight, layer1.0.bn1.weight, layer1.0.bn1.bias"),
    ("resnet_10", "resnet_10", "fc", "fc.weight, fc.bias and 2 in all"),
    ("byol", "byol", "bn1", "bn1.weight, bn1.bias, bn1.running_mean and 4 in all"),
    ("vit_tiny", "vit_small", "head", "cls_token, pos_embed, patch_embed.proj.weight"),
])
def test_weights_of_another_network(name, other, without, wrong, tmp_path):
    pocket.save(pocket.untrained(other), tmp_path / f"{name}.safetensors", without=without)
    with pytest.raises(ValueError) as error:
        pocket.pretrained(name, folder=tmp_path)
    assert str(error.value).startswith(f"{name} of {tmp_path}: these are not its weights: {wrong}")


@pytest.mark.parametrize("function", [pocket.find, pocket.untrained, pocket.pretrained])
def test_unknown_network(function):
    with pytest.raises(ValueError) as error:
        function("resnet_50")
    assert str(error.value) == f"model: expected one of {', '.join(POCKET)}, got 'resnet_50'"


def test_multiplications_are_counted():
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 32 * 32, 7))
    assert pocket.multiplications(network) == (32 * 32 * 5 * 3 * 9 + 5 * 32 * 32 * 7) / 1e6
    # Of attention, as well:
    n, d = 17, 48  # patches of 8 x 8 pixels and the class token
    block = n * d * 3 * d + 2 * n * n * d + n * d * d + 2 * n * d * 3 * d
    expected = 16 * d * 3 * 64 + 4 * block + d * 128
    assert pocket.multiplications(pocket.untrained("vit_tiny")) == expected / 1e6
