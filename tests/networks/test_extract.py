"""Features of images: what is taken, and a cache that never returns anything else."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from forks import forkserver
from sfda.networks import extract as module
from sfda.networks.backbones import Backbone
from sfda.networks.device import memory_errors
from sfda.networks.extract import UnreadableImages, checksum, extract


class Images(torch.utils.data.Dataset):
    """Grey squares as PIL images; those in `bad` cannot be read."""

    def __init__(self, n=10, bad=()):
        self.n, self.bad, self.read = n, bad, 0

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.read += 1
        if i in self.bad:
            raise OSError(f"image file {i} is truncated")
        pixels = np.random.default_rng(i).integers(256, size=(8, 8, 3), dtype=np.uint8)
        return Image.fromarray(pixels), i % 3


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )


def backbone(seed=0, **options):
    return Backbone("small", network(seed), to_tensor, **options)


def expected(net, images, upto=4):
    with torch.no_grad():
        x = torch.stack([to_tensor(images[i][0]) for i in range(len(images))])
        return net[:upto](x).numpy()


def test_features_are_what_enters_the_classifier():
    net = backbone()
    found = extract(net, Images(), "x", batch=4)
    assert found.layer == "4" and not found.cached and found.skipped == []
    np.testing.assert_allclose(found.features, expected(net.network, Images()), rtol=1e-5)
    assert found.labels.tolist() == [i % 3 for i in range(10)] and found.features.dtype == np.float32
    # Nothing of the hooks is left.
    assert not any(m._forward_pre_hooks for m in net.network.modules())


@pytest.mark.parametrize(("layer", "upto"), [("1", 1), ("3", 3)])
def test_another_layer_averages_over_positions(layer, upto):
    found = extract(backbone(layer=layer), Images(), "x")
    full = expected(network(), Images(), upto)
    np.testing.assert_allclose(found.features, full.mean((2, 3)), rtol=1e-4, atol=1e-6)
    assert found.layer == layer


class Before(nn.Module):
    """A layer, and before it whatever shape the first numbers of each image are put into."""

    def __init__(self, layer, *shape):
        super().__init__()
        self.head, self.shape = layer, shape

    def forward(self, x):
        return self.head(x.flatten(1)[:, : np.prod(self.shape)].reshape(len(x), *self.shape))


def first_numbers(*shape):
    """What the ten images' first numbers are, in this shape."""
    x = torch.stack([small(Images()[i][0]) for i in range(10)])
    return x.flatten(1)[:, : np.prod(shape)].reshape(10, *shape)


@pytest.mark.parametrize(("pool", "reduce"), [("class token", lambda t: t[:, 0]), ("token mean", lambda t: t.mean(1))])
def test_tokens(pool, reduce):
    found = extract(Backbone("t", Before(nn.Linear(5, 2), 4, 5), small, pool=pool), Images(), "x")
    np.testing.assert_allclose(found.features, reduce(first_numbers(4, 5)), rtol=1e-6)


@pytest.mark.parametrize("layer", [nn.Linear(5, 2), nn.LayerNorm(5), nn.ReLU()])
@pytest.mark.parametrize("side", [4, 5])
def test_maps_with_channels_last(layer, side):
    """Also of a map that is square and as high as it has channels."""
    net = Before(layer, side, side, 5)
    found = extract(Backbone("l", net, small, layer="head", pool="channels-last average"), Images(), "x")
    np.testing.assert_allclose(found.features, first_numbers(side, side, 5).mean((1, 2)), rtol=1e-5)


def small(image):
    return to_tensor(image)[:, :7, :7]  # 147 numbers, at least the 125 that are used


@pytest.mark.parametrize(("layer", "pool"), [
    (nn.Linear(5, 2), "average"), (nn.LayerNorm(5), "average"), (nn.Linear(5, 2), "class token"),
    (nn.Conv2d(4, 2, 1), "channels-last average"), (nn.Identity(), "token mean"),
])
def test_a_map_is_not_averaged_against_the_layers_own_order(layer, pool):
    with pytest.raises(ValueError, match=rf"input of head has shape \(10, 4, 4, 5\), which pool='{pool}'"):
        extract(Backbone("l", Before(layer, 4, 4, 5), small, layer="head", pool=pool), Images(), "x")


