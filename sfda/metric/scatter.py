"""Class means and the scatter within classes: discriminants with and without their samples.

Notation: x_n in R^D with label y_n; class c has N_c samples, prior q_c = N_c / N and mean mu_c; the residuals are
r_n = x_n - mu_{y_n}; S_W is the pooled within-class covariance (divided by N). All functions take checked arrays
(:mod:`sfda.metric.inputs`).

Reference: W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eqs. 2 to 6. Leaving samples out is ours.
"""

import copy
import functools

import numpy as np

from sfda.metric.linalg import (
    cholesky,
    class_residuals,
    class_sums,
    eigh,
    gram,
    like,
    log_softmax_at,
    matmul,
    namespace,
    row_blocks,
    row_space,
    softmax,
    solve_lower,
    solve_upper,
    symmetric_times,
    to_dtype,
    to_float64,
    to_numpy,
    whitener,
)
from sfda.metric.shrinkage import MANY, best_shrinkage, telling

SHRINKAGE_FLOOR = 1e-10  # of the public code


class OutOfPrecision(ValueError):
    """The working precision does not bear the computation; a higher one may."""


class NoVariation(ValueError):
    """Every sample equals its class mean."""

    def __init__(self, counts):
        alone = f"labels: expected several samples of a class, found {len(counts)} classes of one each"
        alike = "features: expected variation within classes, found every sample equal to its class mean"
        super().__init__(alone if float(counts.max()) == 1 else alike)


class PooledScatter:
    """Class means and the scatter within classes: all that a discriminant needs of its samples.

    Parameters
    ----------
    means : array of shape (C, d)
        Class means, from any origin, in any orthonormal basis of a space that holds the features.
    counts : array of shape (C,), float64
        N_c.
    scatter : array of shape (d, d), float64
        S_W in that basis; its lower triangle is enough. It is used up, and None after :meth:`factor` or :meth:`rotate`.
    n_features : int
        D, the dimension of the original features: the ridge shares the trace of S_W among all D of them.
    dtype : NumPy or torch dtype
        Working precision of the products over samples.
    varies : callable
        Says whether any residual differs from zero; asked only where the scatter vanishes.

    Raises
    ------
    ValueError
        No variation within classes; or the scatter underflows.
    """

    def __init__(self, means, counts, scatter, n_features, dtype, *, varies):
        self.means = to_dtype(means, dtype)
        self.counts, self.scatter, self.n_features = counts, scatter, n_features
        self.n = float(counts.sum())
        limits = namespace(means).finfo(dtype)
        self._eps = float(limits.eps)
        trace = float(scatter.diagonal().sum())
        if trace * self._eps <= float(limits.tiny):
            if varies() or self._eps > 1e-10:
                raise OutOfPrecision("features: too small, their scatter underflows; rescale them")
            raise NoVariation(counts)
        self.mean_variance = trace / n_features  # tr(S_W) / D
        self._eigenvalues = None

    def power_iteration(self, start):
        """Sigma of the public code: three double rounds of power iteration from `start` (d,).

        The public code starts from the row sums of S_W, and so underestimates the largest eigenvalue when they
        point away from its eigenvector. Where they vanish, as for features that sum to a constant, it returns NaN
        or amplified rounding errors; here the column of the largest variance takes their place.
        """
        s, x = self.scatter, start
        if abs(x).max() <= 1e-10 * self.mean_variance * self.n_features:
            x = namespace(x).zeros_like(x)
            x[s.diagonal().argmax()] = 1
            x = symmetric_times(s, x)
        x = _unit(x)
        for _ in range(3):
            y = _unit(symmetric_times(s, x))
            x = _unit(symmetric_times(s, y))
        return float(x @ symmetric_times(s, y))

    def factor(self, shrinkage, *, left_out=0):
        """Lower Cholesky factor (d, d) of (1 - lambda) N/(N - left_out) S_W + lambda (tr S_W / D) I.

        It takes the place of the scatter, which is gone then: d x d numbers are as many as the samples' where N is
        near D.
        """
        keep, ridge = self._weights(shrinkage, left_out)
        a, self.scatter = self.scatter, None
        a *= keep
        diagonal = namespace(a).arange(len(a))
        a[diagonal, diagonal] += ridge
        variances = a.diagonal() + 0.0
        try:
            factor = cholesky(a)
        except np.linalg.LinAlgError:
            factor = None
        # Rounding errors may stand in for pivots that are zero: those of products
        # in float32, and without a ridge those of the factorisation.
        rounding = 8 * self._eps * len(a) ** 0.5 if self._rounds(shrinkage) else 0
        if factor is None or bool((factor.diagonal() ** 2 <= rounding * variances).any()):
            raise _singular(shrinkage)
        return factor

    def coefficients(self, factor):
        """inv(S) mu_c from a factor of S, one column a class; shape (d, C)."""
        means = to_float64(self.means).T
        with np.errstate(over="ignore", invalid="ignore"):
            b = solve_upper(factor, solve_lower(factor, means))
            _check_distances((means * b).sum(0))
        return to_dtype(b, self.means.dtype)

    def rotate(self):
        """Move the means to the eigenvectors of S_W, which are returned (d, d); S_W is used up.

        Another lambda is then as cheap as a scale; residuals must be moved, too.
        """
        self._eigenvalues, q = eigh(self.scatter)
        self.scatter = None
        q = to_dtype(q, self.means.dtype)
        self.means = matmul(self.means, q)
        return q

    def whitener(self, shrinkage):
        """Function of rows z to rows w with w'w = z' inv(A) z, A the scatter less one sample."""
        if self._eigenvalues is None:
            return whitener(to_dtype(self.factor(shrinkage, left_out=1), self.means.dtype))
        keep, ridge = self._weights(shrinkage, left_out=1)
        scale = to_dtype((keep * self._eigenvalues + ridge) ** -0.5, self.means.dtype)
        return lambda z: z * scale

    def least_left(self, shrinkage):
        """What 1 - h must exceed for the leverage h to have digits left to subtract."""
        return 1e4 * self._eps if self._rounds(shrinkage) else 0

    def _weights(self, shrinkage, left_out):
        """Factors of S_W and of the identity in what is factorised."""
        return (1 - shrinkage) * self.n / (self.n - left_out), shrinkage * self.mean_variance

    def _rounds(self, shrinkage):
        """True where rounding errors may exceed the ridge."""
        return self._eps > 1e-10 or shrinkage < SHRINKAGE_FLOOR


