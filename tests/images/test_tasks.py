"""The target tasks: fixed, balanced, disjoint, and the same from every source."""

import bz2
import gzip
import hashlib
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import MNIST

from image_layouts import encoded, pack, write
from sfda.images import task_images, tasks
from sfda.images.folders import read_archive
from sfda.images.tasks import TASKS, Part, available, load_task, select
from tree import ROOT

REAL = ROOT.parent / "shared" / "realdata" / "data"
WITH_FILES = [name for name in TASKS if TASKS[name].real and name != "digits"]
FINE = sorted(sum(task_images.CIFAR100_SUPERCLASSES.values(), ()))
# sha256 of the labels of train, validation and test, as uint8.
CHECKSUMS = {
    "digits": "b4525b749123", "mnist": "8c29d1929cfa", "usps": "15315b21fcee", "kmnist": "c6b19361fa42",
    "omniglot": "da263cbfae6a", "cifar10": "02a00350e032", "cifar100": "a83236e97b22", "flowers": "e801ad8327dd",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_cache(monkeypatch, tmp_path):
    """No images from this machine's cache, no network, and no task kept from another test."""
    monkeypatch.setenv("SFDA_IMAGES", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", None)
    tasks._load.cache_clear()


def same(one, other):
    pairs = zip(one.parts, other.parts)
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in pairs)


def check(loaded, whole=False):
    """What holds for every task: sizes, balance, types, no image in two parts."""
    task = loaded.task
    assert tuple(len(part) for part in loaded.parts) == task.sizes
    slack = 4 if task.name == "usps" else 0  # one class is short of test images
    images = []
    for part in loaded.parts:
        assert part.images.shape == (len(part), 3, 32, 32) and part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        counts = np.bincount(part.labels, minlength=task.n_classes)
        assert len(counts) == task.n_classes and np.ptp(counts) <= slack
        assert len(part.labels[:20].unique()) > 1  # the first are not all of one class
        images.append({image.tobytes() for image in part.images.numpy()})
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(images, 2))
    if whole:
        labels = b"".join(part.labels.numpy().astype(np.uint8).tobytes() for part in loaded.parts)
        assert hashlib.sha256(labels).hexdigest()[:12] == CHECKSUMS[task.name]


def idx_files(data_set, sizes, *, packed=True):
    """Random images and their labels in MNIST's format."""
    rng, files = np.random.default_rng(0), {}
    for part, size in sizes.items():
        drawn = {"images-idx3": rng.integers(0, 256, (size, 28, 28)), "labels-idx1": rng.permutation(size) % 10}
        for kind, array in drawn.items():
            data = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + np.uint8(array).tobytes()
            name = f"{data_set}/raw/{part}-{kind}-ubyte"
            files |= {f"{name}.gz": gzip.compress(data, 1)} if packed else {name: data}
    return files