def test_what_cannot_be_pooled_is_said():
    with pytest.raises(ValueError, match=r"input of head has shape \(10, 4, 5\), which pool='average'"):
        extract(Backbone("t", Before(nn.Linear(5, 2), 4, 5), to_tensor), Images(), "x")
    with pytest.raises(ValueError, match="pool: expected one of average"):
        Backbone("t", nn.Flatten(), to_tensor, pool="max")
    with pytest.raises(ValueError, match="layer: t has no module 'fc'"):
        Backbone("t", nn.Flatten(), to_tensor, layer="fc")
    with pytest.raises(ValueError, match="no linear layer did not run"):
        extract(Backbone("t", nn.Flatten(), to_tensor), Images(), "x")


@pytest.mark.parametrize(("options", "message"), [
    ({"dtype": "int8"}, "dtype: expected"), ({"dataset": Images(0)}, "dataset: expected at least one"),
])
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        extract(backbone(), options.pop("dataset", Images()), "x", **options)


def test_unreadable_images_are_counted_named_and_skipped_only_when_asked():
    images = Images(bad=(2, 7))
    message = r"2 of 10 cannot be read, the first at position 2 \(OSError: image file 2 is truncated\)"
    with pytest.raises(UnreadableImages, match=message):
        extract(backbone(), images, "x", batch=3)
    found = extract(backbone(), images, "x", batch=3, skip_unreadable=True)
    kept = [i for i in range(10) if i not in (2, 7)]
    assert found.skipped == [2, 7] and found.labels.tolist() == [i % 3 for i in kept]
    np.testing.assert_allclose(found.features, expected(network(), Images())[kept], rtol=1e-5)
    with pytest.raises(UnreadableImages, match="none of 3 can be read"):
        extract(backbone(), Images(3, bad=range(3)), "x", skip_unreadable=True)


def test_features_that_are_not_finite():
    net = network()
    net[0].weight.data[:] = float("inf")
    with pytest.raises(ValueError, match="small: its features are not finite"):
        extract(Backbone("small", net, to_tensor), Images(), "x")
    net = network()
    net[0].bias.data[:] = 1e6
    with pytest.raises(ValueError, match="exceed float16"):
        extract(Backbone("small", net, to_tensor), Images(), "x", dtype="float16")


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("CUDA memory"), RuntimeError("DefaultCPUAllocator: can't allocate"), None]
)
def test_out_of_memory_halves_the_batch(error, monkeypatch):
    net, sizes, largest = network(), [], 3

    def forward(x):
        sizes.append(len(x))
        if len(x) > largest:
            if error is None:
                torch.empty(2**60, dtype=torch.uint8)  # more than any machine has
            raise error
        return nn.Sequential.forward(net, x)

    monkeypatch.setattr(net, "forward", forward)
    found = extract(Backbone("small", net, to_tensor), Images(20), "x", batch=10)
    assert sizes == [10, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]  # learnt once
    np.testing.assert_allclose(found.features, expected(network(), Images(20)), rtol=1e-5)
    largest = 0
    with pytest.raises(MemoryError):
        extract(Backbone("small", net, to_tensor), Images(), "x")


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(RuntimeError, match="size of tensor"), memory_errors():
        torch.ones(2) + torch.ones(3)


def test_progress_and_workers():
    seen = []
    found = extract(backbone(), Images(), "x", batch=4, progress=lambda *a: seen.append(a), workers=2)
    assert seen == [(4, 10), (8, 10), (10, 10)] and len(found.features) == 10


# --- the cache --------------------------------------------------------------------


def test_a_second_call_computes_nothing(tmp_path):
    images = Images()
    first = extract(backbone(), images, "x", cache=tmp_path)
    assert not first.cached and images.read == 10
    second = extract(backbone(), images, "x", cache=tmp_path)
    assert second.cached and images.read == 10 and second.layer == first.layer
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"layer": "3"}, {"transform": lambda image: to_tensor(image)}, {"fingerprint": "y"},
    {"dtype": "float16"}, {"skip_unreadable": True},
], ids=lambda change: next(iter(change)))
def test_anything_else_is_another_entry(tmp_path, change):
    extract(backbone(), Images(), "x", cache=tmp_path)
    change = dict(change)
    net = backbone(change.pop("seed", 0), layer=change.pop("layer", ""))
    net = Backbone(net.name, net.network, change.pop("transform", net.transform), net.layer)
    found = extract(net, Images(), change.pop("fingerprint", "x"), cache=tmp_path, **change)
    assert not found.cached and len(list(tmp_path.iterdir())) == 2