class LeftOut:
    """Judges samples by the discriminants without them, one left out at a time.

    lambda and the ridge lambda tr(S_W) / D stay those of all samples; the scatter of the others is divided by N - 1.
    Leaving n out then takes one rank-one term from A, and the Sherman-Morrison formula gives all N discriminants for
    O(N D^2).

    Parameters
    ----------
    scatter : PooledScatter
        Of all samples. Its scatter is used up unless it has been rotated.
    shrinkage : float
        lambda; ValueError where the scatter is singular at it. Below about 1e-6 with N < D, cancellation costs digits.
    """

    def __init__(self, scatter, shrinkage):
        self.shrinkage, self.counts, self.n = shrinkage, scatter.counts, scatter.n
        self._least_left = scatter.least_left(shrinkage)
        self.whiten = scatter.whitener(shrinkage)
        with np.errstate(over="ignore", invalid="ignore"):
            self.means = m = self.whiten(scatter.means)  # (C, d)
            self.products = to_float64(matmul(m, m.T))  # (C, C)
        _check_distances(self.products.diagonal())
        log_priors = namespace(m).log(self.counts / (self.n - 1))
        self._offsets = log_priors - self.products.diagonal() / 2
        self._own_offsets = self.products + self._offsets

    def __call__(self, r, y, z=None):
        """Discriminants (n, C) of samples with residuals r (n, d) and classes y (n,): logits of their classes.

        They are judged at the points z (n, d), by default where they are, at mu_y + r. Raises ValueError where the
        scatter without one of them is singular.
        """
        r, n = self.whiten(r), self.n
        xp, square = namespace(r), self.products.diagonal()
        own = xp.arange(len(y)), y
        rm, rr = to_float64(matmul(r, self.means.T)), to_float64(xp.einsum("nd,nd->n", r, r))
        if z is None:
            zm, zr = None, rr + rm[own]
        else:
            z = self.whiten(z)
            zm, zr = to_float64(matmul(z, self.means.T)), to_float64(xp.einsum("nd,nd->n", z, r))
        n_c = self.counts[y]
        alpha = (1 - self.shrinkage) / (n - 1) * n_c / (n_c - 1)
        # inv(A_-n) = inv(A) + g (inv(A) r)(inv(A) r)'
        left = 1 - alpha * rr
        if bool((left <= self._least_left).any()):
            raise _singular(self.shrinkage)
        g = alpha / left
        # zm - square / 2 + (g zr - g rm / 2) rm + log q, in place: of many classes memory is what costs. At the
        # sample itself zm is rm + products[y], whose second part is among the offsets.
        delta = rm * (g / -2)[:, None]
        delta += (g * zr + (zm is None))[:, None]
        delta *= rm
        delta += self._own_offsets[y] if zm is None else zm
        if zm is not None:
            delta += self._offsets
        # The sample's own class has lost it: mean mu - s r, one sample fewer.
        s, rm = 1 / (n_c - 1), rm[own]
        zm = rm + square[y] if zm is None else zm[own]
        delta[own] = (
            zm + g * zr * rm - s * zr * (1 + g * rr)
            - (square[y] - 2 * s * rm + s**2 * rr + g * (rm - s * rr) ** 2) / 2
            + xp.log((n_c - 1) / (n - 1))
        )  # fmt: skip
        return delta


