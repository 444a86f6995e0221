"""Checked input, for NumPy and torch alike: features, labels, vectors and numbers."""

import functools
import itertools
import math
import numbers
import operator
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured
from sklearn.utils import check_array

from sfda.metric.linalg import is_torch, namespace, row_blocks, to_dtype, to_numpy

#: Features may be as large as this. In float64 sums of fourth powers are in range then, in float32 (which is
#: left for float64 beyond) sums of squares.
LARGEST = {"float64": 1e75, "float32": 1e12}


def as_features(features, *, name="features", dtype=None, device=None):
    """Check a matrix of features and bring it to the working precision.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy array, torch tensor, data frame or nested sequence of real numbers of at most 1e75 in size, so that no
        formula has to fear that squares overflow.
    name : str
        What error messages call it.
    dtype : None, "float64" or "float32", or the NumPy or torch dtype
        Working precision; None means float64. Numbers larger than 1e12 are kept in float64.
    device : None, str or torch.device
        Where to compute; None means where the features are.

    Returns
    -------
    array of shape (N, D)
        NumPy, or torch on an accelerator. May share memory with `features`: never write to it.

    Raises
    ------
    ValueError
        Not two-dimensional, empty, sparse or masked, not real numbers, NaN, infinite or larger than 1e75.
    """
    dtype = working_dtype(dtype)
    x = given = _matrix(features, name)
    if device is not None:
        x = _matrix(_move(x, device), name)
    # Apple's MPS has no float64, so its tensors are scored on the CPU.
    if is_torch(x) and x.device.type in ("cpu", "mps"):
        x = to_numpy(x.cpu())
    with np.errstate(over="ignore"):  # infinity is found below
        x = to_dtype(x, getattr(namespace(x), dtype))
    largest = LARGEST[dtype]
    # Not of NaN either.
    if all(bool((x[rows].min() >= -largest) & (x[rows].max() <= largest)) for rows in row_blocks(x, 2**20)):
        return x
    if dtype == "float32":
        return as_features(given, name=name, device=device)
    row = int(np.flatnonzero(to_numpy(~((x >= -largest) & (x <= largest)).all(1)))[0])
    found = to_numpy(x[row])
    if np.isfinite(found).all():
        most = found[np.abs(found).argmax()]
        expected = f"{name}: expected numbers of at most {largest:g} in size"
        raise ValueError(f"{expected}, found {most:g} in row {row}; rescale them")
    kind = "NaN" if np.isnan(found).any() else "infinity"
    raise ValueError(f"{name}: expected finite numbers, found {kind}, first in row {row}")


def as_labels(labels, n_samples, *, name="labels", least=2, beside=None):
    """Check class labels and number them 0..C-1.

    Parameters
    ----------
    labels : array-like of shape (N,)
        Integers (gaps are fine), strings, booleans or whole floats; NumPy, torch or a sequence.
    n_samples : int
        N, the number of rows of the features.
    least : int, default 2
        So many classes there must be.
    beside : optional
        The features as they were given: those of pandas have their rows in an order.

    Returns
    -------
    y : ndarray of int64, shape (N,)
    classes : ndarray of shape (C,)
        The distinct labels, sorted; ``classes[y]`` gives the labels back.

    Raises
    ------
    ValueError
        Wrong shape or length, missing or fractional values, mixed types, fewer than two classes, or a Series whose
        index is that of a frame of features in another order.
    """
    labels = _vector(in_order(labels, beside, name), name)
    if labels.ndim != 1:
        raise ValueError(f"{name}: expected 1 dimension, got {labels.ndim} (shape {labels.shape}){_remedy(labels)}")
    if len(labels) != n_samples:
        raise ValueError(f"{name}: expected one label for each of the {n_samples} rows of features, got {len(labels)}")
    y, classes = _numbered(labels, name)
    if len(classes) < least:
        raise ValueError(f"{name}: expected at least {least} classes, got 1 ({classes[0]!s}) in {n_samples} rows")
    return y, classes


