"""Checked vectors and numbers."""

import operator

import numpy as np

from sfda.arrays import is_torch, to_numpy


def check_pair(scores, accuracies, least=2):
    """Return both arguments as float arrays, one number per network."""
    _check_same_order(scores, accuracies)
    scores = check_vector(scores, "scores", least)
    accuracies = check_vector(accuracies, "accuracies", least)
    if scores.size != accuracies.size:
        raise ValueError(
            "scores and accuracies must have the same length, one number per network, "
            f"got {scores.size} scores and {accuracies.size} accuracies"
        )
    return scores, accuracies


def _check_same_order(scores, accuracies):
    """Refuse two pandas Series whose labels show that their rows do not match."""
    if not (hasattr(scores, "iloc") and hasattr(accuracies, "iloc")):
        return
    labels, others = list(scores.index), list(accuracies.index)
    rows = [i for i, (label, other) in enumerate(zip(labels, others)) if label != other]
    if rows and set(labels) == set(others):
        row = rows[0]
        raise ValueError(
            "scores and accuracies must list the networks in the same order, "
            f"got {labels[row]!r} and {others[row]!r} at position {row}"
        )


def check_vector(values, name, least=2):
    """Return `values` as a one-dimensional float array of finite numbers."""
    if np.ma.is_masked(values):
        raise ValueError(f"{name} must be a sequence of numbers: some are masked")
    try:
        if isinstance(values, (list, tuple)):
            values = [to_numpy(v) if is_torch(v) else v for v in values]
        vector = to_numpy(values)
        given = vector.dtype.kind
        if given not in "fiubOUS":
            raise TypeError(f"got dtype {vector.dtype}")
        if given == "O" and any(isinstance(v, (str, bytes)) for v in vector.ravel()):
            raise TypeError("some are strings")
        if given in "US":
            for text in vector.ravel().tolist():
                float(text)  # of one that is no number Python says which
            raise TypeError("they are strings")
        with np.errstate(over="ignore"):  # infinity is found below
            vector = vector.astype(float)
    except Exception as error:  # objects may fail to be numbers in any way
        raise ValueError(f"{name} must be a sequence of numbers: {error}") from error
    if vector.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {vector.shape}")
    if vector.size < least:
        raise ValueError(f"{name} must hold at least {least} numbers, got {vector.size}")
    if not np.isfinite(vector).all():
        first = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise ValueError(f"{name} must be finite, got {vector[first]} at position {first}")
    return vector


def check_integer(value, name, low, high=None):
    """Return `value` as an int from `low` to `high`."""
    expected = f"an integer from {low} to {high}" if high else f"an integer of {low} or more"
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be {expected}, got {value!r}") from None
    if number < low or (high and number > high):
        raise ValueError(f"{name} must be {expected}, got {number}")
    return number


def check_level(level):
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, both excluded, got {level!r}")
    return level