class LabelledFeatures(PooledScatter):
    """Samples as class means plus residuals, with their scatter: the working form of the estimator and the scores.

    Parameters
    ----------
    residuals : array of shape (N, d)
        r_n, in any orthonormal basis of a space that holds the features.
    means, counts, n_features
        As in :class:`PooledScatter`.
    y : integer array of shape (N,)
        Classes 0..C-1, in the library of the residuals.
    residual_sums : array of shape (N,), optional
        Sums of the residuals in the original basis. Only the power iteration needs them: where it starts depends on
        the basis.
    """

    def __init__(self, residuals, means, y, counts, n_features, residual_sums=None):
        self.residuals, self.y, self._residual_sums = residuals, y, residual_sums
        # The N x D products run in the working precision, the d x d factorisations in float64: they cost little,
        # and a scatter that is nearly singular needs it.
        scatter = to_float64(gram(residuals))
        scatter /= len(residuals)
        varies = lambda: bool((residuals != 0).any())  # noqa: E731
        super().__init__(means, counts, scatter, n_features, residuals.dtype, varies=varies)

    @classmethod
    def from_features(cls, x, y, n_classes, *, reduce=True, basis=False):
        """From features (N, D) in their own basis, which are not overwritten, and classes (N,).

        For N < D all samples lie in an N-dimensional space, and unless `reduce` is False everything is N x N there.
        With `basis`, ``self.basis`` (D, N) leads back; it is None where nothing was reduced. The class means are
        taken from the mean of all samples.
        """
        (n, n_features), given = x.shape, x
        counts = to_float64(namespace(x).bincount(y, minlength=n_classes))
        reduced, q = reduce and n < n_features, None
        if reduced:
            x = x - x.mean(0)
            row_sums = x.sum(1)
            x, q = row_space(x, basis=basis)
        means = class_sums(x, y, n_classes) / counts[:, None]
        if not reduced:  # of a column that is constant, rounding would leave some variance
            xp, few = namespace(x), (x[:64] == x[0]).all(0)  # that may be
            low, high = (to_float64(end(x[:, few], 0)) for end in (xp.amin, xp.amax))
            means[:, few] = means[:, few].clip(low, high)
        x = class_residuals(x, means, y, overwrite=reduced)
        sums = row_sums - (class_sums(row_sums[:, None], y, n_classes)[:, 0] / counts)[y] if reduced else x.sum(1)
        means -= counts / n @ means
        self = cls(x, means, y, counts, n_features, sums)
        self.basis = q
        # So little may be the rounding of the means, and looks like perfectly separate classes.
        member = namespace(y).zeros_like(y[:n_classes])
        member[y] = like(np.arange(n, dtype=np.int64), y)
        few = given[member]  # one of each class
        if self.mean_variance <= 1e-20 * float((few * few).mean()) and bool((given == few[y]).all()):
            raise NoVariation(counts)
        return self

    @functools.cached_property
    def largest_eigenvalue(self):
        """Sigma, as :meth:`PooledScatter.power_iteration` finds it from the row sums of S_W."""
        sums = to_dtype(self._residual_sums, self.residuals.dtype)
        return self.power_iteration(to_float64(matmul(self.residuals.T, sums)) / len(self.y))

    def judged(self, judge, points=None, kept=lambda delta, y: softmax(delta), nbytes=2**24):
        """Probabilities (N, C) by `judge`, a function of residuals (n, d) and classes (n,) to logits, block by block.

        The samples are judged where they are, or at `points`: a function of a slice of the rows that returns the points
        (n, d) for them, since all at once would be another N x d numbers in memory. `kept` is what is kept of the
        logits (n, C) of a block. It has about `nbytes` with them, more on a GPU: many rows make a product faster, few
        leave what follows it in the cache.
        """
        d, result = self.residuals.shape[1], []
        for rows in row_blocks(self.residuals, nbytes * d // (d + len(self.means))):
            y, at = self.y[rows], (points(rows),) if points else ()
            result.append(kept(judge(self.residuals[rows], y, *at), y))
        return namespace(self.residuals).concatenate(result)

    def choose_shrinkage(self):
        """lambda of the largest leave-one-out likelihood, mean_n log p_-n(y_n | x_n), by :func:`best_shrinkage`.

        One eigendecomposition of S_W serves the whole search; the samples move to its basis and stay there.
        """
        q, n = self.rotate(), len(self.y)
        for rows in row_blocks(self.residuals, 2**24):
            self.residuals[rows] = matmul(self.residuals[rows], q)

        def likelihoods(grid):
            return [float(each) for each in self._own_left_out(grid).mean(0)]

        def some(grid):
            found, part = self._own_left_out(grid), copy.copy(self)
            rows, weights = telling(to_numpy(found), np.random.default_rng(0).random(n), n, to_numpy(found.mean(0)))
            part.residuals, part.y = self.residuals[like(rows, q)], self.y[like(rows, q)]
            estimates = lambda grid: [float(each) for each in like(weights, q) @ part._own_left_out(grid)]  # noqa: E731
            return [float(each) for each in found.mean(0)], estimates

        return best_shrinkage(likelihoods, some if n > MANY else None)

    def _own_left_out(self, grid):
        """log p_-n(y_n | x_n) at each lambda of a grid, (N, n_lambdas), of rotated samples."""
        # One discriminant at a time is in memory: of many classes it is C x C numbers.
        own = [self.judged(LeftOut(self, value), kept=log_softmax_at, nbytes=2**22) for value in grid]
        return namespace(self.residuals).stack(own, 1)


def _check_distances(squares):
    """Raise OutOfPrecision where products of the class means' squared sizes, in units of the scatter, overflow."""
    if not float(squares.max()) <= np.finfo(np.float64).max ** 0.5:
        reason = "features: the classes are too far apart for the variation within them, and distances overflow"
        raise OutOfPrecision(f"{reason}; rescale the columns")


def _singular(shrinkage):
    return OutOfPrecision(f"shrinkage: the within-class scatter is singular at {shrinkage:g}; expected a larger value")


def _unit(x):
    x = x / abs(x).max()  # its squares neither overflow nor vanish
    return x / namespace(x).linalg.norm(x)
