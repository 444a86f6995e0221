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

from sfda.images.official import VOC_CLASSES

PARTS = ("train", "validation", "test")


def colour(label, number, part="train"):
    return 10 + 10 * label, 7 * number, 40 + 80 * PARTS.index(part)


def square(label, number, part="train"):
    return Image.new("RGB", (12, 9), colour(label, number, part))


def told(image):
    """Label, number and part that an image states."""
    assert isinstance(image, Image.Image) and image.mode == "RGB"
    pixels = np.asarray(image).astype(float)
    assert np.ptp(pixels, axis=(0, 1)).max() <= 4
    red, green, blue = pixels.mean((0, 1))
    return round((red - 10) / 10), round(green / 7), PARTS[round((blue - 40) / 80)]


def write(root, files):
    """Files by path: text, bytes, an image by what it has to state, or the content of a .mat file."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, tuple):
            square(*content).save(path, quality=95, subsampling=0)
        elif isinstance(content, dict):
            savemat(path, content)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def write_folder(root, classes=("cat", "dog"), each=4, part="train"):
    numbers = range(1, each + 1)
    return write(root, {f"{name}/{n:02}.jpg": (label, n, part) for label, name in enumerate(classes) for n in numbers})


def plan(n_classes, each, seed):
    """Labels and numbers of a part's images, in disorder."""
    items = [(label, number) for label in range(n_classes) for number in range(1, each + 1)]
    return [items[i] for i in np.random.default_rng(seed).permutation(len(items))]


def pack(path, images, labels, split, classes, names, change=None):
    """An archive of encoded images; `change` makes other arrays of its own, None leaves one out."""
    content = {
        "buf": np.frombuffer(b"".join(images), np.uint8), "off": np.cumsum([0] + [len(image) for image in images]),
        "label": np.array(labels, np.int16), "split": np.array(split, np.uint8), "classes": np.array(classes),
        "name": np.array(names), "note": np.array("whatever"),
    }  # fmt: skip
    content |= {key: value(content) for key, value in (change or {}).items()}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def encoded(image, kind="PNG"):
    image.save(buffer := io.BytesIO(), kind)
    return buffer.getvalue()


def archive(path, **change):
    """A tiny archive: three classes, four training and two test images of each."""
    rows = plan(3, 6, 0)
    images = [encoded(square(label, number, "test" if number > 4 else "train")) for label, number in rows]
    labels, split = [label for label, _ in rows], [number > 4 for _, number in rows]
    return pack(path, images, labels, split, ["ant", "bee", "cow"], [f"{k}_{n}.png" for k, n in rows], change)


# The official layouts: what the images of each part have to state, names of the classes, files by path.


def planned(n_classes, *each):
    """What images state by part: training and test, or all three."""
    names = PARTS if len(each) == 3 else ("train", "test")
    return {part: [(*item, part) for item in plan(n_classes, n, k)] for k, (part, n) in enumerate(zip(names, each), 1)}


def lines(texts):
    return "".join(f"{text}\n" for text in texts)


def listed(classes, each, image, line, more, names=None):
    """Data sets with one list of images a part; `each` has the images of a class by list."""
    parts, files = planned(len(classes), *each.values()), dict(more)
    for k, (file, items) in enumerate(zip(each, parts.values())):
        files[file] = ""
        for label, number, part in items:
            facts = {"k": k, "name": classes[label], "label": label, "id": label + 1, "number": number}
            files[file] += line.format(**facts) + "\n"
            files[image.format(**facts)] = label, number, part
    return parts, names or classes, files


CALTECH = {"BACKGROUND_Google": 33, "Faces": 31, "accordion": 34}


def caltech101():
    items = [(name, (label, i + 1)) for label, (name, n) in enumerate(CALTECH.items()) for i in range(n)]
    files = {f"{name}/image_{item[1]:04}.jpg": item for name, item in items}
    return None, list(CALTECH), files | {"BACKGROUND_Google/tmp": "left over, as in the publisher's archive"}


def cars():
    parts, classes = planned(3, 5, 3), ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo 2012"]
    files = {"devkit/cars_meta.mat": {"class_names": np.array(classes, dtype=object)}}
    fields = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    for part, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = [(1, 2, 3, 4, np.uint8(item[0] + 1), f"{i:05}.jpg") for i, item in enumerate(parts[part], 1)]
        files[file] = {"annotations": np.array(rows, dtype=fields)}
        files |= {f"cars_{part}/{i:05}.jpg": item for i, item in enumerate(parts[part], 1)}
    return parts, classes, files


def cifar(batches, key, meta, meta_key, classes):
    parts, files = planned(len(classes), 5, 2), {meta: pickle.dumps({meta_key: classes})}
    size = len(parts["train"]) // (len(batches) - 1)
    batched = [parts["train"][i * size : (i + 1) * size] for i in range(len(batches) - 1)]
    for batch, items in zip(batches, [*batched, parts["test"]]):
        pixels = np.array([np.repeat(colour(*item), 32 * 32) for item in items], np.uint8)
        files[batch] = pickle.dumps({"data": pixels, key: [item[0] for item in items]})
    return parts, classes, files


