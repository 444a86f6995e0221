"""Where the images of the small tasks come from: packages and files."""

import gzip
import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from sfda.images.downloads import fetch
from sfda.images.folders import read_archive

SIDE = 32  # pixels

# 50 characters. Not Latin with Greek: an o is an omicron, a v a nu.
OMNIGLOT_ALPHABETS = ("Balinese", "Latin")
# A drawing's number is its drawer's: the test drawings are by other hands.
OMNIGLOT_DRAWERS = (range(1, 6), range(6, 9), range(9, 21))

FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
FLOWERS_ADDRESS = "http://download.tensorflow.org/example_images/flower_photos.tgz"

#: The 20 superclasses of CIFAR-100 in their official order, each with its five classes
#: (https://www.cs.toronto.edu/~kriz/cifar.html).
CIFAR100_SUPERCLASSES = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}


@dataclass(frozen=True)
class _Pool:
    """Images to select from.

    labels : ndarray of shape (n,)
    images : function of indices and side, (n', 3, side, side) uint8; only these are decoded
    strata : ndarray of shape (n,), what is to be equally frequent; default labels
    """

    labels: np.ndarray
    images: Callable
    strata: np.ndarray | None = None


def _digits(folder, download):
    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)  # they are 0 to 16
    return [_Pool(data.target, lambda index, side: resized(_enlarged(pixels[index]), side))]


def _idx_pools(data_set, *parts):
    """Reader of those parts of a data set in MNIST's format."""

    def read(folder, download):
        if download and not complete(data_set.lower(), folder):
            fetch(data_set, folder)
        return [_idx_pool(folder / data_set / "raw", part) for part in parts]

    return read


def _usps(folder, download):
    from torchvision.datasets import USPS

    data = USPS(folder / "USPS", train=False, download=download)
    return [_Pool(np.asarray(data.targets), lambda index, side: resized(_enlarged(data.data[index]), side))]


def _omniglot(folder, download):
    if _is_there(folder / "omniglot_small1.npz"):
        z = read_archive(folder / "omniglot_small1.npz")
        files = {
            f"{z['classes'][label]}/{name}": z["buf"][start:stop].tobytes()
            for label, name, start, stop in zip(z["label"], z["name"], z["off"], z["off"][1:])
        }
    else:
        if download and not complete("omniglot", folder):
            fetch("Omniglot", folder, background=True)
        root = folder / "omniglot-py" / "images_background"
        files = {
            path.relative_to(root).as_posix(): path
            for alphabet in OMNIGLOT_ALPHABETS
            for path in root.glob(f"{alphabet}/*/*.png")
        }
    # Alphabet/character01/0108_07.png: the seventh drawer's.
    names = sorted(name for name in files if name.split("/")[0] in OMNIGLOT_ALPHABETS)
    characters = sorted({name.rpartition("/")[0] for name in names})
    drawers = np.array([int(name[-6:-4]) for name in names], dtype=int)
    labels = np.array([characters.index(name.rpartition("/")[0]) for name in names], dtype=int)

    def images(names, index, side):
        return np.stack([_white_on_black(_opened(files[names[i]]), side) for i in index])

    parts = [np.flatnonzero(np.isin(drawers, drawn_by)) for drawn_by in OMNIGLOT_DRAWERS]
    return [_Pool(labels[part], partial(images, [names[i] for i in part])) for part in parts]


def _cifar(data_set, folder, download):
    """Pools of the training and the test images, of the subset where it is there."""
    if _is_there(subset := folder / f"{data_set.lower()}_subset.npz"):
        return _subset_pools(subset)
    from torchvision import datasets

    found = [getattr(datasets, data_set)(folder, train=train, download=download) for train in (True, False)]
    return [
        _Pool(
            np.asarray(data.targets),
            lambda index, side, data=data: resized(np.moveaxis(np.asarray(data.data)[index], 3, 1), side),
        )
        for data in found
    ]


def _cifar100(folder, download):
    # Equally many of each of the 100 classes, so also of the 20 superclasses; from the official training and test
    # images alike, for the subset has few of the latter.
    pool = _merged(_cifar("CIFAR100", folder, download))
    return [_Pool(_coarse_labels()[pool.labels], pool.images, strata=pool.labels)]


def _merged(pools):
    """One pool of the images of several."""
    starts = np.cumsum([0] + [len(pool.labels) for pool in pools])

    def images(index, side):
        index = np.asarray(index)
        found = np.empty((len(index), 3, side, side), np.uint8)
        for pool, start, stop in zip(pools, starts, starts[1:]):
            here = (start <= index) & (index < stop)
            if here.any():
                found[here] = np.asarray(pool.images(index[here] - start, side))
        return found

    return _Pool(np.concatenate([pool.labels for pool in pools]), images)


def _coarse_labels():
    """Superclass of each class of CIFAR-100; both in the official order, the alphabet's."""
    superclass = {fine: label for label, members in enumerate(CIFAR100_SUPERCLASSES.values()) for fine in members}
    return np.array([superclass[fine] for fine in sorted(superclass)])


def _flowers(folder, download):
    if _is_there(folder / "flower_photos_subset.npz"):
        return [_merged(_subset_pools(folder / "flower_photos_subset.npz"))]
    paths = [sorted((folder / "flower_photos" / flower).glob("*.jpg")) for flower in FLOWERS]
    labels = np.repeat(np.arange(len(FLOWERS)), [len(found) for found in paths])
    paths = list(itertools.chain.from_iterable(paths))
    return [_Pool(labels, lambda index, side: np.stack([_photograph(_opened(paths[i]), side) for i in index]))]


