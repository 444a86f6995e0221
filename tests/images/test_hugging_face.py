"""Data sets of Hugging Face, as objects, saved to disk and as parquet files."""

import io

import pytest
import torch

from image_layouts import colour, square, told
from sfda.images.folders import from_dataset
from sfda.images.hugging_face import is_saved
from sfda.images.official import load_images
from sfda.rank import rank

datasets = pytest.importorskip("datasets")

NAMES = ["cat", "dog", "emu"]


def encoded(label, number, part="train"):
    file = io.BytesIO()
    square(label, number, part).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def rows(labels=(0, 1, 1, 0), part="train", kind=None, **columns):
    """A data set whose images say of which label, number and part they are."""
    table = {"image": [encoded(max(0, label or 0), i, part) for i, label in enumerate(labels)],
             "label": list(labels)} | columns  # fmt: skip
    made = datasets.Dataset.from_dict(table).cast_column("image", datasets.Image())
    return made.cast_column("label", datasets.ClassLabel(names=NAMES)) if kind is None else made


def saved(path, parts, how):
    whole = datasets.DatasetDict(parts) if len(parts) > 1 else parts["train"]
    if how == "disk":
        whole.save_to_disk(path)
    elif how == "parquet" and len(parts) == 1:
        whole.to_parquet(path.with_suffix(".parquet"))
        return path.with_suffix(".parquet")
    elif how == "parquet":
        path.mkdir()
        for name, part in parts.items():
            part.to_parquet(path / f"{name}.parquet")
    else:  # as the hub has them, in pieces
        (path / "data").mkdir(parents=True)
        for name, part in parts.items():
            for i in range(2):
                end = "-a09b74b3ef9c3b56" * (name == "train")  # as the hub once added
                part.shard(2, i, contiguous=True).to_parquet(path / "data" / f"{name}-0000{i}-of-00002{end}.parquet")
    return path


@pytest.mark.parametrize("parts", [["train"], ["train", "valid", "testing"]])
@pytest.mark.parametrize("how", ["object", "disk", "parquet", "pieces"])
def test_data_sets_wherever_they_lie(how, parts, tmp_path):
    made = {name: rows(part=part) for name, part in zip(parts, ("train", "validation", "test"))}
    if how == "object":
        found = from_dataset(datasets.DatasetDict(made) if len(parts) > 1 else made["train"])
    else:
        place = saved(tmp_path / "pets", made, how)
        assert is_saved(place)
        found = load_images(place)
        assert found.name == "pets"
    assert found.classes == NAMES and found.labels.tolist() == [0, 1, 1, 0] * len(parts)
    for part, role in zip(found.parts, ("train", "validation", "test")):
        assert [told(image) for image, _ in part] == [(0, 0, role), (1, 1, role), (1, 2, role), (0, 3, role)]
    assert found.fingerprint == from_dataset(datasets.DatasetDict(made)).fingerprint
    assert from_dataset(datasets.DatasetDict(made).with_format("torch")).labels.tolist() == found.labels.tolist()
    other = from_dataset(datasets.DatasetDict(made | {"train": rows((0, 1, 2, 0))}))
    assert found.fingerprint != other.fingerprint


@pytest.mark.parametrize(("labels", "classes", "expected"), [
    (["b", "a", "a", "b"], ["a", "b"], [1, 0, 0, 1]), ([7, 3, 3, 5], ["3", "5", "7"], [2, 0, 0, 1]),
])  # fmt: skip
def test_labels_without_names(labels, classes, expected):
    table = {"image": [encoded(0, i) for i in range(4)], "label": labels, "width": [12] * 4}
    found = from_dataset(datasets.Dataset.from_dict(table))  # nor does anything say that these are images
    assert found.classes == classes and found.labels.tolist() == expected
    assert told(found.train[2][0]) == (0, 2, "train")