def _remedy(matrix):
    """What to do with labels in a matrix, by what is in it."""
    if matrix.ndim == 2 and 1 in matrix.shape:
        return "; flatten them with np.ravel"
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub" or (matrix < 0).any():
        return ""
    several = np.flatnonzero((matrix != 0).sum(1) != 1)
    if not len(several):
        return "; turn one-hot rows into labels with argmax(1)"
    if np.isin(matrix, (0, 1)).all():
        found = f"row {several[0]} is of {int(matrix[several[0]].sum())}"
        return f"; each row must be of one class, {found}: choose one, or score class by class"
    likely = np.allclose(matrix.sum(1, dtype=float), 1, atol=0.01)
    return "; of rows of probabilities take the likeliest class, argmax(1)" if likely else ""


def out_of_order(one, other):
    """Where two of pandas list the same rows in different orders, in words; None where they do not."""
    if not (hasattr(one, "iloc") and hasattr(other, "iloc")) or set(one.index) != set(other.index):
        return None
    rows = enumerate(zip(one.index, other.index))
    return next((f"{a!r} and {b!r} at position {i}" for i, (a, b) in rows if a != b), None)


def check_networks(features_by_model, labels):
    """Raise ValueError unless networks have features, and all frames, the labels too, list the rows in one order."""
    if not isinstance(features_by_model, Mapping):
        kind = type(features_by_model).__name__
        raise ValueError(f"features_by_model: expected a mapping from names to features, got {kind}")
    if not features_by_model:
        raise ValueError("features_by_model: expected at least one network, got none")
    frames = {f"features_by_model[{name!r}]": each for name, each in features_by_model.items()} | {"labels": labels}
    frames = [(name, each) for name, each in frames.items() if hasattr(each, "iloc")]
    for (before, one), (name, other) in itertools.combinations(frames, 2):
        if (apart := out_of_order(one, other)) is not None:
            raise ValueError(f"{name}: expected the rows of {before} in their order, got {apart}; use .loc")


def in_order(labels, features, name):
    """`labels` with arrays in the place of tensors, none missing, and in the order of a frame of features."""
    if (apart := out_of_order(features, labels)) is not None:
        expected = "expected the rows of the features in their order"
        raise ValueError(f"{name}: {expected}, got {apart}; use .loc or reset_index")
    labels = each = plain(labels, name, "vector")
    if not isinstance(labels, list):
        each = _as_array(labels, name, "one label a row", np.asarray)
        each = each.ravel() if each.dtype.kind in "fOmM" and each.ndim and each.size == len(each) else []
    with np.errstate(invalid="ignore"):
        for row, value in enumerate(each):
            if _missing(value):
                raise ValueError(f"{name}: expected a class in every row, found none ({value}) in row {row}; drop it")
    return labels


