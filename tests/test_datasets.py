"""The paper's data sets in tiny official layouts; folders, archives and data sets of torch; the measures.

Every image has one colour, which says of which class, part and number it is: an image
that is exchanged for another, or a label for another, is found out.
"""

import io
import json
import os
import pickle
import shutil
import urllib.error
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_recall_curve

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from PIL import Image
from scipy.io import savemat
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset
from torchvision import transforms

from sfda import datasets, published
from sfda.backbones import Backbone
from sfda.datasets import (
    OFFICIAL, from_dataset, image_archive, image_folder, load_images, load_official, measure
)  # fmt: skip
from sfda.features import extract

REAL = Path(os.environ.get("SFDA_IMAGES") or "nowhere")
PARTS = ("train", "validation", "test")
BY_HAND = ("cars", "sun397")


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """No download, and no images of this machine."""

    def unreachable(*arguments, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setenv("SFDA_IMAGES", str(tmp_path / "unset"))


# --- images that say what they are --------------------------------------------------


def colour(label, number, part="train"):
    return 10 + 10 * label, 7 * number, 40 + 80 * PARTS.index(part)


def square(label, number, part="train", size=(12, 9)):
    return Image.new("RGB", size, colour(label, number, part))


def paint(path, label, number, part="train"):
    path.parent.mkdir(parents=True, exist_ok=True)
    square(label, number, part).save(path, quality=95, subsampling=0)


def told(image):
    """Label, number and part that an image states."""
    assert isinstance(image, Image.Image) and image.mode == "RGB"
    pixels = np.asarray(image).astype(float)
    assert np.ptp(pixels, axis=(0, 1)).max() <= 4
    red, green, blue = pixels.mean((0, 1))
    return round((red - 10) / 10), round(green / 7), PARTS[round((blue - 40) / 80)]


def plan(n_classes, each, seed):
    """Labels and numbers of a part's images, in disorder."""
    items = [(label, number) for label in range(n_classes) for number in range(1, each + 1)]
    return [items[i] for i in np.random.default_rng(seed).permutation(len(items))]


# --- the official layouts -------------------------------------------------------------


def write_aircraft(folder):
    data, classes = folder / "fgvc-aircraft-2013b" / "data", ["707-320", "Boeing 717", "F/A-18"]
    parts = {"train": plan(3, 3, 1), "validation": plan(3, 2, 2), "test": plan(3, 2, 3)}
    data.mkdir(parents=True)
    (data / "variants.txt").write_text("".join(f"{name}\n" for name in classes))
    for k, (part, items) in enumerate(parts.items()):
        lines = []
        for label, number in items:
            name = f"{k}{label}{number:05d}"
            paint(data / "images" / f"{name}.jpg", label, number, part)
            lines.append(f"{name} {classes[label]}\n")
        (data / f"images_variant_{('train', 'val', 'test')[k]}.txt").write_text("".join(lines))
    return parts, classes


CALTECH = {"BACKGROUND_Google": 33, "Faces": 31, "accordion": 34}


def write_caltech101(folder):
    root = folder / "caltech101" / "101_ObjectCategories"
    for label, (name, n) in enumerate(CALTECH.items()):
        for number in range(1, n + 1):
            paint(root / name / f"image_{number:04d}.jpg", label, number)
    (root / "BACKGROUND_Google" / "tmp").write_bytes(b"left over, as in the publisher's archive")
    return None, list(CALTECH)


def write_cars(folder):
    root = folder / "stanford_cars"
    classes = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo 2012"]
    parts = {"train": plan(3, 5, 1), "test": plan(3, 3, 2)}
    for part, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = []
        for i, (label, number) in enumerate(parts[part], 1):
            paint(root / f"cars_{part}" / f"{i:05d}.jpg", label, number, part)
            rows.append((1, 2, 3, 4, np.uint8(label + 1), f"{i:05d}.jpg"))
        fields = [(f, object) for f in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
        (root / file).parent.mkdir(exist_ok=True)
        savemat(root / file, {"annotations": np.array(rows, dtype=fields)})
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": np.array(classes, dtype=object)})
    return parts, classes


def write_cifar(folder, base, files, key, meta, classes):
    parts = {"train": plan(len(classes), 5, 1), "test": plan(len(classes), 2, 2)}
    (folder / base).mkdir(parents=True)
    chunks = np.array_split(parts["train"], len(files) - 1) + [np.array(parts["test"])]
    for file, items in zip(files, chunks):
        part = "train" if file != files[-1] else "test"
        pixels = [np.repeat(colour(label, number, part), 32 * 32) for label, number in items]
        content = {"data": np.array(pixels, np.uint8), key: [int(label) for label, _ in items]}
        (folder / base / file).write_bytes(pickle.dumps(content))
    (folder / base / meta[0]).write_bytes(pickle.dumps({meta[1]: classes}))
    return parts, classes


def write_cifar10(folder):
    files = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    meta = ("batches.meta", "label_names")
    return write_cifar(folder, "cifar-10-batches-py", files, "labels", meta, ["airplane", "truck"])


def write_cifar100(folder):
    meta = ("meta", "fine_label_names")
    files, classes = ["train", "test"], ["apple", "bear", "worm"]
    return write_cifar(folder, "cifar-100-python", files, "fine_labels", meta, classes)


def write_dtd(folder):
    root, classes = folder / "dtd" / "dtd", ["banded", "blotchy", "polka-dotted"]
    parts = {"train": plan(3, 2, 1), "validation": plan(3, 2, 2), "test": plan(3, 3, 3)}
    (root / "labels").mkdir(parents=True)
    for k, (part, items) in enumerate(parts.items()):
        names = [f"{classes[label]}/{classes[label]}_{k}{number:03d}.jpg" for label, number in items]
        for name, (label, number) in zip(names, items):
            paint(root / "images" / name, label, number, part)
        for partition in (1, 2):  # the second one holds other images of each part
            text = "".join(f"{name}\n" for name in (names if partition == 1 else names[:1]))
            (root / "labels" / f"{('train', 'val', 'test')[k]}{partition}.txt").write_text(text)
    return parts, classes


def write_flowers(folder):
    root = folder / "flowers-102"
    parts = {"train": plan(3, 2, 1), "validation": plan(3, 1, 2), "test": plan(3, 4, 3)}
    everything = [(part, *item) for part, items in parts.items() for item in items]
    order = np.random.default_rng(4).permutation(len(everything))  # of the files
    ids = {part: [] for part in parts}
    labels = np.zeros(len(everything), np.uint8)
    for k, (part, label, number) in enumerate(everything):
        paint(root / "jpg" / f"image_{order[k] + 1:05d}.jpg", label, number, part)
        ids[part].append(order[k] + 1)
        labels[order[k]] = label + 1
    savemat(root / "imagelabels.mat", {"labels": labels})
    savemat(root / "setid.mat", {"trnid": ids["train"], "valid": ids["validation"], "tstid": ids["test"]})
    return parts, torchvision.datasets.Flowers102.classes


def write_food(folder):
    root, classes = folder / "food-101", ["apple_pie", "baby_back_ribs", "waffles"]
    parts = {"train": [], "test": []}
    (root / "meta").mkdir(parents=True)
    for part, each in (("train", 5), ("test", 2)):
        listed = {}
        for label in (2, 0, 1):  # the file need not be sorted
            listed[classes[label]] = [f"{classes[label]}/{part}{number}" for number in range(each, 0, -1)]
            parts[part] += [(label, number) for number in range(each, 0, -1)]
        (root / "meta" / f"{part}.json").write_text(json.dumps(listed))
        for label, number in parts[part]:
            paint(root / "images" / classes[label] / f"{part}{number}.jpg", label, number, part)
    return parts, classes


def write_pets(folder):
    root, names = folder / "oxford-iiit-pet", ["Abyssinian", "american_bulldog", "staffordshire_bull_terrier"]
    parts = {"train": plan(3, 5, 1), "test": plan(3, 2, 2)}
    (root / "annotations").mkdir(parents=True)
    for part, items in parts.items():
        lines = []
        for label, number in items:
            name = f"{names[label]}_{number + 100 * (part == 'test')}"
            paint(root / "images" / f"{name}.jpg", label, number, part)
            lines.append(f"{name} {label + 1} {1 + (label > 0)} 1\n")
        (root / "annotations" / f"{'trainval' if part == 'train' else 'test'}.txt").write_text("".join(lines))
    return parts, ["Abyssinian", "American Bulldog", "Staffordshire Bull Terrier"]


def write_sun397(folder):
    root, classes = folder / "SUN397", ["abbey", "apartment_building/outdoor", "bar", "barn"]
    parts = {"train": plan(4, 3, 1), "test": plan(4, 2, 2)}
    root.mkdir(parents=True)
    (root / "ClassName.txt").write_text("".join(f"/{name[0]}/{name}\n" for name in classes))
    for part, file in (("train", "Training_01.txt"), ("test", "Testing_01.txt")):
        lines = []
        for label, number in parts[part]:
            name = f"{classes[label][0]}/{classes[label]}/sun_{part}{number}.jpg"
            paint(root / name, label, number, part)
            lines.append(f"/{name}\n")
        (root / file).write_text("".join(lines), newline="\r\n")
    paint(root / "a" / "abbey" / "sun_in_no_list.jpg", 0, 30)
    return parts, classes


# Classes that are shown, and those that are only by difficult objects.
VOC = {
    "train": [({"person", "car"}, {"bus"}), ({"aeroplane"}, set()), (set(), {"tvmonitor", "cow"})],
    "validation": [({"dog"}, {"cat"}), ({"sheep", "train", "tvmonitor"}, set())],
    "test": [({"cat"}, {"person"}), (set(), {"boat"}), ({"person"}, set()), ({"boat", "bird"}, {"bus"})],
}


def voc_label(shown, difficult):
    return min(datasets.VOC_CLASSES.index(name) for name in shown or difficult)


def write_voc2007(folder):
    root, parts, i = folder / "VOCdevkit" / "VOC2007", {}, 0
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    for (part, rows), published_as in zip(VOC.items(), ("train", "val", "test")):
        parts[part] = [(voc_label(*row), number) for number, row in enumerate(rows, 1)]
        names = [f"{(i := i + 1) * 7:06d}" for _ in rows]
        for name, (label, number) in zip(names, parts[part]):
            paint(root / "JPEGImages" / f"{name}.jpg", label, number, part)
        (lists / f"{published_as}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in datasets.VOC_CLASSES:
            marks = [" 1" if name in shown else " 0" if name in hard else "-1" for shown, hard in rows]
            text = "".join(f"{image} {mark}\n" for image, mark in zip(names, marks))
            (lists / f"{name}_{published_as}.txt").write_text(text)
    return parts, list(datasets.VOC_CLASSES)


WRITERS = {name: globals()[f"write_{name}"] for name in OFFICIAL}


@pytest.fixture
def any_checksum(monkeypatch):
    """torchvision compares CIFAR's and two of Flowers' files with md5 sums, which tiny ones cannot have."""

    def exists(path, md5):
        return os.path.exists(path)

    for module in ("cifar", "flowers102"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", exists)


def held_out(n):
    """Validation and training rows, as the paper's public code takes them."""
    rows = list(range(n))
    np.random.RandomState(0).shuffle(rows)
    return sorted(rows[: n // 5]), sorted(rows[n // 5 :])


def expected_of(name, parts):
    """Label, number and part that every image has to state, by part."""
    if name == "caltech101":
        return None
    stated = {part: [(*item, part) for item in items] for part, items in parts.items()}
    if "validation" not in stated:
        validation, train = held_out(len(stated["train"]))
        stated["validation"] = [stated["train"][i] for i in validation]
        stated["train"] = [stated["train"][i] for i in train]
    return stated


def check(images, n_classes):
    """What holds for every image set: labels, order, parts, workers' copies."""
    n = sum(len(part) for part in images.parts)
    assert len(images.everything) == n == len(images.labels) and images.labels.dtype == np.int64
    items = [images.everything[i] for i in range(n)]
    assert [label for _, label in items] == images.labels.tolist()
    assert all(type(label) is int and 0 <= label < n_classes for _, label in items)
    assert np.concatenate([part.labels for part in images.parts]).tolist() == images.labels.tolist()
    assert len(images.classes) == n_classes and all(type(name) is str for name in images.classes)
    copy = pickle.loads(pickle.dumps(images))
    assert copy.fingerprint == images.fingerprint and len(copy.fingerprint) == 64
    assert all(one.tobytes() == other.tobytes() for (one, _), (other, _) in zip(copy.train, images.train))
    with pytest.raises(IndexError):
        images.train[len(images.train)]
    return items


@pytest.mark.parametrize("name", OFFICIAL)
def test_official(name, tmp_path, any_checksum):
    parts, classes = WRITERS[name](tmp_path)
    images = load_official(name, tmp_path)
    items = check(images, len(classes))
    assert images.name == name and images.classes == classes and images.measure == OFFICIAL[name].measure
    assert [told(image)[0] for image, _ in items] == images.labels.tolist()
    expected = expected_of(name, parts)
    if expected:
        for part in PARTS:
            assert [told(image) for image, _ in getattr(images, part)] == expected[part], part
            assert getattr(images, part).labels.tolist() == [item[0] for item in expected[part]], part
        assert [told(image) for image, _ in items] == [item for part in PARTS for item in expected[part]]
    assert (images.targets is None) == (name != "voc2007")


def test_caltech101_has_thirty_training_images_a_class(tmp_path):
    write_caltech101(tmp_path)
    images = load_official("caltech101", tmp_path)
    stated = [[told(image)[:2] for image, _ in part] for part in images.parts]
    known = sum(stated[:2], [])  # training and validation
    counts = np.bincount([label for label, _ in known])
    assert counts.tolist() == [30, 30, 30] and len(stated[1]) == 18
    assert np.bincount(images.test.labels).tolist() == [3, 1, 4]
    every = [(label, number) for label, n in enumerate(CALTECH.values()) for number in range(1, n + 1)]
    assert sorted(sum(stated, [])) == every  # each image in one part, the left-over file in none
    assert {number for label, number in stated[2] if label == 0} != {31, 32, 33}  # drawn, not the last
    again = load_official("caltech101", tmp_path)
    assert again.fingerprint == images.fingerprint


def test_caltech101_without_the_background(tmp_path):
    write_caltech101(tmp_path)
    (tmp_path / "caltech101" / "101_ObjectCategories" / "BACKGROUND_Google").rename(tmp_path / "elsewhere")
    images = load_official("caltech101", tmp_path)
    assert images.classes == ["Faces", "accordion"] and len(images.labels) == 31 + 34
    assert {(label, told(image)[0]) for image, label in images.everything} == {(0, 1), (1, 2)}


def test_voc2007_targets(tmp_path):
    write_voc2007(tmp_path)
    images = load_official("voc2007", tmp_path)
    rows = [row for part in PARTS for row in VOC[part]]
    expected = [
        [1 if name in shown else -1 if name in hard else 0 for name in datasets.VOC_CLASSES]
        for shown, hard in rows
    ]
    assert images.targets.tolist() == expected and images.targets.dtype == np.int8
    # The first by the alphabet that is shown; where only difficult objects are, the first of those.
    assert [images.classes[label] for label in images.labels] == [
        "car", "aeroplane", "cow", "dog", "sheep", "cat", "boat", "person", "bird"
    ]  # fmt: skip


def test_an_image_of_voc2007_that_shows_nothing(tmp_path):
    write_voc2007(tmp_path)
    file = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "dog_val.txt"
    file.write_text(file.read_text().replace(" 1", "-1"))
    cat = file.with_name("cat_val.txt")
    cat.write_text(cat.read_text().replace(" 0", "-1"))
    with pytest.raises(ValueError, match="voc2007: the files in .*VOCdevkit are not .*000028.jpg shows none"):
        load_official("voc2007", tmp_path)


def test_classes_of_flowers_in_an_older_torchvision(tmp_path, any_checksum, monkeypatch):
    write_flowers(tmp_path)
    monkeypatch.delattr(torchvision.datasets.Flowers102, "classes")
    assert load_official("flowers", tmp_path).classes == [str(i) for i in range(1, 103)]


@pytest.mark.parametrize("name", OFFICIAL)
def test_labels_are_there_without_a_look_at_an_image(name, tmp_path, any_checksum, monkeypatch):
    WRITERS[name](tmp_path)

    def refuse(*arguments, **options):
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(Image, "fromarray", refuse)
    images = load_official(name, tmp_path)
    assert len(images.labels) == len(images.everything) and images.fingerprint


@pytest.mark.parametrize("name", OFFICIAL)
def test_default_folder(name, tmp_path, any_checksum, monkeypatch):
    monkeypatch.setenv("SFDA_IMAGES", str(tmp_path))
    WRITERS[name](tmp_path)
    assert load_images(name).fingerprint == load_official(name, tmp_path).fingerprint


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("name", OFFICIAL)
def test_missing_files(name, tmp_path, download):
    official = OFFICIAL[name]
    with pytest.raises(FileNotFoundError) as caught:
        load_official(name, tmp_path / "none", download=download)
    message = str(caught.value)
    assert message.startswith(f"{name}: {official.title} is not all in {tmp_path / 'none'}; missing: ")
    assert official.files[0] in message and "\n" not in message
    if name in BY_HAND:
        assert message.endswith(f"; {official.by_hand}") and "https://" in official.by_hand
        assert "download=True" not in message and "failed" not in message and not (tmp_path / "none").exists()
    elif download:
        assert "; the download failed (URLError: " in message
        assert message.endswith(f"try again, or put it there by hand from {official.source}")
    else:
        assert message.endswith(f"; download=True fetches it, or put it there by hand from {official.source}")


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_file_is_needed(name, tmp_path, any_checksum):
    WRITERS[name](tmp_path)
    for file in OFFICIAL[name].files[:8]:
        (tmp_path / file).rename(tmp_path / "away")
        with pytest.raises(FileNotFoundError, match=f"missing: {file};"):
            load_official(name, tmp_path)
        (tmp_path / "away").rename(tmp_path / file)
    assert load_official(name, tmp_path)


MODULES = {
    "aircraft": "fgvc_aircraft", "caltech101": "caltech", "cifar10": "cifar", "cifar100": "cifar",
    "dtd": "dtd", "flowers": "flowers102", "food": "food101", "pets": "oxford_iiit_pet", "voc2007": "voc",
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_download(name, tmp_path, any_checksum, monkeypatch):
    asked, module, folder = [], f"torchvision.datasets.{MODULES[name]}", tmp_path / "new" / "folder"

    def fetch(url, *arguments, **options):
        asked.append(url)
        if len(asked) == 1 or name == "voc2007":  # pets has two archives, one writer
            WRITERS[name](folder)
        if name == "caltech101":  # its archive is a folder of archives
            (folder / "caltech101" / "caltech-101").mkdir()
            (folder / "caltech101" / "caltech-101.zip").touch()

    monkeypatch.setattr(f"{module}.download_and_extract_archive", fetch)
    if name == "flowers":
        monkeypatch.setattr(f"{module}.download_url", lambda url, *rest, **options: asked.append(url))
    images = load_official(name, folder, download=True)
    check(images, len(images.classes))
    assert len(asked) == {"pets": 2, "voc2007": 2, "flowers": 3}.get(name, 1)
    assert all(url.startswith("http") for url in asked)
    asked.clear()
    load_official(name, folder, download=True)
    assert asked == []  # what is there is not fetched again


def test_half_of_a_download(tmp_path):
    write_aircraft(tmp_path)
    (tmp_path / "fgvc-aircraft-2013b" / "data" / "variants.txt").unlink()
    with pytest.raises(FileNotFoundError, match="/variants.txt; .*; remove fgvc-aircraft-2013b there"):
        load_official("aircraft", tmp_path, download=True)


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_files_of_cifar_that_are_not_the_published_ones_are_not_opened(name, tmp_path, capsys):
    WRITERS[name](tmp_path)
    for file in OFFICIAL[name].files:
        (tmp_path / file).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=f"{name}: the files in .* are not its publisher's .*corrupted"):
        load_official(name, tmp_path)
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("aircraft", "fgvc-aircraft-2013b/data/images_variant_val.txt", "0000001 Concorde\n"),
        ("food", "food-101/meta/test.json", '{"apple_pie": ["apple_pie/1"], "sushi": []}'),
        ("food", "food-101/meta/train.json", "{"),
        ("sun397", "SUN397/Testing_01.txt", "/z/zoo/sun_a.jpg\n"),
        ("pets", "oxford-iiit-pet/annotations/test.txt", "Abyssinian_1 1\n"),
        ("cars", "stanford_cars/devkit/cars_train_annos.mat", "no such format"),
        ("voc2007", "VOCdevkit/VOC2007/ImageSets/Main/cow_test.txt", "000001 1\n"),
    ],
)
def test_damaged_files(name, file, content, tmp_path):
    WRITERS[name](tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=f"{name}: the files in .* are not its publisher's") as caught:
        load_official(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_official_agrees_with_what_is_published():
    sizes = published.dataset_sizes().set_index("dataset")
    measures = published.accuracies().query("group == 'supervised'").groupby("dataset").measure.unique()
    assert list(OFFICIAL) == sorted(OFFICIAL) == sorted(sizes.index) == sorted(measures.index)
    for name, official in OFFICIAL.items():
        assert official.name == name and official.n_classes == sizes.n_classes[name]
        assert [official.measure] == list(measures[name]) and official.measure in datasets.MEASURES
        assert official.title and official.citation and official.terms and official.source.startswith("http")
    assert datasets.CALTECH_TRAIN * OFFICIAL["caltech101"].n_classes == sizes.train_val["caltech101"]
    assert [name for name in OFFICIAL if OFFICIAL[name].by_hand] == list(BY_HAND)
    assert sorted(datasets._DOWNLOADS) == sorted(set(OFFICIAL) - set(BY_HAND))


def test_names_that_mean_nothing(tmp_path):
    with pytest.raises(ValueError, match="name: expected one of aircraft, .*, voc2007, got 'imagenet'"):
        load_official("imagenet")
    with pytest.raises(FileNotFoundError, match="cifar-10: expected one of aircraft, .* or .npz file"):
        load_images("cifar-10")


# --- the fingerprint ----------------------------------------------------------------


@pytest.mark.parametrize("change", ["time", "size", "label", "order", "name"])
def test_fingerprint(change, tmp_path):
    write_aircraft(tmp_path)
    before = load_official("aircraft", tmp_path).fingerprint
    assert load_official("aircraft", tmp_path).fingerprint == before
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    image, listed = data / "images" / "0000001.jpg", data / "images_variant_train.txt"
    if change == "time":
        os.utime(image, ns=(1, 1))
    elif change == "size":
        stat = image.stat()
        image.write_bytes(image.read_bytes() + b"\0")
        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif change == "label":
        listed.write_text(listed.read_text().replace("0000001 707-320", "0000001 F/A-18"))
    elif change == "order":
        listed.write_text("".join(reversed(listed.read_text().splitlines(keepends=True))))
    else:
        image.rename(image.with_name("0000009.jpg"))
        listed.write_text(listed.read_text().replace("0000001 ", "0000009 "))
    assert load_official("aircraft", tmp_path).fingerprint != before


def test_fingerprint_of_a_copy_that_keeps_the_times(tmp_path):
    write_pets(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    one, other = (load_official("pets", tmp_path / name) for name in "ab")
    assert one.fingerprint == other.fingerprint


def test_fingerprint_of_packed_files(tmp_path, any_checksum):
    write_cifar10(tmp_path)
    before = load_official("cifar10", tmp_path).fingerprint
    os.utime(tmp_path / "cifar-10-batches-py" / "test_batch", ns=(1, 1))
    assert load_official("cifar10", tmp_path).fingerprint != before


# --- folders --------------------------------------------------------------------------


def write_folder(root, classes=("cat", "dog"), each=4, part="train"):
    for label, name in enumerate(classes):
        for number in range(1, each + 1):
            paint(root / name / f"{number:02d}.jpg", label, number, part)
    return root


def test_folder_of_classes(tmp_path):
    """Hidden things, other files and files beside the classes are no images."""
    root = write_folder(tmp_path / "pets")
    hidden = (".git/x.jpg", "cat/.hidden.jpg", "cat/._01.jpg", "dog/.thumbs/1.jpg")
    for name in (*hidden, "dog/readme.txt", "labels.csv", "beside.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"no image")
    images = load_images(str(root))
    check(images, 2)
    assert (images.name, images.classes, images.measure) == ("pets", ["cat", "dog"], "accuracy")
    assert images.validation is None and images.test is None and len(images.everything) == 8
    assert [told(image)[:2] for image, _ in images.train] == [(k, n) for k in (0, 1) for n in (1, 2, 3, 4)]


def test_class_folders_with_odd_names(tmp_path):
    names = sorted(["a b", "-dash", "ünï", "quo'te\"", "semi;", "[x]", "train", "線", "100%", "new\nline"])
    images = image_folder(write_folder(tmp_path, names, 1))
    check(images, len(names))
    assert images.classes == names
    assert [told(image)[0] for image, _ in images.train] == list(range(len(names)))


def test_folders_in_a_class(tmp_path):
    root = write_folder(tmp_path)
    paint(root / "dog" / "puppies" / "small" / "9.jpg", 1, 9)
    assert sorted(told(image)[1] for image, label in image_folder(root).train if label) == [1, 2, 3, 4, 9]


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "Valid", "TEST"), ("train", "validation", "test")]
)
def test_folder_of_parts(tmp_path, names):
    for name, part, each in zip(names, PARTS, (4, 2, 3)):
        write_folder(tmp_path / name, each=each, part=part)
    images = image_folder(tmp_path)
    check(images, 2)
    assert [len(part) for part in images.parts] == [8, 4, 6]
    for part in PARTS:
        assert all(told(image)[::2] == (label, part) for image, label in getattr(images, part))


def test_folder_of_some_parts(tmp_path):
    write_folder(tmp_path / "train", each=10)
    write_folder(tmp_path / "test", ("dog",), 2, "test")  # a class need not be in every part
    paint(tmp_path / "test" / "dog" / "3.jpg", 1, 3, "test")
    images = image_folder(tmp_path)
    assert images.validation is None and images.test.labels.tolist() == [1, 1, 1]
    shared = image_folder(tmp_path, validation=0.2)
    assert [len(part) for part in shared.parts] == [16, 4, 3]
    assert shared.validation.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="test: .* has images for it, expected the share 0, got 0.1"):
        image_folder(tmp_path, test=0.1)
    (tmp_path / "val" / "Dog").mkdir(parents=True)
    with pytest.raises(ValueError, match="a class 'Dog' here, but not among the training images"):
        image_folder(tmp_path)
    (tmp_path / "valid").mkdir()
    with pytest.raises(ValueError, match="expected one folder a part, found test, train, val, valid"):
        image_folder(tmp_path)


def test_parts_without_one_to_train_on_are_classes(tmp_path):
    assert image_folder(write_folder(tmp_path, ("test", "val"))).classes == ["test", "val"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda root: None, FileNotFoundError, "there is no such folder"),
        (lambda root: root.write_text("x"), ValueError, "expected a folder .*, got a file"),
        (lambda root: root.mkdir(), ValueError, "at least two class folders, found 0"),
        (lambda root: write_folder(root, ("cat",)), ValueError, "at least two class folders, found 1"),
        (lambda root: (write_folder(root) / "eel").mkdir(), ValueError, "the class 'eel' has no images"),
        (lambda root: write_folder(root / "train", ("cat",)), ValueError, "train: expected at least two"),
        (lambda root: (write_folder(root / "train") / "../test/cat").resolve().mkdir(parents=True),
         ValueError, "test: the class 'cat' has no images"),
    ],
)  # fmt: skip
def test_bad_folders(make, error, message, tmp_path):
    make(tmp_path / "x")
    with pytest.raises(error, match=message):
        image_folder(tmp_path / "x")


def test_kinds_of_files_and_pixels(tmp_path):
    grey, root = Image.new("L", (5, 4), 77), tmp_path / "x"
    palette = Image.new("P", (5, 4), 1)
    palette.putpalette([0, 0, 0, 9, 200, 30] + [0] * 762)
    saved = {
        "a.JPG": (square(1, 2), {}, colour(1, 2)), "b.jpeg": (square(1, 3), {}, colour(1, 3)),
        "c.png": (square(1, 4), {}, colour(1, 4)), "d.PPM": (square(1, 5), {}, colour(1, 5)),
        "e.bmp": (square(1, 6), {}, colour(1, 6)), "f.pgm": (grey, {}, (77, 77, 77)),
        "g.tif": (grey.convert("LA"), {}, (77, 77, 77)), "h.tiff": (square(1, 7), {}, colour(1, 7)),
        "i.webp": (square(1, 8), {"lossless": True}, colour(1, 8)),
        "j.png": (Image.new("RGBA", (5, 4), (9, 200, 30, 0)), {}, (9, 200, 30)),
        "k.png": (palette, {"transparency": bytes([0, 128])}, (9, 200, 30)),
        "l.png": (Image.new("1", (5, 4), 1), {}, (255, 255, 255)),
        "m.jpg": (Image.new("CMYK", (5, 4), (0, 0, 0, 0)), {}, (255, 255, 255)),
        "n.png": (Image.fromarray(np.full((4, 5), 77 * 256 + 200, np.uint16)), {}, (77, 77, 77)),
        "o.tif": (Image.fromarray(np.full((4, 5), 50_000, np.int32)), {}, (195, 195, 195)),
    }  # fmt: skip
    for name, (image, options, _) in saved.items():
        (root / "a").mkdir(parents=True, exist_ok=True)
        image.save(root / "a" / name, **options)
    paint(root / "b" / "1.jpg", 1, 1)
    images = image_folder(root)
    assert len(images.train) == len(saved) + 1
    for (image, _), (name, (_, _, expected)) in zip(images.train, saved.items()):
        assert image.mode == "RGB"
        np.testing.assert_allclose(np.asarray(image)[2, 2], expected, atol=4, err_msg=name)


def test_unreadable_images(tmp_path):
    root = write_folder(tmp_path, each=5)
    noise = np.random.default_rng(0).integers(256, size=(50, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "cat" / "02.jpg")
    Image.fromarray(noise).save(root / "cat" / "06.png")
    for name in ("02.jpg", "06.png"):
        file = root / "cat" / name
        file.write_bytes(file.read_bytes()[:400])
    (root / "cat" / "03.jpg").write_bytes(b"")
    Image.fromarray(np.zeros((3, 3), np.float32)).save(root / "dog" / "06.tif")
    Image.fromarray(np.full((3, 3), 2**20, np.int32)).save(root / "dog" / "07.tif")
    os.symlink(root / "nothing", root / "dog" / "08.jpg")
    images = image_folder(root)
    assert images.fingerprint == image_folder(root).fingerprint
    bad = [1, 2, 5, 11, 12, 13]
    for i, label in enumerate(images.labels):
        if i in bad:
            with pytest.raises(OSError, match=r"(cat|dog).0\d\.\w+ cannot be read \(\w+: "):
                images.train[i]
        else:
            assert told(images.train[i][0])[0] == label
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    transform = transforms.Compose([transforms.Resize((2, 2)), transforms.ToTensor()])
    backbone = Backbone("net", network.eval(), transform)
    found = extract(backbone, images.everything, images.fingerprint, skip_unreadable=True, workers=2)
    assert found.skipped == bad and found.labels.tolist() == np.delete(images.labels, bad).tolist()


def test_links(tmp_path):
    """Linked files and class folders are read; a circle of folders is not walked."""
    away, root = write_folder(tmp_path / "away"), tmp_path / "x"
    root.mkdir()
    os.symlink(away / "cat", root / "cat")
    (root / "dog").mkdir()
    os.symlink(away / "dog" / "01.jpg", root / "dog" / "1.jpg")
    os.symlink(root, root / "dog" / "circle")
    images = image_folder(root)
    assert [told(image)[:2] for image, _ in images.train] == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1)]


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    root = write_folder(tmp_path)

    def walk(top, onerror):
        onerror(PermissionError(13, "Permission denied", str(top)))

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(PermissionError, match="cat"):
        image_folder(root)


