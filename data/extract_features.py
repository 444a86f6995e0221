"""Run pre-trained networks once over a folder of images and save their features.

    python data/extract_features.py FOLDER out.npz --models torchvision:resnet18 timm:resnet50.a1_in1k
    python data/extract_features.py FOLDER out.npz --manifest weights/manifest.json

FOLDER is laid out as FOLDER/class/image, or as FOLDER/train/class/image and
FOLDER/test/class/image.

The feature of an image is the input of the network's classifier: of the last
Linear or Conv2d layer that runs in evaluation mode. Where that input still has
height and width (SqueezeNet, whose classifier is a 1x1 convolution) it is
averaged over them; SqueezeNet applies a ReLU before its own pooling, so its
outputs are not a linear function of these features as other networks' are.

Networks and preprocessing are the library's own for `torchvision:` and `timm:`
names. A manifest is JSON: {"models": [{"file": "net.safetensors", "builder":
{"callable": "timm.create_model", "args": [...], "kwargs": {...}}, "input_size":
[3, H, W], "normalisation": {"mean": [...], "std": [...]}}]}, the weights beside
it. There the short side is resized to the input size (bicubic; a square image
loses nothing), the centre is cropped, and mean and standard deviation normalise.

The forward pass is float32. The .npz holds one float16 array (N, D) per network
under its name, and `labels` int16, `split` uint8 (0 train, 1 test), `classes`
and `images` as text, N rows in the order train, test; class; file name.
"""

import argparse
import importlib
import json
import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.utils.data import ConcatDataset, DataLoader, Subset
from torchvision import datasets, models, transforms

SPLITS = {"train": 0, "test": 1}
RESERVED = {"labels", "split", "classes", "images"}


class Problem(Exception):
    """What is wrong and what to do about it, in one line."""


def read_image(path):
    try:
        return datasets.folder.default_loader(path)
    except OSError as error:
        raise Problem(f"{path} cannot be read as an image: repair or remove it") from error


