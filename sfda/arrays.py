"""Checked input and the few kernels that need it, for NumPy and torch alike.

Tensors on the CPU share their memory with NumPy and are computed there. Tensors
on an accelerator stay on it. torch is never imported unless a tensor or a
``device`` asks for it.

NumPy and SciPy bring a BLAS each, and the idle threads of one keep the cores busy
for a while when the other is called. Only SciPy's has symmetric products that
leave one triangle alone, so all linear algebra here goes through it.
"""

import itertools
import numbers
import sys
from contextlib import contextmanager

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.special


def is_torch(x):
    """True for a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def namespace(x):
    """The library of `x`: ``numpy`` or ``torch``."""
    return sys.modules["torch"] if is_torch(x) else np


def to_numpy(x):
    """`x` as a NumPy array, copied from an accelerator where it must be."""
    if not is_torch(x):
        return np.asarray(x)
    x, torch = x.detach().cpu(), namespace(x)
    if x.dtype.is_floating_point and x.dtype not in (torch.float16, torch.float32, torch.float64):
        x = x.float()  # NumPy has no bfloat16, nor what has eight bits
    return x.resolve_conj().resolve_neg().numpy()


def like(x, reference):
    """The NumPy array `x` in the library, and on the device, of `reference`."""
    if not is_torch(reference):
        return x
    return namespace(reference).as_tensor(x, device=reference.device)


def row_blocks(x, nbytes=2**22):
    """Slices that walk over the rows of `x` in pieces of about `nbytes`.

    The default fits a cache; an accelerator gets larger ones.
    """
    nbytes = 2**30 if is_torch(x) else nbytes
    step = max(1, nbytes // (8 * x.shape[1]))
    for start in range(0, x.shape[0], step):
        yield slice(start, start + step)


# --- checked input ---------------------------------------------------------


def as_features(features, *, name="features", dtype=None, device=None):
    """Check a matrix of features and bring it to the working precision.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy array, torch tensor or nested sequence of finite real numbers.
    name : str
        What error messages call it.
    dtype : None, "float64" or "float32", or the NumPy or torch dtype
        Working precision; None means float64. Numbers beyond the range of
        float32 are kept in float64.
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
        Not two-dimensional, empty, sparse or masked, not real numbers, NaN or
        infinite.
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
    xp = namespace(features)
    # A sum that is finite spares the N x D table of flags.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = ~xp.isfinite(features.sum(1))
    if suspicious.any():
        bad = suspicious & ~xp.isfinite(features).all(1)
        if bad.any() and dtype == "float32":
            return as_features(given, name=name, device=device)
        if bad.any():
            row = int(np.flatnonzero(to_numpy(bad))[0])
            kind = "NaN" if bool(xp.isnan(features[row]).any()) else "infinity"
            raise ValueError(
                f"{name}: expected finite numbers, found {kind}, first in row {row}"
            )
    return features


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


# --- kernels ---------------------------------------------------------------


def matmul(a, b):
    """a b, for a matrix `a` and a matrix or vector `b`."""
    if is_torch(a):
        return a @ b
    function = scipy.linalg.get_blas_funcs("gemv" if b.ndim == 1 else "gemm", (a, b))

    def fortran(m):  # BLAS's order without a copy: the matrix or its transpose
        return (m, 0) if m.flags.f_contiguous else (m.T, 1)

    if b.ndim == 1:
        m, trans = fortran(a)
        return function(1.0, m, b, trans=trans)
    # (a b)' = b' a' in BLAS's order is a b in ours.
    (left, trans_a), (right, trans_b) = fortran(b), fortran(a)
    return function(1.0, left, right, trans_a=1 - trans_a, trans_b=1 - trans_b).T


def gram(x):
    """x'x of rows `x`; of a NumPy array only the lower triangle."""
    if is_torch(x):
        return x.T @ x
    return scipy.linalg.get_blas_funcs("syrk", (x,))(1.0, x.T).T


def symmetric_times(a, v):
    """a v for a symmetric matrix whose lower triangle is given."""
    return a @ v if is_torch(a) else scipy.linalg.blas.dsymv(1.0, a.T, v, lower=0)