def coded_images(n):
    """n different plain images; the colour tells the index, for indices below 8000."""
    index = np.arange(n)
    colour = np.stack([index % 20, index // 20 % 20, index // 400], 1) * 12
    return np.broadcast_to(colour[:, None, None].astype(np.uint8), (n, 32, 32, 3))


def test_catalogue():
    assert " ".join(TASKS) == "digits mnist usps kmnist omniglot cifar10 cifar100 flowers fractals textures counting"
    for name, task in TASKS.items():
        assert name == task.name and "\n" not in task.description and len(task.sizes) == 3
        assert all(size % task.n_classes == 0 for size in task.sizes)
    assert sorted(task.half for task in TASKS.values()) == ["development"] * 6 + ["reporting"] * 5
    assert {name for name in TASKS if TASKS[name].mirror} == {"cifar10", "cifar100", "flowers", "counting"}
    for function in (load_task, available):
        with pytest.raises(ValueError, match="name: expected one of digits, mnist, .*'cats'"):
            function("cats")
    coarse = task_images._coarse_labels()
    assert np.bincount(coarse).tolist() == [5] * 20
    assert list(task_images.CIFAR100_SUPERCLASSES) == sorted(task_images.CIFAR100_SUPERCLASSES)
    # Of apple, aquarium fish, baby, bear, beaver and worm, in the official files.
    assert coarse[[0, 1, 2, 3, 4, 99]].tolist() == [4, 1, 14, 8, 0, 13]


@pytest.mark.parametrize("name", [name for name in TASKS if name not in WITH_FILES])
def test_digits_and_drawn_tasks(name):
    loaded = load_task(name)
    check(loaded, whole=name == "digits")
    assert available(name) and load_task(name) is loaded
    images, labels = next(iter(torch.utils.data.DataLoader(loaded.train, batch_size=7)))
    assert images.shape == (7, 3, 32, 32) and labels.tolist() == loaded.train.labels[:7].tolist()
    image, label = loaded.test[3]
    assert torch.equal(image, loaded.test.images[3]) and type(label) is int
    assert name != "digits" or (loaded.test.images == loaded.test.images[:, :1]).all()


def test_selection_is_balanced_disjoint_and_fixed_or_refused():
    labels = np.random.default_rng(0).integers(0, 5, 400)
    parts = select(labels, [50, 25, 101])
    assert [len(part) for part in parts] == [50, 25, 101]
    assert len(np.unique(np.concatenate(parts))) == 176
    assert np.bincount(labels[parts[0]]).tolist() == [10] * 5
    assert np.bincount(labels[parts[2]]).tolist() == [21, 20, 20, 20, 20]
    assert all(np.array_equal(a, b) for a, b in zip(parts, select(labels, [50, 25, 101])))
    assert not np.array_equal(parts[0], select(labels, [50], seed=1)[0])
    labels = np.repeat([0, 1, 2], [10, 4, 10])
    counts = [np.bincount(labels[part]).tolist() for part in select(labels, [9, 9])]
    assert counts == [[3, 3, 3], [4, 1, 4]]  # the others make up for a short class
    for labels, n in (([0, 1, 1], 2), ([0, 0, 2, 2], 3), ([0] * 9, 2)):
        with pytest.raises(ValueError, match=f"expected 4 images of {n} classes, found"):
            select(labels, [2, 2], n_classes=n)


def test_mnist_packed_or_not(tmp_path):
    for kind in ("packed", "plain"):
        write(tmp_path / kind, idx_files("MNIST", {"train": 600, "t10k": 2100}, packed=kind == "packed"))
    packed, plain = (load_task("mnist", tmp_path / kind) for kind in ("packed", "plain"))
    check(packed)
    assert same(packed, plain)
    # As torchvision reads them, in the middle of a black frame.
    data = MNIST(tmp_path / "plain", train=False, download=False)
    index = select(data.targets.numpy(), [2000])[0]
    assert torch.equal(plain.test.images[:, 1, 2:-2, 2:-2], data.data[index])
    assert torch.equal(plain.test.labels, data.targets[index])
    assert plain.test.images.sum() == 3 * data.data[index].sum()


def test_usps_and_kmnist_need_only_the_test_file_and_that_whole(tmp_path):
    pixels = np.random.default_rng(0).choice([-1, -0.5, 0, 1], (1510, 256))
    rows = [" ".join(f"{j}:{value}" for j, value in enumerate(row, 1)) for row in pixels]
    text = "\n".join(f"{i % 10 + 1} {row}" for i, row in enumerate(rows))
    check(load_task("usps", write(tmp_path, {"USPS/usps.t.bz2": bz2.compress(text.encode(), 1)})))
    check(load_task("kmnist", write(tmp_path / "whole", idx_files("KMNIST", {"t10k": 1900}))))
    few = write(tmp_path / "few", idx_files("KMNIST", {"t10k": 20}))
    with pytest.raises(ValueError, match="task kmnist in .*: expected 1800 images of 10 classes"):
        load_task("kmnist", few)
    write(few, {"KMNIST/raw/t10k-labels-idx1-ubyte": "<html>"})
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte: expected an idx file"):
        load_task("kmnist", few)
    with pytest.raises(ValueError, match=r"images: expected the shape \(2, 3, 32, 32\)"):
        Part(np.zeros((2, 3, 28, 28), np.uint8), [0, 1])


def test_omniglot_from_subset_or_public_folder(tmp_path):
    rng = np.random.default_rng(0)
    alphabets = (("Balinese", 24), ("Greek", 2), ("Latin", 26))
    characters = [f"{alphabet}/character{i + 1:02}" for alphabet, n in alphabets for i in range(n)]
    labels, names = np.repeat(np.arange(52), 20), [f"{i // 20 + 100:04}_{i % 20 + 1:02}.png" for i in range(52 * 20)]
    images = [encoded(Image.fromarray(np.kron(rng.random((15, 15)) >= 0.3, np.ones((7, 7), bool)))) for _ in names]
    root = tmp_path / "public" / "omniglot-py" / "images_background"
    write(root, {f"{characters[label]}/{name}": image for label, name, image in zip(labels, names, images)})
    (tmp_path / "subset").mkdir()
    shuffled = rng.permutation(len(images))
    images, names = [images[i] for i in shuffled], [names[i] for i in shuffled]
    pack(tmp_path / "subset" / "omniglot_small1.npz", images, labels[shuffled], 0 * labels, characters, names)
    subset, public = (load_task("omniglot", tmp_path / kind) for kind in ("subset", "public"))
    check(subset)
    assert same(subset, public)
    # White on black: about three tenths are ink; areas keep its amount.
    assert 0.25 < subset.train.images.float().mean() / 255 < 0.35


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("name, n_fine", [("cifar10", 10), ("cifar100", 100)])
def test_cifar(name, n_fine, public, tmp_path, monkeypatch):
    """Labels belong to the images, and the parts come from the right files."""

    class Public:  # torchvision wants the official files, whose checksums it tests
        def __init__(self, root, train, download):
            assert download
            start, stop = (0, 2000) if train else (2000, 4000)
            self.data, self.targets = coded_images(4000)[start:stop], [i % n_fine for i in range(start, stop)]

    fine_labels = np.arange(4000) % n_fine
    if public:
        monkeypatch.setattr(f"torchvision.datasets.{name.upper()}", Public)
    else:
        images = [encoded(Image.fromarray(image)) for image in coded_images(4000)]
        split, path = np.repeat([0, 1], 2000), tmp_path / f"{name}_subset.npz"
        pack(path, images, fine_labels, split, FINE[:n_fine], ["x.png"] * 4000)
    loaded = load_task(name, tmp_path, download=public)
    check(loaded)
    for part in loaded.parts:
        red, green, blue = (part.images[:, :, 16, 16].long() // 12).T
        index = red + 20 * green + 400 * blue
        # Tasks of cifar100 are drawn from both files.
        assert set((index < 2000).tolist()) == ({part is not loaded.test} if name == "cifar10" else {True, False})
        fine = fine_labels[index]
        assert part.labels.tolist() == (fine if name == "cifar10" else task_images._coarse_labels()[fine]).tolist()
        assert np.ptp(np.bincount(fine)) == 0


def test_flowers_as_unpacked(tmp_path):
    for label, flower in enumerate(task_images.FLOWERS):
        for i in range(210):
            # The square in the centre has one colour, what is beside it is white.
            pixels = np.full((40, 72, 3), 255, np.uint8)
            pixels[:, 12:-12] = [40 * label, i, 0]
            write(tmp_path / "flower_photos" / flower, {f"{i:03}.jpg": encoded(Image.fromarray(pixels), "JPEG")})
    flowers = load_task("flowers", tmp_path)
    assert tuple(len(part) for part in flowers.parts) == (300, 100, 600)
    for part in flowers.parts:
        assert (abs(part.images[:, 0, 16, 16].float() - 40 * part.labels) < 6).all()
        assert (part.images[:, 2, :, 8:-8] < 16).all()
    pixels = np.zeros((320, 400, 3), np.uint8)  # a large image is smoothed
    pixels[::2] = 200  # as wide as a tenth of a pixel of the result
    small = task_images._photograph(Image.fromarray(pixels))
    assert small.shape == (3, 32, 32) and abs(small.astype(int) - 100).max() < 5


def test_missing_images_and_the_folder(monkeypatch, tmp_path):
    folder = tmp_path / "nothing"
    for name in WITH_FILES:
        assert not available(name, folder)
        with pytest.raises(FileNotFoundError) as error:
            load_task(name, folder, download=name == "flowers")  # these are fetched by hand
        message = str(error.value)
        assert f"task {name}" in message and str(folder) in message and "\n" not in message
        assert ("download=True" in message) == (name != "flowers") == ("flower_photos.tgz, unpacked" not in message)
    write(tmp_path, idx_files("KMNIST", {"t10k": 20}))
    assert available("kmnist") and available("digits")  # SFDA_IMAGES
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SFDA_IMAGES", "")
    assert not available("kmnist")
    write(tmp_path / "home" / ".cache" / "sfda" / "images", idx_files("KMNIST", {"t10k": 20}))
    assert available("kmnist")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images are not here")
@pytest.mark.parametrize("name", WITH_FILES)
def test_real(name):
    assert available(name, REAL)
    check(load_task(name, REAL), whole=True)
    if name in ("cifar100", "flowers"):  # their subsets' classes are in the order of the labels
        file, classes = ("cifar100", FINE) if name == "cifar100" else ("flower_photos", list(task_images.FLOWERS))
        assert read_archive(REAL / f"{file}_subset.npz")["classes"].tolist() == classes
