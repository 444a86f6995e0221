"""Images that say what they are, and the paper's data sets in tiny official layouts.

Every image has one colour, which says of which class, part and number it is: an image that is exchanged for
another, or a label for another, is found out.
"""

import io
import json
import pickle

import numpy as np
import pytest
import torchvision
from PIL import Image
from scipy.io import savemat

from sfda.images import official
from sfda.images.official import OFFICIAL

PARTS = ("train", "validation", "test")


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
    chunks = [*np.array_split(parts["train"], len(files) - 1), np.array(parts["test"])]
    for file, items in zip(files, chunks):
        part = "train" if file != files[-1] else "test"
        pixels = [np.repeat(colour(label, number, part), 32 * 32) for label, number in items]
        content = {"data": np.array(pixels, np.uint8), key: [int(label) for label, _ in items]}
        (folder / base / file).write_bytes(pickle.dumps(content))
    (folder / base / meta[0]).write_bytes(pickle.dumps({meta[1]: classes}))
    return parts, classes


def write_cifar10(folder):
    files, meta = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], ("batches.meta", "label_names")
    return write_cifar(folder, "cifar-10-batches-py", files, "labels", meta, ["airplane", "truck"])


def write_cifar100(folder):
    files, meta = ["train", "test"], ("meta", "fine_label_names")
    return write_cifar(folder, "cifar-100-python", files, "fine_labels", meta, ["apple", "bear", "worm"])


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
    return min(official.VOC_CLASSES.index(name) for name in shown or difficult)


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
        for name in official.VOC_CLASSES:
            marks = [" 1" if name in shown else " 0" if name in hard else "-1" for shown, hard in rows]
            text = "".join(f"{image} {mark}\n" for image, mark in zip(names, marks))
            (lists / f"{name}_{published_as}.txt").write_text(text)
    return parts, list(official.VOC_CLASSES)


WRITERS = {name: globals()[f"write_{name}"] for name in OFFICIAL}


def held_out(n):
    """Validation and training rows, as the paper's public code takes them."""
    rows = list(range(n))
    np.random.RandomState(0).shuffle(rows)
    return sorted(rows[: n // 5]), sorted(rows[n // 5 :])


def expected_of(name, parts):
    """Label, number and part that every image has to state, by part."""
    stated = {part: [(*item, part) for item in items] for part, items in parts.items()}
    if "validation" not in stated:
        train = stated["train"]
        stated["validation"], stated["train"] = ([train[i] for i in rows] for rows in held_out(len(train)))
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


def write_folder(root, classes=("cat", "dog"), each=4, part="train"):
    for label, name in enumerate(classes):
        for number in range(1, each + 1):
            paint(root / name / f"{number:02d}.jpg", label, number, part)
    return root


def archive(path, **change):
    """A tiny archive: three classes, four training and two test images of each."""
    files, rows = [], plan(3, 6, 0)
    for label, number in rows:
        square(label, number, "test" if number > 4 else "train").save(buffer := io.BytesIO(), "png")
        files.append(np.frombuffer(buffer.getvalue(), np.uint8))
    content = {
        "buf": np.concatenate(files), "off": np.cumsum([0] + [len(file) for file in files]),
        "label": np.array([label for label, _ in rows], np.int16),
        "split": np.array([number > 4 for _, number in rows], np.uint8), "classes": np.array(["ant", "bee", "cow"]),
        "name": np.array([f"{label}_{number}.png" for label, number in rows]), "note": np.array("whatever"),
    }  # fmt: skip
    content |= {key: value(content) for key, value in change.items()}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path
