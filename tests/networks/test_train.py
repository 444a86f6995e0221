"""Pre-training: the views are what they say, and every objective trains."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("lightly")

from torch import nn

from sfda.images.augment import normalise, strong, weak
from sfda.networks.pretraining.objectives import OBJECTIVES
from sfda.networks.pretraining.train import pretrain


@pytest.fixture(autouse=True)
def one_thread():
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n=64):
    return torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=seeded())


def tiny_encoder():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 4, stride=4, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2),
            nn.ReLU(), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )


def changed(before, after):
    return [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters())]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective_trains(name, optimizer):
    encoder, images, labels = tiny_encoder(), noise(), np.arange(64) % 4
    record = pretrain(encoder, 16, name, images, labels, epochs=2, batch_size=32, optimizer=optimizer, held_out=0)
    assert math.isfinite(record["loss"]) and len(record["curve"]) == record["epochs"] == 2
    assert record["loss"] == record["curve"][-1] and record["seconds"] > 0
    assert all(changed(tiny_encoder(), encoder))
    assert all(torch.isfinite(p).all() and p.requires_grad and p.is_contiguous() for p in encoder.parameters())
    assert not encoder.training and torch.equal(images, noise())
    assert (record["head"] is not None) == (name == "supervised")
    assert OBJECTIVES[name].name == name and 2016 <= OBJECTIVES[name].year <= 2022


@pytest.mark.parametrize("name", ["supervised", "moco_v2", "deepcluster", "instance_discrimination"])
def test_seed_fixes_the_weights(name):
    images = noise().numpy()
    images.flags.writeable = False

    def train(seed):
        encoder = tiny_encoder()
        pretrain(encoder, 16, name, images, [0, 1] * 32, epochs=2, batch_size=32, seed=seed)
        return encoder

    state = torch.random.get_rng_state()
    first = train(0)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)  # must not matter
    assert not any(changed(first, train(0))) and all(changed(first, train(1)))


def test_supervised_learns_and_returns_its_head():
    labels, images = np.arange(320) % 2, noise(320) // 2  # which half is the brighter one: left or right
    images[labels == 0, :, :, :16] += 100
    images[labels == 1, :, :, 16:] += 100
    encoder, lines = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 16), nn.ReLU()), []
    options = {"epochs": 4, "batch_size": 32, "held_out": 0.25, "progress": lines.append}
    record = pretrain(encoder, 16, "supervised", images, labels, **options)
    assert record["source_accuracy"] > 0.9 and len(lines) == 4 and record["head"].weight.shape == (2, 16)
    with torch.no_grad():
        guesses = record["head"](encoder(normalise(images))).argmax(1).numpy()
    assert (guesses == labels).mean() > 0.9


def test_views_are_fixed_by_the_generator_and_stay_in_range():
    images = noise(40)
    strongest = {"mirror": False, "strength": 1.6}
    for view, options in ((weak, {"mirror": False}), (weak, {"mirror": True}), (strong, {}), (strong, strongest)):
        first, again, other = (view(images, seeded(seed), **options) for seed in (0, 0, 1))
        assert first.shape == (40, 3, 32, 32) and first.dtype == torch.float32 and first.abs().max() <= 2
        assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(images, noise(40))
    assert torch.allclose(normalise(images), (images / 255 - 0.5) / 0.25)


def test_weak_mirrors_only_where_asked():
    images = torch.zeros(2000, 3, 32, 32, dtype=torch.uint8)
    images[..., :12] = 200
    for mirror, share, slack in ((False, 1, 0), (True, 0.5, 0.08)):  # of 2000 tosses, seven standard deviations
        left, right = weak(images, seeded(), mirror=mirror).split(16, dim=3)
        brighter = left.mean((1, 2, 3)) > right.mean((1, 2, 3))
        assert abs(brighter.float().mean() - share) <= slack


def test_strength_makes_views_stronger():
    images = noise(8).repeat(50, 1, 1, 1) // 4 + 60
    images[:, 0] += 90
    views = [strong(images, seeded(), strength=s) for s in (0.25, 1.0, 1.6)]
    shifts = [(x.mean((2, 3)) - normalise(images).mean((2, 3))).abs().mean() for x in views]
    assert shifts[0] < shifts[1] < shifts[2]
    with pytest.raises(ValueError, match="strength is 0"):
        strong(images, seeded(), strength=0)


@pytest.mark.parametrize("change, message", [
    ({"objective": "magic"}, "objective is 'magic', expected one of supervised, simclr"),
    ({"epochs": 0}, "epochs is 0"), ({"epochs": 1.5}, "epochs is 1.5"), ({"dimension": 0}, "dimension is 0"),
    ({"batch_size": 1}, "batch_size is 1"), ({"learning_rate": -1.0}, "learning_rate is -1.0"),
    ({"optimizer": "lars"}, "optimizer is 'lars'"), ({"augmentation": "none"}, "augmentation is 'none'"),
    ({"held_out": 1}, "held_out is 1"), ({"images": noise().float()}, "images is torch.float32 .64, 3, 32, 32."),
    ({"images": noise()[:, :1]}, "images is torch.uint8 .64, 1, 32, 32., expected"),
    ({"images": noise()[0]}, "images is torch.uint8 .3, 32, 32., expected"), ({"images": [1, 2]}, "images is list"),
    ({"images": noise(1)}, "images holds 1 image"), ({"labels": None}, "labels is None"),
    ({"labels": [0, 1]}, "labels is int64 .2,., expected"), ({"labels": [-1] * 64}, "labels is int64"),
    ({"labels": [0.5] * 64}, "labels is float64"),
    ({"objective": "simclr", "epochs": 3}, "simclr: at step 0 of 3 the loss is nan"),
])
def test_bad_input(change, message):
    arguments = {"encoder": tiny_encoder(), "dimension": 16, "objective": "supervised", "images": noise(), "epochs": 1}
    arguments["encoder"][0].weight.data[0] = math.nan
    with pytest.raises(FloatingPointError if "at step" in message else ValueError, match=message):
        pretrain(**arguments | {"labels": [0, 1] * 32} | change)