def test_relative_paths_stay_right_elsewhere(tmp_path, monkeypatch):
    write_folder(tmp_path / "x")
    monkeypatch.chdir(tmp_path)
    images = load_images("x")
    monkeypatch.chdir("/")
    assert images.name == "x" and told(images.train[0][0])[:2] == (0, 1)


def test_names_come_before_folders(tmp_path, monkeypatch):
    write_folder(tmp_path / "food")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="Food-101"):
        load_images("food")
    assert load_images("./food").classes == ["cat", "dog"] == load_images(tmp_path / "food").classes


def test_shares(tmp_path):
    root = write_folder(tmp_path, ("a", "b", "c"), 10)
    one = image_folder(root, validation=0.2, test=0.3, seed=1)
    assert [np.bincount(part.labels).tolist() for part in one.parts] == [[5, 5, 5], [2, 2, 2], [3, 3, 3]]
    check(one, 3)
    every = [(label, number) for label in range(3) for number in range(1, 11)]
    assert sorted(told(image)[:2] for image, _ in one.everything) == every
    same, other = (image_folder(root, validation=0.2, test=0.3, seed=seed) for seed in (1, 2))
    assert same.fingerprint == one.fingerprint != other.fingerprint
    only = image_folder(root, test=0.5)
    assert only.validation is None and len(only.test) == 15