def _missing(value):
    """Whether a label says that there is none: None, NaN, NaT or pandas' NA."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError) as error:  # NA is neither; an array has several answers
        return isinstance(error, TypeError)


def _vector(labels, name):
    """Labels as a NumPy array in which those that differ still do."""
    if labels is None:
        raise ValueError(f"{name}: expected one label a row of features, got None")
    labels, as_objects = plain(labels, name, "vector"), False
    if isinstance(labels, list):
        kinds = {str if isinstance(v, str) else bytes if isinstance(v, bytes) else None for v in labels}
        if len(kinds) > 1:
            raise ValueError(f"{name}: expected numbers or strings, got a mixture of both")
        # NumPy cuts zeros off the ends of strings, and in floats large integers are rounded.
        zero = {str: "\0", bytes: b"\0"}.get(*kinds) if kinds else None
        as_objects = zero is not None and any(v.endswith(zero) for v in labels)
    array = _as_array(labels, name, "one label a row", np.asarray)
    if isinstance(labels, list) and array.ndim == 1 and array.dtype.kind == "f":
        as_objects = any(isinstance(v, numbers.Integral) and abs(int(v)) > 2**53 for v in labels)
    if as_objects:
        array = np.empty(len(labels), dtype=object)
        array[:] = labels
    return array.astype(object) if array.dtype.kind == "T" else array


def _numbered(labels, name):
    """Numbers 0..C-1, and the classes, of a vector of labels."""
    if labels.dtype.kind not in "fiubUSO":
        raise ValueError(f"{name}: expected integers or strings, got dtype {labels.dtype}")
    fractional = np.zeros(len(labels), bool)
    if labels.dtype.kind == "f":
        fractional = ~(np.isfinite(labels) & (labels == np.trunc(labels)))
    try:
        if labels.dtype.kind == "O":
            fractional = np.array([isinstance(v, numbers.Number) and v % 1 != 0 for v in labels])
        if not fractional.any():
            classes, y = np.unique(labels, return_inverse=True)
            if labels.dtype.kind == "O" and not all(a < b for a, b in itertools.pairwise(classes)):
                raise TypeError  # sets have an order, of a kind
            return y, classes
    except Exception:  # what objects that are no labels do when compared is up to them
        raise ValueError(f"{name}: expected integers or strings, got objects that cannot be sorted") from None
    row = int(np.flatnonzero(fractional)[0])
    found = f"found {labels[row]} in row {row}"
    raise ValueError(f"{name}: expected classes, {found}; a regression target cannot be scored")


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


def _move(x, device):
    if not is_torch(x):
        if str(device).split(":")[0] in ("cpu", "mps"):  # computed by NumPy in either case
            return x
        # torch takes no reversed, foreign-endian or read-only arrays.
        x = x.astype(np.float64, order="C")
    try:
        import torch

        return torch.as_tensor(x, device=device)
    except ImportError:
        raise ValueError(f"device: {device!s} needs torch, which is not installed") from None
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device: cannot compute on {device!s}: {str(error).splitlines()[0]}") from None


def _matrix(features, name):
    """A plain tensor or array of real numbers with two dimensions."""
    x = plain_tensor(features, name) if is_torch(features) else numeric(features, name)
    if is_torch(x) and x.is_complex():
        raise ValueError(f"{name}: expected real numbers, got dtype {x.dtype}")
    shape = tuple(x.shape)
    if len(shape) != 2:
        hint = "; average over the image positions first" if len(shape) == 4 else ""
        raise ValueError(f"{name}: expected 2 dimensions (samples x features), got {len(shape)} (shape {shape}){hint}")
    if 0 in shape:
        raise ValueError(f"{name}: expected at least one row and one column, got shape {shape}")
    return x


def numeric(values, name):
    """What :func:`sklearn.utils.check_array` makes of numbers in any container, of any shape and size."""
    anything = {"ensure_2d": False, "allow_nd": True, "ensure_all_finite": False}
    check = functools.partial(check_array, **anything, ensure_min_samples=0, ensure_min_features=0)
    x = unboxed(values, name)
    if not (isinstance(x, np.ndarray) and x.dtype.kind in "fiub"):  # of such an array it makes nothing else
        x = _as_array(x, name, "numbers", check)
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers, got dtype {x.dtype}")
    return x


def unboxed(values, name):
    """Arrays in place of tensors, of columns of arrays or lists, and of numbers that only other libraries know."""
    values = plain(values, name)
    if hasattr(values, "dtypes") and any(hasattr(kind, "fill_value") for kind in np.atleast_1d(values.dtypes)):
        return values.sparse.to_dense()
    columns = getattr(values, "columns", None)
    if isinstance(values, np.ndarray) or getattr(getattr(values, "dtype", None), "kind", "") == "V":
        x = np.asarray(values)  # JAX has bfloat16, too
    elif columns is not None and len(columns) == 1:
        x = np.asarray(values.column(0) if hasattr(values, "column") else values[columns[0]])  # pyarrow; others
    elif hasattr(values, "to_numpy") and columns is None:
        x = np.asarray(values)  # a Series, of pandas or polars, or an array of pyarrow
    else:
        return values
    if x.dtype.kind == "V":  # of named columns, or of ml_dtypes: bfloat16 and smaller
        return x.astype(np.float32) if x.dtype.names is None else structured_to_unstructured(x)
    if x.ndim != 1 or x.dtype.kind != "O" or not any(isinstance(row, (Sequence, np.ndarray)) for row in x[:9]):
        return values
    lengths = {np.shape(row): i for i, row in reversed(list(enumerate(x)))}
    if len(lengths) > 1:
        (a, i), (b, k) = sorted(lengths.items(), key=operator.itemgetter(1))[:2]
        raise ValueError(f"{name}: expected rows of one shape, got {a} in row {i} and {b} in row {k}")
    return values if isinstance(x[0], str) else np.stack([np.asarray(row) for row in x])


def _as_array(values, name, expected, make):
    try:
        return make(values)
    except Exception as error:  # an object's own conversion may fail in any way
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{name}: expected {expected}, got {type(values).__name__}: {reason}") from error


def plain(values, name, kind="matrix"):
    """`values` with arrays in the place of tensors, and of a list's tensors; ValueError where some are masked."""
    if is_torch(values):
        return to_numpy(plain_tensor(values, name, kind))
    if np.ma.is_masked(values):
        raise ValueError(f"{name}: expected a value in every place, found a masked one; fill it or drop its row")
    if isinstance(values, (list, tuple)):
        return [plain(v, name, kind) if is_torch(v) or isinstance(v, np.ma.MaskedArray) else v for v in values]
    return np.asarray(values) if isinstance(values, np.ndarray) else values  # of np.matrix, too


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


