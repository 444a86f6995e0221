"""Eleven small target tasks: what the networks of the pocket benchmark are fine-tuned on.

Every task is 60 to 1,000 labelled images of 32 x 32 pixels for training, some more to choose settings on, and 600
to 2,000 to measure the accuracy with: so few of the former, and so many of the latter, that networks differ by more
than the seeds of their training do. ``TASKS`` names them; :func:`load_task` reads one.

Eight hold real images, of which only the digits come with scikit-learn. The others are read from a folder, laid out
as torchvision lays it out, or from subsets of the public data in single ``.npz`` files. Three are drawn by
:mod:`sfda.images.drawn.drawings`. Rules for a metric are to be chosen on the tasks of the development half and
reported on those of the other.

The images of each part are fixed: a permutation drawn with ``numpy.random.default_rng(SEED)`` orders the pool, and
each part takes the first ones of every class that are left. For MNIST, USPS, KMNIST and Omniglot all sources give
the same images. For CIFAR-10, CIFAR-100 and the flowers a subset gives other images than the public files, a sample
of the same size; the subset is read where both are there. The parts of CIFAR-100 and of the flowers are drawn from
all images, whatever part of the publisher's or the subset's they are in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch.utils.data import Dataset

from sfda.images.downloads import confined, images_folder
from sfda.images.task_images import DOWNLOADS, READERS, SIDE, complete, resized, what_is_missing

SEED = 2022  # of the selections
DRAWING_SEEDS = (7001, 7002, 7003)  # of the drawn images: train, validation, test


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
        False for images that :mod:`sfda.images.drawn.drawings` draws.
    mirror : bool
        Whether an image keeps its class when left and right are exchanged, so that training may do so.
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
        Task("digits", "handwritten digits, 8x8: UCI optical recognition, Alpaydin and Kaynak, as scikit-learn has "
             "them", 10, _REPORTING, True, False, (60, 40, 1500)),
        Task("mnist", "handwritten digits: MNIST, LeCun et al.", 10, _DEVELOPMENT, True, False, (60, 40, 2000)),
        Task("usps", "handwritten digits from envelopes: USPS test set, Hull, via LIBSVM",
             10, _DEVELOPMENT, True, False, (60, 40, 1300)),
        Task("kmnist", "cursive Japanese characters: Kuzushiji-MNIST test set, Clanuwat et al.",
             10, _REPORTING, True, False, (600, 200, 1000)),
        Task("omniglot", "Balinese and Latin characters by hand: Omniglot, Lake et al.",
             50, _DEVELOPMENT, True, False, (250, 150, 600)),
        Task("cifar10", "photographs of animals and vehicles: CIFAR-10, Krizhevsky; public download: another sample "
             "of this size", 10, _DEVELOPMENT, True, True, (1000, 300, 2000)),
        Task("cifar100", "superclasses of photographs: CIFAR-100, Krizhevsky; public download: another sample of "
             "this size", 20, _REPORTING, True, True, (1000, 300, 2000)),
        Task("flowers", "photographs of flowers: the TensorFlow team's flower photos; public download: another "
             "sample of this size", 5, _REPORTING, True, True, (300, 100, 600)),
        Task("fractals", "fractals of iterated function systems: drawn by this package",
             16, _DEVELOPMENT, False, False, (80, 48, 1200)),
        Task("textures", "textures: drawn by this package", 12, _REPORTING, False, False, (360, 120, 960)),
        Task("counting", "how many objects there are: drawn by this package",
             8, _DEVELOPMENT, False, True, (400, 160, 960)),
    )
}  # fmt: skip


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
                f"images: expected the shape ({len(self.labels)}, 3, {side}, {side}), got {tuple(self.images.shape)}"
            )

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], int(self.labels[index])


class _DrawnPart(Part):
    """Drawn when it is first looked at: who asks for training images need not wait for a thousand test images."""

    def __init__(self, name, n, seed, side):
        self._drawing = name, n, seed, side

    def __getattr__(self, name):  # of what is not there yet
        if name not in ("images", "labels"):
            raise AttributeError(name)
        from sfda.images.drawn import drawings  # here: the real tasks do not need it

        task, n, seed, side = self._drawing
        images, labels = getattr(drawings, task)(n, seed=seed)
        super().__init__(resized(np.asarray(images), side), labels, side=side)
        return self.__dict__[name]


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
        ``measure(logits, labels)``, by which results are judged: by default :func:`sfda.images.tasks.accuracy`.
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
        Where the real images are, or go; default the environment variable SFDA_IMAGES and, if it is not set,
        ``~/.cache/sfda/images``. digits, fractals, textures and counting need none.
    side : int, default 32
        Height and width of the images in pixels, at least 32. Flowers and Omniglot have 160 and 105 pixels or more
        to show; all others are the images of 32 pixels, enlarged.
    download : bool, default False
        Fetch what is missing, with torchvision and into `folder`. The flowers have to be fetched by hand.

    Returns
    -------
    LoadedTask
        Read once and kept: a second call returns the same object. Do not write to its tensors.

    Raises
    ------
    ValueError
        Unknown name, fewer than 32 pixels, or files that hold too few images.
    FileNotFoundError
        The images are not there; the message says what to put where.

    Notes
    -----
    Classes are equally frequent in every part, except in the test part of USPS: one class has three images too few,
    and three others have one more.

    28 x 28 pixels are framed with black to 32 x 32, 8 x 8 and 16 x 16 enlarged bilinearly. Omniglot becomes white
    on black and is averaged over areas. What is enlarged to more than 32 pixels is interpolated bicubically.
    Photographs of flowers are cut to the square in their centre.

    Of MNIST and CIFAR, training and validation images come from the training files, test images from the test
    files; likewise in the subset of the flowers, whose public archive is not divided. Of USPS and KMNIST only the
    test file is used. Near duplicates within a data set are not removed.

    Examples
    --------
    >>> from sfda.images.tasks import load_task
    >>> digits = load_task("digits")
    >>> tuple(digits.train.images.shape), digits.task.half
    ((60, 3, 32, 32), 'reporting')
    """
    task = _task(name)
    folder = images_folder(folder)
    if not available(name, folder) and not (download and name in DOWNLOADS):
        raise FileNotFoundError(what_is_missing(name, folder))
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
    >>> from sfda.images.tasks import available
    >>> available("digits")
    True
    """
    _task(name)
    return complete(name, images_folder(folder))


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
    seed : int, default 2022
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
    >>> from sfda.images.tasks import select
    >>> train, test = select([0, 0, 0, 0, 1, 1, 1], [4, 2])
    >>> sorted(i > 3 for i in train.tolist())
    [False, False, True, True]
    """
    labels = np.asarray(labels)
    n_classes = int(labels.max(initial=-1)) + 1 if n_classes is None else n_classes
    left = np.bincount(labels, minlength=n_classes)
    if len(left) != n_classes or not left.all() or sum(sizes) > len(labels):
        raise ValueError(
            f"expected {sum(sizes)} images of {n_classes} classes, found {len(labels)} of {np.count_nonzero(left)}"
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


# Which of the three parts the pools are for: all from one; the test images apart; or each part from its own.
_PARTS = {1: [(0, 3)], 2: [(0, 2), (2, 3)], 3: [(0, 1), (1, 2), (2, 3)]}


@cache
def _load(task, folder, side, download):
    if not task.real:
        parts = zip(task.sizes, DRAWING_SEEDS)
        return LoadedTask(task, *(_DrawnPart(task.name, n, seed, side) for n, seed in parts))
    with confined():
        pools = READERS[task.name](folder, download)
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


def _task(name):
    if name not in TASKS:
        raise ValueError(f"name: expected one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name]
