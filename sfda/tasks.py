"""Eleven small target tasks: what the networks of the pocket benchmark are fine-tuned on.

Every task is 60 to 1,000 labelled images of 32 x 32 pixels for training, some
more to choose settings on, and 600 to 2,000 to measure the accuracy with: so few
of the former, and so many of the latter, that networks differ by more than the
seeds of their training do.
``TASKS`` names them; :func:`load_task` reads one.

Eight hold real images, of which only the digits come with scikit-learn. The
others are read from a folder, laid out as torchvision lays it out, or from
subsets of the public data in single ``.npz`` files. Three are drawn by
:mod:`sfda.drawings`. Rules for a metric are to be chosen on the tasks of the
development half and reported on those of the other.

The images of each part are fixed: a permutation drawn with
``numpy.random.default_rng(SEED)`` orders the pool, and each part takes the first
ones of every class that are left. For MNIST, USPS, KMNIST and Omniglot all
sources give the same images. For CIFAR-10, CIFAR-100 and the flowers a subset
gives other images than the public files, a sample of the same size; the subset
is read where both are there. The parts of CIFAR-100 and of the flowers are drawn
from all images, whatever part of the publisher's or the subset's they are in.
"""

import gzip
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import Dataset

SEED = 2022  # of the selections
DRAWING_SEEDS = (7001, 7002, 7003)  # of the drawn images: train, validation, test
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
class Task:
    """One target task.

    Attributes
    ----------
    name : str
        Key in ``TASKS``.
    description : str
        One line: what is to be told apart, and whose data it is.
    n_classes : int
        Labels are 0 to n_classes - 1.
    half : {"development", "reporting"}
        What the task is for: choosing, or reporting what was chosen.
    real : bool
        False for images that :mod:`sfda.drawings` draws.
    mirror : bool
        Whether an image keeps its class when left and right are exchanged, so
        that training may do so.
    sizes : tuple of three int
        Images for training, validation and test.
    """

    name: str
    description: str
    n_classes: int
    half: str
    real: bool
    mirror: bool
    sizes: tuple


_DEVELOPMENT, _REPORTING = "development", "reporting"

#: All tasks by name, in the order in which tables list them.
TASKS = {
    task.name: task
    for task in (
        Task(
            "digits", "handwritten digits, 8x8: UCI optical recognition, Alpaydin and Kaynak, "
            "as scikit-learn has them",
            10, _REPORTING, True, False, (60, 40, 1500),
        ),
        Task(
            "mnist", "handwritten digits: MNIST, LeCun et al.",
            10, _DEVELOPMENT, True, False, (60, 40, 2000),
        ),
        Task(
            "usps", "handwritten digits from envelopes: USPS test set, Hull, via LIBSVM",
            10, _DEVELOPMENT, True, False, (60, 40, 1300),
        ),
        Task(
            "kmnist", "cursive Japanese characters: Kuzushiji-MNIST test set, Clanuwat et al.",
            10, _REPORTING, True, False, (600, 200, 1000),
        ),
        Task(
            "omniglot", "Balinese and Latin characters by hand: Omniglot, Lake et al.",
            50, _DEVELOPMENT, True, False, (250, 150, 600),
        ),
        Task(
            "cifar10", "photographs of animals and vehicles: CIFAR-10, Krizhevsky; "
            "public download: another sample of this size",
            10, _DEVELOPMENT, True, True, (1000, 300, 2000),
        ),
        Task(
            "cifar100", "superclasses of photographs: CIFAR-100, Krizhevsky; "
            "public download: another sample of this size",
            20, _REPORTING, True, True, (1000, 300, 2000),
        ),
        Task(
            "flowers", "photographs of flowers: the TensorFlow team's flower photos; "
            "public download: another sample of this size",
            5, _REPORTING, True, True, (300, 100, 600),
        ),
        Task(
            "fractals", "fractals of iterated function systems: drawn by this package",
            16, _DEVELOPMENT, False, False, (80, 48, 1200),
        ),
        Task(
            "textures", "textures: drawn by this package",
            12, _REPORTING, False, False, (360, 120, 960),
        ),
        Task(
            "counting", "how many objects there are: drawn by this package",
            8, _DEVELOPMENT, False, True, (400, 160, 960),
        ),
    )
}


