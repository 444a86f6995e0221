"""A cell's file: one network fine-tuned on one task with one seed, what came out and how."""

import json
from pathlib import Path

import numpy as np

from sfda.files import replacing

ACCURACY = ["group", "model", "task", "seed", "accuracy", "validation_accuracy", "learning_rate", "weight_decay",
            "seconds", "device"]  # fmt: skip
PROBE = ["group", "model", "task", "accuracy", "penalty", "choice_seconds", "device", "digest"]
# What is chosen once for all seeds, and measured beside it.
CHOICE = ["learning_rate", "weight_decay", "validation_accuracy", "probe_accuracy", "penalty", "choice_seconds"]
RECORD = {"group", "model", "task", "seed", "accuracy", "seconds", "device", "digest", "curve", *CHOICE}
CURVE = ["model", "task", "seed", "first_quarter", "second_quarter", "third_quarter", "last_quarter"]


def cell_path(cells, model, task, seed, untrained=False):
    """Where a cell is written: ``CELLS/pretrained/TASK/MODEL.SEED.npz``, of a twin below ``untrained``."""
    return Path(cells) / ("untrained" if untrained else "pretrained") / task / f"{model}.{seed}.npz"


def read_cell(path):
    """Record and probabilities (M, C) of a cell, or None where the file is damaged or another cell's."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            record, probabilities = json.loads(str(file["record"])), file["probabilities"]
        own = cell_path("", record["model"], record["task"], record["seed"]).parts[1:]
    except Exception:  # damaged bytes make their readers stumble in any way
        return None
    # Of a member that does not begin like an array, NumPy gives the bytes.
    whole = isinstance(probabilities, np.ndarray) and probabilities.ndim == 2 and RECORD <= record.keys()
    return (record, probabilities) if whole and Path(path).parts[-len(own) :] == own else None


def write_cell(path, record, probabilities):
    """Write a cell, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, record=np.array(json.dumps(record)), probabilities=probabilities)
