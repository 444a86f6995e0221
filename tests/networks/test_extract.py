"""Features of images: what is taken, and a cache that never returns anything else."""

import json
import os
import re
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from small_networks import Squares
from torch import nn
from torchvision.transforms.functional import to_tensor

from forks import forkserver
from sfda.networks import extract as module
from sfda.networks.backbones import Backbone, load
from sfda.networks.device import memory_errors
from sfda.networks.extract import UnreadableImages, checksum, extract

TEN, FC, NORM = Squares(10, 8), nn.Linear(5, 2), nn.LayerNorm(5)


def network(seed=0, **filled):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    for name, value in filled.items():
        getattr(net[0], name).data.fill_(value)
    return net


def backbone(net=None, layer="", pool="average"):
    return Backbone("small", net or network(), to_tensor, layer, pool)


def expected(images=TEN, upto=4):
    with torch.no_grad():
        return network()[:upto](torch.stack([to_tensor(images[i][0]) for i in range(len(images))]))


@pytest.mark.parametrize(("layer", "upto"), [("", 4), ("1", 1), ("3", 3)])
def test_features_are_what_enters_the_layer_averaged_over_positions(layer, upto):
    net, seen = backbone(layer=layer), []
    found = extract(net, TEN, "x", batch=4, progress=lambda *a: seen.append(a), workers=2 if layer == "3" else 0)
    full = expected(upto=upto)
    np.testing.assert_allclose(found.features, full.mean((2, 3)) if layer else full, rtol=1e-5, atol=1e-6)
    assert found.layer == (layer or "4") and not found.cached and found.skipped == []
    assert found.labels.tolist() == list(range(10)) and found.features.dtype == np.float32
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert not any(m._forward_pre_hooks for m in net.network.modules())  # nothing of the hooks is left


class Before(nn.Module):
    """A layer, and before it whatever shape the first numbers of each image are put into."""

    def __init__(self, layer, *shape):
        super().__init__()
        self.head, self.shape = layer, shape

    def put(self, x):
        return x.flatten(1)[:, : np.prod(self.shape)].reshape(len(x), *self.shape)

    def forward(self, x):
        return self.head(self.put(x))