def test_classes_go_by_their_names_and_every_piece_is_there(tmp_path):
    made = datasets.DatasetDict(train=rows(), test=rows((0, 1), "test").cast_column(
        "label", datasets.ClassLabel(names=["dog", "cat", "emu"])))  # fmt: skip
    assert from_dataset(made).test.labels.tolist() == [1, 0]
    place = saved(tmp_path / "pieces", {"train": rows()}, "pieces")
    next(place.glob("data/*00001-of*")).unlink()
    with pytest.raises(ValueError, match="expected 2 files of train, found 1"):
        load_images(place)


def test_parts_without_labels_and_images_that_are_none(tmp_path):
    found = from_dataset(datasets.DatasetDict(train=rows(), test=rows((-1, -1, -1), "test")))
    assert found.test is None and found.left_out == {"images of the test part, which has no labels": 3}
    damaged = rows().cast_column("image", datasets.Image(decode=False)).to_dict()
    damaged["image"][1]["bytes"] = b"no image"
    damaged["image"][2] = {"bytes": None, "path": str(tmp_path / "gone.png")}
    made = datasets.Dataset.from_dict(damaged).cast_column("image", datasets.Image())
    for i, words in ((1, "train, image 1 cannot be read"), (2, "train, image 2 cannot be read")):
        with pytest.raises(OSError, match=words):
            from_dataset(made).train[i]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: rows(target=[1, 2, 3, 4]), "expected one label column, found label, target among image, label, target; keep"),
    (lambda: rows(width=[1, 2, 3, 4], kind="plain").remove_columns("label"), "one label column, found none among image, width"),
    (lambda: rows().remove_columns("image"), "expected one image column, found none among label"),
    (lambda: rows((0, -1, 1, 1)), "row 1 of its train part has no label"),
    (lambda: rows((-1, -1)), "its images have no labels"), (lambda: rows((1, 1)), "at least 2 classes"),
    (lambda: rows(()), "expected at least one image, found none"),
    (lambda: rows().to_iterable_dataset(), "got IterableDataset, which streams"),
    (lambda: datasets.DatasetDict(train=rows(), fold=rows()), "parts called train, .* found train, fold"),
    (lambda: datasets.DatasetDict(test=rows(), val=rows()), "parts called train, .* found test, val"),
    (lambda: datasets.DatasetDict(train=rows(), test=rows((2, 0))), "test part has a class 'emu', which the training"),
])  # fmt: skip
def test_what_is_asked_instead_of_guessed(make, message):
    with pytest.raises(ValueError, match=message):
        from_dataset(make())


def test_damaged_files_and_folders_of_images_beside(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"a.parquet: cannot be read as a data set"):
        load_images(tmp_path / "a.parquet")
    for name in ("cat", "dog"):  # class folders are what they were, with a file beside them
        (tmp_path / name).mkdir()
        square(0, 0).save(tmp_path / name / "0.png")
    assert load_images(tmp_path).left_out == {"files beside the class folders": 1}
    (tmp_path / "data").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / name).rename(tmp_path / "data" / name)
    assert load_images(tmp_path).classes == ["cat", "dog"]
    assert colour(0, 0) == load_images(tmp_path).train[0][0].getpixel((0, 0))


def test_networks_are_ranked_on_them(tmp_path):
    made = rows([0, 1] * 6)
    found = rank("pocket:byol", made, cache=None)
    made.save_to_disk(tmp_path / "saved")
    again = rank("pocket:byol", str(tmp_path / "saved"), cache=None)
    assert found.n == 12 and found.classes == {"cat": 6, "dog": 6}
    # The same pixels in the same batches, but for what a clock decides: rounding of float32.
    assert found.table["score"].item() == pytest.approx(again.table["score"].item(), abs=1e-4)
    assert (found.about["images"], again.about["images"]) == ("data set", "saved")


def test_a_data_set_of_a_module_of_the_same_name_is_torchs():
    class Own(torch.utils.data.Dataset):
        __module__ = "datasets.pets"
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return square(i, 0), i

    assert from_dataset(Own()).classes == ["0", "1"]