class Part(Dataset):
    """Images and labels of one part of a task, in memory.

    Parameters
    ----------
    images : array-like of shape (n, 3, side, side)
        uint8, 0 to 255, channels red, green, blue; equal in a grey image.
    labels : array-like of shape (n,)
        Integers from 0.
    side : int, default 32
        Pixels.

    Attributes
    ----------
    images : torch.Tensor of shape (n, 3, side, side), uint8
    labels : torch.Tensor of shape (n,), int64
    """

    def __init__(self, images, labels, *, side=SIDE):
        self.images = torch.as_tensor(images, dtype=torch.uint8)
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        if self.images.shape != (len(self.labels), 3, side, side):
            raise ValueError(
                f"images: expected the shape ({len(self.labels)}, 3, {side}, {side}), "
                f"got {tuple(self.images.shape)}"
            )

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], int(self.labels[index])


def accuracy(logits, labels):
    """Share of images (N,) whose own class has the largest of their logits (N, C)."""
    return (logits.argmax(1) == labels).double().mean().item()


@dataclass(frozen=True, eq=False)
class LoadedTask:
    """A task with its images.

    Attributes
    ----------
    task : Task
    train, validation, test : Part
        No image of the data set is in two of them.
    measure : callable
        ``measure(logits, labels)``, by which results are judged: by default
        :func:`sfda.tasks.accuracy`.
    """

    task: Task
    train: Part
    validation: Part
    test: Part
    # By a factory: a function as the class's own attribute would become a method.
    measure: Callable = field(default_factory=lambda: accuracy)

    @property
    def parts(self):
        """The three of them."""
        return self.train, self.validation, self.test


def load_task(name, folder=None, *, side=SIDE, download=False):
    """Images and labels of one task.

    Parameters
    ----------
    name : str
        One of ``TASKS``.
    folder : path-like, optional
        Where the real images are, or go; default the environment variable
        SFDA_IMAGES and, if it is not set, ``~/.cache/sfda/images``. digits,
        fractals, textures and counting need none.
    side : int, default 32
        Height and width of the images in pixels, at least 32. Flowers and Omniglot have
        160 and 105 pixels or more to show; all others are the images of 32 pixels, enlarged.
    download : bool, default False
        Fetch what is missing, with torchvision and into `folder`. The flowers
        have to be fetched by hand.

    Returns
    -------
    LoadedTask
        Read once and kept: a second call returns the same object. Do not
        write to its tensors.

    Raises
    ------
    ValueError
        Unknown name, fewer than 32 pixels, or files that hold too few images.
    FileNotFoundError
        The images are not there; the message says what to put where.

    Notes
    -----
    Classes are equally frequent in every part, except in the test part of USPS:
    one class has three images too few, and three others have one more.

    28 x 28 pixels are framed with black to 32 x 32, 8 x 8 and 16 x 16 enlarged
    bilinearly. Omniglot becomes white on black and is averaged over areas. What is
    enlarged to more than 32 pixels is interpolated bicubically.
    Photographs of flowers are cut to the square in their centre.

    Of MNIST and CIFAR, training and validation images come from the training
    files, test images from the test files; likewise in the subset of the
    flowers, whose public archive is not divided. Of USPS and KMNIST only the
    test file is used. Near duplicates within a data set are not removed.

    Examples
    --------
    >>> from sfda.tasks import load_task
    >>> digits = load_task("digits")
    >>> len(digits.train), tuple(digits.train.images.shape[1:]), digits.task.half
    (60, (3, 32, 32), 'reporting')
    """
    task = _task(name)
    folder = images_folder(folder)
    if not available(name, folder) and not (download and name in _DOWNLOADS):
        raise FileNotFoundError(_missing(name, folder))
    if side < SIDE:
        raise ValueError(f"side: expected {SIDE} pixels or more, got {side}")
    return _load(task, folder, int(side), bool(download))