@pytest.mark.parametrize(("layer", "shape", "pool", "reduce"), [
    (FC, (4, 5), "class token", lambda x: x[:, 0]), (FC, (4, 5), "token mean", lambda x: x.mean(1)),
    # Also of a map that is square and as high as it has channels.
    *((layer, (side, side, 5), "channels-last average", lambda x: x.mean((1, 2)))
      for layer in (FC, NORM, nn.ReLU()) for side in (4, 5)),
    # A map is not averaged against the layer's own order.
    (FC, (4, 4, 5), "average", None), (NORM, (4, 4, 5), "average", None), (FC, (4, 4, 5), "class token", None),
    (nn.Conv2d(4, 2, 1), (4, 4, 5), "channels-last average", None), (nn.Identity(), (4, 4, 5), "token mean", None),
    (FC, (4, 5), "average", None),
])
def test_tokens_and_maps(layer, shape, pool, reduce):
    net = Before(layer, *shape)
    if reduce:
        found = extract(backbone(net, "head", pool), TEN, "x")
        np.testing.assert_allclose(found.features, reduce(net.put(expected(upto=0))), rtol=1e-5)
    else:
        with pytest.raises(ValueError, match=re.escape(f"input of head has shape {(10, *shape)}, which pool='{pool}'")):
            extract(backbone(net, "head", pool), TEN, "x", batch=10)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: backbone(nn.Flatten(), pool="max"), "pool: expected one of average"),
    (lambda: backbone(nn.Flatten(), layer="fc"), "layer: small has no module 'fc'"),
    (lambda: extract(backbone(nn.Flatten()), TEN, "x"), "no linear layer ran, whose input"),
    (lambda: extract(backbone(), TEN, "x", dtype="int8"), "dtype: expected .*'int8'"),
    (lambda: extract(backbone(), Squares(0), "x"), "dataset: expected at least one"),
    (lambda: extract(backbone(), TEN, "x", logits=True), "small: it has no classifier of source classes"),
    (lambda: extract(replace(backbone(), source_classes=5), TEN, "x", logits=True), "logits of 5 .* got .*4, 4"),
    (lambda: extract(backbone(network(weight=float("inf"))), TEN, "x"), "small: its features are not finite"),
    (lambda: extract(backbone(network(bias=1e6)), TEN, "x", dtype="float16"), "exceed float16"),
])
def test_what_has_no_features(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_unreadable_images_are_counted_named_and_skipped_only_when_asked():
    images = Squares(10, 8, bad=(2, 7))
    with pytest.raises(UnreadableImages, match="2 of 10 cannot be read.* position 2 .OSError: image file 2 is trunc"):
        extract(backbone(), images, "x", batch=3)
    found = extract(backbone(), images, "x", batch=3, skip_unreadable=True)
    kept = [0, 1, 3, 4, 5, 6, 8, 9]
    assert found.skipped == [2, 7] and found.labels.tolist() == kept
    np.testing.assert_allclose(found.features, expected()[kept], rtol=1e-5)
    with pytest.raises(UnreadableImages, match="none of 3 can be read"):
        extract(backbone(), Squares(3, bad=range(3)), "x", skip_unreadable=True)


@pytest.mark.parametrize("error", [  # of CUDA, of the CPU, and more than any machine has
    torch.cuda.OutOfMemoryError("CUDA memory"), RuntimeError("DefaultCPUAllocator: can't allocate"), None
])
def test_out_of_memory_halves_the_batch(error, monkeypatch):
    net, images, sizes, largest = network(), Squares(20, 8), [], 3

    def forward(x):
        sizes.append(len(x))
        if len(x) > largest:
            if error is None:
                torch.empty(2**60, dtype=torch.uint8)
            raise error
        return nn.Sequential.forward(net, x)

    monkeypatch.setattr(net, "forward", forward)
    found = extract(backbone(net), images, "x", batch=10)
    assert sizes == [10, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]  # learnt once
    np.testing.assert_allclose(found.features, expected(images), rtol=1e-5)
    largest = 0
    with pytest.raises(MemoryError):
        extract(backbone(net), TEN, "x")


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(RuntimeError, match="size of tensor"), memory_errors():
        torch.ones(2) + torch.ones(3)


# --- the cache --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "pocket:resnet_10", "pocket:mobilenet_v2", "pocket:simclr"])
def test_a_second_call_computes_nothing(name, tmp_path, monkeypatch):
    """Names of networks do not leave the folder, and large features, unlike labels, are mapped."""
    monkeypatch.setattr(module, "MAPPED", 300)
    images, cache, found = Squares(10, 8), tmp_path / "cache", []
    for _ in range(2):
        net = load(name) if name else Backbone("../../evil:name/" + "x" * 300, network(), to_tensor)
        found.append(extract(net, images, "x", cache=cache))
        assert isinstance(found[-1].features, np.memmap) and not isinstance(found[-1].labels, np.memmap)
    first, second = found
    assert (first.cached, second.cached) == (False, True) and images.read == 10 and second.layer == first.layer
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.labels, second.labels)
    if not name:
        np.testing.assert_allclose(first.features, expected(), rtol=1e-5)
    (entry,) = cache.iterdir()
    assert len(entry.name) < 100 and list(tmp_path.iterdir()) == [cache]


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"layer": "3"}, {"transform": lambda image: to_tensor(image)}, {"fingerprint": "y"},
    {"dtype": "float16"}, {"skip_unreadable": True},
], ids=lambda change: next(iter(change)))
def test_anything_else_is_another_entry(tmp_path, change):
    for changed in ({}, change):
        options = {"seed": 0, "layer": "", "transform": to_tensor, "fingerprint": "x"} | changed
        net = Backbone("small", network(options.pop("seed")), options.pop("transform"), options.pop("layer"))
        assert not extract(net, TEN, options.pop("fingerprint"), cache=tmp_path, **options).cached
    assert len(list(tmp_path.iterdir())) == 2


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
    first = extract(backbone(), TEN, "x", cache=tmp_path)
    damage(*tmp_path.iterdir())
    again, kept = (extract(backbone(), TEN, "x", cache=tmp_path) for _ in range(2))
    np.testing.assert_array_equal(first.features, again.features)
    assert kept.cached and not again.cached