def choose(targets, limit, seed):
    """Positions of at most `limit` samples of every class, drawn at random, in file order."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(targets == label) for label in np.unique(targets)]
    if limit is not None:
        members = [np.sort(rng.choice(m, min(limit, m.size), replace=False)) for m in members]
    return np.concatenate(members)


def image_folders(folder, limits, seed):
    """The chosen images as `Subset`s, and the arrays that describe them."""
    if not folder.is_dir():
        raise Problem(f"{folder} is not a folder: give one laid out as FOLDER/class/image")
    inside = {path.name for path in folder.iterdir() if path.is_dir()}
    parts = sorted(inside, key=SPLITS.get) if inside and inside <= set(SPLITS) else [""]
    subsets, labels, split, images = [], [], [], []
    for part in parts:
        try:
            found = datasets.ImageFolder(folder / part, loader=read_image)
        except FileNotFoundError as error:
            raise Problem(f"{folder / part}: {error}".splitlines()[0]
                          + " Lay images out as FOLDER/class/image") from error
        if subsets and found.classes != subsets[0].dataset.classes:
            raise Problem(f"{folder}: train and test have different classes: give both the same subfolders")
        number = SPLITS.get(part, 0)
        chosen = choose(np.array(found.targets), limits[min(number, len(limits) - 1)], seed)
        subsets.append(Subset(found, chosen.tolist()))
        labels += [found.targets[i] for i in chosen]
        split += [number] * len(chosen)
        images += [Path(found.samples[i][0]).relative_to(folder).as_posix() for i in chosen]
    return subsets, {"labels": np.array(labels, np.int16), "split": np.array(split, np.uint8),
                     "classes": np.array(subsets[0].dataset.classes), "images": np.array(images)}


def from_manifest(entry, folder):
    """A network of a local manifest and its preprocessing."""
    path, builder = folder / entry["file"], entry["builder"]
    if path.suffix != ".safetensors":
        raise Problem(f"{path} is not a .safetensors file, and pickles can run code: "
                      "convert it with safetensors.torch.save_file")
    module, function = builder["callable"].rsplit(".", 1)
    if module.split(".")[0] not in ("timm", "torchvision"):
        raise Problem(f"builder {builder['callable']} is refused: only timm and torchvision builders are called")
    net = getattr(importlib.import_module(module), function)(*builder["args"], **builder["kwargs"])
    net.load_state_dict(load_file(path))
    size = entry["input_size"][1:]
    return net, transforms.Compose([
        transforms.Resize(max(size), transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(size),
        transforms.ToTensor(), transforms.Normalize(**entry["normalisation"])])


def from_library(name):
    """A network of torchvision or timm with its published weights and preprocessing."""
    library, _, architecture = name.partition(":")
    if library == "torchvision":
        weights = models.get_model_weights(architecture).DEFAULT
        return models.get_model(architecture, weights=weights), weights.transforms()
    import timm

    net = timm.create_model(architecture, pretrained=True)
    return net, timm.data.create_transform(**timm.data.resolve_model_data_config(net), is_training=False)


def load(name, entries, folder):
    try:
        if name in entries:
            return from_manifest(entries[name], folder)
        return from_library(name)
    except pickle.UnpicklingError as error:
        raise Problem(f"{name}: its weights are a pickle that could run code, and are not read: "
                      "use a network with safetensors weights") from error
    except (SafetensorError, OSError, RuntimeError, LookupError, ValueError, TypeError,
            AttributeError, ImportError) as error:
        reason = f"{type(error).__name__}: " + " ".join(str(error).split())[:200]
        raise Problem(f"{name} cannot be loaded ({reason}): check its name, its manifest entry and its weights; "
                      "without a connection use --manifest with local weights") from error


@torch.inference_mode()
def extract(net, batches, device):
    """Features of all images, (N, D) float32, and the name of the layer they enter."""
    last = {}
    for name, module in net.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            # Each layer overwrites the entry of those before it, and the classifier runs last.
            module.register_forward_pre_hook(
                lambda module, inputs, name=name: last.update(name=name, module=module, x=inputs[0]))
    net.eval().to(device)
    features = []
    for images, _ in batches:
        try:
            net(images.to(device))
        except torch.OutOfMemoryError as error:
            raise Problem(f"{device} has too little memory: lower --batch-size") from error
        x = last["x"].mean((2, 3)) if isinstance(last["module"], torch.nn.Conv2d) else last["x"]
        if x.ndim != 2:
            raise Problem(f"the input of {last['name']} has shape {tuple(x.shape)}, not (images, features): "
                          "use a network that pools before its classifier")
        features.append(x.float().cpu().numpy())
    return np.concatenate(features), last["name"]


def save(path, arrays):
    """Write the archive beside its destination, then move it there whole."""
    part = path.with_suffix(".part")
    try:
        with open(part, "wb") as file:
            np.savez_compressed(file, **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def arguments(argv):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of images")
    parser.add_argument("output", type=Path, help="the .npz to write")
    parser.add_argument("--models", nargs="+", metavar="NAME",
                        help="torchvision:NAME, timm:NAME, or a manifest's file name without .safetensors; "
                        "by default the whole manifest")
    parser.add_argument("--manifest", type=Path, help="JSON list of local networks, their weights beside it")
    parser.add_argument("--per-class", nargs="+", type=int, metavar="N",
                        help="at most N images a class, drawn at random; a second number is for the test split")
    parser.add_argument("--seed", type=int, default=0, help="seed of that draw (default 0)")
    parser.add_argument("--batch-size", type=int, default=32, help="default 32")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (default auto: cuda where there is one)")
    args = parser.parse_args(argv)
    if args.output.suffix != ".npz":
        parser.error(f"{args.output}: the output's name must end in .npz")
    if not args.output.parent.is_dir():
        parser.error(f"{args.output.parent} is not a folder: make it first")
    if len(args.per_class or []) > 2 or min(args.per_class or [1]) < 1 or args.batch_size < 1:
        parser.error("--per-class takes one or two numbers and --batch-size one, all of at least 1")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError):
        parser.error(f"device {args.device!r} cannot be used here: try --device cpu")
    return args


def networks(args):
    """The names to run, and the manifest's entries by name."""
    entries = {}
    if args.manifest:
        try:
            entries = {Path(e["file"]).stem: e for e in json.loads(args.manifest.read_text())["models"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Problem(f"{args.manifest} is not a manifest ({type(error).__name__}): it must be JSON with a "
                          "list 'models' whose entries name their 'file'") from error
    names = args.models or list(entries)
    if not names:
        raise Problem("no network is named: use --models, --manifest or both")
    for name in names:
        if name in RESERVED or names.count(name) > 1:
            raise Problem(f"{name} is given twice or reserved: every network needs a name of its own")
        if name not in entries and not name.startswith(("torchvision:", "timm:")):
            known = ", ".join(entries) or "none without --manifest"
            raise Problem(f"{name} is unknown: use torchvision:NAME, timm:NAME or a manifest's entry ({known})")
    return names, entries


def run(args):
    # torchvision downloads through torch.hub, which would otherwise read pickles in full.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    # Recent GPUs would otherwise round the inputs of convolutions to 10 bits.
    torch.backends.cudnn.allow_tf32 = False
    names, entries = networks(args)
    subsets, arrays = image_folders(args.folder, args.per_class or [None], args.seed)
    for name in names:
        start = time.perf_counter()
        net, transform = load(name, entries, args.manifest.parent if args.manifest else None)
        for subset in subsets:
            subset.dataset.transform = transform
        features, layer = extract(net, DataLoader(ConcatDataset(subsets), args.batch_size), args.device)
        if not np.finfo(np.float16).tiny <= np.abs(features).max() <= np.finfo(np.float16).max:
            raise Problem(f"{name}: features are not finite, or beyond float16: check its weights and normalisation")
        arrays[name] = features.astype(np.float16)
        seconds = time.perf_counter() - start
        print(f"{name}: {features.shape[0]} x {features.shape[1]}, input of {layer}, {seconds:.0f} s")
    save(args.output, arrays)
    print(f"{args.output}: {args.output.stat().st_size:,} bytes")


def main(argv=None):
    args = arguments(argv)
    try:
        run(args)
    except (Problem, OSError) as problem:
        print(f"extract_features.py: {problem}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
