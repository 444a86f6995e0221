"""Features of images: one forward pass of a network, kept in a cache.

A cache entry is a folder of its own, named by a fingerprint of everything the features depend on: weights, images,
layer, preprocessing, precision and libraries. It is written beside its place and renamed when it is whole, and read
only when its checksum is right: what was interrupted or damaged is made again.
"""

import contextlib
import hashlib
import inspect
import json
import mmap
import os
import shutil
import tempfile
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from sfda.networks.device import memory_errors, resolve_device, versions

MAPPED = 2**28  # bytes from which on features are left on the disk and mapped into memory
BATCH = 64  # images that are read at a time, and the most that go through a network at a time, unless one says so
#: The sizes that the first images of a data set are put through a network in, on a CPU; the first to warm up.
TRIALS = (4, 4, 8, 16, 32)
_NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
ARRAYS = ("features", "labels", "logits")  # of a cache entry


class UnreadableImages(ValueError):
    """Images that no network can read: whatever goes over several networks may stop at the first."""


class Features(NamedTuple):
    """What a network says of a data set.

    ``features`` is (N, D), mapped from the cache's file where it is large; ``labels`` (N,) int64; ``skipped`` the
    positions of unreadable images, which have no row; ``layer`` the module whose input was taken, or "pre-logits";
    ``cached`` whether nothing had to be computed; ``logits`` (N, Z), where they were asked for, what the network's own
    classifier says of its Z source classes.
    """

    features: np.ndarray
    labels: np.ndarray
    skipped: list
    layer: str
    cached: bool
    logits: np.ndarray | None = None