@pytest.mark.parametrize(
    "shares",
    [{"validation": 1.0}, {"validation": -0.1}, {"validation": 0.5, "test": 0.5}, {"test": float("nan")}],
)
def test_bad_shares(shares, tmp_path):
    with pytest.raises(ValueError, match="shares: expected numbers from 0 to 1 that add up to less than 1"):
        image_folder(write_folder(tmp_path), **shares)


def test_a_share_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="validation: the share 0.4 of so few training images is none"):
        image_folder(write_folder(tmp_path, each=1), validation=0.4)


class Nothing:
    """A source of images that nobody asks for."""

    def __getitem__(self, row):
        raise AssertionError("an image was read")


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.floats(0.1, 0.45), st.floats(0.1, 0.45))
def test_shares_are_of_each_class(labels, validation, test):
    whole = datasets.Images(Nothing(), labels)
    try:
        parts = datasets._set_aside(whole, {"validation": validation, "test": test}, 0)
    except ValueError as error:
        assert "so few" in str(error)
        return
    assert sorted(np.concatenate([part.rows for part in parts.values()])) == list(range(len(labels)))
    for label in set(labels):
        n = labels.count(label)
        train, *others = (int((parts[part].labels == label).sum()) for part in PARTS)
        assert train >= 1 and all(abs(k - share * n) <= 1 for k, share in zip(others, (validation, test)))
    for part in parts.values():
        assert [labels[row] for row in part.rows] == part.labels.tolist()


