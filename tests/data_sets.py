"""Labelled features of many shapes, for the tests of the score."""

import functools
import json
import math
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

CASES = json.loads((Path(__file__).parent / "reference_scores.json").read_text())["cases"]
LABELS = {"A": np.arange(300) % 4, "B": np.arange(200) % 10, "C": np.repeat([0, 1, 2], [168, 60, 12])}
# As pytest.approx, which compares one number at a time: of large arrays that takes longer than all else.
alike = functools.partial(np.testing.assert_allclose, rtol=0, equal_nan=False)


def reference_case(name):
    """Features and labels of a case of reference_scores.json, by its recipe."""
    return _reference_case(name)[:2]


def reference_source_probabilities(name):
    """Its source-class probabilities, shape (N, n_source)."""
    return _reference_case(name)[2]


def _reference_case(name):
    p, y = CASES[name]["parameters"], LABELS[name]
    rng = np.random.default_rng(p["seed"])
    mu = p["separation"] * rng.standard_normal((p["C"], p["D"]))
    X = mu[y] + rng.standard_normal((p["N"], p["D"]))
    n_source = p["n_source"]
    logits = 1.5 * np.eye(n_source)[(2 * y) % n_source] + rng.standard_normal((p["N"], n_source))
    theta = np.exp(logits - logits.max(1, keepdims=True))
    return X, y, theta / theta.sum(1, keepdims=True)


AUTHORS = json.loads((Path(__file__).parent / "authors_scores.json").read_text())


def authors_problem(name):
    """Features and labels of a problem of authors_scores.json: hashed numbers, which no version of NumPy changes."""
    p = AUTHORS["problems"][name]
    n, d, n_classes = p["N"], p["D"], p["C"]

    def uniform(*shape, part):
        """Of [0, 1): the finaliser of splitmix64 on the numbers from part * 2^32 on."""
        z = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(p["seed"] * 16 + part << 32)
        z *= np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        return ((z >> np.uint64(11)) * 2.0**-53).reshape(shape)

    many = np.arange(n - 2 * n_classes) % n_classes
    if p["imbalance"]:
        many = (n_classes * uniform(n - 2 * n_classes, part=0) ** 2).astype(int)
    y = np.r_[np.arange(n_classes), np.arange(n_classes), many]
    mu, noise = (sum(uniform(k, d, part=i + j) for j in range(4)) - 2 for k, i in ((n_classes, 1), (n, 5)))
    X = p["separation"] * mu[y] + noise
    X = np.maximum(X, 0) if p["relu"] else X
    X[:, p["dead"]] = 0
    return X.astype(p["dtype"]), y


def gaussian_classes(seed, y, D, separation=1.0, scale=1.0):
    """Correlated Gaussian noise around Gaussian class means."""
    rng = np.random.default_rng(seed)
    mu = separation * rng.standard_normal((y.max() + 1, D))
    spread = np.exp(0.5 * rng.standard_normal(D))
    return scale * (mu[y] + spread * rng.standard_normal((len(y), D)))


@st.composite
def labelled_features(draw, max_classes=50, max_features=40, min_per_class=1):
    """N below, near and above D; imbalance; singletons; dead and repeated columns."""
    C = draw(st.integers(2, max_classes))
    counts = draw(st.lists(st.integers(min_per_class, 12), min_size=C, max_size=C).filter(lambda counts: max(counts) > 1))
    D = draw(st.integers(1, max_features))
    y = np.repeat(np.arange(C), counts)
    X = gaussian_classes(
        draw(st.integers(0, 2**32 - 1)), y, D,
        draw(st.sampled_from([0.0, 0.5, 2.0])), draw(st.sampled_from([0.1, 0.3])),
    )  # fmt: skip
    if D > 2 and draw(st.booleans()):
        X[:, -1] = X[:, 0]
    if D > 2 and draw(st.booleans()):
        X[:, 1] = 3.0
    order = np.random.default_rng(0).permutation(len(y))
    return X[order], y[order]