@pytest.mark.parametrize(("place", "name", "error"), [(os, "replace", KeyboardInterrupt()), (np, "save", OSError(28))])
def test_an_interrupted_write_leaves_nothing_that_is_read(place, name, error, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(type(error)):
        patched.setattr(place, name, Mock(side_effect=error))
        extract(backbone(), TEN, "x", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not extract(backbone(), TEN, "x", cache=tmp_path).cached


class Deadly(Squares):
    def __getitem__(self, i):
        os._exit(1)


@pytest.mark.filterwarnings("ignore")  # torch's, of what the ended processes leave
def test_processes_that_end_say_what_to_do():
    with pytest.raises(RuntimeError, match="have ended: a script must start them from below `if __name__ == '__main__':`; or .* workers=0"):
        extract(backbone(), Deadly(4, 8), "x", workers=1)


def test_two_processes_at_once(tmp_path):
    arguments = {"args": (backbone(), TEN, "x"), "kwargs": {"cache": tmp_path}}
    processes = [forkserver().Process(target=extract, **arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert extract(backbone(), TEN, "x", cache=tmp_path).cached and len(list(tmp_path.iterdir())) == 1


def test_the_checksum_is_that_of_all_weights_not_of_their_order_in_memory():
    for net, name in (  # the counter of a batch norm is a scalar
        (network(), "4.bias"), (nn.BatchNorm2d(3), "num_batches_tracked"),
        (nn.Conv2d(4, 5, 1), "weight"), (nn.Conv2d(4, 5, 3), "weight"),
    ):
        before = checksum(net)
        assert checksum(net.to(memory_format=torch.channels_last)) == before
        tensor = net.state_dict()[name]
        tensor[(-1,) * tensor.ndim] += 1
        assert checksum(net) != before
    assert checksum(network()) == checksum(network()) not in (checksum(network(1)), checksum(network().bfloat16()))


# --- how many images at a time ----------------------------------------------------


@pytest.mark.parametrize(("device", "fastest"), [("cpu", 4), ("cpu", 16), ("cpu", 32), ("cuda", None)])
def test_on_a_cpu_the_first_images_decide_the_batch(device, fastest, monkeypatch):
    """Every image goes through the network once; the clock is ours."""
    sizes, now, net = [], [0.0], network()

    def forward(x):
        sizes.append(len(x))
        now[0] += len(x) * (1 + abs(np.log2(len(x) / (fastest or 1))))  # slower the further from it
        return nn.Sequential.forward(net, x)

    monkeypatch.setattr(net, "forward", forward)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    pieces = module._Pieces("auto", torch.device("cpu"))
    if device == "cuda":
        pieces = module._Pieces("auto", Mock(type="cuda"))
        assert (pieces.size, pieces.trials) == (64, [])
        return
    x = torch.rand(150, 3, 8, 8)
    with module.Hook(backbone(net)) as hook, torch.inference_mode():
        found = torch.cat([pieces.through(hook, part, False)[0] for part in x.split(64)])
        torch.testing.assert_close(found, net[:4](x))
    tried = [4, 4, 8, 16, 32][: {4: 3, 16: 5, 32: 5}[fastest]]
    assert sizes[: len(tried)] == tried and sum(sizes) == 150
    assert {n for n in sizes[len(tried) :] if n >= 4} <= {fastest, *(m % fastest for m in (22, 64 - sum(tried)))}


def test_logits_are_kept_beside_the_features_of_one_pass(tmp_path):
    images, net = Squares(10, 8), replace(backbone(), source_classes=4)
    for cached in (False, True):
        found = extract(net, images, "x", cache=tmp_path, logits=True)
        assert found.cached == cached and images.read == 10
        np.testing.assert_allclose(found.logits, expected(upto=5), rtol=1e-5, atol=1e-6)
    # What has them serves those who do not ask; features alone do not serve those who do.
    assert extract(net, images, "x", cache=tmp_path).cached
    extract(net, images, "y", cache=tmp_path)
    assert not extract(net, images, "y", cache=tmp_path, logits=True).cached and images.read == 30


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(nn.DataParallel(net), backend="eager")])
def test_a_network_is_taken_out_of_what_runs_it_elsewhere(wrap):
    net = network()
    assert Backbone("wrapped", wrap(net), to_tensor).network is net
