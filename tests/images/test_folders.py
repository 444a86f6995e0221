"""Folders and archives of images."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_layouts import PARTS, archive, check, colour, held_out, paint, plan, square, told, write_folder
from PIL import Image
from torchvision import transforms

from sfda.images import folders, image_sets, official
from sfda.images.folders import image_archive, image_folder
from sfda.images.official import load_images
from sfda.networks.backbones import Backbone
from sfda.networks.extract import extract

REAL = Path(os.environ.get("SFDA_IMAGES") or "nowhere")


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


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda root: None, FileNotFoundError, "there is no such folder"),
    (lambda root: root.write_text("x"), ValueError, "expected a folder .*, got a file"),
    (lambda root: root.mkdir(), ValueError, "at least two class folders, found 0"),
    (lambda root: write_folder(root, ("cat",)), ValueError, "at least two class folders, found 1"),
    (lambda root: (write_folder(root) / "eel").mkdir(), ValueError, "the class 'eel' has no images"),
    (lambda root: write_folder(root / "train", ("cat",)), ValueError, "train: expected at least two"),
    (lambda root: (write_folder(root / "train") / "../test/cat").resolve().mkdir(parents=True),
     ValueError, "test: the class 'cat' has no images"),
])
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
    "shares", [{"validation": 1.0}, {"validation": -0.1}, {"validation": 0.5, "test": 0.5}, {"test": float("nan")}]
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


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.floats(0.1, 0.45), st.floats(0.1, 0.45))
def test_shares_are_of_each_class(labels, validation, test):
    whole = image_sets.Images(Nothing(), labels)
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
    for part in parts.values():
        assert [labels[row] for row in part.rows] == part.labels.tolist()


@settings(deadline=None)
@given(st.integers(5, 400))
def test_the_papers_validation_images(n):
    whole = image_sets.Images(Nothing(), np.arange(n))
    train, validation = official._held_out(whole)
    assert (validation.labels.tolist(), train.labels.tolist()) == held_out(n)


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
    assert image_archive(archive(tmp_path / "x.npz", split=lambda z: 0 * z["split"])).test is None
    damaged = image_archive(archive(tmp_path / "x.npz", buf=lambda z: z["buf"] // 2))
    with pytest.raises(OSError, match=r"x.npz, image 0 \(.*\.png\) cannot be read"):
        damaged.train[0]


@pytest.mark.parametrize(("key", "change", "message"), [
    ("split", lambda a: None, "expected a .npz file with buf, off, .*KeyError"),
    ("classes", lambda a: a.astype(object), "expected a .npz file .*Object arrays"),
    ("buf", lambda a: a.astype(np.int16), "expected uint8, got int16"),
    ("buf", lambda a: a[None], "expected 1 dimension, got 2"),
    ("buf", lambda a: a[:-1], "off: expected 19 ascending places in buf"),
    ("off", lambda a: a[:-1], "expected 19 ascending"), ("off", lambda a: a[::-1], "expected 19 ascending"),
    ("off", lambda a: a - 1, "expected 19 ascending"), ("off", lambda a: a / 1, "expected 19 ascending"),
    ("label", lambda a: a + 1, "expected integers from 0 to 2, got others"),
    ("label", lambda a: a - 1, "expected integers from 0 to 2, got others"),
    ("label", lambda a: a / 1, "expected integers from 0 to 2, got others"),
    ("label", lambda a: 0 * a, "expected at least two classes"),
    ("split", lambda a: a + 1, r"expected 0 \(train\) or 1 \(test\)"),
    ("split", lambda a: a * 0 + 1, "expected images for training"),
    ("split", lambda a: a[1:], "expected 18 values, one a label, got 17"),
    ("name", lambda a: a[:0], "expected 18 values, one a label, got 0"),
])
def test_bad_archives(key, change, message, tmp_path):
    named = message if " .npz " in message or message.startswith("off") else f"{key}: {message}"
    with pytest.raises(ValueError, match=f"x.npz: {named}"):
        load_images(archive(tmp_path / "x.npz", **{key: lambda z: change(z[key])}))


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
@pytest.mark.parametrize(("file", "sizes", "n_classes"), [
    ("cifar10_subset.npz", (5000, 2000), 10), ("cifar100_subset.npz", (2500, 1000), 100),
    ("flower_photos_subset.npz", (700, 300), 5), ("omniglot_small1.npz", (2040, 680), 136),
])
def test_real_archives(file, sizes, n_classes):
    if not (REAL / file).exists():
        pytest.skip(f"{file} is not there")
    images = load_images(REAL / file)
    assert tuple(map(len, images.parts)) == sizes and len(images.classes) == n_classes
    assert len(set(np.bincount(images.train.labels))) == 1 and len(set(np.bincount(images.test.labels))) == 1
    assert all(images.everything[i][0].mode == "RGB" for i in range(0, sum(sizes), 97))
