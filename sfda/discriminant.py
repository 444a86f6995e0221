"""The regularised Fisher discriminant: one Cholesky factorisation, no eigenproblem.

Notation: x_n in R^D with label y_n; class c has N_c samples, prior
q_c = N_c / N and mean mu_c; S_W is the pooled within-class covariance (divided
by N); the discriminant uses S = (1 - lambda) S_W + lambda (tr S_W / D) I.

Reference: W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eqs. 2 to 6.
"""

import functools
import math
import numbers

import numpy as np
import scipy.linalg
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sfda.arrays import (
    cholesky,
    class_residuals,
    class_sums,
    eigh,
    gram,
    log_softmax,
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
)

SHRINKAGE_FLOOR = 1e-10  # of the public code


class LabelledFeatures:
    """Samples as class means plus residuals, x_n = mu_{y_n} + r_n.

    The working form behind the estimator and the scores. Works on checked
    arrays (:mod:`sfda.arrays`).

    Parameters
    ----------
    residuals : array of shape (N, d)
        r_n, in any orthonormal basis of a space that holds the features.
    means : array of shape (C, d)
        Class means in that basis, from any origin.
    y : integer array of shape (N,)
        Classes 0..C-1, in the library of the residuals.
    counts : array of shape (C,), float64
        N_c.
    n_features : int
        D, the dimension of the original features: the ridge shares the trace
        of S_W among all D of them.
    residual_sums : array of shape (N,), optional
        Sums of the residuals in the original basis. Only the power iteration
        needs them: where it starts depends on the basis.

    Attributes
    ----------
    scatter : array of shape (d, d), float64, or None
        S_W, its lower triangle alone, until :meth:`factor` overwrites it.
    mean_variance : float
        tr(S_W) / D.
    """

    def __init__(self, residuals, means, y, counts, n_features, residual_sums=None):
        self.residuals = x = residuals
        self.means = to_dtype(means, x.dtype)
        self.y, self.counts, self.n_features = y, counts, n_features
        self._residual_sums = residual_sums
        limits = namespace(x).finfo(x.dtype)
        self._eps = float(limits.eps)
        # The N x D products run in the working precision, the d x d
        # factorisations in float64: they cost little, and a scatter that is
        # nearly singular needs it.
        with np.errstate(over="ignore", invalid="ignore"):
            self.scatter = to_float64(gram(x))
            self.scatter /= len(x)
        trace = float(self.scatter.diagonal().sum())
        if not math.isfinite(trace):
            raise OutOfPrecision("features: too large, their scatter overflows; rescale them")
        if trace * self._eps <= float(limits.tiny):
            if bool((x != 0).any()) or self._eps > 1e-10:
                raise OutOfPrecision("features: too small, their scatter underflows; rescale them")
            raise ValueError(
                "features: expected variation within classes, "
                "found every sample equal to its class mean"
            )
        self.mean_variance = trace / n_features
        self._eigenvalues = None

    @classmethod
    def from_features(cls, x, y, n_classes, *, reduce=True, basis=False):
        """From features in their own basis, which are not overwritten.

        For N < D all samples lie in an N-dimensional space, and unless
        `reduce` is False everything is N x N there. With `basis`,
        ``self.basis`` (D, N) leads back; it is None where nothing was reduced.
        The class means are taken from the mean of all samples.
        """
        n, n_features = x.shape
        counts = to_float64(namespace(x).bincount(y, minlength=n_classes))
        reduced, q = reduce and n < n_features, None
        if reduced:
            x = x - x.mean(0)
            row_sums = x.sum(1)
            x, q = row_space(x, basis=basis)
        means = class_sums(x, y, n_classes) / counts[:, None]
        x = class_residuals(x, means, y, overwrite=reduced)
        if reduced:
            sums = class_sums(row_sums[:, None], y, n_classes)[:, 0] / counts
            residual_sums = row_sums - sums[y]
        else:
            residual_sums = x.sum(1)
        means -= counts / n @ means
        self = cls(x, means, y, counts, n_features, residual_sums)
        self.basis = q
        return self

    @functools.cached_property
    def largest_eigenvalue(self):
        """Sigma of the public code: three double rounds of power iteration.

        It starts from the row sums of S_W, and so depends on the basis and
        underestimates the largest eigenvalue when they point away from its
        eigenvector. Where they vanish, as for features that sum to a constant,
        the public code returns NaN or amplified rounding errors; here the
        column of the largest variance takes their place.
        """
        s = self.scatter
        sums = to_dtype(self._residual_sums, self.residuals.dtype)
        x = to_float64(matmul(self.residuals.T, sums)) / len(self.y)
        if abs(x).max() <= 1e-10 * self.mean_variance * self.n_features:
            x = namespace(x).zeros_like(x)
            x[s.diagonal().argmax()] = 1
            x = symmetric_times(s, x)
        x = _unit(x)
        for _ in range(3):
            y = _unit(symmetric_times(s, x))
            x = _unit(symmetric_times(s, y))
        return float(x @ symmetric_times(s, y))

    def log_posterior(self, shrinkage):
        """Log-probabilities of the classes for the samples themselves, (N, C); Eqs. 5 and 6."""
        x, m = self.residuals, self.means
        b = self.coefficients(self.factor(shrinkage))
        own = matmul(m, b)
        delta = to_float64(matmul(x, b))
        delta += (own - own.diagonal() / 2)[self.y]
        delta += namespace(x).log(self.counts / len(self.y))
        return log_softmax(delta)

    def coefficients(self, factor):
        """inv(S) mu_c from a factor of S, one column a class; shape (d, C)."""
        b = solve_upper(factor, solve_lower(factor, to_float64(self.means).T))
        return to_dtype(b, self.means.dtype)

    def factor(self, shrinkage, *, left_out=0):
        """Lower Cholesky factor of (1 - lambda) N/(N - left_out) S_W + lambda (tr S_W / D) I.

        It takes the place of the scatter, which is gone then: d x d numbers are
        as many as the samples' where N is near D.
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

    def leave_one_out(self, shrinkage, points=None):
        """Log-probabilities for sample n by the discriminant fitted without it, (N, C).

        lambda and the ridge lambda tr(S_W) / D stay those of all samples; the
        scatter of the others is divided by N - 1. Leaving n out then takes
        one rank-one term from A, and the Sherman-Morrison formula gives all
        N discriminants for O(N D^2).

        Parameters
        ----------
        shrinkage : float
            lambda. Below about 1e-6 with N < D, cancellation costs digits.
        points : callable, optional
            Where to judge the samples; by default where they are.
            ``points(whiten, m)``, with the whitened class means m, returns a
            function of (rows, r, r m', r'r) for the whitened residuals r of
            the samples `rows`, which returns (z m', z'r) for the whitened
            points z.

        Raises
        ------
        ValueError
            The scatter is singular at this shrinkage.
        """
        xp, n = namespace(self.residuals), len(self.y)
        whiten = self._whitener(shrinkage)
        m = whiten(self.means)
        mm = to_float64(matmul(m, m.T))
        square, log_counts = mm.diagonal(), xp.log(self.counts / (n - 1))

        def samples(rows, r, rm, rr):
            own = self.y[rows]
            return rm + mm[own], rr + rm[xp.arange(len(own)), own]

        inner_products = points(whiten, m) if points else samples
        result = []
        # Large blocks keep both cores at work; an eighth of the samples is little
        # to hold beside them.
        eighth = n * self.residuals.shape[1]
        for rows in row_blocks(self.residuals, min(2**24, eighth)):
            r, own = whiten(self.residuals[rows]), self.y[rows]
            rm, rr = to_float64(matmul(r, m.T)), to_float64(xp.einsum("nd,nd->n", r, r))
            zm, zr = inner_products(rows, r, rm, rr)
            n_c = self.counts[own]
            alpha = (1 - shrinkage) / (n - 1) * n_c / (n_c - 1)
            # inv(A_-n) = inv(A) + g (inv(A) r)(inv(A) r)'
            left = 1 - alpha * rr
            if bool((left <= self._least_left(shrinkage)).any()):
                raise _singular(shrinkage)
            g = alpha / left
            delta = zm + (g * zr)[:, None] * rm - (square + g[:, None] * rm**2) / 2 + log_counts
            # The sample's own class has lost it: mean mu - s r, one sample fewer.
            at = xp.arange(len(own)), own
            s, zm, rm = 1 / (n_c - 1), zm[at], rm[at]
            delta[at] = (
                zm + g * zr * rm - s * zr * (1 + g * rr)
                - (square[own] - 2 * s * rm + s**2 * rr + g * (rm - s * rr) ** 2) / 2
                + xp.log((n_c - 1) / (n - 1))
            )
            result.append(log_softmax(delta))
        return xp.concatenate(result)

    def choose_shrinkage(self):
        """lambda of the largest leave-one-out likelihood, mean_n log p_-n(y_n | x_n).

        A search over logit(lambda) from -10 to 6 in steps of 1, then in steps of
        1/4 around the best. One eigendecomposition of S_W serves all of it;
        the samples move to its basis and stay there.
        """
        xp = namespace(self.scatter)
        self._eigenvalues, q = eigh(self.scatter)
        self.scatter = None
        q = to_dtype(q, self.means.dtype)
        self.means = matmul(self.means, q)
        for rows in row_blocks(self.residuals):
            self.residuals[rows] = matmul(self.residuals[rows], q)
        own = xp.arange(len(self.y)), self.y

        def likelihood(logit):
            return float(self.leave_one_out(_sigmoid(logit))[own].mean())

        coarse = {t: likelihood(t) for t in range(-10, 7)}
        best = max(coarse, key=coarse.get)
        fine = {best + k / 4: likelihood(best + k / 4) for k in (-3, -2, -1, 1, 2, 3)}
        return _sigmoid(max(coarse | fine, key=(coarse | fine).get))

    def _rounds(self, shrinkage):
        """True where rounding errors may exceed the ridge."""
        return self._eps > 1e-10 or shrinkage < SHRINKAGE_FLOOR

    def _least_left(self, shrinkage):
        """What 1 - h must exceed for the leverage h to have digits left to subtract."""
        return 1e4 * self._eps if self._rounds(shrinkage) else 0

    def _weights(self, shrinkage, left_out):
        n = len(self.y)
        return (1 - shrinkage) * n / (n - left_out), shrinkage * self.mean_variance

    def _whitener(self, shrinkage):
        """Function of rows z to rows w with w'w = z' inv(A) z, A the scatter less one sample."""
        if self._eigenvalues is None:
            factor = to_dtype(self.factor(shrinkage, left_out=1), self.means.dtype)
            return lambda z: solve_lower(factor, z.T).T
        keep, ridge = self._weights(shrinkage, left_out=1)
        scale = to_dtype((keep * self._eigenvalues + ridge) ** -0.5, self.means.dtype)
        return lambda z: z * scale


def adaptive_shrinkage(sigma, strength=5.0):
    """lambda = max(exp(-a sigma), 1e-10): strong where the features vary little (Eq. 3).

    Parameters
    ----------
    sigma : float
        Largest eigenvalue of S_W.
    strength : float, default 5.0
        a; 5 in the public code, 4 in the paper's appendix.
    """
    return max(math.exp(-strength * sigma), SHRINKAGE_FLOOR)


def check_shrinkage(shrinkage, strength, *, names=("leave-one-out",)):
    """Raise ValueError unless `shrinkage` is None, a number in [0, 1] or one of `names`."""

    def number(value):
        return isinstance(value, numbers.Real) and not isinstance(value, bool)

    named = isinstance(shrinkage, str) and shrinkage in names
    if not (shrinkage is None or named or (number(shrinkage) and 0 <= shrinkage <= 1)):
        expected = ", ".join(["None", *map(repr, names)])
        raise ValueError(
            f"shrinkage: expected {expected} or a number in [0, 1], got {shrinkage!r}"
        )
    if not (number(strength) and 0 <= strength < math.inf):
        raise ValueError(f"strength: expected a finite number >= 0, got {strength!r}")


def check_leave_one_out(counts, classes):
    """Raise ValueError naming the classes that would vanish with a sample."""
    small = np.flatnonzero(np.asarray(counts) < 2)
    if len(small):
        names = ", ".join(repr(c) for c in classes[small[:5]].tolist())
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        raise ValueError(
            "labels: leave-one-out needs at least 2 samples in every class, "
            f"found 1 in {names}{more}"
        )


class FisherDiscriminant(
    ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, BaseEstimator
):
    """Linear discriminant with a shrunk within-class covariance, as SFDA uses it.

    A scikit-learn classifier. It equals linear discriminant analysis with
    covariance (1 - lambda) S_W + lambda (tr S_W / D) I and the class
    frequencies as priors; the paper's generalised eigenproblem, solved with
    all its vectors, gives the same probabilities.

    Parameters
    ----------
    shrinkage : None, float in [0, 1] or "leave-one-out", default None
        lambda. None adapts it to the data as the paper does,
        max(exp(-strength * sigma), 1e-10) with sigma the largest eigenvalue of
        S_W as the public code estimates it. "leave-one-out" chooses it by
        leave-one-out likelihood.
    strength : float, default 5.0
        a of the adaptive rule; not used otherwise.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    priors_ : ndarray of shape (C,)
        Class frequencies.
    means_ : ndarray of shape (C, D)
    xbar_ : ndarray of shape (D,)
        Mean of all samples.
    sigma_ : float
        Largest eigenvalue of S_W after three rounds of power iteration.
    shrinkage_ : float
        The lambda used.
    coef_ : ndarray of shape (C, D)
    intercept_ : ndarray of shape (C,)
        The log-probability of class c is ``coef_[c] @ x + intercept_[c]`` up to a
        constant; one row a class for two classes, too.
    scalings_ : ndarray of shape (D, min(C - 1, D))
        Fisher directions, most discriminative first, with unit variance
        within classes: ``scalings_.T @ S @ scalings_ = I``.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where the features had names.

    References
    ----------
    W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eqs. 2 to 6, and the
    public code at https://github.com/TencentARC/SFDA.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda import FisherDiscriminant
    >>> X = np.array([[-1.0, -1], [-2, -1], [-3, -2], [1, 1], [2, 1], [3, 2]])
    >>> y = np.array(["left", "left", "left", "right", "right", "right"])
    >>> FisherDiscriminant().fit(X, y).predict([[-0.8, -1]]).item()
    'left'
    """

    def __init__(self, shrinkage=None, strength=5.0):
        self.shrinkage = shrinkage
        self.strength = strength

    def fit(self, X, y):
        """Fit the discriminant.

        Parameters
        ----------
        X : array-like of shape (N, D)
            Features; tensors on a GPU are for :func:`sfda.sfda_score`.
        y : array-like of shape (N,)
            Labels of at least two classes.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Bad input, fewer than two classes, no variation within classes, or
            a scatter that is singular at the given shrinkage.
        """
        check_shrinkage(self.shrinkage, self.strength)
        X, y = self._checked(X, y)
        split = LabelledFeatures.from_features(X, y, len(self.classes_), basis=True)
        self.sigma_ = split.largest_eigenvalue
        self.shrinkage_ = self._choose_shrinkage(split, X, y)

        self.priors_ = split.counts / len(X)
        self.xbar_ = X.mean(0)
        factor = split.factor(self.shrinkage_)
        coef = split.coefficients(factor)
        self.intercept_ = np.log(self.priors_) - (split.means.T * coef).sum(0) / 2
        # Whitened class means; their principal axes are the Fisher directions.
        white = solve_lower(factor, split.means.T * np.sqrt(self.priors_))
        axes = scipy.linalg.svd(white, full_matrices=False)[0][:, : len(self.classes_) - 1]
        scalings = solve_upper(factor, axes)

        def back(columns):
            return columns if split.basis is None else matmul(split.basis, columns)

        self.coef_ = back(coef).T
        self.intercept_ -= self.coef_ @ self.xbar_
        self.means_ = self.xbar_ + back(split.means.T).T
        self.scalings_ = back(scalings)
        self._n_features_out = self.scalings_.shape[1]
        # An eigenvector's sign is arbitrary: its largest entry is made positive.
        largest = np.abs(self.scalings_).argmax(0)
        self.scalings_ *= np.sign(self.scalings_[largest, np.arange(self.scalings_.shape[1])])
        return self

    def predict(self, X):
        """Most probable class of each row of `X`; shape (N,)."""
        scores = self._discriminants(X)  # before classes_: it may not be fitted
        return self.classes_[scores.argmax(1)]

    def predict_proba(self, X):
        """Class probabilities, shape (N, C), columns in the order of ``classes_``."""
        return softmax(self._discriminants(X))

    def predict_log_proba(self, X):
        """Logarithm of the class probabilities, without underflow; shape (N, C)."""
        return log_softmax(self._discriminants(X))

    def transform(self, X):
        """Project on the Fisher directions; shape (N, min(C - 1, D))."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return matmul(X - self.xbar_, self.scalings_)

    def leave_one_out_proba(self, X, y, at=None):
        """Class probabilities of each sample by the discriminant fitted without it.

        Exact and in closed form, for the cost of one fit and one product: the
        same as N refits on N - 1 samples, with lambda and the ridge
        lambda tr(S_W) / D held at their values for all samples. Neither needs
        nor changes a fitted state. Where N < D, a lambda below about 1e-6 costs
        digits: choose it larger, or by "leave-one-out".

        Parameters
        ----------
        X : array-like of shape (N, D)
            Training features.
        y : array-like of shape (N,)
            Their labels; every class at least twice.
        at : array-like of shape (N, D), optional
            Points to judge in place of the samples: row n is judged by the
            discriminant without sample n. Costs O(D^3) even where N < D, for
            the points may lie outside the samples' span.

        Returns
        -------
        ndarray of shape (N, C)
            Columns in sorted order of the labels.

        Raises
        ------
        ValueError
            As :meth:`fit`; a class of one sample; `at` of another shape.
        """
        check_shrinkage(self.shrinkage, self.strength)
        estimator = FisherDiscriminant(self.shrinkage, self.strength)
        X, y = estimator._checked(X, y)
        counts = np.bincount(y)
        check_leave_one_out(counts, estimator.classes_)
        split = LabelledFeatures.from_features(X, y, len(counts))
        shrinkage = estimator._choose_shrinkage(split, X, y)
        if at is None:
            return np.exp(split.leave_one_out(shrinkage))
        at = validate_data(estimator, at, dtype=np.float64, reset=False)
        if at.shape != X.shape:
            raise ValueError(f"at: expected shape {X.shape}, got {at.shape}")
        # The points may lie outside the samples' row space: no reduction here.
        centre = X.mean(0)
        split = LabelledFeatures.from_features(X, y, len(counts), reduce=False)

        def points(whiten, m):
            def inner_products(rows, r, rm, rr):
                z = whiten(at[rows] - centre)
                return matmul(z, m.T), np.einsum("nd,nd->n", z, r)

            return inner_products

        return np.exp(split.leave_one_out(shrinkage, points))

    def _checked(self, X, y):
        """Checked features (float64) and class numbers; sets ``classes_``."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, y = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y: expected at least 2 classes, got 1 class ({self.classes_[0]!s})"
            )
        return X, y

    def _choose_shrinkage(self, split, X, y):
        """lambda by the estimator's rule; leaves `split` as it is."""
        if self.shrinkage is None:
            return adaptive_shrinkage(split.largest_eigenvalue, self.strength)
        if self.shrinkage == "leave-one-out":
            check_leave_one_out(split.counts, self.classes_)
            # The search rotates its samples, so it is given its own.
            own = LabelledFeatures.from_features(X, y, len(self.classes_))
            return own.choose_shrinkage()
        return float(self.shrinkage)

    def _discriminants(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return matmul(X, self.coef_.T) + self.intercept_


class OutOfPrecision(ValueError):
    """The working precision does not bear the computation; a higher one may."""


def _singular(shrinkage):
    return OutOfPrecision(
        f"shrinkage: the within-class scatter is singular at {shrinkage:g}; "
        "expected a larger value"
    )


def _unit(x):
    x = x / abs(x).max()  # its squares neither overflow nor vanish
    return x / namespace(x).linalg.norm(x)


def _sigmoid(t):
    return 1 / (1 + math.exp(-t))
