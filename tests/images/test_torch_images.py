"""Data sets of torch as labelled images."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset
from torchvision.transforms import functional

from image_layouts import archive, square, told, write_folder, write_official
from sfda.images.folders import from_dataset, image_archive, image_folder
from sfda.images.official import load_official


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


@pytest.mark.parametrize(("labels", "given", "own", "expected", "classes"), [
    *((labels, None, None, expected, classes) for labels, expected, classes in (
        ([3, 7, 7, 3, 11], [0, 1, 1, 0, 2], ["3", "7", "11"]), (["dog", "cat", "dog"], [1, 0, 1], ["cat", "dog"]),
        ([np.int16(-1), 5], [0, 1], ["-1", "5"]), ([torch.tensor(4), torch.tensor(2)], [1, 0], ["2", "4"]),
        ([np.array([4]), np.array([2])], [1, 0], ["2", "4"]), ([np.str_("b"), "a"], [1, 0], ["a", "b"]),
        ([True, False], [1, 0], ["False", "True"]))),
    ([1, 2], None, ["a", "b", "c"], [0, 1], ["b", "c"]), ([1, 2], ["x", "y"], ["a", "b", "c"], [0, 1], ["x", "y"]),
    ([1, 2], ["x", "y", "z"], None, [0, 1], ["y", "z"]), ([1, 5], None, ["a", "b", "c"], [0, 1], ["1", "5"]),
    (["q", "p"], None, ["a", "b"], [1, 0], ["p", "q"]),
])
def test_labels_and_names_of_classes(labels, given, own, expected, classes):
    images = from_dataset(Squares(labels, classes=own), "mine", classes=given)
    assert images.labels.tolist() == expected and images.classes == classes
    assert (images.name, images.validation, images.test, images.measure) == ("mine", None, None, "accuracy")
    assert [told(image)[:2] for image, _ in images.train] == [(i % 3, i) for i in range(len(labels))]
    with pytest.raises(ValueError, match=r"zoo: classes: expected \d names, one a class, got 1"):
        from_dataset(Squares(labels), "zoo", classes=["a"])


@pytest.mark.parametrize(("convert", "grey"), [
    *((convert, None) for convert in (
        np.asarray, lambda image: np.asarray(image) / 255, lambda image: np.float32(image) / 255, np.int64,
        lambda image: np.asarray(image.convert("RGBA")), lambda image: image.convert("RGBA"),
        functional.to_tensor, functional.pil_to_tensor, lambda image: functional.to_tensor(image).double())),
    *((lambda _, image=image: image, grey) for image, grey in (
        (np.full((4, 5), 51, np.uint8), 51), (np.full((4, 5, 1), 51, np.uint8), 51), (torch.full((4, 5), 0.2), 51),
        (torch.full((1, 4, 5), 0.2), 51), (np.eye(4, 5, dtype=bool), 255 * np.eye(4, 5)))),
])
def test_images_of_a_data_set(convert, grey):
    for number, (image, label) in enumerate(from_dataset(Squares([0, 1, 2, 0], convert)).everything):
        if grey is None:
            assert told(image)[:2] == (label, number) == (number % 3, number) and image.size == (12, 9)
        else:
            assert image.size == (5, 4) and (np.moveaxis(np.asarray(image), 2, 0) == grey).all()


@pytest.mark.parametrize(("dataset", "message"), [
    *((Squares([0, 1], lambda _, image=image: image), message) for image, message in (
        (np.full((4, 5, 3), -0.1), "from 0 to 1 or whole ones from 0 to 255, got float64 beyond"),
        (np.full((4, 5, 3), 1.1), "without normalisation"), (np.full((4, 5, 3), np.nan), "from 0 to 1"),
        (np.full((4, 5, 3), 256), "got int64 beyond"), (np.full((4, 5, 3), 1j), "got complex128"),
        (np.zeros((3, 4, 5)), r"of 1, 3 or 4 channels, got \(3, 4, 5\)"), (torch.zeros(5, 4, 3), r"got \(4, 3, 5\)"),
        (np.zeros(4), r"got \(4,\)"), ("a path", "expected an image of PIL, an array or a tensor, got str"),
    )),
    (Squares([]), "expected at least one image, found none"), (Squares([1, 1]), "expected at least 2 classes"),
    (Squares([0.5, 1.0]), "expected classes, found 0.5"), (Squares([1, "a"]), "mixture"),
    (Squares([[0, 1], [1, 0]]), "one class an image, got list"), (Squares([None, 1]), "labels: expected"),
    (Squares([np.array([0, 1]), np.array([1, 0])]), "one class an image, got ndarray"),
    ([{"image": 1, "label": 2}], r"items \(image, label\), got dict"), ([(1, 2, 3)], r"label\), got tuple"),
    (iter([(1, 2)]), "a data set with a length, got list_iterator"),
])
def test_bad_data_sets_and_images(dataset, message):
    with pytest.raises(ValueError, match=f"mine: .*{message}"):
        from_dataset(dataset, "mine")


LABELS = [5, 2, 2, 9] * 50


@pytest.mark.parametrize(("attributes", "believed"), [
    *(({key: convert(LABELS)}, True) for key in ("targets", "labels")
      for convert in (list, np.array, torch.tensor, lambda x: pd.Series(x, range(9, 209)))),
    *((attributes, False) for attributes in (
        {"targets": [0] * 200}, {"targets": [5, 2]}, {"targets": "a.xml b.xml".split() * 100}, {"labels": 200},
        {"targets": LABELS, "target_transform": abs}, {"targets": None}, {"targets": [[1, 2]] * 200})),
])
def test_stated_labels_spare_reading_unless_wrong_or_transformed(attributes, believed):
    dataset = Squares(LABELS, **attributes)
    assert from_dataset(dataset).labels.tolist() == [1, 0, 0, 2] * 50
    assert dataset.read <= 4 if believed else dataset.read >= 200


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


def test_unreadable_images_of_a_data_set():
    def unreadable(image):
        if told(image)[1] == 0:
            raise OSError("broken data stream")
        return image

    with pytest.raises(ValueError, match="mine: the label of item 0 cannot be had without its image"):
        from_dataset(Squares([0, 1, 0], unreadable), "mine")
    images = from_dataset(Squares([0, 1, 0], unreadable, targets=[0, 1, 0]))
    assert images.labels.tolist() == [0, 1, 0] and len(images.fingerprint) == 64
    with pytest.raises(OSError, match="broken data stream"):
        images.train[0]


def test_fingerprint_of_a_data_set():
    sets = (Squares([0, 1, 2]), Squares([0, 1, 2], np.asarray), Squares([0, 2, 1]),
            Squares([0, 1, 2], lambda image: image.rotate(90, expand=True)))  # fmt: skip
    one, same, label, image = (from_dataset(dataset).fingerprint for dataset in sets)
    assert one == same and len({one, label, image}) == 3


def test_workers(tmp_path, any_checksum):
    write_official("cifar10", tmp_path)
    sets = (load_official("cifar10", tmp_path), image_folder(write_folder(tmp_path / "x")),
            image_archive(archive(tmp_path / "y.npz")))  # fmt: skip
    for images in sets:
        read = [item for batch in DataLoader(images.everything, 4, num_workers=2, collate_fn=list) for item in batch]
        assert [label for _, label in read] == images.labels.tolist() == [told(image)[0] for image, _ in read]
