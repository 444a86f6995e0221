"""Anybody's images: a folder, an archive, any data set of torch."""

import contextlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

from sfda.files import in_one_line
from sfda.images.hugging_face import from_hugging_face, is_hugging_face
from sfda.images.image_sets import DatasetImages, EncodedImages, ImageFiles, Images, ImageSet, as_rgb
from sfda.images.layout import beside, folders_in, image_files, layout_of, same_name
from sfda.metric import inputs, linalg

SEED = 0  # of the random splits of folders and archives


def image_folder(path, *, validation=0.0, test=0.0, seed=SEED):
    """Images of a folder with one subfolder a class.

    Parameters
    ----------
    path : path
        ``FOLDER/class/image``, or ``FOLDER/part/class/image`` with the parts train (or training), validation (val,
        valid, dev, eval) and test (testing), in any case of letters; train must be among them.
    validation, test : float, default 0
        Shares of the training images to set aside for a part that the folder does not have, the same of each class.
        Each class keeps one training image at least.
    seed : int, default 0
        Of the random choice of those.

    Returns
    -------
    ImageSet
        Judged by accuracy.

    Raises
    ------
    ValueError
        Not a folder, fewer than two classes, a class without images, a class that only another part than train has,
        folders of which some are called as parts and others not, or which may be parts as well as classes, or shares
        that are none.
    FileNotFoundError
        No such folder.

    Notes
    -----
    Files are images if Pillow opens what their names end in, or, of those without an ending, what is in them.
    ``left_out`` of the result counts all others by reason, those that are hidden among them.

    ============================================  ================================================================
    layout                                        what it gives
    ============================================  ================================================================
    ``cat/1.jpg``, ``cat/young/2.jpg``            classes; images may lie deeper inside of them
    ``train/cat/1.jpg``, ``test/cat/2.jpg``       parts: Training, train_set, val2017, dev, eval, testing, ... as well
    ``photos/all/cat/1.jpg``                      as if from all: a folder alone is no choice
    ``test/3.jpg`` beside ``train/cat/1.jpg``     no part: images without classes are left out
    ``cat/train/1.jpg``, ``fold1/cat/1.jpg``      ValueError: these may be parts
    ``train/...`` beside ``cat/1.jpg``            ValueError: neither all parts nor all classes
    ``box_train/1.jpg``, ``box_test/2.jpg``       ValueError: parts of one set, without classes
    ``images/1.jpg``, ``masks/1.png``             ValueError: no classes by their names, as are ``part_2``, ``batch_3``
    ``cat/1.jpg`` beside ``all/cat/1.jpg``        ValueError: a copy inside
    ``labels.csv`` beside the classes             left out, as are folders without images beside parts
    ``cat/clip.mp4``, ``cat/more.zip``            left out, by ending
    ``.git``, ``.DS_Store``, ``__MACOSX``         left out, as hidden
    a link to a file, or to a class folder        followed, to anywhere
    a link to a folder inside a class             left out, as it may form a circle
    é in one piece here, in two there (NFC, NFD)  one class; twice beside each other: ValueError
    ============================================  ================================================================

    Transparent pixels become white. Files are not turned as their EXIF data say, as torchvision does not either.
    Images of 16 bits are taken to use the fewest of 8, 10, 12, 14 and 16 bits that hold their largest pixel.
    """
    root = Path(os.path.abspath(Path(path).expanduser()))
    if not root.exists():
        raise FileNotFoundError(f"{path}: there is no such folder")
    if not root.is_dir():
        raise ValueError(f"{path}: expected a folder with one subfolder a class, got a file; unpack an archive first")
    layout = layout_of(root)
    train, classes, left_out = listed(layout.parts.get("train", layout.root))
    found, left_out = {"train": train, "validation": None, "test": None}, layout.left_out + left_out
    for part in ("validation", "test"):
        if part not in layout.parts:
            continue
        if not folders_in(layout.parts[part]):  # for a contest, without labels
            unlabelled, more = image_files(layout.parts[part])
            left_out += more + Counter({f"images of the {part} part, which has no class folders": len(unlabelled)})
            continue
        found[part], _, more = listed(layout.parts[part], classes)
        left_out += more
    shares = {"validation": validation, "test": test}
    for part, share in shares.items():
        if share and found[part] is not None:
            raise ValueError(f"{part}: {path} has images for it, expected the share 0, got {share}")
    parts = (found | _set_aside(train, shares, seed)).values()
    return ImageSet(root.name, *parts, classes, left_out=dict(+left_out))


def with_all_parts(images, *, share=0.2, seed=SEED):
    """An :class:`sfda.images.image_sets.ImageSet` in three parts: a `share` of the training images, the same of each
    class, is set aside for each part that it lacks. ValueError where these are too few."""
    shares = {part: share for part in ("validation", "test") if getattr(images, part) is None}
    try:
        return replace(images, **_set_aside(images.train, shares, seed))
    except ValueError as error:
        raise ValueError(f"{images.name}: {error}") from error


