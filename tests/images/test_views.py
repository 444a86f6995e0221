"""Photographs read when they are needed: what a view shows, and what decides it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset

from sfda.benchmark.finetune import features
from sfda.images.augment import normalise
from sfda.images.views import Photographs, _crop, centre


class Places(Dataset):
    """Images whose red is the column and whose green is the row; blue tells them apart."""

    def __init__(self, n=5, width=200, height=120):
        self.n, self.rows, self.columns = n, np.arange(height)[:, None], np.arange(width)

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        pixels = np.stack(np.broadcast_arrays(self.columns, self.rows, 10 * i), -1).astype(np.uint8)
        return Image.fromarray(pixels), i


def test_the_centre_is_cut_out_and_is_the_largest_crop():
    image = Places()[3][0]
    square = centre(image, 120)
    assert square.shape == (3, 120, 120) and square.dtype == torch.uint8
    assert torch.equal(square[0, 7], torch.arange(40, 160, dtype=torch.uint8))
    assert (square[2] == 30).all()
    half = centre(image, 60)  # the short side is resized, not cut
    assert half[1, 0, 0] <= 2 and half[1, -1, 0] >= 117 and abs(int(half[0, 5, 0]) - 40) <= 2
    image = Places(1, 90, 90)[0][0]
    assert torch.equal(_crop(image, [1.0, 0.5, 0.0, 0.0, 1.0], 90, mirror=True), centre(image, 90))
    smallest = _crop(image, [0.0, 0.5, 0.999, 0.0, 1.0], 32, mirror=True)
    side = round((0.08 * 90 * 90) ** 0.5)
    assert smallest[0].min() >= 90 - side - 1 and smallest[1].max() <= side


def test_positions_slices_sums_and_features():
    photographs = Photographs(Places(), "five", side=40)
    assert len(photographs) == 5 and len(photographs[3:99]) == 2
    assert photographs[torch.tensor([4, 0, 4])][:, 2, 0, 0].tolist() == [40, 0, 40]
    assert photographs[1:3][:, 2, 0, 0].tolist() == [10, 20]
    both = Photographs(Places(2), "a", side=40) + Photographs(Places(3), "b", side=40)
    assert len(both) == 5 and both.fingerprint == "a+b"
    assert both[0:5][:, 2, 0, 0].tolist() == [0, 10, 0, 10, 20]
    with pytest.raises(ValueError, match="side: expected 40 pixels as in the first, got 50"):
        photographs + Photographs(Places(), "b", side=50)
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 40 * 40, 4))
    assert torch.equal(features(encoder, photographs, batch=3), features(encoder, photographs[0:7], batch=3))


def test_a_seed_fixes_the_views_and_half_are_mirrored():
    photographs, index = Photographs(Places(), "five", side=48), torch.tensor([2, 2, 0])
    one, two, other = (photographs.views(index, torch.Generator().manual_seed(s), mirror=True) for s in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.shape == (3, 3, 48, 48) and one.dtype == torch.float32
    assert not torch.equal(one[0], one[1])  # of one image, two crops
    blue = normalise(torch.tensor([20, 20, 0], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 2, 2))
    torch.testing.assert_close(one[:, 2, 0, 0], blue[:, 2, 0, 0])
    # Half of the views are mirrored.
    photographs, index = Photographs(Places(1), "one", side=32), torch.zeros(200, dtype=torch.long)
    for mirror, low, high in ((True, 70, 130), (False, 0, 0)):
        x = photographs.views(index, torch.Generator().manual_seed(0), mirror=mirror)
        assert low <= (x[:, 0, 16, 0] > x[:, 0, 16, -1]).sum() <= high


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=5, max_size=5), st.integers(1, 250), st.integers(1, 250))
def test_a_crop_lies_in_the_image(draw, width, height):
    view = _crop(Places(1, width, height)[0][0], draw, 16, mirror=False)
    assert view.shape == (3, 16, 16)
    assert view[0].max() < width and view[1].max() < height
    # Left to right and top to bottom, never the other way round.
    assert (view[0].int().diff(dim=1) >= -1).all() and (view[1].int().diff(dim=0) >= -1).all()
