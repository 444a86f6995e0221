"""How the pocket zoo was made: every network pre-trained from nothing on drawn images.

The source, :func:`sfda.drawings.source`, needs no download. Weights and one
row of facts a network go to ``data/pocket``.
"""

import dataclasses
import json
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from sfda import drawings, models, tasks
from sfda.pretrain import pretrain

IMAGES = 20_000
# Passes over them: transformers learn more slowly, two views a step cost twice as much.
EPOCHS = {
    ("convolutional", "supervised"): 15,
    ("convolutional", "self-supervised"): 8,
    ("transformer", "supervised"): 30,
    ("transformer", "self-supervised"): 15,
}


def recipe(name):
    """How the network of the zoo is pre-trained: options of :func:`sfda.pretrain.pretrain`.

    The self-supervised convolutional networks learn more in few epochs with
    AdamW than with SGD: after four epochs of 8,000 images, with views of half
    strength, a linear probe on SimCLR's features was better on each of five
    tasks, by 1 to 7 points. Transformers need many steps: after eight epochs
    vit_tiny had 0.24 on the source with batches of 64 and rate 1e-3, 0.16 with
    5e-4, and less with 2e-3 at the same step.
    """
    entry = models.find(name)
    kind = "transformer" if entry.group == "transformer" else "convolutional"
    learning = "supervised" if entry.objective == "supervised" else "self-supervised"
    # Of these two, an epoch shows each image once, not two views of it.
    once = entry.objective in ("deepcluster", "instance_discrimination")
    options = {"epochs": EPOCHS[kind, learning] * (2 if once else 1)}
    if kind == "transformer":
        options |= {"optimizer": "adamw", "batch_size": 64}
        if learning == "supervised":
            options["learning_rate"] = 1e-3
    elif learning == "supervised":
        options |= {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 64}
    else:
        options |= {"optimizer": "adamw", "learning_rate": 2e-3}
    return options


def make(name, folder, *, n_images=IMAGES, epochs=None, seed=0, device="cpu", progress=None):
    """Pre-train one network of the zoo and write its weights.

    Parameters
    ----------
    name : str
        Key in :data:`sfda.models.POCKET`.
    folder : path
        ``NAME.safetensors`` and ``NAME.json``, what :func:`sfda.pretrain.pretrain`
        recorded, are written there.
    n_images : int, default 20,000
        Of the source.
    epochs : int, optional
        Passes over it; by default those of :func:`recipe`.
    seed : int, default 0
        Of the initial weights, the same as :func:`sfda.models.untrained` uses,
        and of the training.
    device : str or torch.device, default "cpu"
    progress : callable, optional
        Called with a line of text after each epoch.

    Returns
    -------
    dict
        What is in ``NAME.json``.
    """
    entry = models.find(name)
    network = models.untrained(name, seed=seed)
    dimension = models.head(name, network).in_features
    own_head = models.replace_head(name, network, nn.Identity())
    images, labels, _ = _source(n_images)
    chosen = recipe(name) | ({} if epochs is None else {"epochs": epochs})
    record = pretrain(
        network, dimension, entry.objective, images, labels, augmentation=entry.views,
        seed=seed, device=device, progress=progress, **chosen,
    )  # fmt: skip
    learnt = record.pop("head")
    network.cpu()
    models.replace_head(name, network, own_head if learnt is None else learnt.cpu())
    folder = Path(folder)
    models.save(network, folder / f"{name}.safetensors", without="" if learnt else entry.head)
    record |= chosen | {
        "model": name, "n_images": n_images, "seed": seed, "device": str(device),
        "torch": torch.__version__,
    }  # fmt: skip
    part = folder / f"{name}.part"
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.replace(folder / f"{name}.json")
    return record


def facts(weights, folder):
    """Write what the networks and the tasks are: ``models.csv`` and ``tasks.csv``.

    Of the networks whose weights and record are in `weights`, in the order of
    the zoo. The losses of different objectives cannot be compared.
    """
    weights, folder, rows = Path(weights), Path(folder), []
    for entry in models.POCKET.values():
        path = weights / f"{entry.name}.json"
        if not path.exists():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        network = models.untrained(entry.name)
        head = models.replace_head(entry.name, network, nn.Identity())
        rows.append({
            "group": entry.group, "model": entry.name, "family": entry.family,
            "objective": entry.objective,
            "parameters": models.parameters(network), "dimension": head.in_features,
            "source_accuracy": record["source_accuracy"], "first_loss": record["curve"][0],
            "last_loss": record["loss"], "images": record["n_images"], "epochs": record["epochs"],
            "seconds": round(record["seconds"], 1), "device": record["device"], "torch": record["torch"],
        })  # fmt: skip
    pd.DataFrame(rows).round(4).to_csv(folder / "models.csv", index=False)
    kinds = [dataclasses.asdict(task) for task in tasks.TASKS.values()]
    table = pd.DataFrame(kinds)
    sizes = pd.DataFrame(table.pop("sizes").tolist(), columns=["train", "validation", "test"])
    pd.concat([table, sizes], axis=1).to_csv(folder / "tasks.csv", index=False)


@cache
def _source(n):
    return drawings.source(n)