def image_archive(path, *, validation=0.0, seed=SEED):
    """Encoded images in one ``.npz`` file.

    Parameters
    ----------
    path : path
        An archive of NumPy with ``buf`` (uint8), the files of all N images one after the other; ``off`` (N + 1,),
        where each begins and ends; ``label`` (N,); ``classes``, names by label; ``split`` (N,), 0 for training and
        1 for test; ``name`` (N,), of the images.
    validation : float, default 0
        Share of the training images of each class to set aside.
    seed : int, default 0
        Of the random choice of those.

    Returns
    -------
    ImageSet
        Judged by accuracy.

    Raises
    ------
    ValueError
        Not such an archive.
    FileNotFoundError
        No such file.
    """
    path = Path(os.path.abspath(Path(path).expanduser()))
    z = read_archive(path)
    images = Images(EncodedImages(path, z["buf"], z["off"], z["name"]), z["label"])
    train, test = (images.take(np.flatnonzero(z["split"] == k)) for k in (0, 1))
    if not len(train):
        raise ValueError(f"{path}: split: expected images for training (0), found none")
    found = {"train": train, "validation": None, "test": test if len(test) else None}
    found |= _set_aside(train, {"validation": validation}, seed)
    return ImageSet(path.stem, *found.values(), [str(name) for name in z["classes"]])


def from_dataset(dataset, name="data set", classes=None):
    """Any labelled data set of torch, all of it for training, or one of Hugging Face.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset, datasets.Dataset or datasets.DatasetDict
        Of ``datasets``, as :func:`sfda.images.hugging_face.from_hugging_face` takes it. Of torch, with a length and
        items (image, label): the image one of PIL, an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a tensor (H,
        W) or (channels, H, W); uint8, or real numbers from 0 to 1. Labels are integers, gaps are fine, or strings.
    name : str, default "data set"
    classes : sequence of str, optional
        Names of the sorted distinct labels, or names by label. Default: ``dataset.classes`` where labels are
        integers that it names, and else the labels themselves.

    Returns
    -------
    ImageSet
        With labels from 0 to C - 1, in the order of the given ones. Judged by accuracy.

    Raises
    ------
    ValueError
        No length, no images, fewer than two classes, labels that are no classes, names that do not fit them, or
        images of another kind.

    Notes
    -----
    Labels come from the data set's ``targets`` or ``labels``, if three images that are looked at confirm them.
    Otherwise, or if it transforms its targets, all items are read once.
    """
    if is_hugging_face(dataset):
        return from_hugging_face(dataset, name)
    if isinstance(dataset, DataLoader):
        raise ValueError(f"{name}: expected a data set, got a DataLoader; give its .dataset")
    if not hasattr(dataset, "__len__"):
        raise ValueError(f"{name}: expected a data set with a length, got {type(dataset).__name__}")
    if not len(dataset):
        raise ValueError(f"{name}: expected at least one image, found none")
    try:
        labels, distinct = inputs.as_labels(_labels_of(dataset), len(dataset))
        names = _names(distinct, classes, getattr(dataset, "classes", None))
        with contextlib.suppress(OSError):  # whoever reads the images decides about those that cannot be
            as_rgb(_item(dataset, 0)[0])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return ImageSet(name, Images(DatasetImages(dataset), labels), None, None, names)


def listed(root, classes=None, *, look=True):
    """Images in a folder with one subfolder a class, the names of the classes, and what is left out by reason.

    With `look`, files without an ending are looked into.
    """
    found = folders_in(root)
    if classes is None:
        classes = found
        if len(classes) < 2:
            raise ValueError(f"{root}: expected at least two class folders, found {len(classes)}")
    places = {same_name(name): label for label, name in enumerate(classes)}
    if len(places) < len(classes):
        twice = next(name for name in classes if same_name(name) != name)
        raise ValueError(f"{root}: two class folders are called {twice!r}, in other bytes each; merge or rename them")
    if strange := sorted({name for name in found if same_name(name) not in places}):
        raise ValueError(f"{root}: there is a class {strange[0]!r} here, but not among the training images")
    paths, labels, left_out = [], [], beside(root)
    for name in found:
        inside, more = image_files(root / name, look=look)
        left_out += more
        if not inside:
            others = "".join(f"; {n} {reason} are none" for reason, n in more.items())
            raise ValueError(f"{root}: the class {name!r} has no images{others}; put some there or remove its folder")
        paths += inside
        labels += [places[same_name(name)]] * len(inside)
    return Images(ImageFiles(root, paths), labels), classes, left_out


