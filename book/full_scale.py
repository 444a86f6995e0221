"""The paper's experiment: what its networks cost, and a rehearsal of its commands in a folder of their own."""

import contextlib
import tempfile
import warnings
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torchvision.models import get_model

from sfda.__main__ import main
from sfda.benchmark import paper
from sfda.networks import checkpoints, pocket

# The files that the paper's grid names, by what it calls them.
FILES = checkpoints.SUPERVISED | {
    f"{kind}:{name}": file
    for kind, files in (("self-supervised", checkpoints.SELF_SUPERVISED), ("transformer", checkpoints.TRANSFORMERS))
    for name, file in files.items()
}


def networks():
    """The paper's 33 networks: whose terms hold, and how much work and memory each is.

    Returns
    -------
    pandas.DataFrame
        One row a network, by the name that the commands know. ``group``, ``licence``, ``readable`` (without being
        converted first), ``multiplications`` (millions, of one image of 224 x 224 pixels), ``parameters`` (millions).
    """
    rows = {}
    for group, loaders in paper.NETWORKS.items():
        costs = {}
        for name, loader in loaders.items():
            known = FILES[loader]
            one = "resnet50" if group == "self-supervised" else name  # these are one architecture
            if one not in costs:
                costs[one] = _costs(known.build if group == "transformers" else partial(_built, one))
            rows[name] = group, known.licence, known.readable, *costs[one]
    columns = ["group", "licence", "readable", "multiplications", "parameters"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _costs(build):
    """Multiplications and parameters of a network, in millions."""
    with warnings.catch_warnings(action="ignore"):  # libraries of transformers miss notebook widgets
        network = checkpoints.shapes_of(build)
        with next(network.parameters()).device:
            return pocket.multiplications(network, size=224), pocket.parameters(network) / 1e6


def _built(name):
    """A network of torchvision without weights."""
    return get_model(name, weights=None, **({"init_weights": False} if name in ("googlenet", "inception_v3") else {}))


class Rehearsal:
    """A folder with nothing in it but IMAGES, which is empty, where the paper's commands can be tried."""

    def __init__(self):
        self.place = Path(tempfile.mkdtemp())
        (self.place / "IMAGES").mkdir()

    def run(self, line):
        """What ``python -m sfda LINE --images IMAGES --weights WEIGHTS`` does there; its exit status."""
        places = "" if line.startswith("paper compare") else " --images IMAGES --weights WEIGHTS"
        with contextlib.chdir(self.place):
            return main((line + places).split())

    def draw_textures(self):
        """Twenty drawn pictures of two classes, laid out as the textures of DTD are."""
        root, rng, kinds = self.place / "IMAGES/dtd/dtd", np.random.default_rng(0), ("banded", "zigzagged")
        for folder in ("labels", *(f"images/{kind}" for kind in kinds)):
            (root / folder).mkdir(parents=True)
        for part, n in (("train", 4), ("val", 2), ("test", 4)):
            files = [f"{kind}/{kind}_{part}{i}.jpg" for kind in kinds for i in range(n)]
            for file in files:
                pixels = rng.integers(0, 120, (60, 80, 3), np.uint8)
                pixels[:: 6 if "banded" in file else 20] += 120
                plt.imsave(root / "images" / file, pixels)
            (root / f"labels/{part}1.txt").write_text("\n".join(files) + "\n")

    def save_random_weights(self, names):
        """Random weights of these supervised networks under the names of the published files."""
        (self.place / "WEIGHTS").mkdir()
        for name in names:
            torch.manual_seed(0)
            file = FILES[paper.NETWORKS["supervised"][name]].file
            torch.save(get_model(name, weights=None).state_dict(), self.place / "WEIGHTS" / file)

    @contextlib.contextmanager
    def cut_short(self):
        """Meanwhile the paper's fine-tuning is two settings of two steps."""
        protocol = paper.GRID.options
        whole = dict(protocol)
        protocol |= {"rates": (0.01, 0.001), "decays": (0.0,), "steps": 2, "batch": 4}
        try:
            yield
        finally:
            protocol.clear()
            protocol |= whole
