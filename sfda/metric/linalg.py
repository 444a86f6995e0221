"""Few kernels of linear algebra, for NumPy and torch alike.

Tensors on the CPU share their memory with NumPy and are computed there. Tensors on an accelerator stay on it. torch
is never imported unless a tensor or a ``device`` asks for it.

NumPy and SciPy bring a BLAS each, and the idle threads of one keep the cores busy for a while when the other is
called. Only SciPy's has symmetric products that leave one triangle alone, so all linear algebra here goes through
it.
"""

import sys
from contextlib import contextmanager

import numpy as np
import scipy.linalg
import scipy.sparse


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
    result = x if overwrite else x.new_empty(x.shape) if is_torch(x) else np.empty(x.shape, x.dtype)
    means, subtract = to_dtype(means, x.dtype), namespace(x).subtract
    for rows in row_blocks(x, 2**20):
        subtract(x[rows], means[y[rows]], out=result[rows])
    return result


def row_space(x, *, basis=False):
    """Coordinates (N, N) of the rows of `x` (N, D) in an orthonormal basis of their span.

    Inner products, hence every discriminant, are unchanged. With `basis`, for NumPy only, also returns the basis
    (D, N), None otherwise. May overwrite `x`.
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

    What lies above the diagonal is neither read nor defined. Without a factor it raises ``numpy.linalg.LinAlgError``.
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


def whitener(factor):
    """A function of rows z to the rows inv(L) z, for a lower triangle L."""
    if is_torch(factor):
        return lambda z: solve_lower(factor, z.T).T
    # Its inverse is made for once: products with it take half the time of solving.
    inverse = scipy.linalg.get_lapack_funcs("trtri", (factor,))(factor.T, lower=0)[0]
    return lambda z: scipy.linalg.get_blas_funcs("trmm", (inverse,))(1.0, inverse, z.T, trans_a=1).T


def to_dtype(x, dtype):
    """`x` in another precision, itself where it has that already."""
    return x.to(dtype) if is_torch(x) else x.astype(dtype, copy=False)


def to_float64(x):
    """`x` in float64, itself where it is that already."""
    return to_dtype(x, namespace(x).float64)


def softmax(x):
    """Softmax of each row, in the place of `x`."""
    xp = namespace(x)
    x -= xp.amax(x, 1)[:, None]
    xp.exp(x, out=x)
    x /= x.sum(1)[:, None]
    return x


def softmax_at(x, columns):
    """Softmax of each row at one column of each, shape (n,); `x` is used up."""
    xp = namespace(x)
    x -= xp.amax(x, 1)[:, None]
    xp.exp(x, out=x)
    return x[xp.arange(len(columns)), columns] / x.sum(1)


def log_softmax_at(x, columns):
    """Its logarithm, without underflow; `x` is used up."""
    xp = namespace(x)
    x -= xp.amax(x, 1)[:, None]
    own = x[xp.arange(len(columns)), columns]
    return own - xp.log(xp.exp(x, out=x).sum(1))


def log_softmax(x):
    """Logarithm of the softmax of each row, without overflow; in the place of `x`."""
    xp = namespace(x)
    x -= xp.amax(x, 1)[:, None]
    x -= xp.log(xp.exp(x).sum(1))[:, None]
    return x