def extract(
    backbone, dataset, fingerprint, *, cache=None, dtype="float32", device="auto", batch="auto", workers=0,
    skip_unreadable=False, logits=False, progress=None,
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
    batch : int or "auto", default "auto"
        Images that go through the network at a time; halved, as often as it takes, where the device's memory does not
        suffice. "auto": on a CPU that of 4, 8, 16 and 32 with which the first images went fastest, elsewhere 64.
    workers : int, default 0
        Processes that read images.
    skip_unreadable : bool, default False
        Leave images out that cannot be read, instead of raising.
    logits : bool, default False
        Keep also what the network's own classifier says, of the same pass.
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
        The layer was not reached or its input cannot be pooled; features that are not finite; an empty data set, no
        such dtype, or logits of a network without source classes.
    MemoryError
        The device's memory does not suffice for one image.
    RuntimeError
        The processes that read images have ended, as where a script starts them whenever it is imported.
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
    if not len(dataset):
        raise ValueError("dataset: expected at least one image, found none")
    if logits and not backbone.source_classes:
        raise ValueError(f"{backbone.name}: it has no classifier of source classes (Backbone's source_classes)")
    device = resolve_device(device)
    entry = None
    if cache is not None:
        entry = Path(cache) / _key(backbone, fingerprint, dtype, skip_unreadable, device)
        more = entry.with_name(entry.name + "-logits")
        for place in (more,) if logits else (entry, more):
            if (found := _read(place)) is not None:
                return found
        entry = more if logits else entry
    pieces = _Pieces(batch, torch.device(device))
    with memory_errors():
        result = _compute(backbone, dataset, dtype, pieces, workers, skip_unreadable, logits, progress)
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


def _compute(backbone, dataset, dtype, pieces, workers, skip_unreadable, logits, progress):
    loader = DataLoader(_Readable(dataset, backbone.transform), pieces.size, num_workers=workers, collate_fn=_collate)
    rows, labels, failed, done, layer = [], [], [], 0, ""
    backbone.network.eval().to(pieces.device)
    with Hook(backbone) as hook, torch.inference_mode():
        for x, y, unreadable in _batches(loader):
            failed += unreadable
            # After a failure the others are only looked at, so that all can be named at once.
            if x is not None and (skip_unreadable or not failed):
                z = pieces.through(hook, x, logits)
                for part, what in zip(z, ARRAYS[::2]):
                    if not bool(torch.isfinite(part).all()):
                        raise ValueError(f"{backbone.name}: its {what} are not finite")
                with np.errstate(over="ignore"):
                    rows.append([part.cpu().numpy().astype(dtype) for part in z])
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
    features, *of_head = (np.concatenate(parts) for parts in zip(*rows))
    for array, what in zip((features, *of_head), ARRAYS[::2]):
        if not np.isfinite(array).all():
            raise ValueError(f"{backbone.name}: its {what} exceed float16; use dtype='float32'")
    return Features(features, np.concatenate(labels), [i for i, _ in failed], layer, False, *of_head)


def _batches(loader):
    try:
        yield from loader
    except RuntimeError as error:
        if not loader.num_workers:
            raise
        remedy = "a script must start them from below `if __name__ == '__main__':`; or read in one process, workers=0"
        raise RuntimeError(f"the processes that read images have ended: {remedy}") from error


class _Pieces:
    """How many images go through a network at a time.

    On a CPU this is measured: a batch whose maps do not fit its caches, or are given back to the system after each
    layer, can be several times slower than a smaller one.
    """

    def __init__(self, batch, device):
        self.device, self.size = device, BATCH if batch == "auto" else batch
        self.trials = list(TRIALS) if batch == "auto" and device.type == "cpu" else []
        self.seconds = {}  # an image

    def through(self, hook, x, logits):
        """Features (and logits) of images, in pieces that fit the memory."""
        while True:
            try:
                with memory_errors():
                    parts, start = [], 0
                    while start < len(x):
                        begin, n = time.perf_counter(), self.trials[0] if self.trials else self.size
                        parts.append(self._of(hook, x[start : start + n], logits))
                        start += n
                        if self.trials and start <= len(x):
                            self._tried(self.trials.pop(0), time.perf_counter() - begin)
                    return [torch.cat(each) for each in zip(*parts)]
            except MemoryError:
                if self.size == 1:
                    raise
                self.size, self.trials = self.size // 2, []
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()

    def _of(self, hook, x, logits):
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            features, output = hook(x.to(self.device, non_blocking=True))
        if not logits:
            return [features.float()]
        backbone = hook.backbone
        if getattr(output, "shape", None) != (len(x), backbone.source_classes):
            found = getattr(output, "shape", type(output).__name__)
            expected = f"logits of {backbone.source_classes} source classes for {len(x)} images"
            raise ValueError(f"{backbone.name}: expected {expected}, got {found}")
        return [features.float(), output.float()]

    def _tried(self, n, seconds):
        self.seconds[n] = seconds / n
        best = min(self.seconds, key=self.seconds.get)
        if self.seconds[n] > 1.1 * self.seconds[best]:  # by more than a clock's noise:
            self.trials = []  # larger ones would be slower still
        if not self.trials:
            self.size = best


class Hook:
    """Runs a network and takes its features: its own pre-logits, or the input of a layer."""

    def __init__(self, backbone):
        self.backbone, self.handles = backbone, []
        self.inputs, self.name, self.module, self.body, self.normalised = None, "", None, backbone.body, False

    def __enter__(self):
        layer = self.backbone.layer
        if self.body is not None:
            self.before, forward = vars(self.body).get("forward_features"), self.body.forward_features

            def keep(*arguments, **options):
                self.inputs = forward(*arguments, **options)
                return self.inputs

            self.body.forward_features = keep  # hides the method, so that one pass gives both features and logits
            return self
        for name, module in self.backbone.network.named_modules():
            if name == layer if layer else isinstance(module, (nn.Linear, nn.Conv2d)):
                self.handles.append(module.register_forward_pre_hook(self._keeper(name)))
            elif isinstance(module, _NORMALISATIONS) and not layer:
                self.handles.append(module.register_forward_pre_hook(self._normalises))
        return self

    def __exit__(self, *_):
        if self.body is not None:
            del self.body.forward_features
            vars(self.body).update({"forward_features": self.before} if self.before else {})
        for handle in self.handles:
            handle.remove()

    def _keeper(self, name):
        def keep(module, inputs):
            # Each layer overwrites those before it.
            self.inputs, self.name, self.module, self.normalised = inputs[0], name, module, False

        return keep

    def _normalises(self, *_):
        self.normalised = True

    def __call__(self, x):
        """Features (B, D) of a batch, and what the network gives for it."""
        output = self.backbone.network(x)
        x, self.inputs = self.inputs, None
        if self.body is not None and x is not None:
            self.name = "pre-logits"
            return pre_logits(self.body, x), output
        if x is None:
            what = f"{self.backbone.layer} did not run" if self.backbone.layer else "no linear layer ran"
            raise ValueError(f"{self.backbone.name}: {what}, whose input its features are")
        if self._headless(output):
            self.name = "output"
            return (output if output.ndim == 2 else output.mean((2, 3))), output
        pooled = _pooled(x, self.backbone.pool, self.module)
        if pooled is None:
            why = f"which pool={self.backbone.pool!r} does not turn into vectors"
            raise ValueError(f"{self.backbone.name}: the input of {self.name} has shape {tuple(x.shape)}, {why}")
        return pooled, output

    def _headless(self, output):
        """Whether the last linear layer is none of a classifier's, which would end the network."""
        if self.backbone.layer or self.backbone.source_classes or getattr(output, "ndim", 0) not in (2, 4):
            return False
        return self.normalised or output.shape[1] != len(self.module.weight)


def pre_logits(network, x):
    """What a network of timm itself takes for its features (B, D), from what its ``forward_features`` gives (B, ...).

    Of encoders that are made for other tasks, and have none, the mean over all positions.
    """
    if "pre_logits" in inspect.signature(network.forward_head).parameters:
        with contextlib.suppress(NotImplementedError):  # which timm's encoders for language models raise
            return network.forward_head(x, pre_logits=True)
    channels = 1 if x.shape[1] == network.num_features else -1
    return x.movedim(channels, -1).flatten(1, -2).mean(1)


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
        "weights": checksum(backbone.network), "images": fingerprint, "dtype": dtype, "skip": skip_unreadable,
        "layer": "pre-logits" if backbone.body is not None else backbone.layer, "pool": backbone.pool,
        "transform": _described(backbone.transform), "device": str(device).split(":")[0],
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
        for name in ARRAYS:
            if (array := getattr(result, name)) is None:
                continue
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
        arrays = {}
        for name in ARRAYS if "logits" in facts else ARRAYS[:2]:
            path = entry / f"{name}.npy"
            if _crc(path) != facts[name]:
                return None
            mode = "r" if path.stat().st_size >= MAPPED else None
            arrays[name] = np.load(path, mmap_mode=mode, allow_pickle=False)
        return Features(**arrays, skipped=facts["skipped"], layer=facts["layer"], cached=True)
    except Exception:  # damaged bytes make their readers stumble in any way
        return None


def _crc(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return zlib.crc32(content)
