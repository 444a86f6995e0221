"""Features of images: one forward pass of a network, kept in a cache.

A cache entry is a folder of its own, named by a fingerprint of everything the features depend on: weights, images,
layer, preprocessing, precision and libraries. It is written beside its place and renamed when it is whole, and read
only when its checksum is right: what was interrupted or damaged is made again.
"""

import hashlib
import json
import mmap
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from sfda.networks.device import memory_errors, resolve_device, versions

MAPPED = 2**28  # bytes from which on features are left on the disk and mapped into memory


class UnreadableImages(ValueError):
    """Images that no network can read: whatever goes over several networks may stop at the first."""


class Features(NamedTuple):
    """What a network says of a data set.

    ``features`` is (N, D), mapped from the cache's file where it is large; ``labels`` (N,) int64; ``skipped`` the
    positions of unreadable images, which have no row; ``layer`` the module whose input was taken; ``cached``
    whether nothing had to be computed.
    """

    features: np.ndarray
    labels: np.ndarray
    skipped: list
    layer: str
    cached: bool


def extract(
    backbone, dataset, fingerprint, *, cache=None, dtype="float32", device="auto", batch=64, workers=0,
    skip_unreadable=False, progress=None,
):  # fmt: skip
    """Features of all images of a data set, computed once.

    Parameters
    ----------
    backbone : sfda.networks.backbones.Backbone
    dataset : torch.utils.data.Dataset
        Items (image, label): whatever the backbone's transform takes, and an int.
    fingerprint : str
        Of the images and their labels, as :attr:`sfda.images.image_sets.ImageSet.fingerprint`. Another one is
        another cache entry.
    cache : path, optional
        Folder of the entries; nothing is kept without it.
    dtype : {"float32", "float16"}, default "float32"
        As what they are stored. The forward pass runs in float32 on the CPU, in mixed precision on CUDA.
    device : str, default "auto"
        "auto" is "cuda" where there is one.
    batch : int, default 64
        Halved, as often as it takes, where the device's memory does not suffice.
    workers : int, default 0
        Processes that read images.
    skip_unreadable : bool, default False
        Leave images out that cannot be read, instead of raising.
    progress : callable, optional
        Called with the number of images done and of all, after every batch.

    Returns
    -------
    Features

    Raises
    ------
    UnreadableImages
        A ValueError: an image cannot be read (the message says how many and which first), or none can.
    ValueError
        The layer was not reached or its input cannot be pooled; features that are not finite; an empty data set, or
        no such dtype.
    MemoryError
        The device's memory does not suffice for one image.
    RuntimeError
        The processes that read images have ended, as where a script starts them whenever it is imported.
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
    if not len(dataset):
        raise ValueError("dataset: expected at least one image, found none")
    device = resolve_device(device)
    entry = None
    if cache is not None:
        entry = Path(cache) / _key(backbone, fingerprint, dtype, skip_unreadable, device)
        if (found := _read(entry)) is not None:
            return found
    with memory_errors():
        result = _compute(backbone, dataset, dtype, torch.device(device), batch, workers, skip_unreadable, progress)
    if entry is None:
        return result
    _write(entry, result)
    found = _read(entry)  # None where something else removed it at once
    return result if found is None else found._replace(cached=False)


# --- the forward pass -----------------------------------------------------------


class _Readable(Dataset):
    """Items (position, tensor or None, label): one unreadable image must not stop the others."""

    def __init__(self, dataset, transform):
        self.dataset, self.transform = dataset, transform

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, i):
        try:
            image, label = self.dataset[i]
        except (OSError, SyntaxError, ValueError) as error:  # what PIL raises
            return i, None, f"{type(error).__name__}: {error}"
        return i, self.transform(image), int(label)


def _collate(items):
    readable = [item for item in items if item[1] is not None]
    failed = [(i, reason) for i, x, reason in items if x is None]
    x = torch.stack([x for _, x, _ in readable]) if readable else None
    return x, torch.tensor([label for *_, label in readable], dtype=torch.int64), failed


def _compute(backbone, dataset, dtype, device, batch, workers, skip_unreadable, progress):
    loader = DataLoader(_Readable(dataset, backbone.transform), batch, num_workers=workers, collate_fn=_collate)
    rows, labels, failed, done, layer = [], [], [], 0, ""
    backbone.network.eval().to(device)
    with Hook(backbone) as hook, torch.inference_mode():
        for x, y, unreadable in _batches(loader):
            failed += unreadable
            # After a failure the others are only looked at, so that all can be named at once.
            if x is not None and (skip_unreadable or not failed):
                z, batch = _in_pieces(backbone.network, hook, x, device, batch)
                if not bool(torch.isfinite(z).all()):
                    raise ValueError(f"{backbone.name}: its features are not finite")
                with np.errstate(over="ignore"):
                    rows.append(z.cpu().numpy().astype(dtype))
                labels.append(y.numpy())
                layer = hook.name
            done += (0 if x is None else len(x)) + len(unreadable)
            if progress is not None:
                progress(done, len(dataset))
    if failed and not skip_unreadable:
        i, reason = failed[0]
        which = f"{len(failed)} of {len(dataset)} cannot be read, the first at position {i} ({reason})"
        raise UnreadableImages(f"images: {which}; mend or remove them, or skip them")
    if not rows:
        raise UnreadableImages(f"images: none of {len(dataset)} can be read")
    features = np.concatenate(rows)
    if not np.isfinite(features).all():
        raise ValueError(f"{backbone.name}: its features exceed float16; use dtype='float32'")
    return Features(features, np.concatenate(labels), [i for i, _ in failed], layer, False)


def _batches(loader):
    try:
        yield from loader
    except RuntimeError as error:
        if not loader.num_workers:
            raise
        remedy = "a script must start them from below `if __name__ == '__main__':`; or read in one process, workers=0"
        raise RuntimeError(f"the processes that read images have ended: {remedy}") from error


def _in_pieces(network, hook, x, device, batch):
    """Features of one batch, in pieces that fit the memory, and their size."""
    while True:
        try:
            with memory_errors():
                parts = []
                for piece in x.split(batch):
                    with torch.autocast(device.type, enabled=device.type == "cuda"):
                        network(piece.to(device, non_blocking=True))
                    parts.append(hook.taken().float())
                return torch.cat(parts), batch
        except MemoryError:
            if batch == 1:
                raise
            batch //= 2
            if device.type == "cuda":
                torch.cuda.empty_cache()


class Hook:
    """Takes the input of the layer while the network runs."""

    def __init__(self, backbone):
        self.backbone, self.handles = backbone, []
        self.inputs, self.name, self.module = None, "", None

    def __enter__(self):
        layer = self.backbone.layer
        for name, module in self.backbone.network.named_modules():
            if name == layer if layer else isinstance(module, (nn.Linear, nn.Conv2d)):
                self.handles.append(module.register_forward_pre_hook(self._keeper(name)))
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def _keeper(self, name):
        def keep(module, inputs):
            # Each layer overwrites those before it.
            self.inputs, self.name, self.module = inputs[0], name, module

        return keep

    def taken(self):
        """Features (B, D) of the batch that has just run."""
        name, x, self.inputs = self.name, self.inputs, None
        if x is None:
            raise ValueError(f"{self.backbone.name}: {self.backbone.layer or 'no linear layer'} did not run")
        pooled = _pooled(x, self.backbone.pool, self.module)
        if pooled is None:
            why = f"which pool={self.backbone.pool!r} does not turn into vectors"
            raise ValueError(f"{self.backbone.name}: the input of {name} has shape {tuple(x.shape)}, {why}")
        return pooled


def _pooled(x, pool, layer):
    """Vectors (B, D), or None where they cannot be had of `x` in this way."""
    if x.ndim == 2:
        return x
    if x.ndim == 3 and pool in ("class token", "token mean"):
        return x[:, 0] if pool == "class token" else x.mean(1)
    if x.ndim == 4 and pool == "average" and _reads_channels(layer, x, 1):
        return x.mean((2, 3))
    if x.ndim == 4 and pool == "channels-last average" and _reads_channels(layer, x, 3):
        return x.mean((1, 2))
    return None


def _reads_channels(layer, x, at):
    """Whether the layer takes dimension `at` of a map for its channels, where that can be told.

    The shape alone does not tell: averaged over the wrong two dimensions a map gives vectors just as well, of
    numbers that are no features.
    """
    if isinstance(layer, nn.Linear):
        return at == 3
    if isinstance(layer, nn.Conv2d):
        return at == 1
    if isinstance(layer, nn.LayerNorm):  # of either kind, with timm's
        return x.shape[at] == layer.normalized_shape[-1]
    return True


# --- the cache --------------------------------------------------------------------


def checksum(network):
    """Fingerprint of a network's weights and of what they are called."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        array = tensor.detach().cpu()
        # Flat, as contiguous() leaves a kernel of one pixel in any order of its dimensions.
        content = array.reshape(-1).view(torch.uint8).numpy().tobytes() if array.ndim else str(array).encode()
        digest.update(content)
    return digest.hexdigest()