@given(st.integers(5, 400))
def test_the_papers_validation_images(n):
    whole = datasets.Images(Nothing(), np.arange(n))
    train, validation = datasets._held_out(whole)
    assert (validation.labels.tolist(), train.labels.tolist()) == held_out(n)


# --- archives -----------------------------------------------------------------------


def archive(path, **change):
    """A tiny archive: three classes, four training and two test images of each."""
    files, content = [], {"label": [], "split": [], "name": []}
    for label, number in plan(3, 6, 0):
        buffer = io.BytesIO()
        square(label, number, "test" if number > 4 else "train").save(buffer, "png")
        files.append(np.frombuffer(buffer.getvalue(), np.uint8))
        content["label"].append(label)
        content["split"].append(int(number > 4))
        content["name"].append(f"{label}_{number}.png")
    content = {
        "buf": np.concatenate(files), "off": np.cumsum([0] + [len(file) for file in files]),
        "label": np.array(content["label"], np.int16), "split": np.array(content["split"], np.uint8),
        "classes": np.array(["ant", "bee", "cow"]), "name": np.array(content["name"]),
        "note": np.array("whatever"),
    }  # fmt: skip
    content |= {key: value(content) for key, value in change.items()}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def test_archive(tmp_path):
    images = load_images(archive(tmp_path / "zoo.NPZ.npz").rename(tmp_path / "zoo.NPZ"))
    check(images, 3)
    assert (images.name, images.classes, images.validation) == ("zoo", ["ant", "bee", "cow"], None)
    rows = plan(3, 6, 0)
    assert [told(image) for image, _ in images.train] == [(*row, "train") for row in rows if row[1] <= 4]
    assert [told(image) for image, _ in images.test] == [(*row, "test") for row in rows if row[1] > 4]
    three = image_archive(tmp_path / "zoo.NPZ", validation=0.25)
    assert [len(part) for part in three.parts] == [9, 3, 6] and sorted(three.validation.labels) == [0, 1, 2]
    assert three.fingerprint != images.fingerprint
    os.utime(tmp_path / "zoo.NPZ", ns=(1, 1))
    assert load_images(tmp_path / "zoo.NPZ").fingerprint != images.fingerprint