def available(name, folder=None):
    """Whether :func:`load_task` finds the images of a task without a download.

    Only looks whether the files are there, not into them.

    Parameters
    ----------
    name : str
        One of ``TASKS``.
    folder : path-like, optional
        As in :func:`load_task`.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        Unknown name.

    Examples
    --------
    >>> from sfda.tasks import available
    >>> available("digits")
    True
    """
    _task(name)
    folder = images_folder(folder)
    return name not in _FILES or any(
        all(_found(folder / file) for file in files) for files in _FILES[name]
    )


def select(labels, sizes, *, n_classes=None, seed=SEED):
    """Disjoint parts with the classes as equally frequent as they can be.

    Parameters
    ----------
    labels : array-like of shape (n,)
        Integers from 0.
    sizes : sequence of int
        Of the parts.
    n_classes : int, optional
        Default: the largest label plus one.
    seed : int, default SEED
        Of the permutation that orders the samples.

    Returns
    -------
    list of ndarray
        Indices into `labels`, in random order.

    Raises
    ------
    ValueError
        A class has no samples, or there are fewer samples than are asked for.

    Examples
    --------
    >>> from sfda.tasks import select
    >>> train, test = select([0, 0, 0, 0, 1, 1, 1], [4, 2])
    >>> sorted(i > 3 for i in train.tolist())
    [False, False, True, True]
    """
    labels = np.asarray(labels)
    n_classes = int(labels.max(initial=-1)) + 1 if n_classes is None else n_classes
    left = np.bincount(labels, minlength=n_classes)
    if len(left) != n_classes or not left.all() or sum(sizes) > len(labels):
        raise ValueError(
            f"expected {sum(sizes)} images of {n_classes} classes, "
            f"found {len(labels)} of {np.count_nonzero(left)}"
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    # Position of each sample among those of its class, in the order drawn.
    place = np.empty(len(labels), dtype=np.int64)
    for label in range(n_classes):
        place[order[labels[order] == label]] = np.arange(left[label])
    start, parts = np.zeros(n_classes, dtype=np.int64), []
    for size in sizes:
        stop = start + _even(left - start, size)
        chosen = (start[labels] <= place) & (place < stop[labels])
        parts.append(order[chosen[order]])
        start = stop
    return parts


def _even(available, size):
    """Counts that sum to `size`, as equal as what is available allows."""
    counts = np.minimum(available, size // len(available))
    while counts.sum() < size:
        spare = np.flatnonzero(counts < available)
        lowest = spare[np.argsort(counts[spare], kind="stable")]
        counts[lowest[: size - counts.sum()]] += 1
    return counts


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


# Which of the three parts the pools are for: all from one; the test images
# apart; or each part from its own.
_PARTS = {1: [(0, 3)], 2: [(0, 2), (2, 3)], 3: [(0, 1), (1, 2), (2, 3)]}


@lru_cache(maxsize=None)
def _load(task, folder, side, download):
    if not task.real:
        return LoadedTask(task, *_drawn(task, side))
    pools = _READERS[task.name](folder, download)
    parts = []
    for pool, (first, last) in zip(pools, _PARTS[len(pools)]):
        strata, n_strata = pool.strata, None
        if strata is None:
            strata, n_strata = pool.labels, task.n_classes
        try:
            chosen = select(strata, task.sizes[first:last], n_classes=n_strata)
        except ValueError as error:
            raise ValueError(f"task {task.name} in {folder}: {error}") from None
        parts += [Part(pool.images(index, side), pool.labels[index], side=side) for index in chosen]
    return LoadedTask(task, *parts)


def _drawn(task, side):
    """Parts of a task that is drawn."""
    from sfda import drawings  # here: the real tasks do not need it

    drawn = [getattr(drawings, task.name)(n, seed=seed) for n, seed in zip(task.sizes, DRAWING_SEEDS)]
    return [Part(_resized(np.asarray(images), side), labels, side=side) for images, labels in drawn]


def _digits(folder, download):
    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)  # they are 0 to 16
    return [_Pool(data.target, lambda index, side: _resized(_enlarged(pixels[index]), side))]


def _mnist(folder, download):
    if download and not available("mnist", folder):
        from torchvision.datasets import MNIST

        MNIST(folder, download=True)
    return [_idx_pool(folder / "MNIST" / "raw", part) for part in ("train", "t10k")]


def _kmnist(folder, download):
    if download and not available("kmnist", folder):
        from torchvision.datasets import KMNIST

        KMNIST(folder, download=True)
    return [_idx_pool(folder / "KMNIST" / "raw", "t10k")]


def _usps(folder, download):
    from torchvision.datasets import USPS

    data = USPS(folder / "USPS", train=False, download=download)
    return [
        _Pool(
            np.asarray(data.targets),
            lambda index, side: _resized(_enlarged(data.data[index]), side),
        )
    ]


def _omniglot(folder, download):
    if _found(folder / "omniglot_small1.npz"):
        buffer, offsets, z = _subset(folder / "omniglot_small1.npz")
        files = {
            f"{z['classes'][label]}/{name}": buffer[start:stop]
            for label, name, start, stop in zip(z["label"], z["name"], offsets, offsets[1:])
        }
    else:
        if download and not available("omniglot", folder):
            from torchvision.datasets import Omniglot

            Omniglot(folder, background=True, download=True)
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
        return _stacked(_white_on_black(_opened(files[names[i]]), side) for i in index)

    pools = []
    for drawn_by in OMNIGLOT_DRAWERS:
        here = np.flatnonzero(np.isin(drawers, drawn_by))
        pools.append(_Pool(labels[here], partial(images, [names[i] for i in here])))
    return pools


def _cifar10(folder, download):
    if _found(folder / "cifar10_subset.npz"):
        return _subset_pools(folder / "cifar10_subset.npz")
    from torchvision.datasets import CIFAR10

    return [_cifar_pool(CIFAR10(folder, train=train, download=download)) for train in (True, False)]


def _cifar100(folder, download):
    if _found(folder / "cifar100_subset.npz"):
        pools = _subset_pools(folder / "cifar100_subset.npz")
    else:
        from torchvision.datasets import CIFAR100

        pools = [
            _cifar_pool(CIFAR100(folder, train=train, download=download)) for train in (True, False)
        ]
    # Equally many of each of the 100 classes, so also of the 20 superclasses; from the
    # official training and test images alike, for the subset has few of the latter.
    pool = _merged(pools)
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
    superclass = {
        fine: label
        for label, members in enumerate(CIFAR100_SUPERCLASSES.values())
        for fine in members
    }
    return np.array([superclass[fine] for fine in sorted(superclass)])


def _flowers(folder, download):
    if _found(folder / "flower_photos_subset.npz"):
        return [_merged(_subset_pools(folder / "flower_photos_subset.npz"))]
    paths = [sorted((folder / "flower_photos" / flower).glob("*.jpg")) for flower in FLOWERS]
    labels = np.repeat(np.arange(len(FLOWERS)), [len(found) for found in paths])
    paths = sum(paths, [])
    return [
        _Pool(
            labels,
            lambda index, side: _stacked(_photograph(_opened(paths[i]), side) for i in index),
        )
    ]


_READERS = {
    "digits": _digits,
    "mnist": _mnist,
    "usps": _usps,
    "kmnist": _kmnist,
    "omniglot": _omniglot,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "flowers": _flowers,
}

# What has to be in the folder: one of these sets of files; those of MNIST's format
# packed with gzip or not.
_FILES = {
    "mnist": [[
        f"MNIST/raw/{part}-{kind}-ubyte"
        for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
    ]],
    "usps": [["USPS/usps.t.bz2"]],
    "kmnist": [["KMNIST/raw/t10k-images-idx3-ubyte", "KMNIST/raw/t10k-labels-idx1-ubyte"]],
    "omniglot": [
        ["omniglot_small1.npz"],
        [f"omniglot-py/images_background/{alphabet}" for alphabet in OMNIGLOT_ALPHABETS],
    ],
    "cifar10": [["cifar10_subset.npz"], ["cifar-10-batches-py"]],
    "cifar100": [["cifar100_subset.npz"], ["cifar-100-python"]],
    "flowers": [
        ["flower_photos_subset.npz"], [f"flower_photos/{flower}" for flower in FLOWERS],
    ],
}
_DOWNLOADS = tuple(name for name in _FILES if name != "flowers")


def _missing(name, folder):
    """What is missing, and where to get it."""
    wanted = " or ".join(", ".join(files) for files in _FILES[name])
    remedy = "or call load_task with download=True"
    if name not in _DOWNLOADS:
        remedy = f"from {FLOWERS_ADDRESS}, unpacked"
    return f"task {name}: no images in {folder}; put {wanted} there, {remedy}"


def _task(name):
    if name not in TASKS:
        raise ValueError(f"name: expected one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name]


def images_folder(folder=None):
    """Where images are looked for: `folder`, else $SFDA_IMAGES, else ``~/.cache/sfda/images``."""
    if folder is None:
        # An empty variable counts as none, not as the current folder.
        folder = os.environ.get("SFDA_IMAGES") or "~/.cache/sfda/images"
    return Path(folder).expanduser()


def _found(path):
    packed = path.with_name(path.name + ".gz")
    return path.exists() or (path.name.endswith("-ubyte") and packed.exists())


def _idx_pool(folder, part):
    """Pool of a pair of files in MNIST's format.

    torchvision's classes want all four files, unpacked; here the folder may be
    read-only and hold packed ones.
    """
    labels = _read_idx(folder / f"{part}-labels-idx1-ubyte").astype(np.int64)
    pixels = _read_idx(folder / f"{part}-images-idx3-ubyte")
    frame = (SIDE - pixels.shape[-1]) // 2
    framed = [(0, 0), (frame, frame), (frame, frame)]
    return _Pool(labels, lambda index, side: _resized(_grey(np.pad(pixels[index], framed)), side))


def _read_idx(path):
    """Array of an idx file of uint8, packed with gzip or not.

    Four bytes, of which the last is the number of dimensions, then the
    dimensions as big-endian int32, then the values
    (http://yann.lecun.com/exdb/mnist).
    """
    data = path.read_bytes() if path.exists() else gzip.decompress(
        path.with_name(path.name + ".gz").read_bytes()
    )
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name}: expected an idx file of uint8")
    n_dimensions = data[3]
    shape = np.frombuffer(data, ">i4", n_dimensions, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_dimensions).reshape(shape)


def _subset(path):
    """Encoded images, where each begins, and the whole content of a subset's file."""
    with np.load(path, allow_pickle=False) as file:
        z = {key: file[key] for key in ("buf", "off", "label", "split", "classes", "name")}
    return z["buf"].tobytes(), z["off"], z


def _subset_pools(path):
    """Pools of the training and the test images of a subset's file."""
    buffer, offsets, z = _subset(path)

    def images(here, index, side):
        return _stacked(
            _photograph(_opened(buffer[offsets[i] : offsets[i + 1]]), side) for i in here[index]
        )

    pools = []
    for split in (0, 1):
        here = np.flatnonzero(z["split"] == split)
        pools.append(_Pool(z["label"][here].astype(np.int64), partial(images, here)))
    return pools


def _cifar_pool(data):
    return _Pool(
        np.asarray(data.targets),
        lambda index, side: _resized(np.moveaxis(np.asarray(data.data)[index], 3, 1), side),
    )


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


def _resized(images, side):
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


def _stacked(images):
    return np.stack(list(images))