def _set_aside(train, shares, seed):
    """The parts that result when shares of the training images become other parts, if any do."""
    shares = {part: share for part, share in shares.items() if share}
    if not shares:
        return {}
    if min(shares.values()) < 0 or not sum(shares.values()) < 1:
        stated = ", ".join(f"{part} {share}" for part, share in shares.items())
        raise ValueError(f"shares: expected numbers from 0 to 1 that add up to less than 1, got {stated}")
    rng, taken = np.random.default_rng(seed), np.full(len(train), "train", dtype="<U10")
    for label in np.unique(train.labels):
        order = rng.permutation(np.flatnonzero(train.labels == label))
        start = 0
        for part, share in shares.items():
            n = min(int(share * len(order) + 0.5), len(order) - 1 - start)
            taken[order[start : start + n]] = part
            start += n
    for part, share in shares.items():
        if part not in taken:
            raise ValueError(f"{part}: the share {share} of so few training images is none")
    return {part: train.take(np.flatnonzero(taken == part)) for part in ("train", *shares)}


def read_archive(path):
    """The arrays of an archive of images by name, if they are what :func:`image_archive` says of them."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            z = {key: archive[key] for key in ("buf", "off", "label", "classes", "split", "name")}
    except Exception as error:  # damaged archives make their readers stumble in any way
        expected = "expected a .npz file with buf, off, label, classes, split and name"
        raise ValueError(f"{path}: {expected} ({in_one_line(error)})") from error
    for key, array in z.items():
        if array.ndim != 1:
            raise ValueError(f"{path}: {key}: expected 1 dimension, got {array.ndim}")
    n, off, n_classes = len(z["label"]), z["off"], len(z["classes"])
    for key in ("split", "name"):
        if len(z[key]) != n:
            raise ValueError(f"{path}: {key}: expected {n} values, one a label, got {len(z[key])}")
    if z["buf"].dtype != np.uint8:
        raise ValueError(f"{path}: buf: expected uint8, got {z['buf'].dtype}")
    ascending = off.dtype.kind in "iu" and len(off) == n + 1 and (off[:-1] <= off[1:]).all()
    if not ascending or off[0] < 0 or off[-1] > len(z["buf"]):
        raise ValueError(f"{path}: off: expected {n + 1} ascending places in buf, got others")
    if not np.isin(z["split"], (0, 1)).all():
        raise ValueError(f"{path}: split: expected 0 (train) or 1 (test), got others")
    if z["label"].dtype.kind not in "iu" or not n or z["label"].min() < 0 or z["label"].max() >= n_classes:
        raise ValueError(f"{path}: label: expected integers from 0 to {n_classes - 1}, got others")
    if (z["label"] == z["label"][0]).all():
        raise ValueError(f"{path}: label: expected at least two classes, got one")
    return z | {"off": off.astype(np.int64)}


def _labels_of(dataset):
    """Labels of all items: those that the data set states, if they are right."""
    stated, some = _stated(dataset), {0, len(dataset) // 2, len(dataset) - 1}
    if stated is not None and all(_confirmed(dataset, i, stated[i]) for i in some):
        return [_plain(label) for label in stated]
    labels = []
    for i in range(len(dataset)):
        try:
            labels.append(_plain(_item(dataset, i)[1]))
        except OSError as error:
            raise ValueError(f"the label of item {i} cannot be had without its image ({error})") from error
    return labels


def _item(dataset, i):
    item = dataset[i]
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise ValueError(f"expected items (image, label), got {type(item).__name__}")
    return item


def _stated(dataset):
    """The labels that a data set states, as a list; None where it states none for each item."""
    if isinstance(dataset, Subset):
        whole = _stated(dataset.dataset)
        return None if whole is None else [whole[i] for i in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        parts = [_stated(part) for part in dataset.datasets]
        return None if None in parts else [label for part in parts for label in part]
    if isinstance(dataset, TensorDataset):
        return list(dataset.tensors[-1])
    if getattr(dataset, "target_transform", None) is not None:
        return None
    stated = getattr(dataset, "targets", getattr(dataset, "labels", None))
    stated = list(stated) if hasattr(stated, "__len__") else []
    return stated if len(stated) == len(dataset) else None


def _confirmed(dataset, i, label):
    try:
        return _plain(_item(dataset, i)[1]) == _plain(label)
    except OSError:
        return True  # nothing contradicts
    except ValueError:
        return False


def _plain(label):
    """A label as Python has it, out of an array or a tensor as well."""
    label = linalg.to_numpy(label) if linalg.is_torch(label) else label
    if isinstance(label, (list, tuple, dict)) or getattr(label, "size", 1) != 1:
        raise ValueError(f"labels: expected one class an image, got {type(label).__name__} of several")
    return label.item() if isinstance(label, (np.ndarray, np.generic)) else label


def _names(distinct, given, own):
    """Names of the distinct labels: those given, or the data set's own, or the labels."""
    if given is not None and len(given) == len(distinct):
        return [str(name) for name in given]
    names = own if given is None else given
    if names is not None and distinct.dtype.kind in "iu" and 0 <= distinct[0] and distinct[-1] < len(names):
        return [str(names[label]) for label in distinct]
    if given is not None:
        raise ValueError(f"classes: expected {len(distinct)} names, one a class, got {len(given)}")
    return [str(label) for label in distinct]