def test_an_archive_without_test_images(tmp_path):
    images = image_archive(archive(tmp_path / "x.npz", split=lambda z: 0 * z["split"]))
    assert images.test is None and len(images.train) == 18


def test_a_damaged_image_in_an_archive(tmp_path):
    images = image_archive(archive(tmp_path / "x.npz", buf=lambda z: z["buf"] // 2))
    with pytest.raises(OSError, match=r"x.npz, image 0 \(.*\.png\) cannot be read"):
        images.train[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": lambda z: None}, "expected a .npz file with buf, off, .*KeyError"),
        ({"classes": lambda z: z["classes"].astype(object)}, "expected a .npz file .*Object arrays"),
        ({"buf": lambda z: z["buf"].astype(np.int16)}, "buf: expected uint8, got int16"),
        ({"buf": lambda z: z["buf"][None]}, "buf: expected 1 dimension, got 2"),
        ({"buf": lambda z: z["buf"][:-1]}, "off: expected 19 ascending places in buf"),
        ({"off": lambda z: z["off"][:-1]}, "off: expected 19 ascending"),
        ({"off": lambda z: z["off"][::-1]}, "off: expected 19 ascending"),
        ({"off": lambda z: z["off"] - 1}, "off: expected 19 ascending"),
        ({"off": lambda z: z["off"] / 1}, "off: expected 19 ascending"),
        ({"label": lambda z: z["label"] + 1}, "label: expected integers from 0 to 2, got others"),
        ({"label": lambda z: z["label"] - 1}, "label: expected integers from 0 to 2, got others"),
        ({"label": lambda z: z["label"] / 1}, "label: expected integers from 0 to 2, got others"),
        ({"label": lambda z: 0 * z["label"]}, "label: expected at least two classes"),
        ({"split": lambda z: z["split"] + 1}, r"split: expected 0 \(train\) or 1 \(test\)"),
        ({"split": lambda z: z["split"] * 0 + 1}, "split: expected images for training"),
        ({"split": lambda z: z["split"][1:]}, "split: expected 18 values, one a label, got 17"),
        ({"name": lambda z: z["name"][:0]}, "name: expected 18 values, one a label, got 0"),
    ],
)
def test_bad_archives(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_images(archive(tmp_path / "x.npz", **change))


def test_files_that_are_no_archives(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match="expected a .npz file"):
        load_images(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError, match="gone.npz: there is no such file"):
        load_images(tmp_path / "gone.npz")
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="got a file"):
        load_images(tmp_path / "x.jpg")
    write_folder(tmp_path / "y.npz")  # a folder may be called so
    assert load_images(tmp_path / "y.npz").classes == ["cat", "dog"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the environment variable SFDA_IMAGES names no folder")
@pytest.mark.parametrize(
    ("file", "sizes", "n_classes"),
    [
        ("cifar10_subset.npz", (5000, 2000), 10), ("cifar100_subset.npz", (2500, 1000), 100),
        ("flower_photos_subset.npz", (700, 300), 5), ("omniglot_small1.npz", (2040, 680), 136),
    ],
)  # fmt: skip
def test_real_archives(file, sizes, n_classes):
    if not (REAL / file).exists():
        pytest.skip(f"{file} is not there")
    images = load_images(REAL / file)
    assert tuple(map(len, images.parts)) == sizes and len(images.classes) == n_classes
    assert len(set(np.bincount(images.train.labels))) == 1 and len(set(np.bincount(images.test.labels))) == 1
    assert all(images.everything[i][0].mode == "RGB" for i in range(0, sum(sizes), 97))


# --- data sets of torch ---------------------------------------------------------------


class Squares(Dataset):
    """Images of any kind with any labels; counts how many are read."""

    def __init__(self, given, convert=lambda image: image, **attributes):
        self.given, self.convert, self.read = given, convert, 0
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.given)

    def __getitem__(self, i):
        if i >= len(self.given):
            raise IndexError
        self.read += 1
        return self.convert(square(i % 3, i)), self.given[i]


@pytest.mark.parametrize(
    ("labels", "expected", "classes"),
    [
        ([3, 7, 7, 3, 11], [0, 1, 1, 0, 2], ["3", "7", "11"]),
        (["dog", "cat", "dog"], [1, 0, 1], ["cat", "dog"]),
        ([np.int16(-1), 5], [0, 1], ["-1", "5"]),
        ([torch.tensor(4), torch.tensor(2)], [1, 0], ["2", "4"]),
        ([np.array([4]), np.array([2])], [1, 0], ["2", "4"]),
        ([np.str_("b"), "a"], [1, 0], ["a", "b"]),
        ([True, False], [1, 0], ["False", "True"]),
    ],
)
def test_labels_of_a_data_set(labels, expected, classes):
    images = from_dataset(Squares(labels), "mine")
    assert images.labels.tolist() == expected and images.classes == classes
    assert (images.name, images.validation, images.test, images.measure) == ("mine", None, None, "accuracy")
    assert [told(image)[:2] for image, _ in images.train] == [(i % 3, i) for i in range(len(labels))]


@pytest.mark.parametrize(
    ("labels", "given", "own", "expected"),
    [
        ([1, 2], None, ["a", "b", "c"], ["b", "c"]),
        ([1, 2], ["x", "y"], ["a", "b", "c"], ["x", "y"]),
        ([1, 2], ["x", "y", "z"], None, ["y", "z"]),
        ([1, 5], None, ["a", "b", "c"], ["1", "5"]),
        (["q", "p"], None, ["a", "b"], ["p", "q"]),
    ],
)
def test_names_of_classes(labels, given, own, expected):
    assert from_dataset(Squares(labels, classes=own), classes=given).classes == expected


def test_names_that_do_not_fit():
    with pytest.raises(ValueError, match="zoo: classes: expected 2 names, one a class, got 1"):
        from_dataset(Squares([1, 2]), "zoo", classes=["a"])


def to_array(image):
    return np.asarray(image)


@pytest.mark.parametrize(
    "convert",
    [
        to_array,
        lambda image: to_array(image) / 255,
        lambda image: (to_array(image) / 255).astype(np.float32),
        lambda image: to_array(image).astype(np.int64),
        lambda image: to_array(image.convert("RGBA")),
        lambda image: torchvision.transforms.functional.to_tensor(image),
        lambda image: torchvision.transforms.functional.pil_to_tensor(image),
        lambda image: torchvision.transforms.functional.to_tensor(image).double(),
        lambda image: image.convert("RGBA"),
    ],
)
def test_images_of_a_data_set(convert):
    images = from_dataset(Squares([0, 1, 2, 0], convert))
    assert [told(image)[:2] for image, _ in images.everything] == [(0, 0), (1, 1), (2, 2), (0, 3)]
    assert images.train[0][0].size == (12, 9)


@pytest.mark.parametrize(
    "image",
    [np.full((4, 5), 51, np.uint8), np.full((4, 5, 1), 51, np.uint8),
     torch.full((4, 5), 0.2), torch.full((1, 4, 5), 0.2)],
)
def test_grey_images_of_a_data_set(image):
    (found, _), _ = from_dataset(Squares([0, 1], lambda _: image)).everything
    assert found.size == (5, 4) and (np.asarray(found) == 51).all()


def test_one_bit_images_of_a_data_set():
    (found, _), _ = from_dataset(Squares([0, 1], lambda _: np.eye(4, dtype=bool))).everything
    assert (np.asarray(found)[:, :, 1] == 255 * np.eye(4)).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 5, 3), -0.1), "from 0 to 1 or whole ones from 0 to 255, got float64 beyond"),
        (np.full((4, 5, 3), 1.1), "without normalisation"),
        (np.full((4, 5, 3), np.nan), "from 0 to 1"),
        (np.full((4, 5, 3), 256), "got int64 beyond"),
        (np.full((4, 5, 3), 1j), "got complex128"),
        (np.zeros((3, 4, 5)), r"of 1, 3 or 4 channels, got \(3, 4, 5\)"),
        (torch.zeros(5, 4, 3), r"got \(4, 3, 5\)"),
        (np.zeros(4), r"got \(4,\)"),
        ("a path", "expected an image of PIL, an array or a tensor, got str"),
    ],
)
def test_images_of_other_kinds(image, message):
    with pytest.raises(ValueError, match=f"mine: .*{message}"):
        from_dataset(Squares([0, 1], lambda _: image), "mine")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Squares([]), "expected at least one image, found none"),
        (Squares([1, 1]), "expected at least 2 classes"),
        (Squares([0.5, 1.0]), "expected classes, found 0.5"),
        (Squares([1, "a"]), "mixture"),
        (Squares([[0, 1], [1, 0]]), "one class an image, got list"),
        (Squares([np.array([0, 1]), np.array([1, 0])]), "one class an image, got ndarray"),
        (Squares([None, 1]), "labels: expected"),
        ([{"image": 1, "label": 2}], r"expected items \(image, label\), got dict"),
        ([(1, 2, 3)], r"expected items \(image, label\), got tuple"),
        (iter([(1, 2)]), "a data set with a length, got list_iterator"),
    ],
)
def test_bad_data_sets(dataset, message):
    with pytest.raises(ValueError, match=f"mine: .*{message}"):
        from_dataset(dataset, "mine")


