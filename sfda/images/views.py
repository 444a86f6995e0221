"""Photographs that are read when they are needed, and their random crops.

For data sets that do not fit into memory: a stand-in for the tensor of images that :mod:`sfda.benchmark.finetune`
trains on. Every random number comes from the generator that is passed, so that a seed fixes the crops, however many
threads read.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.utils.data import ConcatDataset
from torchvision.transforms import InterpolationMode, functional

from sfda.images import augment

THREADS = 8
AREA = 0.08, 1.0  # of a crop, as a share of the image
ASPECT = 3 / 4, 4 / 3


class Photographs:
    """Images of a data set, square and of one size, decoded at each look.

    Indexed by a slice or a tensor of positions it gives the views for testing, uint8 (B, 3, side, side), as
    :func:`sfda.images.views.centre` does; :meth:`views` gives those for training. Two of one size can be added.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Items (PIL image, label).
    fingerprint : str
        Of its images and labels.
    side : int, default 224
        Pixels.
    """

    def __init__(self, dataset, fingerprint, *, side=224):
        self.dataset, self.fingerprint, self.side = dataset, fingerprint, side

    def __len__(self):
        return len(self.dataset)

    def __add__(self, other):
        if self.side != other.side:
            raise ValueError(f"side: expected {self.side} pixels as in the first, got {other.side}")
        both = ConcatDataset([self.dataset, other.dataset])
        return Photographs(both, f"{self.fingerprint}+{other.fingerprint}", side=self.side)

    def __getitem__(self, index):
        positions = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        return _read(self._centre, positions)

    def views(self, index, generator, *, mirror):
        """Random crops, resized and normalised: what the paper trains on.

        A crop has 8 to 100 % of the image's area and sides in a ratio of 3:4 to 4:3.

        Parameters
        ----------
        index : int64 tensor of shape (B,)
        generator : torch.Generator
        mirror : bool
            Flip half of the crops left to right.

        Returns
        -------
        float32 tensor of shape (B, 3, side, side), on the generator's device
            Normalised as by :func:`sfda.images.augment.normalise`.

        References
        ----------
        C. Szegedy et al., *Going Deeper with Convolutions*, CVPR 2015, section 6.
        """
        draws = torch.rand(len(index), 5, generator=generator, device=generator.device).tolist()

        def crop(position, draw):
            return _crop(self.dataset[position][0], draw, self.side, mirror)

        images = _read(crop, index.tolist(), draws)
        return augment.normalise(images.to(generator.device))

    def _centre(self, position):
        return centre(self.dataset[position][0], self.side)


def centre(image, side=224, interpolation="bicubic"):
    """The short side resized to `side`, the centre cut out: as the paper's code views images.

    Parameters
    ----------
    image : PIL image
    side : int, default 224
    interpolation : str, default "bicubic"
        A value of torchvision's ``InterpolationMode``.

    Returns
    -------
    uint8 tensor of shape (3, side, side)
    """
    resized = functional.resize(image.convert("RGB"), side, InterpolationMode(interpolation))
    return functional.pil_to_tensor(functional.center_crop(resized, side))


def _crop(image, draw, side, mirror):
    """The window that five numbers between 0 and 1 choose: area, aspect, left, top, flip."""
    image = image.convert("RGB")
    area = image.width * image.height * (AREA[0] + (AREA[1] - AREA[0]) * draw[0])
    low, high = (math.log(a) for a in ASPECT)
    aspect = math.exp(low + (high - low) * draw[1])
    # What would stick out is cut to the image.
    width = min(image.width, max(1, round(math.sqrt(area * aspect))))
    height = min(image.height, max(1, round(math.sqrt(area / aspect))))
    left, top = (int((free + 1) * u) for free, u in
                 ((image.width - width, draw[2]), (image.height - height, draw[3])))  # fmt: skip
    image = functional.resized_crop(image, top, left, height, width, [side, side], InterpolationMode.BICUBIC)
    return functional.pil_to_tensor(functional.hflip(image) if mirror and draw[4] < 0.5 else image)


def _read(look, *arguments):
    """Stack of what `look` says of each; decoding and resizing leave Python to other threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return torch.stack(list(pool.map(look, *map(list, arguments))))
