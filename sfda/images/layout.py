"""What the folders inside a folder of images mean: parts, classes, or what only their owner can say."""

import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

#: What folders of parts are called, beside words and digits that say nothing more, as in Training_Set or val2017.
PARTS = {
    "train": ("train", "training", "trainval", "trainset", "labeled", "labelled"),
    "validation": ("val", "valid", "validation", "dev", "devel", "eval", "evaluation", "valset"),
    "test": ("test", "testing", "testset", "unlabeled", "unlabelled", "holdout"),
}
_ROLES = {word: part for part, words in PARTS.items() for word in words}
_PLAIN = ("data", "dataset", "folder", "image", "images", "img", "imgs", "set", "split")
# No class is called so: what is beside a data set, or one half of it.
_NO_CLASSES = ("masks", "annotations", "annots", "labels", "groundtruth", "trimaps", "segmentations", "bboxes", "xmls",
               "gallery", "query", "results", "figures", "docs", "logs", "runs", "checkpoints", "weights", "code",
               "scripts", "notebooks", *_PLAIN)  # fmt: skip
_NUMBERED = ("part", "batch", "fold", "split", "chunk", "shard", "subset", "group", *_PLAIN)
# Pillow only tells their sizes, or asks another program to read them.
_NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")


class Files(NamedTuple):
    """Images below a folder: their paths, and why how many other files are none of them."""

    paths: list
    left_out: Counter


class Layout(NamedTuple):
    """Where the images of a folder are: ``root`` has the class folders, unless there are ``parts``, folders by name,
    which have them. ``left_out``: how many files above those have no place in it, by reason."""

    root: Path
    parts: dict
    left_out: Counter


def layout_of(root):
    """The :class:`Layout` of a folder; ValueError where its folders may be parts as well as classes."""
    root, left_out = _unwrapped(root)
    names = folders_in(root)
    roles = {name: part_of(name) for name in names}
    if not any(roles.values()):
        _refuse_splits(root, names)
        return Layout(root, {}, left_out)
    parts, left_out = {}, left_out + beside(root)
    for name, part in list(roles.items()):
        if not part or folders_in(root / name) or list(roles.values()).count(part) == 1:
            continue
        unlabelled, more = image_files(root / name)
        if unlabelled:  # beside a part with classes
            del roles[name]
            left_out += more + Counter({f"images of {name!r}, which has no class folders": len(unlabelled)})
    for part, name in _parts(root, roles).items():
        parts[part], more = _unwrapped(root / name)
        _refuse_splits(parts[part], folders_in(parts[part]))
        left_out += more
    for name in (name for name, part in roles.items() if part is None):
        _, more = image_files(root / name)  # it has no images: annotations, say
        left_out["files in folders that are no parts"] += more.total()
    return Layout(root, parts, +left_out)


def _unwrapped(root):
    """The first folder from here that holds more than one folder with folders, and what lies beside on the way."""
    left_out = Counter()
    while len(names := folders_in(root)) == 1 and not part_of(names[0]) and folders_in(root / names[0]):
        left_out += beside(root)
        root /= names[0]  # one folder is neither a choice of classes nor of parts
    return root, left_out


def _parts(root, roles):
    """The name of each part's folder."""
    others = [name for name, part in roles.items() if part is None and image_files(root / name).paths]
    named = [name for name, part in roles.items() if part]
    if others:
        raise ValueError(
            f"{root}: {named[0]!r} is called as a part and {others[0]!r} is not: expected either parts (train, with "
            "val or test) or classes; take out or rename the folder that is neither"
        )
    if "train" not in roles.values():
        raise ValueError(f"{root}: expected a folder train among its parts, found {', '.join(named)}")
    if len({roles[name] for name in named}) < len(named):
        raise ValueError(f"{root}: expected one folder a part, found {', '.join(named)}")
    return {roles[name]: name for name in named}