@pytest.mark.parametrize("key", ["targets", "labels"])
@pytest.mark.parametrize("convert", [list, np.array, torch.tensor, lambda x: pd.Series(x, range(9, 209))])
def test_stated_labels_spare_reading(key, convert):
    labels = [5, 2, 2, 9] * 50
    dataset = Squares(labels, **{key: convert(labels)})
    assert from_dataset(dataset).labels.tolist() == [1, 0, 0, 2] * 50 and dataset.read <= 4


@pytest.mark.parametrize(
    "attributes",
    [{"targets": [0] * 6}, {"targets": [5, 2]}, {"targets": "a.xml b.xml".split() * 3}, {"labels": 6},
     {"targets": [5, 2, 2, 9, 5, 2], "target_transform": abs}, {"targets": None}, {"targets": [[1, 2]] * 6}],
)  # fmt: skip
def test_stated_labels_that_are_wrong_or_transformed_are_not_believed(attributes):
    dataset = Squares([5, 2, 2, 9, 5, 2], **attributes)
    assert from_dataset(dataset).labels.tolist() == [1, 0, 0, 2, 1, 0] and dataset.read >= 6


def test_data_sets_in_data_sets(tmp_path):
    whole = Squares([5, 2, 2, 9] * 20, targets=[5, 2, 2, 9] * 20)
    part = Subset(whole, range(70, 0, -1))
    both = ConcatDataset([part, Squares([7] * 40, targets=np.full(40, 7))])
    assert from_dataset(both).classes == ["2", "5", "7", "9"] and whole.read <= 3
    numbered = [{5: 1, 2: 0, 9: 3}[whole.given[i]] for i in part.indices]
    assert from_dataset(both).labels.tolist() == numbered + [2] * 40
    unstated = ConcatDataset([part, Squares([7] * 4)])
    assert from_dataset(unstated).labels.tolist()[-4:] == [2] * 4
    tensors = TensorDataset(torch.rand(4, 3, 5, 5), torch.tensor([3, 1, 3, 1]))
    assert from_dataset(tensors).labels.tolist() == [1, 0, 1, 0]
    folder = image_folder(write_folder(tmp_path))
    again = from_dataset(folder.train)
    assert again.labels.tolist() == folder.labels.tolist()
    assert told(again.train[5][0]) == told(folder.train[5][0])