def _key(backbone, fingerprint, dtype, skip_unreadable, device):
    facts = {
        "weights": checksum(backbone.network), "images": fingerprint, "layer": backbone.layer,
        "pool": backbone.pool, "transform": _described(backbone.transform), "dtype": dtype,
        "skip": skip_unreadable, "device": str(device).split(":")[0],
    } | versions("torch", "torchvision", "timm")  # fmt: skip
    text = json.dumps(facts, sort_keys=True)
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in backbone.name)[:60]
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _described(transform):
    """Text that two transforms share only if they do the same, in any process.

    Those of the libraries print their parameters. A function is told by its code; of an object that says nothing of
    itself the address stays in the text, so that its features are found in the same process at most.
    """
    code = getattr(transform, "__code__", None)
    if code is None or transform.__closure__:
        return str(transform)
    return f"{transform.__module__}.{transform.__qualname__} {code.co_code.hex()} {code.co_consts} {code.co_names}"


def _write(entry, result):
    """Whole or not at all: a folder beside its place, renamed at the end."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    try:
        facts = {"entry": entry.name, "skipped": result.skipped, "layer": result.layer}
        for name, array in (("features", result.features), ("labels", result.labels)):
            with open(part / f"{name}.npy", "wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            facts[name] = _crc(part / f"{name}.npy")
        (part / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        if _read(entry) is not None:
            return  # another process was faster
        if entry.is_symlink() or entry.is_file():
            entry.unlink()
        shutil.rmtree(entry, ignore_errors=True)  # damaged
        try:
            os.replace(part, entry)
        except OSError:
            if _read(entry) is None:
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _read(entry):
    """The entry, or None where there is none, or none that is whole."""
    try:
        facts = json.loads((entry / "facts.json").read_text(encoding="utf-8"))
        if facts.get("entry", entry.name) != entry.name:
            return None  # moved here from another place
        arrays = []
        for name in ("features", "labels"):
            path = entry / f"{name}.npy"
            if _crc(path) != facts[name]:
                return None
            mode = "r" if path.stat().st_size >= MAPPED else None
            arrays.append(np.load(path, mmap_mode=mode, allow_pickle=False))
        return Features(*arrays, facts["skipped"], facts["layer"], True)
    except Exception:  # damaged bytes make their readers stumble in any way
        return None


def _crc(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return zlib.crc32(content)