def as_confidence(confidence, n_samples):
    """Return `confidence` as a float array of shape (n_samples,) of numbers in [0, 1]; else ValueError."""
    p = numeric(confidence, "confidence").astype(np.float64)
    if p.shape != (n_samples,):
        raise ValueError(f"confidence: expected shape ({n_samples},), got {p.shape}")
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ValueError(f"confidence: expected values in [0, 1], found {p[row]} in row {row}")
    return p


def check_probabilities(p, n_classes):
    """Raise ValueError unless each row of the checked matrix `p` holds a probability for each class."""
    if p.shape[1] != n_classes:
        raise ValueError(f"posterior: expected {n_classes} columns, one a class, got {p.shape[1]}")
    # Half-precision rows sum to 1 up to about a hundredth.
    odd = to_numpy((p < 0).any(1) | (abs(p.sum(1) - 1) > 0.01))
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise ValueError(f"posterior: expected rows of probabilities that sum to 1, found otherwise in row {row}")


def as_given(result, features):
    """`result` as the caller gave `features`: library, device, floating dtype."""
    if is_torch(features):
        torch = namespace(features)
        dtype = features.dtype if features.dtype.is_floating_point else torch.float64
        return torch.as_tensor(result).to(device=features.device, dtype=dtype)
    dtype = getattr(features, "dtype", None)
    return result.astype(dtype, copy=False) if getattr(dtype, "kind", "") == "f" else result


def check_pair(scores, accuracies):
    """Return both arguments as float arrays, one number per network; Series must list them in one order."""
    if (apart := out_of_order(scores, accuracies)) is not None:
        raise ValueError(f"scores and accuracies must list the networks in the same order, got {apart}")
    scores, accuracies = check_vector(scores, "scores"), check_vector(accuracies, "accuracies")
    if scores.size != accuracies.size:
        got = f"got {scores.size} scores and {accuracies.size} accuracies"
        raise ValueError(f"scores and accuracies must have the same length, one number per network, {got}")
    return scores, accuracies


def check_vector(values, name):
    """Return `values` as a one-dimensional float array of two finite numbers or more."""
    vector = numeric(values, name)
    with np.errstate(over="ignore"):  # infinity is found below
        vector = vector.astype(float)
    if vector.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {vector.shape}")
    if vector.size < 2:
        raise ValueError(f"{name} must hold at least 2 numbers, got {vector.size}")
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
    """Return `level`, which must lie between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, both excluded, got {level!r}")
    return level


def check_posterior(posterior):
    """Raise ValueError unless `posterior` names one."""
    if not isinstance(posterior, str) or posterior not in ("resubstitution", "leave-one-out"):
        raise ValueError(f"posterior: expected 'resubstitution' or 'leave-one-out', got {posterior!r}")


def check_shrinkage(shrinkage, strength, *, names=("leave-one-out",)):
    """Raise ValueError unless `shrinkage` is None, a number in [0, 1] or one of `names`."""

    def number(value):
        return isinstance(value, numbers.Real) and not isinstance(value, bool)

    named = isinstance(shrinkage, str) and shrinkage in names
    if not (shrinkage is None or named or (number(shrinkage) and 0 <= shrinkage <= 1)):
        expected = ", ".join(["None", *map(repr, names)])
        raise ValueError(f"shrinkage: expected {expected} or a number in [0, 1], got {shrinkage!r}")
    if not (number(strength) and 0 <= strength < math.inf):
        raise ValueError(f"strength: expected a finite number >= 0, got {strength!r}")


def check_leave_one_out(counts, classes):
    """Raise ValueError naming the classes that would vanish with a sample."""
    small = np.flatnonzero(np.asarray(counts) < 2)
    if len(small):
        names = ", ".join(repr(c) for c in classes[small[:5]].tolist())
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        raise ValueError(f"labels: leave-one-out needs at least 2 samples in every class, found 1 in {names}{more}")