def _refuse_splits(root, names):
    """Raise ValueError where what would be classes look like parts: the same folders lie in several."""
    seen, roles, words_of = {}, {}, {name: _words(name) for name in names}
    one = {tuple(words) for words in words_of.values()}
    odd = [name for name, words in words_of.items() if words and set(words) <= set(_NO_CLASSES)]
    if len(names) > 1 and (odd or (len(one) == 1 and set(next(iter(one))[-1:]) & set(_NUMBERED))):
        found = ", ".join(odd or names[:2])
        raise ValueError(f"{root}: {found}: no classes by their names; name the folder that has the class folders")
    for name in names:
        for word in set(words_of[name]) & set(_ROLES):
            other, role = roles.setdefault(tuple(w for w in words_of[name] if w != word), (name, _ROLES[word]))
            if role != _ROLES[word]:
                raise ValueError(
                    f"{root}: {other!r} and {name!r} are called as parts of one set: call them train, val and test, "
                    "with a folder for each class inside, or name one of them instead"
                )
        below = folders_in(_unwrapped(root / name)[0])
        if split := next(filter(part_of, below), None):
            raise ValueError(
                f"{root}: {name!r} is divided into parts ({split!r} is one): name it, or put the parts first, "
                f"{split}/{name}, if it is a class"
            )
        again = sorted(set(folders_in(root / name)) & set(names))
        if len(again) > 1:
            raise ValueError(f"{root}: {name!r} holds {again[0]!r}, which is beside it, too; remove one of them")
        for other, others in seen.items():
            if len(shared := sorted(set(below) & others)) > 1:
                raise ValueError(
                    f"{root}: {other!r} and {name!r} hold folders of the same names ({', '.join(shared[:3])}): these "
                    "may be the classes. Call the folders above them train, val and test, or name one of them instead"
                )
        seen[name] = set(below)


def part_of(name):
    """The part that a folder's name means, such as "train" for Training_Set; None for any other name."""
    words = [word for word in _words(name) if word not in _PLAIN]
    return _ROLES.get("".join(words)) if len(words) < 3 else None


def _words(name):
    """The words of a name without digits; a capital within one begins another."""
    return re.findall("[^\\W\\d_]+", re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower())


def folders_in(root):
    """Names of the folders in a folder, links to folders too, but for hidden ones and what macOS adds to archives."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not _hidden(entry.name))


def beside(root):
    """How many files lie directly in a folder, by the reason why they have no class."""
    with os.scandir(root) as entries:
        names = [(entry.name, entry.is_dir()) for entry in entries]
    return Counter(
        "hidden files and folders" if _hidden(name) else "files beside the class folders"
        for name, folder in names if _hidden(name) or not folder
    )  # fmt: skip


def _hidden(name):
    return name.startswith(".") or name == "__MACOSX"


def image_files(folder, *, look=True):
    """The :class:`Files` of a folder, at any depth: those that Pillow opens by their names, or, with `look`, by what
    is in them where a name has no ending."""
    paths, left_out = [], Counter()
    for place, folders, files in os.walk(folder, onerror=_fail):
        left_out["hidden files and folders"] += sum(map(_hidden, folders + files))
        # Links to folders may form a circle.
        left_out["links to folders inside a class"] += sum(
            os.path.islink(os.path.join(place, name)) for name in folders if not _hidden(name)
        )
        folders[:] = [name for name in folders if not _hidden(name)]
        for name in files:
            if not _hidden(name):
                reason = _no_image(os.path.join(place, name), look)
                if reason:
                    left_out[reason] += 1
                else:
                    paths.append(os.path.join(place, name))
    return Files(sorted(paths), +left_out)


def _no_image(path, look):
    """Why a file is no image, in words; "" where it is one."""
    ending = os.path.splitext(path)[1].lower()
    if not ending and look:
        try:
            with Image.open(path) as image:
                return "" if image.format not in _NO_PICTURES else "files without an ending that are no images"
        except UnidentifiedImageError:
            return "files without an ending that are no images"
        except OSError:
            return ""  # whoever reads it decides about what cannot be
    kind = Image.registered_extensions().get(ending)
    if not ending:
        return "files without an ending"
    return "" if kind in Image.OPEN and kind not in _NO_PICTURES else f"{ending} files"


def same_name(name):
    """A name of a folder in the spelling in which equal ones are equal: systems take é apart or leave it whole."""
    return unicodedata.normalize("NFC", name)


def _fail(error):
    raise error
