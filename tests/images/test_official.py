"""The paper's data sets, read from tiny official layouts."""

import io
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from image_layouts import CALTECH, PARTS, VOC, check, held_out, told, write, write_official
from sfda.benchmark import measures
from sfda.evidence import published
from sfda.images import official as datasets
from sfda.images.official import OFFICIAL, load_images, load_official

BY_HAND = ("cars", "sun397")


@pytest.mark.parametrize("name", OFFICIAL)
def test_official(name, tmp_path, any_checksum, monkeypatch):
    parts, classes = write_official(name, tmp_path)

    def refuse(*arguments, **options):
        raise AssertionError("an image was opened")

    with monkeypatch.context() as patched:  # labels are there without a look at an image
        patched.setattr(Image, "open", refuse)
        patched.setattr(Image, "fromarray", refuse)
        images = load_official(name, tmp_path)
        patched.setenv("SFDA_IMAGES", str(tmp_path))
        assert load_images(name).fingerprint == images.fingerprint
    items = check(images, len(classes))
    assert images.name == name and images.classes == classes and images.measure == OFFICIAL[name].measure
    assert [told(image)[0] for image, _ in items] == images.labels.tolist()
    if name != "caltech101":
        if "validation" not in parts:
            train = parts["train"]
            parts["validation"], parts["train"] = ([train[i] for i in rows] for rows in held_out(len(train)))
        for part in PARTS:
            assert [told(image) for image, _ in getattr(images, part)] == parts[part], part
        assert [told(image) for image, _ in items] == [item for part in PARTS for item in parts[part]]
    assert (images.targets is None) == (name != "voc2007")
    if name == "flowers":  # an older torchvision
        monkeypatch.delattr(torchvision.datasets.Flowers102, "classes")
        assert load_official(name, tmp_path).classes == [str(i) for i in range(1, 103)]


def test_caltech101_has_thirty_training_images_a_class(tmp_path):
    write_official("caltech101", tmp_path)
    images = load_official("caltech101", tmp_path)
    stated = [[told(image)[:2] for image, _ in part] for part in images.parts]
    known = stated[0] + stated[1]  # training and validation
    counts = np.bincount([label for label, _ in known])
    assert counts.tolist() == [30, 30, 30] and len(stated[1]) == 18
    assert np.bincount(images.test.labels).tolist() == [3, 1, 4]
    every = [(label, number) for label, n in enumerate(CALTECH.values()) for number in range(1, n + 1)]
    assert sorted(known + stated[2]) == every  # each image in one part, the left-over file in none
    assert {number for label, number in stated[2] if label == 0} != {31, 32, 33}  # drawn, not the last
    assert load_official("caltech101", tmp_path).fingerprint == images.fingerprint
    # Without the background, as torchvision has it.
    (tmp_path / "caltech101" / "101_ObjectCategories" / "BACKGROUND_Google").rename(tmp_path / "elsewhere")
    images = load_official("caltech101", tmp_path)
    assert images.classes == ["Faces", "accordion"] and len(images.labels) == 31 + 34
    assert {(label, told(image)[0]) for image, label in images.everything} == {(0, 1), (1, 2)}


def test_voc2007_targets(tmp_path):
    write_official("voc2007", tmp_path)
    images = load_official("voc2007", tmp_path)
    rows = [row for part in PARTS for row in VOC[part]]
    expected = [[1 if name in shown else -(name in hard) for name in datasets.VOC_CLASSES] for shown, hard in rows]
    assert images.targets.tolist() == expected and images.targets.dtype == np.int8
    # The first by the alphabet that is shown; where only difficult objects are, the first of those.
    first = "car aeroplane cow dog sheep cat boat person bird"
    assert " ".join(images.classes[label] for label in images.labels) == first
    for name, mark in (("dog", " 1"), ("cat", " 0")):
        file = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / f"{name}_val.txt"
        file.write_text(file.read_text().replace(mark, "-1"))
    with pytest.raises(ValueError, match="voc2007: the files in .*VOCdevkit are not .*000028.jpg shows none"):
        load_official("voc2007", tmp_path)


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_file_is_needed(name, tmp_path, any_checksum):
    official, by_hand, nowhere = OFFICIAL[name], name in BY_HAND, tmp_path / "none"
    for download in (False, True):
        with pytest.raises(FileNotFoundError) as caught:
            load_official(name, nowhere, download=download)
        message = str(caught.value)
        assert message.startswith(f"{name}: {official.title} is not all in {nowhere}; missing: {official.files[0]}")
        assert message.endswith(official.by_hand if by_hand else f"by hand from {official.source}")
        assert ("the download failed (URLError: " in message) == (download and not by_hand)
        assert ("download=True" in message) == (not download and not by_hand) and "\n" not in message
    assert not by_hand or ("https://" in official.by_hand and not nowhere.exists())
    write_official(name, tmp_path)
    for file in official.files[:8]:
        (tmp_path / file).rename(tmp_path / "away")
        with pytest.raises(FileNotFoundError, match=f"missing: {file};"):
            load_official(name, tmp_path)
        if name == "aircraft":  # half of a download: torchvision would leave it as it is
            with pytest.raises(FileNotFoundError, match=f"{file}; .*; remove fgvc-aircraft-2013b there"):
                load_official(name, tmp_path, download=True)
        (tmp_path / "away").rename(tmp_path / file)
    assert load_official(name, tmp_path)


@pytest.mark.parametrize("name", datasets._DOWNLOADS)
def test_download(name, tmp_path, any_checksum, monkeypatch):
    asked, folder = [], tmp_path / "new" / "folder"
    module = getattr(torchvision.datasets, datasets._DOWNLOADS[name][0]).__module__

    def fetch(url, *arguments, **options):
        asked.append(url)
        if len(asked) == 1 or name == "voc2007":  # pets has two archives, one writer
            write_official(name, folder)
        if name == "caltech101":  # its archive is a folder of archives
            write(folder / "caltech101", {"caltech-101/x.tar": "", "caltech-101.zip": ""})

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