def unreadable(image):
    if told(image)[1] == 0:
        raise OSError("broken data stream")
    return image


def test_unreadable_images_of_a_data_set():
    with pytest.raises(ValueError, match="mine: the label of item 0 cannot be had without its image"):
        from_dataset(Squares([0, 1, 0], unreadable), "mine")
    images = from_dataset(Squares([0, 1, 0], unreadable, targets=[0, 1, 0]))
    assert images.labels.tolist() == [0, 1, 0] and len(images.fingerprint) == 64
    with pytest.raises(OSError, match="broken data stream"):
        images.train[0]


def test_fingerprint_of_a_data_set():
    one, same, label, image = (
        from_dataset(dataset).fingerprint
        for dataset in (Squares([0, 1, 2]), Squares([0, 1, 2], to_array), Squares([0, 2, 1]),
                        Squares([0, 1, 2], lambda image: image.rotate(90, expand=True)))
    )  # fmt: skip
    assert one == same and len({one, label, image}) == 3


def test_workers(tmp_path, any_checksum):
    write_cifar10(tmp_path)
    sets = (load_official("cifar10", tmp_path), image_folder(write_folder(tmp_path / "x")),
            image_archive(archive(tmp_path / "y.npz")))  # fmt: skip
    for images in sets:
        loader = DataLoader(images.everything, 4, num_workers=2, collate_fn=list)
        read = [item for batch in loader for item in batch]
        assert [label for _, label in read] == images.labels.tolist() == [told(image)[0] for image, _ in read]


