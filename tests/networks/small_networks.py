"""Networks of random weights, and what tests of them share."""

import re
from collections import OrderedDict

import numpy as np
import torch
import torchvision
from PIL import Image

from sfda.networks.checkpoints import SELF_SUPERVISED, SUPERVISED, TRANSFORMERS


class Squares(torch.utils.data.Dataset):
    """Random pictures, not square, each with its position as its label; those in `bad` cannot be read."""

    def __init__(self, n=3, side=40, mode="RGB", bad=()):
        self.n, self.side, self.mode, self.bad, self.read = n, side, mode, bad, 0

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.read += 1
        if i in self.bad:
            raise OSError(f"image file {i} is truncated")
        pixels = np.random.default_rng(i).integers(256, size=(self.side, self.side + 9, 3), dtype=np.uint8)
        return Image.fromarray(pixels).convert(self.mode), i


def numbered(state):
    """The same names and shapes, each tensor of one number of its own: small as a file."""
    made = OrderedDict((key, torch.tensor(float(i)).expand(state[key].shape)) for i, key in enumerate(state))
    made._metadata = getattr(state, "_metadata", {})  # MNASNet's version is there
    return made


def equal(network, state):
    own = network.state_dict()
    return state.keys() <= own.keys() and all(torch.equal(own[k].float(), v.float()) for k, v in state.items())


def as_images(found, n=3):
    return torch.stack([found.transform(Squares()[i][0]) for i in range(n)])


def old_densenet(state):
    """As torchvision's published files are: with the names of an older class."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value
        for key, value in state.items() if not key.endswith("num_batches_tracked")
    }


def untrained(architecture, device="cpu", **options):
    if architecture in ("googlenet", "inception_v3"):
        options = {"init_weights": False, "transform_input": True} | options
    with torch.device(device):
        return torchvision.models.get_model(architecture, weights=None, **options).eval()


def file_of(name):
    """Where `load` looks for a network's weights in the folder."""
    _, _, rest = name.partition(":")
    entry = (SUPERVISED | SELF_SUPERVISED | TRANSFORMERS).get(name if name in SUPERVISED else rest)
    return rest.partition("=")[2] or (entry.file if entry else f"{rest}.safetensors")
