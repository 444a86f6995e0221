"""How the pocket zoo was made: every network pre-trained from nothing on drawn images.

The source, :func:`sfda.images.drawn.drawings.source`, needs no download. Weights and one row of facts a network go
to ``data/pocket``.
"""

import json
from functools import cache
from pathlib import Path

import torch
from torch import nn

from sfda.files import replacing
from sfda.images.drawn import drawings
from sfda.networks import pocket
from sfda.networks.pretraining.train import pretrain

IMAGES = 20_000
# Passes over them, and how: transformers learn more slowly, two views a step cost twice as much.
RECIPES = {
    ("convolutional", "supervised"): {"epochs": 15, "optimizer": "sgd", "learning_rate": 0.1, "batch_size": 64},
    ("convolutional", "self-supervised"): {"epochs": 8, "optimizer": "adamw", "learning_rate": 2e-3},
    ("transformer", "supervised"): {"epochs": 30, "optimizer": "adamw", "batch_size": 64, "learning_rate": 1e-3},
    ("transformer", "self-supervised"): {"epochs": 15, "optimizer": "adamw", "batch_size": 64},
}


def recipe(name):
    """How the network of the zoo is pre-trained: options of :func:`sfda.networks.pretraining.train.pretrain`.

    The self-supervised convolutional networks learn more in few epochs with AdamW than with SGD: after four epochs
    of 8,000 images, with views of half strength, a linear probe on SimCLR's features was better on each of five
    tasks, by 1 to 7 points. Transformers need many steps: after eight epochs vit_tiny had 0.24 on the source with
    batches of 64 and rate 1e-3, 0.16 with 5e-4, and less with 2e-3 at the same step.
    """
    entry = pocket.find(name)
    kind = "transformer" if entry.group == "transformer" else "convolutional"
    learning = "supervised" if entry.objective == "supervised" else "self-supervised"
    options = dict(RECIPES[kind, learning])
    if entry.objective in ("deepcluster", "instance_discrimination"):
        options["epochs"] *= 2  # of these two, an epoch shows each image once, not two views of it
    return options


def make(name, folder, *, n_images=IMAGES, epochs=None, seed=0, device="cpu", progress=None):
    """Pre-train one network of the zoo and write its weights.

    Parameters
    ----------
    name : str
        Key in :data:`sfda.networks.pocket.POCKET`.
    folder : path
        ``NAME.safetensors`` and ``NAME.json``, what :func:`sfda.networks.pretraining.train.pretrain` recorded, are
        written there.
    n_images : int, default 20,000
        Of the source.
    epochs : int, optional
        Passes over it; by default those of :func:`recipe`.
    seed : int, default 0
        Of the initial weights, the same as :func:`sfda.networks.pocket.untrained` uses, and of the training.
    device : str or torch.device, default "cpu"
    progress : callable, optional
        Called with a line of text after each epoch.

    Returns
    -------
    dict
        What is in ``NAME.json``.
    """
    entry = pocket.find(name)
    network = pocket.untrained(name, seed=seed)
    dimension = pocket.head(name, network).in_features
    own_head = pocket.replace_head(name, network, nn.Identity())
    images, labels, _ = _source(n_images)
    chosen = recipe(name) | ({} if epochs is None else {"epochs": epochs})
    record = pretrain(
        network, dimension, entry.objective, images, labels, augmentation=entry.views,
        seed=seed, device=device, progress=progress, **chosen,
    )  # fmt: skip
    learnt = record.pop("head")
    network.cpu()
    pocket.replace_head(name, network, own_head if learnt is None else learnt.cpu())
    folder = Path(folder)
    pocket.save(network, folder / f"{name}.safetensors", without="" if learnt else entry.head)
    record |= chosen | {
        "model": name, "n_images": n_images, "seed": seed, "device": str(device),
        "torch": torch.__version__,
    }  # fmt: skip
    with replacing(folder / f"{name}.json") as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


@cache
def _source(n):
    return drawings.source(n)