# --- the measures ---------------------------------------------------------------------


def test_accuracies_by_hand():
    scores = np.array([[3, 1, 1], [0, 5, 9], [2, 2, 1], [0, 0, 1], [9, 0, 0]])
    labels = [0, 1, 1, 2, 2]
    # Predicted 0, 2, 0 (the first of two equals), 2, 0.
    assert measure("accuracy", scores, labels) == 2 / 5
    assert measure("mean per-class accuracy", scores, labels) == pytest.approx((1 + 0 + 1 / 2) / 3, abs=1e-15)
    # A class without images has no accuracy; one that is only predicted neither.
    assert measure("mean per-class accuracy", scores[:3, :], labels[:3]) == (1 + 0) / 2
    torch_too = measure("mean per-class accuracy", torch.tensor(scores).float(), torch.tensor(labels))
    assert torch_too == pytest.approx(1 / 2) and type(torch_too) is float


def test_average_precision_by_hand():
    scores, target = [0.9, 0.8, 0.7, 0.6, 0.5], [0, 1, 1, 0, 1]
    # Precision 0, 1/2, 2/3, 1/2, 3/5 at recall 0, 1/3, 2/3, 2/3, 1: the best is 2/3 up to 0.6, then 3/5.
    expected = (7 * 2 / 3 + 4 * 3 / 5) / 11
    found = measure("11-point mAP", np.array(scores)[:, None], np.array(target)[:, None])
    assert found == pytest.approx(expected, abs=1e-15) and type(found) is float
    # Two classes: their mean. The second one is ranked perfectly.
    targets = np.array([target, [1, 0, 1, 0, 0]]).T
    both = measure("11-point mAP", np.array([scores, [3, 1, 2, 0, 0]]).T, targets)
    assert both == pytest.approx((expected + 1) / 2, abs=1e-15)
    # The first image is difficult, hence left out: precision 1, 1, 2/3, 3/4.
    difficult = measure("11-point mAP", np.array(scores)[:, None], np.array([-1, *target[1:]])[:, None])
    assert difficult == pytest.approx((7 * 1 + 4 * 3 / 4) / 11, abs=1e-15)


def test_recall_is_compared_exactly():
    # Of ten images that show it, three come first, then two that do not, and the others:
    # at the recall 0.3 the precision is still 1, though 3 * 0.1 exceeds 3 / 10.
    target = np.array([1, 1, 1, 0, 0] + [1] * 7)[:, None]
    scores = -np.arange(12.0)[:, None]
    assert measure("11-point mAP", scores, target) == pytest.approx((4 + 7 * 10 / 12) / 11, abs=1e-15)


# Scores, with ties, and targets of the images, of which one at least shows the class.
rankings = (
    st.lists(st.tuples(st.integers(-5, 5), st.sampled_from([1, 0, -1])), min_size=2, max_size=40)
    .map(lambda rows: tuple(map(list, zip(*rows))))
    .filter(lambda both: 1 in both[1])
)


def ap(scores, target):
    return measure("11-point mAP", np.array(scores, float)[:, None], np.array(target)[:, None])


@given(rankings)
def test_average_precision_of_any_ranking(both):
    """The definition, in fractions: at every threshold, precision and recall of the images above it."""
    judged = [(score, shown) for score, shown in zip(*both) if shown >= 0]
    curve = []
    for threshold in {score for score, _ in judged}:
        above = [shown for score, shown in judged if score >= threshold]
        curve.append((Fraction(sum(above), sum(s for _, s in judged)), Fraction(sum(above), len(above))))
    best = [max(precision for recall, precision in curve if recall >= Fraction(k, 10)) for k in range(11)]
    assert ap(*both) == pytest.approx(float(sum(best) / 11), abs=1e-12)


@given(rankings, st.randoms(use_true_random=False))
def test_average_precision_depends_on_the_order_only(both, random):
    scores, target = both
    order = random.sample(range(len(scores)), len(scores))
    other = ap([np.exp(scores[i] / 3) - 7 for i in order], [target[i] for i in order])
    assert other == pytest.approx(ap(*both), abs=1e-12)
    assert ap([*scores, 99, -99], [*target, -1, -1]) == ap(*both)  # difficult images do not count
    assert ap(target, target) == 1


@given(rankings)
def test_average_precision_and_scikit_learns_curve(both):
    scores, target = (np.array([x for x, shown in zip(column, both[1]) if shown >= 0]) for column in both)
    precision, recall, _ = precision_recall_curve(target, scores)
    found = np.round(recall * target.sum())  # whole again
    curve = [precision[:-1][10 * found[:-1] >= k * target.sum()].max() for k in range(11)]
    assert ap(scores, target) == pytest.approx(np.mean(curve), abs=1e-12)
    # The paper's public code keeps the last point, of recall 0 and precision 1.
    assert (precision[-1], recall[-1]) == (1, 0)
    assert ap(scores, target) <= np.mean([1, *curve[1:]]) + 1e-12


@given(st.lists(st.tuples(st.tuples(*[st.floats(-3, 3)] * 4), st.integers(0, 3)), min_size=1, max_size=30))
def test_accuracies_and_scikit_learn(rows):
    scores, labels = map(np.array, zip(*rows))
    predicted = scores.argmax(1)
    assert measure("accuracy", scores, labels) == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
    # scikit-learn warns of predicted classes that no image is of, and leaves them out too.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = balanced_accuracy_score(labels, predicted)
    assert measure("mean per-class accuracy", scores, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "scores", "labels", "message"),
    [
        ("mAP", np.eye(2), [0, 1], "name: expected one of accuracy, .*, got 'mAP'"),
        ("accuracy", np.eye(2)[0], [0, 1], "scores: expected 2 dimensions"),
        ("accuracy", np.zeros((0, 2)), [], "scores: "),
        ("accuracy", np.array([[1, np.nan], [0, 1]]), [0, 1], "scores: expected finite numbers, found NaN"),
        ("accuracy", np.eye(2), [0, 1, 1], r"labels: expected the shape \(2,\) for the accuracy, got \(3,\)"),
        ("accuracy", np.eye(2), np.eye(2, dtype=int), r"labels: expected the shape \(2,\)"),
        ("accuracy", np.eye(2), [0, 2], "labels: expected integers from 0 to 1, got others"),
        ("accuracy", np.eye(2), [-1, 1], "labels: expected integers from 0 to 1"),
        ("mean per-class accuracy", np.eye(2), [0.0, 1.0], "labels: expected integers from 0 to 1"),
        ("11-point mAP", np.eye(2), [0, 1], r"labels: expected the shape \(2, 2\) for the 11-point mAP, got"),
        ("11-point mAP", np.eye(2), [[0, 1], [2, 0]], r"labels: expected 1 \(shown\), 0 \(not\) or -1"),
        ("11-point mAP", np.eye(2), [[1, 0], [1, -1]], "labels: expected images that show class 1"),
    ],
)
def test_bad_input_to_the_measures(name, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        measure(name, scores, labels)
