"""Checked input, for NumPy and torch alike: features, labels, vectors and numbers."""

import itertools
import numbers
import operator

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.special

from sfda.metric.linalg import is_torch, namespace, to_numpy

#: Features may be as large as this. In float64 sums of fourth powers are in range then, in float32 (which is
#: left for float64 beyond) sums of squares.
LARGEST = {"float64": 1e75, "float32": 1e12}

# --- checked input ---------------------------------------------------------


def as_features(features, *, name="features", dtype=None, device=None):
    """Check a matrix of features and bring it to the working precision.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy array, torch tensor or nested sequence of real numbers of at most
        1e75 in size, so that no formula has to fear that squares overflow.
    name : str
        What error messages call it.
    dtype : None, "float64" or "float32", or the NumPy or torch dtype
        Working precision; None means float64. Numbers larger than 1e12 are
        kept in float64.
    device : None, str or torch.device
        Where to compute; None means where the features are.

    Returns
    -------
    array of shape (N, D)
        NumPy, or torch on an accelerator. May share memory with `features`:
        never write to it.

    Raises
    ------
    ValueError
        Not two-dimensional, empty, sparse or masked, not real numbers, NaN,
        infinite or larger than 1e75.
    """
    dtype, given = working_dtype(dtype), features
    if device is not None:
        features = _move(features, name, device)
    if is_torch(features):
        features = _check_shape(plain_tensor(features, name), name)
        if features.is_complex():
            raise ValueError(f"{name}: expected real numbers, got dtype {features.dtype}")
        # Apple's MPS has no float64, so its tensors are scored on the CPU.
        if features.device.type in ("cpu", "mps"):
            features = to_numpy(features.cpu().to(getattr(namespace(features), dtype)))
        else:
            features = features.to(getattr(namespace(features), dtype))
    else:
        features = _real_numpy(features, name)
        with np.errstate(over="ignore"):
            features = _check_shape(features, name).astype(dtype, copy=False)
    largest = LARGEST[dtype]
    if bool((features.min() >= -largest) & (features.max() <= largest)):  # not of NaN either
        return features
    if dtype == "float32":
        return as_features(given, name=name, device=device)
    odd = to_numpy(~((features >= -largest) & (features <= largest)).all(1))
    row = int(np.flatnonzero(odd)[0])
    found = to_numpy(features[row])
    if np.isfinite(found).all():
        raise ValueError(
            f"{name}: expected numbers of at most {largest:g} in size, found {found[np.abs(found).argmax()]:g} "
            f"in row {row}; rescale them"
        )
    kind = "NaN" if np.isnan(found).any() else "infinity"
    raise ValueError(f"{name}: expected finite numbers, found {kind}, first in row {row}")


def as_labels(labels, n_samples, *, name="labels", least=2):
    """Check class labels and number them 0..C-1.

    Parameters
    ----------
    labels : array-like of shape (N,)
        Integers (gaps are fine), strings, booleans or whole floats; NumPy,
        torch or a sequence.
    n_samples : int
        N, the number of rows of the features.
    least : int, default 2
        So many classes there must be.

    Returns
    -------
    y : ndarray of int64, shape (N,)
    classes : ndarray of shape (C,)
        The distinct labels, sorted; ``classes[y]`` gives the labels back.

    Raises
    ------
    ValueError
        Wrong shape or length, missing or fractional values, mixed types, or
        fewer than two classes.
    """
    labels = _as_vector(labels, name)
    if labels.ndim != 1:
        hint = "; turn one-hot rows into labels with argmax(1)" if labels.ndim == 2 else ""
        raise ValueError(
            f"{name}: expected 1 dimension, got {labels.ndim} (shape {labels.shape}){hint}"
        )
    if len(labels) != n_samples:
        raise ValueError(
            f"{name}: expected one label for each of the {n_samples} rows of features, "
            f"got {len(labels)}"
        )
    if labels.dtype.kind == "f":
        odd = ~(np.isfinite(labels) & (labels == np.trunc(labels)))
        if odd.any():
            row = int(np.flatnonzero(odd)[0])
            raise ValueError(_not_a_class(name, labels[row], row))
    elif labels.dtype.kind not in "iubUSO":
        raise ValueError(f"{name}: expected integers or strings, got dtype {labels.dtype}")
    if labels.dtype.kind == "O":
        y, classes = _numbered_objects(labels, name)
    else:
        classes, y = np.unique(labels, return_inverse=True)
    if len(classes) < least:
        raise ValueError(
            f"{name}: expected at least {least} classes, got 1 ({classes[0]!s}) in {n_samples} rows"
        )
    return y, classes