@contextmanager
def full_precision():
    """Multiplies float32 tensors in float32, whatever torch has been allowed.

    TF32, which GPUs may use in its place, keeps 11 of the 24 bits.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    settings = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    if all(hasattr(s, "fp32_precision") for s in settings):  # torch 2.9 and newer
        # Those that are full are not touched: once set here, torch would not tell its older name for them.
        before = [(s, s.fp32_precision) for s in settings if s.fp32_precision not in ("none", "ieee")]
        for s, _ in before:
            s.fp32_precision = "ieee"
        try:
            yield
        finally:
            for s, precision in before:
                s.fp32_precision = precision
        return
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)


def eigh(a):
    """Eigenvalues and eigenvectors of a symmetric matrix whose lower triangle is given.

    May overwrite the matrix.
    """
    if is_torch(a):
        return namespace(a).linalg.eigh(a)
    return scipy.linalg.eigh(a.T, lower=False, driver="evd", overwrite_a=True, check_finite=False)


def class_sums(x, y, n_classes, weights=None):
    """Weighted sum of the rows of `x` in each class, in float64; shape (C, D)."""
    if weights is None:
        weights = to_float64(namespace(x).ones_like(y))
    if is_torch(x):
        sums = to_float64(x.new_zeros((n_classes, x.shape[1])))
        for rows in row_blocks(x):
            sums.index_add_(0, y[rows], weights[rows, None] * x[rows])
        return sums
    sums = np.zeros((n_classes, x.shape[1]))
    # Large blocks, for each adds its C x D sums to the total.
    for rows in row_blocks(x, 2**24):
        block = y[rows], np.arange(len(y[rows]))
        members = scipy.sparse.csr_array((weights[rows], block), (n_classes, len(block[0])))
        sums += members @ x[rows]
    return sums


def class_residuals(x, means, y, *, overwrite=False):
    """Rows of `x` less their class's mean, in the place of `x` or in memory of their own."""
    if overwrite:
        result = x
    else:  # NumPy before 2 knows no devices
        result = x.new_empty(x.shape) if is_torch(x) else np.empty(x.shape, x.dtype)
    means = to_dtype(means, x.dtype)
    for rows in row_blocks(x):
        result[rows] = x[rows]
        result[rows] -= means[y[rows]]
    return result


def row_space(x, *, basis=False):
    """Coordinates (N, N) of the rows of `x` (N, D) in an orthonormal basis of their span.

    Inner products, hence every discriminant, are unchanged. With `basis`, for
    NumPy only, also returns the basis (D, N), None otherwise. May overwrite `x`.
    """
    if is_torch(x):
        return namespace(x).linalg.qr(x.T, mode="r").R.T, None
    options = {"overwrite_a": True, "check_finite": False}
    if basis:
        q, r = scipy.linalg.qr(x.T, mode="economic", **options)
    else:
        q, (_, r) = None, scipy.linalg.qr(x.T, mode="raw", **options)
    return r.T.copy(), q


def cholesky(a):
    """Lower Cholesky factor of `a`, of which it may overwrite the lower triangle.

    What lies above the diagonal is neither read nor defined. Raises
    ``numpy.linalg.LinAlgError`` if there is no factor.
    """
    if is_torch(a):
        factor, info = namespace(a).linalg.cholesky_ex(a)
    else:
        # a' is a in LAPACK's order: nothing is copied, and the upper factor
        # it leaves is the lower one in ours.
        upper, info = scipy.linalg.lapack.dpotrf(a.T, lower=0, clean=0, overwrite_a=1)
        factor = upper.T
    if int(info):
        raise np.linalg.LinAlgError("not positive definite")
    return factor


def solve_lower(factor, b):
    """inv(L) b for a lower triangle L: whitens columns where L is a Cholesky factor."""
    if is_torch(b):
        return namespace(b).linalg.solve_triangular(factor, b, upper=False)
    return scipy.linalg.solve_triangular(factor, b, lower=True, check_finite=False)


def solve_upper(factor, b):
    """inv(L') b for a lower triangle L."""
    if is_torch(b):
        return namespace(b).linalg.solve_triangular(factor.T, b, upper=True)
    return scipy.linalg.solve_triangular(factor, b, lower=True, trans=1, check_finite=False)


def to_dtype(x, dtype):
    """`x` in another precision, itself where it has that already."""
    return x.to(dtype) if is_torch(x) else x.astype(dtype, copy=False)


def to_float64(x):
    """`x` in float64, itself where it is that already."""
    return to_dtype(x, namespace(x).float64)


def softmax(x):
    """Softmax of each row."""
    return namespace(x).softmax(x, 1) if is_torch(x) else scipy.special.softmax(x, axis=1)


def log_softmax(x):
    """Logarithm of the softmax of each row, without overflow."""
    return namespace(x).log_softmax(x, 1) if is_torch(x) else scipy.special.log_softmax(x, axis=1)