def test_transforms_that_cannot_be_told_apart_are_never_mixed():
    def shifted(by):
        return lambda image: to_tensor(image) + by  # two of them differ in what they enclose

    described = [module._described(t) for t in (shifted(1), shifted(2), to_tensor, len)]
    assert len(set(described)) == 4
    assert module._described(to_tensor) == described[2] and " at 0x" not in described[2]


def rewrite(name, change):
    return lambda entry: (entry / name).write_bytes(change((entry / name).read_bytes()))


def pickled(entry):
    """A pickle where an array should be, with its own checksum."""
    np.save(entry / "labels.npy", np.array([{}], dtype=object), allow_pickle=True)
    facts = json.loads((entry / "facts.json").read_text()) | {"labels": module._crc(entry / "labels.npy")}
    (entry / "facts.json").write_text(json.dumps(facts))


@pytest.mark.parametrize("damage", [
    rewrite("features.npy", lambda content: content[:-7]),
    rewrite("features.npy", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
    rewrite("features.npy", lambda content: b""), rewrite("facts.json", lambda content: content[: len(content) // 2]),
    rewrite("facts.json", lambda content: b"[1, 2]"), lambda entry: (entry / "facts.json").unlink(),
    lambda entry: (entry / "labels.npy").unlink(), pickled,
])
def test_a_damaged_entry_is_made_again(tmp_path, damage):
    first = extract(backbone(), Images(), "x", cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    damage(entry)
    again = extract(backbone(), Images(), "x", cache=tmp_path)
    assert not again.cached
    np.testing.assert_array_equal(first.features, again.features)
    assert extract(backbone(), Images(), "x", cache=tmp_path).cached


@pytest.mark.parametrize(("place", "name", "error"), [
    (os, "replace", KeyboardInterrupt()), (np, "save", OSError(28, "No space left on device")),
])
def test_an_interrupted_write_leaves_nothing_that_is_read(place, name, error, tmp_path, monkeypatch):
    def stop(*arguments, **options):
        raise error

    with monkeypatch.context() as patched, pytest.raises(type(error)):
        patched.setattr(place, name, stop)
        extract(backbone(), Images(), "x", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not extract(backbone(), Images(), "x", cache=tmp_path).cached


def run(folder):
    extract(backbone(), Images(), "x", cache=folder)


@pytest.mark.parametrize("side", [1, 3])
def test_the_checksum_is_of_the_weights_not_of_their_order_in_memory(side):
    net = nn.Sequential(nn.Conv2d(4, 5, side), nn.BatchNorm2d(5))
    expected = checksum(net)
    assert checksum(net.to(memory_format=torch.channels_last)) == expected
    net[0].weight.data[3, 2, 0, 0] += 1
    assert checksum(net) != expected


@pytest.mark.parametrize("name", ["resnet_10", "mobilenet_v2", "simclr"])
def test_networks_of_the_pocket_zoo_are_kept(name, tmp_path):
    from sfda.networks import backbones

    first, again = (extract(backbones.load(f"pocket:{name}"), Images(), "x", cache=tmp_path) for _ in range(2))
    assert np.array_equal(first.features, again.features) and (first.cached, again.cached) == (False, True)


def test_two_processes_at_once(tmp_path):
    context = forkserver()
    processes = [context.Process(target=run, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert extract(backbone(), Images(), "x", cache=tmp_path).cached
    assert len(list(tmp_path.iterdir())) == 1


def test_large_features_are_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAPPED", 300)
    found = extract(backbone(), Images(), "x", cache=tmp_path)
    assert isinstance(found.features, np.memmap) and not isinstance(found.labels, np.memmap)
    np.testing.assert_allclose(found.features, expected(network(), Images()), rtol=1e-5)


def test_names_of_networks_do_not_leave_the_folder(tmp_path):
    net = Backbone("../../evil:name/" + "x" * 300, network(), to_tensor)
    extract(net, Images(), "x", cache=tmp_path / "cache")
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]
    (entry,) = (tmp_path / "cache").iterdir()
    assert len(entry.name) < 100


def test_the_checksum_is_that_of_all_weights():
    first = checksum(network())
    assert checksum(network()) == first != checksum(network(1))
    changed = network()
    changed[4].bias.data[0] += 1
    assert checksum(changed) != first
    norm = nn.BatchNorm2d(3)  # its counter is a scalar
    before = checksum(norm)
    norm.num_batches_tracked += 1
    assert checksum(norm) != before
    assert checksum(network().bfloat16()) != first
