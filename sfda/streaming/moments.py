"""What samples add up to: counts, class means and scatters of two parts make those of the whole.

Reference: T. F. Chan, G. H. Golub and R. J. LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing Sample
Variances*, 1979.
"""

from dataclasses import dataclass, replace

import numpy as np

from sfda.metric.linalg import class_residuals, class_sums, gram, like, namespace, to_float64
from sfda.metric.scatter import PooledScatter


@dataclass(frozen=True, eq=False)
class ClassMoments:
    """Counts, means and scatter of labelled samples, all in float64: what they add up to, chunk by chunk."""

    classes: np.ndarray  # (C,), distinct labels, sorted
    counts: object  # (C,)
    means: object  # (C, D)
    scatter: object  # (D, D): the sum of the residuals' outer products, lower triangle

    @classmethod
    def of(cls, x, y, classes):
        """Of checked features (n, D) and classes (n,); `x` is not overwritten."""
        counts = to_float64(namespace(x).bincount(y, minlength=len(classes)))
        means = class_sums(x, y, len(classes)) / counts.clip(min=1)[:, None]
        return cls(classes, counts, means, to_float64(gram(class_residuals(x, means, y))))

    def merge(self, other):
        """Of both sets of samples."""
        if self.means.shape[1] != other.means.shape[1]:
            raise ValueError(f"features: expected {self.means.shape[1]} columns as before, got {other.means.shape[1]}")
        if (self.classes.dtype.kind in "iufb") != (other.classes.dtype.kind in "iufb"):
            raise ValueError("labels: expected numbers or strings, got both in different chunks")
        classes = np.unique(np.concatenate([self.classes, other.classes]))
        a, b = self._spread(classes), other._spread(classes)
        counts = a.counts + b.counts
        # Classes that only one of the two has: nothing lies between its two means.
        shared = (a.counts > 0) & (b.counts > 0)
        share = b.counts / counts.clip(min=1)
        gaps = b.means - a.means
        scatter = a.scatter + b.scatter
        if bool(shared.any()):
            scatter += gram((a.counts * share)[shared, None] ** 0.5 * gaps[shared])
        return ClassMoments(classes, counts, a.means + share[:, None] * gaps, scatter)

    def _spread(self, classes):
        """The same, with room for all of `classes`, which hold its own."""
        at = np.searchsorted(self.classes, classes).clip(max=len(self.classes) - 1)
        known = like((self.classes[at] == classes).astype(float), self.means)
        at = like(at, self.means)
        return replace(self, classes=classes, counts=self.counts[at] * known, means=self.means[at] * known[:, None])

    n = property(lambda self: int(self.counts.sum()))
    d = property(lambda self: self.means.shape[1])

    def pooled(self, dtype, origin=0):
        """As a discriminant takes them, the means from `origin`; nothing is shared."""
        varies = lambda: bool((self.scatter.diagonal() != 0).any())  # noqa: E731
        means, d = self.means - origin, self.means.shape[1]
        return PooledScatter(means, self.counts, self.scatter / self.n, d, dtype, varies=varies)