def _as_vector(labels, name):
    """Labels as a NumPy array in which those that differ still do."""
    if labels is None:
        raise ValueError(f"{name}: expected one label a row of features, got None")
    if np.ma.is_masked(labels):
        raise ValueError(f"{name}: expected one label a row of features, got a masked array")
    if is_torch(labels):
        return to_numpy(plain_tensor(labels, name, "vector"))
    as_objects = False
    if isinstance(labels, (list, tuple)):
        if any(v is np.ma.masked for v in labels):
            raise ValueError(f"{name}: expected one label a row of features, found a masked one")
        kinds = {str if isinstance(v, str) else bytes if isinstance(v, bytes) else None for v in labels}
        if len(kinds) > 1:
            raise ValueError(f"{name}: expected numbers or strings, got a mixture of both")
        labels = [to_numpy(v) if is_torch(v) else v for v in labels]
        # NumPy cuts zeros off the ends of strings, and in floats large integers are rounded.
        zero = {str: "\0", bytes: b"\0"}.get(*kinds) if kinds else None
        as_objects = zero is not None and any(v.endswith(zero) for v in labels)
    array = _as_array(labels, name, "one label a row")
    if isinstance(labels, list) and array.ndim == 1 and array.dtype.kind == "f":
        as_objects = any(isinstance(v, numbers.Integral) and abs(int(v)) > 2**53 for v in labels)
    if as_objects:
        array = np.empty(len(labels), dtype=object)
        array[:] = labels
    return array.astype(object) if array.dtype.kind == "T" else array


def _numbered_objects(labels, name):
    """Numbers 0..C-1, and the classes, of Python objects."""
    try:
        with np.errstate(invalid="ignore"):
            if any(v is None or v != v for v in labels):
                raise TypeError
            fractional = [isinstance(v, numbers.Number) and v % 1 != 0 for v in labels]
        if not any(fractional):
            classes, y = np.unique(labels, return_inverse=True)
            if not all(a < b for a, b in itertools.pairwise(classes)):  # sets have an order, of a kind
                raise TypeError
    except Exception:  # what objects that are no labels do when compared is up to them
        raise ValueError(
            f"{name}: expected integers or strings without missing values, "
            "got objects that cannot be sorted"
        ) from None
    if any(fractional):
        row = fractional.index(True)
        raise ValueError(_not_a_class(name, labels[row], row))
    return y, classes


def _not_a_class(name, value, row):
    return (
        f"{name}: expected classes, found {value} in row {row}; a regression target cannot be scored"
    )


def working_dtype(dtype):
    """Name of the working precision: "float32" or "float64", the latter for None."""
    if dtype is None:
        return "float64"
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype).removeprefix("torch.")
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype: expected float32 or float64, got {name}")
    return name


def _move(features, name, device):
    if not is_torch(features):
        if str(device).split(":")[0] in ("cpu", "mps"):  # computed by NumPy in either case
            return features
        # torch takes no reversed, foreign-endian or read-only arrays.
        features = _check_shape(_real_numpy(features, name), name).astype(np.float64, order="C")
    try:
        import torch

        return torch.as_tensor(features, device=device)
    except ImportError:
        raise ValueError(f"device: {device!s} needs torch, which is not installed") from None
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device: cannot compute on {device!s}: {reason}") from None


def _real_numpy(features, name):
    if np.ma.is_masked(features):
        raise ValueError(f"{name}: expected all numbers, got a masked array; fill it or drop its rows")
    if scipy.sparse.issparse(features):
        raise ValueError(f"{name}: expected a dense matrix, got a sparse one; use .toarray()")
    if isinstance(features, (list, tuple)):
        features = [to_numpy(plain_tensor(row, name)) if is_torch(row) else row for row in features]
    features = _as_array(features, name, "a matrix")
    if features.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers, got dtype {features.dtype}")
    return features


def _as_array(values, name, expected):
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{name}: expected {expected}, got a ragged sequence") from None
    except Exception as error:  # an object's own conversion may fail in any way
        raise ValueError(
            f"{name}: expected {expected}, got {type(values).__name__}, which is no array "
            f"({type(error).__name__}: {error})"
        ) from error


def plain_tensor(x, name, kind="matrix"):
    """A tensor without its history; ValueError unless its numbers lie in memory one by one."""
    x = x.detach()
    if x.is_nested:
        raise ValueError(f"{name}: expected one size for all rows, got a nested tensor")
    if x.layout != namespace(x).strided:
        raise ValueError(f"{name}: expected a dense {kind}, got a sparse one; use .to_dense()")
    if x.is_quantized:
        raise ValueError(f"{name}: expected numbers, got a quantised tensor; use .dequantize()")
    if x.is_meta:
        raise ValueError(f"{name}: expected numbers, got a tensor on the meta device")
    return x


def _check_shape(features, name):
    shape = tuple(features.shape)
    if len(shape) != 2:
        hint = "; average over the image positions first" if len(shape) == 4 else ""
        raise ValueError(
            f"{name}: expected 2 dimensions (samples x features), "
            f"got {len(shape)} (shape {shape}){hint}"
        )
    if 0 in shape:
        raise ValueError(f"{name}: expected at least one row and one column, got shape {shape}")
    return features


def as_given(result, features):
    """`result` as the caller gave `features`: library, device, floating dtype."""
    if is_torch(features):
        torch = namespace(features)
        dtype = features.dtype if features.dtype.is_floating_point else torch.float64
        return torch.as_tensor(result).to(device=features.device, dtype=dtype)
    dtype = getattr(features, "dtype", None)
    return result.astype(dtype, copy=False) if getattr(dtype, "kind", "") == "f" else result


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
