"""The regularised Fisher discriminant as a scikit-learn estimator.

Reference: W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eqs. 2 to 6.
"""

from typing import Any, Literal, Self

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from sfda.metric.inputs import as_features, as_labels, check_leave_one_out, check_shrinkage, in_order, unboxed
from sfda.metric.linalg import log_softmax, matmul, softmax, solve_lower, solve_upper
from sfda.metric.scatter import LabelledFeatures, LeftOut
from sfda.metric.score import adaptive_shrinkage


class FisherDiscriminant(ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, BaseEstimator):
    """Linear discriminant with a shrunk within-class covariance, as SFDA uses it.

    A scikit-learn classifier. It equals linear discriminant analysis with covariance
    (1 - lambda) S_W + lambda (tr S_W / D) I and the class frequencies as priors; the paper's generalised eigenproblem,
    solved with all its vectors, gives the same probabilities.

    Parameters
    ----------
    shrinkage : None, float in [0, 1] or "leave-one-out", default None
        lambda. None adapts it to the data as the paper does, max(exp(-strength * sigma), 1e-10) with sigma the
        largest eigenvalue of S_W as the public code estimates it. "leave-one-out" chooses it by leave-one-out
        likelihood.
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
        The log-probability of class c is ``coef_[c] @ x + intercept_[c]`` up to a constant; one row a class for two
        classes, too.
    scalings_ : ndarray of shape (D, min(C - 1, D))
        Fisher directions, most discriminative first, with unit variance within classes:
        ``scalings_.T @ S @ scalings_ = I``.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where the features had names.

    References
    ----------
    W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eqs. 2 to 6, and the public code at
    https://github.com/TencentARC/SFDA.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda import FisherDiscriminant
    >>> X = np.array([[-1.0, -1], [-2, -1], [-3, -2], [1, 1], [2, 1], [3, 2]])
    >>> y = np.array(["left", "left", "left", "right", "right", "right"])
    >>> FisherDiscriminant().fit(X, y).predict([[-0.8, -1]]).item()
    'left'
    """

    def __init__(self, shrinkage: float | Literal["leave-one-out"] | None = None, strength: float = 5.0) -> None:
        self.shrinkage = shrinkage
        self.strength = strength

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
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
            Bad input, fewer than two classes, no variation within classes, or a scatter that is singular at the
            given shrinkage.
        """
        check_shrinkage(self.shrinkage, self.strength)
        x, own = self._checked(X, y)
        split = LabelledFeatures.from_features(x, own, len(self.classes_), basis=True)
        self.sigma_ = split.largest_eigenvalue
        self.shrinkage_ = self._choose_shrinkage(split, x, own)

        self.priors_ = split.counts / len(x)
        self.xbar_ = x.mean(0)
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
        self.scalings_ *= np.sign(self.scalings_[largest, np.arange(self._n_features_out)])
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row of `X` (N, D); shape (N,), of the labels' dtype."""
        scores = self._discriminants(X)  # before classes_: it may not be fitted
        return self.classes_[scores.argmax(1)]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Class probabilities of each row of `X` (N, D), shape (N, C), columns in the order of ``classes_``."""
        return softmax(self._discriminants(X))

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Logarithm of :meth:`predict_proba`, without underflow; shape (N, C)."""
        return log_softmax(self._discriminants(X))

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Rows of `X` (N, D), less the mean of all samples, on the Fisher directions; shape (N, min(C - 1, D))."""
        check_is_fitted(self)
        return matmul(self._features(X, reset=False) - self.xbar_, self.scalings_)

    def leave_one_out_proba(self, X: ArrayLike, y: ArrayLike, at: ArrayLike | None = None) -> NDArray[np.float64]:
        """Class probabilities of each sample by the discriminant fitted without it.

        Exact and in closed form, for the cost of one fit and one product: the same as N refits on N - 1 samples,
        with lambda and the ridge lambda tr(S_W) / D held at their values for all samples. Neither needs nor changes
        a fitted state. Where N < D, a lambda below about 1e-6 costs digits: choose it larger, or by
        "leave-one-out".

        Parameters
        ----------
        X : array-like of shape (N, D)
            Training features.
        y : array-like of shape (N,)
            Their labels; every class at least twice.
        at : array-like of shape (N, D), optional
            Points to judge in place of the samples: row n is judged by the discriminant without sample n. Costs
            O(D^3) even where N < D, for the points may lie outside the samples' span.

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
        estimator, points = FisherDiscriminant(self.shrinkage, self.strength), None
        x, own = estimator._checked(X, y)
        check_leave_one_out(np.bincount(own), estimator.classes_)
        if at is not None:
            z = as_features(at, name="at")
            if z.shape != x.shape:
                raise ValueError(f"at: expected shape {x.shape}, got {z.shape}")
            points = (z - x.mean(0)).__getitem__
        # The points may lie outside the samples' row space: no reduction then.
        split = LabelledFeatures.from_features(x, own, len(estimator.classes_), reduce=at is None)
        return split.judged(LeftOut(split, estimator._choose_shrinkage(split, x, own)), points)

    def _checked(self, X, y):
        """Checked features (float64) and class numbers; sets ``classes_``."""
        X, y = self._features(X, reset=True), column_or_1d(in_order(y, X, "y"), warn=True)
        if not all(isinstance(label, (int, bytes)) for label in y.tolist()):  # of objects it knows strings only
            with np.errstate(invalid="ignore"):
                check_classification_targets(y)  # which asks whether 2^63 is an integer
        y, self.classes_ = as_labels(y, len(X), name="y")
        return X, y

    def _features(self, X, reset):
        """Checked features (float64), whose names scikit-learn remembers, or compares with those it does."""
        least = 2 if reset else 1
        X = validate_data(self, unboxed(X, "X"), ensure_all_finite=False, ensure_min_samples=least, reset=reset)
        return as_features(X, name="X")

    def _choose_shrinkage(self, split, X, y):
        """lambda by the estimator's rule; leaves `split` as it is."""
        if self.shrinkage is None:
            return adaptive_shrinkage(split.largest_eigenvalue, self.strength)
        if self.shrinkage == "leave-one-out":
            check_leave_one_out(split.counts, self.classes_)
            # The search rotates its samples, so it is given its own.
            return LabelledFeatures.from_features(X, y, len(self.classes_)).choose_shrinkage()
        return float(self.shrinkage)

    def _discriminants(self, X):
        check_is_fitted(self)
        return matmul(self._features(X, reset=False), self.coef_.T) + self.intercept_