def flowers():
    parts = planned(3, 2, 1, 4)
    everything = [item for items in parts.values() for item in items]
    order = np.random.default_rng(4).permutation(len(everything)) + 1  # of the files
    labels = np.array([item[0] + 1 for item in everything], np.uint8)[np.argsort(order)]
    ids = np.split(order, np.cumsum([len(items) for items in parts.values()])[:-1])
    files = {f"jpg/image_{i:05}.jpg": item for i, item in zip(order, everything)}
    files |= {"imagelabels.mat": {"labels": labels}, "setid.mat": dict(zip(("trnid", "valid", "tstid"), ids))}
    return parts, torchvision.datasets.Flowers102.classes, files


def food():
    parts, files, classes = {}, {}, ["apple_pie", "baby_back_ribs", "waffles"]
    for part, numbers in (("train", (5, 4, 3, 2, 1)), ("test", (2, 1))):
        parts[part] = [(label, n, part) for label in (2, 0, 1) for n in numbers]  # the file need not be sorted
        names = {classes[label]: [f"{classes[label]}/{part}{n}" for n in numbers] for label in (2, 0, 1)}
        files[f"meta/{part}.json"] = json.dumps(names)
        files |= {f"images/{classes[item[0]]}/{part}{item[1]}.jpg": item for item in parts[part]}
    return parts, classes, files


# Classes that are shown, and those that are only by difficult objects.
VOC = {
    "train": [({"person", "car"}, {"bus"}), ({"aeroplane"}, set()), (set(), {"tvmonitor", "cow"})],
    "validation": [({"dog"}, {"cat"}), ({"sheep", "train", "tvmonitor"}, set())],
    "test": [({"cat"}, {"person"}), (set(), {"boat"}), ({"person"}, set()), ({"boat", "bird"}, {"bus"})],
}


def voc2007():
    parts, files, i = {}, {}, 0
    for (part, rows), published_as in zip(VOC.items(), ("train", "val", "test")):
        labels = [min(VOC_CLASSES.index(name) for name in shown or difficult) for shown, difficult in rows]
        parts[part] = [(label, number, part) for number, label in enumerate(labels, 1)]
        names = [f"{(i := i + 1) * 7:06}" for _ in rows]
        files |= {f"JPEGImages/{name}.jpg": item for name, item in zip(names, parts[part])}
        files[f"ImageSets/Main/{published_as}.txt"] = lines(names)
        for name in VOC_CLASSES:
            marks = [" 1" if name in shown else " 0" if name in hard else "-1" for shown, hard in rows]
            files[f"ImageSets/Main/{name}_{published_as}.txt"] = lines(map(" ".join, zip(names, marks)))
    return parts, list(VOC_CLASSES), files


VARIANTS, PLACES = ["707-320", "Boeing 717", "F/A-18"], ["abbey", "apartment_building/outdoor", "bar", "barn"]
PETS = ["Abyssinian", "american_bulldog", "staffordshire_bull_terrier"]
LAYOUTS = {
    "aircraft": ("fgvc-aircraft-2013b/data", listed, VARIANTS,
        {"images_variant_train.txt": 3, "images_variant_val.txt": 2, "images_variant_test.txt": 2},
        "images/{k}{label}{number:05}.jpg", "{k}{label}{number:05} {name}", {"variants.txt": lines(VARIANTS)}),
    "caltech101": ("caltech101/101_ObjectCategories", caltech101), "cars": ("stanford_cars", cars),
    "cifar10": ("cifar-10-batches-py", cifar, [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
        "labels", "batches.meta", "label_names", ["airplane", "truck"]),
    "cifar100": ("cifar-100-python", cifar, ["train", "test"],
        "fine_labels", "meta", "fine_label_names", ["apple", "bear", "worm"]),
    "dtd": ("dtd/dtd", listed, ["banded", "blotchy", "polka-dotted"],
        {"labels/train1.txt": 2, "labels/val1.txt": 2, "labels/test1.txt": 3},
        "images/{name}/{name}_{k}{number:03}.jpg", "{name}/{name}_{k}{number:03}.jpg",
        # The second partition holds other images of each part.
        {f"labels/{part}2.txt": f"banded/banded_{k}001.jpg\n" for k, part in enumerate(("train", "val", "test"))}),
    "flowers": ("flowers-102", flowers), "food": ("food-101", food),
    "pets": ("oxford-iiit-pet", listed, PETS, {"annotations/trainval.txt": 5, "annotations/test.txt": 2},
        "images/{name}_{k}{number:02}.jpg", "{name}_{k}{number:02} {id} 1 1", {},
        ["Abyssinian", "American Bulldog", "Staffordshire Bull Terrier"]),
    "sun397": ("SUN397", listed, PLACES, {"Training_01.txt": 3, "Testing_01.txt": 2},
        "{name[0]}/{name}/sun_{k}{number}.jpg", "/{name[0]}/{name}/sun_{k}{number}.jpg\r",
        {"ClassName.txt": lines(f"/{name[0]}/{name}" for name in PLACES), "a/abbey/sun_in_no_list.jpg": (0, 30)}),
    "voc2007": ("VOCdevkit/VOC2007", voc2007),
}  # fmt: skip


def write_official(name, folder):
    """Writes a data set's tiny layout; what the images of each part have to state, and the names of the classes."""
    root, make, *options = LAYOUTS[name]
    parts, classes, files = make(*options)
    write(folder / root, files)
    return parts, classes


def held_out(n):
    """Validation and training rows, as the paper's public code takes them."""
    rows = list(range(n))
    np.random.RandomState(0).shuffle(rows)
    return sorted(rows[: n // 5]), sorted(rows[n // 5 :])


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