@pytest.mark.parametrize("member", ["../evil", "fgvc-aircraft-2013b/link/evil"])
@pytest.mark.parametrize("filtering", [True, False])
def test_an_archive_that_climbs_out_of_its_folder_is_refused(member, filtering, tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def fetch(url, root, *arguments, **options):
        archive = Path(root) / "a.tar"
        with tarfile.open(archive, "w") as tar:
            if "link" in member:
                link = tarfile.TarInfo("fgvc-aircraft-2013b/link")
                link.type, link.linkname = tarfile.SYMTYPE, "../.."
                tar.addfile(link)
            tar.addfile(tarfile.TarInfo(member), io.BytesIO())
        if filtering:  # as the installed torchvision does
            utils.extract_archive(str(archive), str(root))
        else:  # as older ones did
            with tarfile.open(archive) as tar:
                tar.extractall(root)

    monkeypatch.setattr("torchvision.datasets.fgvc_aircraft.download_and_extract_archive", fetch)
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"the download failed \(\w*(Outside|Link)\w*Error: "):
        load_official("aircraft", tmp_path / "images", download=True)
    assert not list(tmp_path.rglob("evil")) and "extraction_filter" not in vars(tarfile.TarFile)


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize(("name", "files"), [
    ("aircraft", {"fgvc-aircraft-2013b/data/images_variant_val.txt": "0000001 Concorde\n"}),
    ("food", {"food-101/meta/test.json": '{"apple_pie": ["apple_pie/1"], "sushi": []}'}),
    ("food", {"food-101/meta/train.json": "{"}), ("sun397", {"SUN397/Testing_01.txt": "/z/zoo/sun_a.jpg\n"}),
    ("pets", {"oxford-iiit-pet/annotations/test.txt": "Abyssinian_1 1\n"}),
    ("cars", {"stanford_cars/devkit/cars_train_annos.mat": "no such format"}),
    ("voc2007", {"VOCdevkit/VOC2007/ImageSets/Main/cow_test.txt": "000001 1\n"}),
    *((name, dict.fromkeys(OFFICIAL[name].files, pickle.dumps(Evil()))) for name in ("cifar10", "cifar100")),
])
def test_damaged_files_and_pickles_that_are_not_the_published_ones(name, files, tmp_path, capsys):
    write_official(name, tmp_path)
    write(tmp_path, files)
    with pytest.raises(ValueError, match=f"{name}: the files in .* are not its publisher's") as caught:
        load_official(name, tmp_path)
    assert "\n" not in str(caught.value) and "code was run" not in capsys.readouterr().out
    assert ("corrupted" in str(caught.value)) == name.startswith("cifar")  # by its checksum: it is not opened


def test_official_agrees_with_what_is_published_and_other_names_mean_nothing():
    sizes = published.table("dataset_sizes").set_index("dataset")
    judged_by = published.table("finetune_accuracy", "supervised").groupby("dataset").measure.unique()
    assert list(OFFICIAL) == sorted(OFFICIAL) == sorted(sizes.index) == sorted(judged_by.index)
    for name, official in OFFICIAL.items():
        assert official.name == name and official.n_classes == sizes.n_classes[name]
        assert [official.measure] == list(judged_by[name]) and official.measure in measures.MEASURES
        assert official.title and official.citation and official.terms and official.source.startswith("http")
    assert datasets.CALTECH_TRAIN * OFFICIAL["caltech101"].n_classes == sizes.train_val["caltech101"]
    assert [name for name in OFFICIAL if OFFICIAL[name].by_hand] == list(BY_HAND)
    assert sorted(datasets._DOWNLOADS) == sorted(set(OFFICIAL) - set(BY_HAND))
    with pytest.raises(ValueError, match="name: expected one of aircraft, .*, voc2007, got 'imagenet'"):
        load_official("imagenet")
    with pytest.raises(FileNotFoundError, match="cifar-10: expected one of aircraft, .* or a folder, .npz or .parquet file"):
        load_images("cifar-10")


def test_fingerprint(tmp_path, any_checksum):
    write_official("aircraft", tmp_path)
    shutil.copytree(tmp_path, tmp_path / "copy")  # it keeps the times
    listed = tmp_path / "fgvc-aircraft-2013b" / "data" / "images_variant_train.txt"
    image, text = listed.parent / "images" / "0000001.jpg", listed.read_text()

    def grow():
        stat = image.stat()
        image.write_bytes(image.read_bytes() + b"\0")
        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def rename():
        image.rename(image.with_name("0000009.jpg"))
        listed.write_text(text.replace("0000001 ", "0000009 "))

    seen = [load_official("aircraft", tmp_path / folder).fingerprint for folder in ("", "", "copy")]
    assert len(set(seen)) == 1
    for change in (
        grow, lambda: os.utime(image, ns=(1, 1)),
        lambda: listed.write_text(text.replace("0000001 707-320", "0000001 F/A-18")),
        lambda: listed.write_text("".join(reversed(text.splitlines(keepends=True)))), rename,
    ):  # fmt: skip
        change()
        seen.append(load_official("aircraft", tmp_path).fingerprint)
        assert seen.count(seen[-1]) == 1
    write_official("cifar10", tmp_path)
    before = load_official("cifar10", tmp_path).fingerprint
    os.utime(tmp_path / "cifar-10-batches-py" / "test_batch", ns=(1, 1))
    assert load_official("cifar10", tmp_path).fingerprint != before
