"""Run pre-trained networks once over a folder of images and save their features.

    python data/extract_features.py FOLDER out.npz --models torchvision:resnet18 timm:resnet50.a1_in1k
    python data/extract_features.py FOLDER out.npz --manifest weights/manifest.json

FOLDER is laid out as FOLDER/class/image, or as FOLDER/train/class/image and FOLDER/test/class/image. Networks are
named as `sfda.networks.backbones.load` takes them, or by a manifest's file names; the format of a manifest is
described there.

The feature of an image is what `sfda.networks.extract.extract` takes: by default the input of the last Linear or
Conv2d layer that runs, averaged over height and width where it has them. SqueezeNet, whose classifier is a 1x1
convolution, applies a ReLU before its own average, so its outputs are not a linear function of these features as
other networks' are.

The forward pass is float32 on a CPU and of mixed precision on CUDA. The .npz holds one float16 array (N, D) per
network under its name, and `labels` int16, `split` uint8 (0 train, 1 test), `classes` and `images` as text, N rows
in the order train, test; class; file name.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from torch.utils.data import ConcatDataset, Subset
from torchvision import datasets

from sfda.files import replacing
from sfda.networks import backbones
from sfda.networks.device import usable_device
from sfda.networks.extract import extract

SPLITS = {"train": 0, "test": 1}
RESERVED = {"labels", "split", "classes", "images"}


def read_image(path):
    try:
        return datasets.folder.default_loader(path)
    except OSError as error:
        raise OSError(f"{path} cannot be read as an image") from error


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
        raise ValueError(f"{folder} is not a folder: give one laid out as FOLDER/class/image")
    inside = {path.name for path in folder.iterdir() if path.is_dir()}
    parts = sorted(inside, key=SPLITS.get) if inside and inside <= set(SPLITS) else [""]
    subsets, labels, split, images = [], [], [], []
    for part in parts:
        try:
            found = datasets.ImageFolder(folder / part, loader=read_image)
        except FileNotFoundError as error:
            raise ValueError(f"{folder / part}: {error}".splitlines()[0]
                             + " Lay images out as FOLDER/class/image") from error
        if subsets and found.classes != subsets[0].dataset.classes:
            raise ValueError(f"{folder}: train and test have different classes: give both the same subfolders")
        number = SPLITS.get(part, 0)
        chosen = choose(np.array(found.targets), limits[min(number, len(limits) - 1)], seed)
        subsets.append(Subset(found, chosen.tolist()))
        labels += [found.targets[i] for i in chosen]
        split += [number] * len(chosen)
        images += [Path(found.samples[i][0]).relative_to(folder).as_posix() for i in chosen]
    return subsets, {"labels": np.array(labels, np.int16), "split": np.array(split, np.uint8),
                     "classes": np.array(subsets[0].dataset.classes), "images": np.array(images)}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def arguments(argv):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of images")
    parser.add_argument("output", type=Path, help="the .npz to write")
    parser.add_argument("--models", nargs="+", metavar="NAME",
                        help="torchvision:NAME, timm:NAME, ..., or a manifest's file name without .safetensors; "
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
    try:
        args.device = usable_device(args.device)
    except ValueError as problem:
        parser.error(f"{problem}: try --device cpu")
    return args


def networks(args):
    """What to load, by the name under which it is saved."""
    listed = backbones.names_in(args.manifest) if args.manifest else []
    entries = {name.rpartition(".json:")[2]: name for name in listed}
    names = args.models or list(entries)
    if not names:
        raise ValueError("no network is named: use --models, --manifest or both")
    for name in names:
        if name in RESERVED or names.count(name) > 1:
            raise ValueError(f"{name} is given twice or reserved: every network needs a name of its own")
        if args.manifest and name not in entries and ":" not in name:
            raise ValueError(f"{name} is unknown: {args.manifest} has {', '.join(entries)}")
        backbones.check(entries.get(name, name))
    return {name: entries.get(name, name) for name in names}


def run(args):
    named = networks(args)
    subsets, arrays = image_folders(args.folder, args.per_class or [None], args.seed)
    images = ConcatDataset(subsets)
    for name, loaded in named.items():
        start = time.perf_counter()
        backbone = backbones.load(loaded)
        found = extract(backbone, images, "", dtype="float16", device=args.device, batch=args.batch_size)
        if not found.features.any():
            raise ValueError(f"{name}: its features are all zero: check its weights and normalisation")
        arrays[name] = found.features
        (n, dimension), seconds = found.features.shape, time.perf_counter() - start
        print(f"{name}: {n} x {dimension}, input of {found.layer}, {seconds:.0f} s")
    with replacing(args.output) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)
    print(f"{args.output}: {args.output.stat().st_size:,} bytes")


def main(argv=None):
    args = arguments(argv)
    try:
        run(args)
    except (ValueError, OSError) as problem:
        print(f"extract_features.py: {problem}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
