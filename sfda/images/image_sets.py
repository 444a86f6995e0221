"""Labelled images: where they come from, what they are, which classes they show.

No image is decoded before it is asked for; labels, classes and the split are known at once.
"""

import hashlib
import io
import os
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset

from sfda.metric import linalg


class Images(Dataset):
    """Labelled images that are read when they are asked for.

    Items are (RGB image of PIL, int label). An image that cannot be read raises ``OSError``.

    Parameters
    ----------
    source : indexable
        Gives an RGB image for a row; one of this file's.
    labels : array-like of shape (N,)
        Integers from 0.
    rows : array-like of shape (N,), optional
        Which rows of the source these images are. Default: the first N.

    Attributes
    ----------
    labels : ndarray of shape (N,), int64
    """

    def __init__(self, source, labels, rows=None):
        self.source = source
        self.labels = np.asarray(labels, dtype=np.int64)
        self.rows = np.arange(len(self.labels)) if rows is None else np.asarray(rows, dtype=np.int64)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.source[int(self.rows[index])], int(self.labels[index])

    def take(self, index):
        """The images at these positions, as :class:`sfda.images.image_sets.Images`."""
        return Images(self.source, self.labels[index], self.rows[index])


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A labelled data set in up to three parts.

    Attributes
    ----------
    name : str
    train : Images
    validation, test : Images or None
        No image of the data set is in two parts.
    classes : list of str
        Names by label.
    measure : {"accuracy", "mean per-class accuracy", "11-point mAP"}
        What results are judged by; see :func:`sfda.benchmark.measures.measured_by`.
    targets : ndarray of shape (N, C), int8, or None
        Of images that show several classes, in the order of `everything`: 1 where a class is shown, 0 where not, -1
        where it is shown only by objects marked as difficult.
    left_out : dict of str to int
        Files of the folder that are no images of the data set: how many, by reason.
    """

    name: str
    train: Images
    validation: Images | None
    test: Images | None
    classes: list
    measure: str = "accuracy"
    targets: np.ndarray | None = None
    left_out: dict = field(default_factory=dict)

    @property
    def parts(self):
        """Those parts that there are, in the order train, validation, test."""
        return tuple(part for part in (self.train, self.validation, self.test) if part is not None)

    @cached_property
    def everything(self):
        """All images, in the order train, validation, test; the paper's public code scores all of them."""
        return ConcatDataset(self.parts)

    @cached_property
    def labels(self):
        """Labels (N,) of `everything`, int64; no image is decoded for them."""
        return np.concatenate([part.labels for part in self.parts])

    @cached_property
    def fingerprint(self):
        """Text that another choice of images, or other images, labels or another order, would change.

        Of `everything`: whoever keeps something of one part must add the part's name. Files are told by name, size
        and time of change; images of a data set of torch by their pixels, for which all of them are read.
        """
        digest = hashlib.sha256()
        for part in self.parts:
            part.source.describe(part.rows, digest)
            digest.update(part.labels.tobytes())
        return digest.hexdigest()


class ImageFiles:
    """Image files; `describe` tells them by their names below the root, sizes and times of change."""

    def __init__(self, root, paths):
        self.root = os.path.join(root, "")
        self.names = [str(path)[len(self.root) :] for path in paths]

    def __getitem__(self, row):
        return read_image(self.root + self.names[row], self.root + self.names[row])

    def describe(self, rows, digest):
        for row in rows:
            digest.update(_stamp(self.root, self.names[row]))


class EncodedImages:
    """Encoded images in memory, of one archive."""

    def __init__(self, path, buffer, offsets, names):
        self.path, self.buffer, self.offsets, self.names = path, buffer, offsets, names

    def __getitem__(self, row):
        content = self.buffer[self.offsets[row] : self.offsets[row + 1]].tobytes()
        return read_image(io.BytesIO(content), f"{self.path}, image {row} ({self.names[row]})")

    def describe(self, rows, digest):
        digest.update(_stamp(os.path.join(self.path.parent, ""), self.path.name))
        digest.update(rows.tobytes())


class DatasetImages:
    """Images of a data set of torch; `describe` tells them by the files they are of, or by their pixels."""

    def __init__(self, dataset, root=None, files=()):
        self.dataset, self.root, self.files = dataset, root, files

    def __getitem__(self, row):
        return as_rgb(self.dataset[row][0])

    def describe(self, rows, digest):
        for file in self.files:
            digest.update(_stamp(os.path.join(self.root, ""), file))
        if self.files:
            digest.update(rows.tobytes())
            return
        for row in rows:
            try:
                image = self[int(row)]
                digest.update(f"{image.size}\n".encode() + image.tobytes())
            except OSError:
                digest.update(b"unreadable\n")


def _stamp(root, name):
    try:
        stat = os.stat(root + name)
        facts = f"{stat.st_size} {stat.st_mtime_ns}"
    except OSError:  # a link to nothing, say; to read it will fail
        facts = "unreadable"
    return os.fsencode(name) + f"\0{facts}\n".encode()


def read_image(file, name):
    """The image in a file, or in a buffer of its bytes; OSError, with the name, where there is none."""
    try:
        with Image.open(file) as image:
            return _rgb(image)
    except Exception as error:  # damaged bytes make the decoders stumble in any way
        raise OSError(f"{name} cannot be read ({type(error).__name__}: {error})") from error


def _rgb(image):
    """Any image of PIL as 8 bits of red, green and blue, on white where it is transparent, white shapes on black.

    Of pixels in 16 bits, of which PIL would make white, the file does not say how many bits are used: the fewest of 8,
    10, 12, 14 and 16 that hold the largest.
    """
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() >= 2**16:
            raise ValueError("expected pixels of at most 16 bits, got more")
        bits = next(n for n in (8, 10, 12, 14, 16) if pixels.max() < 2**n)
        return Image.fromarray((pixels >> (bits - 8)).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("expected pixels in whole numbers, got real ones, whose range is not known")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if np.ptp(np.asarray(image)[..., 3]) and all(low == high for low, high in on_white.getextrema()):
        return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")  # white shapes
    return on_white


def as_rgb(image):
    """An image of PIL from one of PIL, an array or a tensor."""
    if isinstance(image, Image.Image):
        return _rgb(image)
    if isinstance(image, torch.Tensor):
        image = linalg.to_numpy(image)
        image = np.moveaxis(image, 0, 2) if image.ndim == 3 else image
    if not isinstance(image, np.ndarray):
        raise ValueError(f"expected an image of PIL, an array or a tensor, got {type(image).__name__}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(f"expected images (H, W, channels) of 1, 3 or 4 channels, got {image.shape}")
    top = 1 if image.dtype.kind in "fb" else 255
    if image.dtype.kind not in "fbiu" or not (image.min() >= 0 and image.max() <= top):  # NaN is neither
        raise ValueError(
            "expected pixels from 0 to 1 or whole ones from 0 to 255, got "
            f"{image.dtype} beyond; give the data set without normalisation"
        )
    pixels = np.round(image * 255.0) if top == 1 else image
    pixels = pixels.astype(np.uint8).reshape(pixels.shape[:2] if pixels.shape[2:] == (1,) else pixels.shape)
    return _rgb(Image.fromarray(np.ascontiguousarray(pixels)))
