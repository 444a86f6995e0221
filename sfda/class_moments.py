"""Counts, means and scatters of classes, which add up.

Those of two sets of samples make those of both: T. F. Chan, G. H. Golub,
R. J. LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing Sample
Variances*, 1979.
"""

from dataclasses import dataclass, replace

import numpy as np

from sfda.arrays import class_residuals, class_sums, gram, is_torch, like, namespace, to_float64
from sfda.scatter import PooledScatter


@dataclass(frozen=True, eq=False)
class ClassMoments:
    """Counts, means and scatter of labelled samples.

    Attributes
    ----------
    classes : ndarray of shape (C,)
        Distinct labels, sorted.
    counts : array of shape (C,), float64
    means : array of shape (C, D), float64
    scatter : array of shape (D, D), float64
        Sum of the outer products of the residuals from the class means; its
        lower triangle.
    """

    classes: np.ndarray
    counts: object
    means: object
    scatter: object

    @classmethod
    @np.errstate(over="ignore", invalid="ignore")  # what is made of them is checked
    def of(cls, x, y, classes):
        """Of checked features (n, D) and classes (n,); `x` is not overwritten."""
        counts = to_float64(namespace(x).bincount(y, minlength=len(classes)))
        present = counts > 0
        means = class_sums(x, y, len(classes))
        means[present] /= counts[present, None]
        scatter = to_float64(gram(class_residuals(x, means, y)))
        return cls(classes, counts, means, scatter)

    @np.errstate(over="ignore", invalid="ignore")
    def merge(self, other):
        """Of both sets of samples."""
        if self.means.shape[1] != other.means.shape[1]:
            raise ValueError(
                f"features: expected {self.means.shape[1]} columns as before, "
                f"got {other.means.shape[1]}"
            )
        classes, (a, b) = _union(self, other)
        counts = a.counts + b.counts
        # Classes that only one of the two has: nothing lies between its two means.
        shared = (a.counts > 0) & (b.counts > 0)
        share = b.counts / namespace(counts).where(counts > 0, counts, counts + 1)
        gaps = b.means - a.means
        apart = (a.counts * share)[shared, None] ** 0.5 * gaps[shared]
        scatter = a.scatter + b.scatter
        if len(apart):
            scatter += gram(apart)
        return ClassMoments(classes, counts, a.means + share[:, None] * gaps, scatter)

    def spread(self, classes):
        """The same, with room for all of `classes`, which hold its own."""
        if len(classes) == len(self.classes):
            return self
        at = like(np.searchsorted(classes, self.classes), self.means)
        shape = len(classes), self.means.shape[1]
        if is_torch(self.means):
            means, counts = self.means.new_zeros(shape), self.means.new_zeros(shape[0])
        else:  # NumPy before 2 knows no devices
            means, counts = np.zeros(shape), np.zeros(shape[0])
        means[at], counts[at] = self.means, self.counts
        return replace(self, classes=classes, counts=counts, means=means)

    @property
    def n(self):
        """N."""
        return int(self.counts.sum())

    def pooled(self, dtype, origin=0):
        """As a discriminant takes them, the means from `origin`; nothing is shared."""
        return PooledScatter(
            self.means - origin, self.counts, self.scatter / self.n, self.means.shape[1], dtype,
            varies=lambda: bool((self.scatter.diagonal() != 0).any()),
        )  # fmt: skip


def _union(a, b):
    if len(a.classes) == len(b.classes) and (a.classes == b.classes).all():
        return a.classes, (a, b)
    if (a.classes.dtype.kind in "iufb") != (b.classes.dtype.kind in "iufb"):
        raise ValueError("labels: expected numbers or strings, got both in different chunks")
    classes = np.unique(np.concatenate([a.classes, b.classes]))
    return classes, (a.spread(classes), b.spread(classes))