READERS = {
    "digits": _digits, "mnist": _idx_pools("MNIST", "train", "t10k"), "usps": _usps,
    "kmnist": _idx_pools("KMNIST", "t10k"), "omniglot": _omniglot, "cifar10": partial(_cifar, "CIFAR10"),
    "cifar100": _cifar100, "flowers": _flowers,
}  # fmt: skip

# What has to be in the folder: one of these sets of files; those of MNIST's format packed with gzip or not.
FILES = {
    "mnist": [
        [f"MNIST/raw/{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    ],
    "usps": [["USPS/usps.t.bz2"]],
    "kmnist": [["KMNIST/raw/t10k-images-idx3-ubyte", "KMNIST/raw/t10k-labels-idx1-ubyte"]],
    "omniglot": [
        ["omniglot_small1.npz"],
        [f"omniglot-py/images_background/{alphabet}" for alphabet in OMNIGLOT_ALPHABETS],
    ],
    "cifar10": [["cifar10_subset.npz"], ["cifar-10-batches-py"]],
    "cifar100": [["cifar100_subset.npz"], ["cifar-100-python"]],
    "flowers": [["flower_photos_subset.npz"], [f"flower_photos/{flower}" for flower in FLOWERS]],
}
DOWNLOADS = tuple(name for name in FILES if name != "flowers")


def what_is_missing(name, folder):
    """What is missing, and where to get it."""
    wanted = " or ".join(", ".join(files) for files in FILES[name])
    remedy = "or call load_task with download=True"
    if name not in DOWNLOADS:
        remedy = f"from {FLOWERS_ADDRESS}, unpacked"
    return f"task {name}: no images in {folder}; put {wanted} there, {remedy}"


def complete(name, folder):
    """Whether the files of a task are there; some need none."""
    return name not in FILES or any(all(_is_there(folder / file) for file in files) for files in FILES[name])


def _is_there(path):
    packed = path.with_name(path.name + ".gz")
    return path.exists() or (path.name.endswith("-ubyte") and packed.exists())


def _idx_pool(folder, part):
    """Pool of a pair of files in MNIST's format.

    torchvision's classes want all four files, unpacked; here the folder may be read-only and hold packed ones.
    """
    labels = _read_idx(folder / f"{part}-labels-idx1-ubyte").astype(np.int64)
    pixels = _read_idx(folder / f"{part}-images-idx3-ubyte")
    frame = (SIDE - pixels.shape[-1]) // 2
    framed = [(0, 0), (frame, frame), (frame, frame)]
    return _Pool(labels, lambda index, side: resized(_grey(np.pad(pixels[index], framed)), side))


def _read_idx(path):
    """Array of an idx file of uint8, packed with gzip or not.

    Four bytes, of which the last is the number of dimensions, then the dimensions as big-endian int32, then the
    values (http://yann.lecun.com/exdb/mnist).
    """
    data = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name}: expected an idx file of uint8")
    n_dimensions = data[3]
    shape = np.frombuffer(data, ">i4", n_dimensions, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_dimensions).reshape(shape)


def _subset_pools(path):
    """Pools of the training and the test images of a subset's file."""
    z = read_archive(path)

    def images(part, index, side):
        encoded = (z["buf"][z["off"][i] : z["off"][i + 1]].tobytes() for i in part[index])
        return np.stack([_photograph(_opened(image), side) for image in encoded])

    parts = [np.flatnonzero(z["split"] == split) for split in (0, 1)]
    return [_Pool(z["label"][part].astype(np.int64), partial(images, part)) for part in parts]


def _opened(file):
    """Image of a path or of encoded bytes."""
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
        image.load()
    return image


def _photograph(image, side=SIDE):
    """The square in the centre, `side` x `side` pixels, smoothed as it shrinks."""
    image = image.convert("RGB")
    square = min(image.size)
    left, top = (image.width - square) // 2, (image.height - square) // 2
    image = image.crop((left, top, left + square, top + square))
    if square != side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.moveaxis(np.asarray(image), 2, 0)


def _white_on_black(image, side):
    """A drawing of Omniglot as MNIST has them: ink 255, and three equal channels."""
    ink = Image.fromarray(255 - np.asarray(image.convert("L")))
    # BOX averages over areas: of thin strokes nothing gets lost between pixels.
    smaller = side <= min(ink.size)
    way = Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC
    return _grey(np.asarray(ink.resize((side, side), way)))


def _enlarged(pixels):
    """(n, h, w) bilinearly to (n, 3, 32, 32)."""
    x = torch.tensor(pixels, dtype=torch.float32)[:, None]
    x = torch.nn.functional.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return _grey(x[:, 0].round().numpy().astype(np.uint8))


def resized(images, side):
    """(n, 3, h, w) bicubically to (n, 3, side, side); as they are where they have that size."""
    if images.shape[-2:] == (side, side):
        return images
    x = torch.nn.functional.interpolate(
        torch.as_tensor(images, dtype=torch.float32), (side, side), mode="bicubic", antialias=True
    )
    return x.round().clamp(0, 255).to(torch.uint8).numpy()


def _grey(pixels):
    """Three equal channels before the last two axes."""
    return np.repeat(pixels[..., None, :, :], 3, axis=-3)
