"""Folders and archives of images."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from image_layouts import PARTS, archive, check, colour, encoded, held_out, plan, square, told, write, write_folder
from sfda.images import folders, image_sets, official
from sfda.images.folders import image_archive, image_folder
from sfda.images.official import load_images
from sfda.networks.backbones import Backbone
from sfda.networks.extract import extract

REAL = Path(os.environ.get("SFDA_IMAGES") or "nowhere")


def test_folder_of_classes(tmp_path):
    """Hidden things, other files and files beside the classes are no images, and counted; folders in a class belong to it."""
    root = write_folder(tmp_path / "pets")
    hidden = (".git/x.jpg", "cat/.hidden.jpg", "cat/._01.jpg", "dog/.thumbs/1.jpg")
    write(root, dict.fromkeys((*hidden, "dog/readme.txt", "labels.csv", "beside.jpg"), "no image"))
    write(root, {"dog/puppies/small/9.jpg": (1, 9)})
    images = load_images(str(root))
    assert images.left_out == {"hidden files and folders": 4, "files beside the class folders": 2, ".txt files": 1}
    check(images, 2)
    assert (images.name, images.classes, images.measure) == ("pets", ["cat", "dog"], "accuracy")
    assert images.validation is None and images.test is None and len(images.everything) == 9
    assert [told(image)[:2] for image, _ in images.train] == [(k, n) for k in (0, 1) for n in (1, 2, 3, 4)] + [(1, 9)]
    names = sorted(["a b", "-dash", "ünï", "quo'te\"", "semi;", "[x]", "train station", "線", "100%", "new\nline"])
    images = image_folder(write_folder(tmp_path / "odd", names, 1))
    check(images, len(names))
    assert images.classes == names
    assert [told(image)[0] for image, _ in images.train] == list(range(len(names)))


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "Valid", "TEST"), PARTS])
def test_folder_of_parts(tmp_path, names):
    for name, part, each in zip(names, PARTS, (4, 2, 3)):
        write_folder(tmp_path / name, each=each, part=part)
    images = image_folder(tmp_path)
    check(images, 2)
    for part, found, each in zip(PARTS, images.parts, (4, 2, 3)):
        assert [told(image) for image, _ in found] == [(k, n, part) for k in (0, 1) for n in range(1, each + 1)]


def test_folder_of_some_parts(tmp_path):
    write_folder(tmp_path / "train", each=10)
    write_folder(tmp_path / "test", ("dog",), 2, "test")  # a class need not be in every part
    images = image_folder(tmp_path)
    assert images.validation is None and images.test.labels.tolist() == [1, 1]
    shared = image_folder(tmp_path, validation=0.2)
    assert [len(part) for part in shared.parts] == [16, 4, 2]
    assert shared.validation.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="test: .* has images for it, expected the share 0, got 0.1"):
        image_folder(tmp_path, test=0.1)
    (tmp_path / "val" / "Dog").mkdir(parents=True)
    with pytest.raises(ValueError, match="a class 'Dog' here, but not among the training images"):
        image_folder(tmp_path)
    (tmp_path / "valid").mkdir()
    with pytest.raises(ValueError, match="expected one folder a part, found test, train, val, valid"):
        image_folder(tmp_path)


# What is in a folder, and its classes, images a part and what is left out, or what is said.
LAYOUTS = {
    "training/cat training/dog testing/cat testing/dog": ("cat dog", (2, 2), {}),
    "Training_Set/cat Training_Set/dog test_set/dog": ("cat dog", (2, 1), {}),
    "train2017/cat train2017/dog val2017/cat": ("cat dog", (2, 1), {}),
    "train/images/cat train/images/dog dev/dog": ("cat dog", (2, 1), {}),
    "photos/all/cat photos/all/dog photos/notes.txt": ("cat dog", (2,), {"files beside the class folders": 1}),
    "n01/images/a n02/images/a": ("n01 n02", (2,), {}),
    "train/cat train/dog annotations/1.xml": ("cat dog", (2,), {"files in folders that are no parts": 1}),
    "train/cat train/dog test/0.png test/1.png": ("cat dog", (2,), {"images of the test part, which has no class folders": 2}),
    "cat dog __MACOSX/cat .git/dog": ("cat dog", (2,), {"hidden files and folders": 2}),
    "train/caf\u00e9 train/dog test/cafe\u0301": ("caf\u00e9 dog", (2, 1), {}),
    "caf\u00e9 cafe\u0301": "two class folders are called 'caf.*', in other bytes each",
    "TrainVal/cat TrainVal/dog TEST_20/cat": ("cat dog", (2, 1), {}),
    "labeled/cat labeled/dog unlabeled/0.png": ("cat dog", (2,), {"images of the test part, which has no class folders": 1}),
    "train/cat train/dog test/cat unlabeled/0.png": ("cat dog", (2, 1), {"images of 'unlabeled', which has no class folders": 1}),
    "steam_train bullet_train bus": ("bullet_train bus steam_train", (3,), {}),
    "images masks": "images, masks: no classes by their names", "batch_1 batch_2": "batch_1, batch_2: no classes",
    "cat dog results": "results: no classes", "cell/cat cell/dog cat dog": "'cell' holds 'cat', which is beside it, too",
    "train/fold0/cat train/fold0/dog train/fold1/cat train/fold1/dog test/fold0/cat": "'?fold0'?,",
    "mask no_mask": ("mask no_mask", (2,), {}), "class_1 class_2": ("class_1 class_2", (2,), {}),
    "box_train box_test other": "'box_test' and 'box_train' are called as parts of one set",
    "trainA trainB testA testB": "'testA' and 'trainA' are called as parts of one set",
    "train/cat train/dog other/cat": "'train' is called as a part and 'other' is not",
    "cat dog test": "'test' is called as a part and 'cat' is not",
    "val/cat val/dog test/cat test/dog": "expected a folder train among its parts, found test, val",
    "train/cat train/dog training/cat": "expected one folder a part, found train, training",
    "fold1/cat fold1/dog fold2/cat fold2/dog fold2/eel": "fold1, fold2: no classes by their names",
    "amazon/cat amazon/dog dslr/cat dslr/dog dslr/eel": r"'amazon' and 'dslr' hold folders of the same names \(cat, dog\)",
    "seg_a/seg_a/cat seg_a/seg_a/dog seg_b/seg_b/cat seg_b/seg_b/dog": "'seg_a' and 'seg_b' hold folders of the same names",
    "cat/train/a cat/test/a dog/train/a": r"'cat' is divided into parts \('test' is one\): name it, or put .* test/cat,",
    "train/0.png test/1.png": "train: expected at least two class folders, found 0",
    "cat dog/1.txt": "the class 'dog' has no images; 1 .txt files are none",
}  # fmt: skip


@pytest.mark.parametrize(("layout", "expected"), LAYOUTS.items())
def test_what_folders_mean(tmp_path, layout, expected):
    paths = [path if "." in path.rpartition("/")[2].lstrip(".") else f"{path}/0.png" for path in layout.split()]
    write(tmp_path, {path: encoded(square(1, 1)) if path.endswith(".png") else "x" for path in paths})
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            image_folder(tmp_path)
        return
    images = image_folder(tmp_path)
    assert (" ".join(images.classes), tuple(map(len, images.parts)), images.left_out) == expected


def test_files_that_pillow_opens_are_images_whatever_they_are_called(tmp_path):
    """By their endings, or without one by what is in them; others are counted by ending."""
    root = write_folder(tmp_path, each=2)
    write(root, {f"cat/{name}": encoded(square(0, 3), kind) for name, kind in (
        ("3.jfif", "JPEG"), ("4.JPE", "JPEG"), ("5.gif", "GIF"), ("6.tga", "TGA"), ("7.jp2", "JPEG2000"), ("8", "PNG"))}
        | dict.fromkeys(("dog/a.heic", "dog/b.mp4", "dog/c.MP4", "dog/d.pdf", "dog/e.eps", "dog/README", "dog/f.mpg"), "x"))  # fmt: skip
    images = image_folder(root)
    assert np.bincount(images.labels).tolist() == [8, 2]
    assert images.left_out == {".heic files": 1, ".mp4 files": 2, ".pdf files": 1, ".eps files": 1, ".mpg files": 1,
                               "files without an ending that are no images": 1}  # fmt: skip
    assert all(images.train[i][0].size == (12, 9) for i in range(10))


@pytest.mark.parametrize(("name", "make", "error", "message"), [
    ("x", lambda root: None, FileNotFoundError, "there is no such folder"),
    ("x", lambda root: root.write_text("x"), ValueError, "expected a folder .*, got a file"),
    ("x", lambda root: root.mkdir(), ValueError, "at least two class folders, found 0"),
    ("x", lambda root: write_folder(root, ("cat",)), ValueError, "at least two class folders, found 1"),
    ("x", lambda root: (write_folder(root) / "eel").mkdir(), ValueError, "the class 'eel' has no images"),
    ("x", lambda root: write_folder(root / "train", ("cat",)), ValueError, "train: expected at least two"),
    ("x", lambda root: (write_folder(root / "train") / "../test/cat").resolve().mkdir(parents=True),
     ValueError, "test: the class 'cat' has no images"),
    ("x.npz", lambda root: root.write_text("PK no archive"), ValueError, "expected a .npz file"),
    ("x.jpg", lambda root: root.write_text(""), ValueError, "got a file"),
    ("gone.npz", lambda root: None, FileNotFoundError, "gone.npz: there is no such file"),
])
def test_bad_folders_and_files_that_are_no_archives(name, make, error, message, tmp_path):
    make(tmp_path / name)
    with pytest.raises(error, match=message):
        (image_folder if name == "x" else load_images)(tmp_path / name)


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
        "j.png": (Image.new("RGBA", (5, 4), (9, 200, 30, 0)), {}, (255, 255, 255)),
        "k.png": (palette, {"transparency": bytes([0, 128])}, (132, 227, 142)),
        "l.png": (Image.new("1", (5, 4), 1), {}, (255, 255, 255)),
        "m.jpg": (Image.new("CMYK", (5, 4), (0, 0, 0, 0)), {}, (255, 255, 255)),
        "n.png": (Image.fromarray(np.full((4, 5), 77 * 256 + 200, np.uint16)), {}, (77, 77, 77)),
        "n12.png": (Image.fromarray(np.full((4, 5), 200 * 16, np.uint16)), {}, (200, 200, 200)),
        "n8.png": (Image.fromarray(np.full((4, 5), 200, np.uint16)), {}, (200, 200, 200)),
        "o.tif": (Image.fromarray(np.full((4, 5), 50_000, np.int32)), {}, (195, 195, 195)),
    }  # fmt: skip
    write(root, {"b/1.jpg": (1, 1)})
    (root / "a").mkdir()
    for name, (image, options, _) in saved.items():
        image.save(root / "a" / name, **options)
    images = image_folder(root)
    assert len(images.train) == len(saved) + 1
    for (image, _), (name, (_, _, expected)) in zip(images.train, saved.items()):
        assert image.mode == "RGB"
        np.testing.assert_allclose(np.asarray(image)[2, 2], expected, atol=4, err_msg=name)


def test_unreadable_images(tmp_path):
    root = write_folder(tmp_path, each=5)
    noise = np.random.default_rng(0).integers(256, size=(50, 50, 3), dtype=np.uint8)
    write(root, {f"cat/{name}": encoded(Image.fromarray(noise), kind)[:400]
                 for name, kind in (("02.jpg", "JPEG"), ("06.png", "PNG"))} | {"cat/03.jpg": ""})  # fmt: skip
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


def test_links_and_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    """Linked files and class folders are read; a circle of folders is not walked."""
    away, root = write_folder(tmp_path / "away"), tmp_path / "x"
    (root / "dog").mkdir(parents=True)
    os.symlink(away / "cat", root / "cat")
    os.symlink(away / "dog" / "01.jpg", root / "dog" / "1.jpg")
    os.symlink(root, root / "dog" / "circle")
    images = image_folder(root)
    assert [told(image)[:2] for image, _ in images.train] == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1)]

    def walk(top, onerror):
        onerror(PermissionError(13, "Permission denied", str(top)))

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(PermissionError, match="cat"):
        image_folder(root)


def test_names_come_before_folders_and_relative_paths_stay_right_elsewhere(tmp_path, monkeypatch):
    write_folder(tmp_path / "food")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="Food-101"):
        load_images("food")
    images = load_images("./food")
    monkeypatch.chdir("/")
    assert images.name == "food" and told(images.train[0][0])[:2] == (0, 1)
    assert images.classes == ["cat", "dog"] == load_images(tmp_path / "food").classes
    assert load_images(write_folder(tmp_path / "y.npz")).classes == ["cat", "dog"]  # a folder may be called so


def test_shares(tmp_path):
    root = write_folder(tmp_path, ("a", "b", "c"), 10)
    one, same, other = (image_folder(root, validation=0.2, test=0.3, seed=seed) for seed in (1, 1, 2))
    assert [np.bincount(part.labels).tolist() for part in one.parts] == [[5, 5, 5], [2, 2, 2], [3, 3, 3]]
    check(one, 3)
    assert sorted(told(image)[:2] for image, _ in one.everything) == sorted(plan(3, 10, 0))
    assert same.fingerprint == one.fingerprint != other.fingerprint
    only = image_folder(root, test=0.5)
    assert only.validation is None and len(only.test) == 15
    for shares in ({"validation": 1.0}, {"validation": -0.1}, {"validation": 0.5, "test": 0.5}, {"test": float("nan")}):
        with pytest.raises(ValueError, match="shares: expected numbers from 0 to 1 that add up to less than 1"):
            image_folder(root, **shares)
    with pytest.raises(ValueError, match="validation: the share 0.4 of so few training images is none"):
        image_folder(write_folder(tmp_path / "few", each=1), validation=0.4)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.floats(0.1, 0.45), st.floats(0.1, 0.45))
def test_shares_are_of_each_class(labels, validation, test):
    whole = image_sets.Images(None, labels)  # no image is asked for
    try:
        parts = folders._set_aside(whole, {"validation": validation, "test": test}, 0)
    except ValueError as error:
        assert "so few" in str(error)
        return
    assert sorted(np.concatenate([part.rows for part in parts.values()])) == list(range(len(labels)))
    for label in set(labels):
        n = labels.count(label)
        train, *others = (int((parts[part].labels == label).sum()) for part in PARTS)
        assert train >= 1 and all(abs(k - share * n) <= 1 for k, share in zip(others, (validation, test)))
    assert all([labels[row] for row in part.rows] == part.labels.tolist() for part in parts.values())


def test_the_papers_validation_images():
    for n in range(5, 401):
        train, validation = official._held_out(image_sets.Images(None, np.arange(n)))
        assert (validation.labels.tolist(), train.labels.tolist()) == held_out(n)


def test_archive(tmp_path):
    images = load_images(archive(tmp_path / "zoo.NPZ.npz").rename(tmp_path / "zoo.NPZ"))
    check(images, 3)
    assert (images.name, images.classes, images.validation) == ("zoo", ["ant", "bee", "cow"], None)
    stated = [(*row, "test" if row[1] > 4 else "train") for row in plan(3, 6, 0)]
    for part in ("train", "test"):
        assert [told(image) for image, _ in getattr(images, part)] == [row for row in stated if row[2] == part]
    three = image_archive(tmp_path / "zoo.NPZ", validation=0.25)
    assert [len(part) for part in three.parts] == [9, 3, 6] and sorted(three.validation.labels) == [0, 1, 2]
    assert three.fingerprint != images.fingerprint
    os.utime(tmp_path / "zoo.NPZ", ns=(1, 1))
    assert load_images(tmp_path / "zoo.NPZ").fingerprint != images.fingerprint
    assert image_archive(archive(tmp_path / "x.npz", split=lambda z: 0 * z["split"])).test is None
    damaged = image_archive(archive(tmp_path / "x.npz", buf=lambda z: z["buf"] // 2))
    with pytest.raises(OSError, match=r"x.npz, image 0 \(.*\.png\) cannot be read"):
        damaged.train[0]


PLACES, LABELS = "off: expected 19 ascending places in buf", "label: expected integers from 0 to 2, got others"


@pytest.mark.parametrize(("key", "change", "message"), [
    ("split", lambda a: None, "expected a .npz file with buf, off, .*KeyError"),
    ("classes", lambda a: a.astype(object), "expected a .npz file .*Object arrays"),
    ("buf", lambda a: a.astype(np.int16), "buf: expected uint8, got int16"),
    ("buf", lambda a: a[None], "buf: expected 1 dimension, got 2"), ("buf", lambda a: a[:-1], PLACES),
    ("off", lambda a: a[:-1], PLACES), ("off", lambda a: a[::-1], PLACES), ("off", lambda a: a - 1, PLACES),
    ("off", lambda a: a / 1, PLACES), ("label", lambda a: a + 1, LABELS), ("label", lambda a: a - 1, LABELS),
    ("label", lambda a: a / 1, LABELS), ("label", lambda a: 0 * a, "label: expected at least two classes"),
    ("split", lambda a: a + 1, r"split: expected 0 \(train\) or 1 \(test\)"),
    ("split", lambda a: a * 0 + 1, "split: expected images for training"),
    ("split", lambda a: a[1:], "split: expected 18 values, one a label, got 17"),
    ("name", lambda a: a[:0], "name: expected 18 values, one a label, got 0"),
])
def test_bad_archives(key, change, message, tmp_path):
    with pytest.raises(ValueError, match=f"x.npz: {message}"):
        load_images(archive(tmp_path / "x.npz", **{key: lambda z: change(z[key])}))


@pytest.mark.parametrize(("file", "sizes", "n_classes"), [row for row in (
    ("cifar10_subset.npz", (5000, 2000), 10), ("cifar100_subset.npz", (2500, 1000), 100),
    ("flower_photos_subset.npz", (700, 300), 5), ("omniglot_small1.npz", (2040, 680), 136),
) if (REAL / row[0]).exists()])
def test_real_archives(file, sizes, n_classes):
    images = load_images(REAL / file)
    assert tuple(map(len, images.parts)) == sizes and len(images.classes) == n_classes
    assert len(set(np.bincount(images.train.labels))) == 1 and len(set(np.bincount(images.test.labels))) == 1
    assert all(images.everything[i][0].mode == "RGB" for i in range(0, sum(sizes), 97))
