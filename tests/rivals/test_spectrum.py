"""Effective rank and alpha-ReQ: exact values, literal versions, and what they do not see."""

import numpy as np
import pytest
from hypothesis import assume, given, settings

import literal_rivals as literal
from data_sets import labelled_features
from sfda.rivals.spectrum import alpha_req, effective_rank


def with_spectrum(values, n=None, offset=0.0):
    """Features (n, D) with these singular values, after their mean has been taken away, in random directions."""
    rng, d = np.random.default_rng(0), len(values)
    u = rng.standard_normal((n or 3 * d, d))
    u = np.linalg.qr(u - u.mean(0))[0]
    return u * values @ np.linalg.qr(rng.standard_normal((d, d)))[0] + offset


# Squared singular values carry an error of 1e-15 of the largest: p one of 3e-8, -p log p of 5e-7, a sum over 30 of them.
@given(labelled_features())
@settings(max_examples=60, deadline=None)
def test_effective_rank_equals_the_singular_values(data):
    X, _ = data
    assume(X.any())
    assert effective_rank(X) == pytest.approx(literal.effective_rank(X), rel=2e-5)


def test_effective_rank_of_known_spectra():
    for k in (2, 10, 60):
        # Equal singular values: k directions, and 1e-7 for each of 60.
        assert effective_rank(with_spectrum(np.arange(60) < k)) == pytest.approx(k, rel=60 * 16e-7)
    p = np.array([0.5, 0.25, 0.125, 0.125])
    assert effective_rank(with_spectrum(p)) == pytest.approx(2**1.75, rel=4 * 16e-7)
    # It is not centred: the mean is a direction.
    assert effective_rank(with_spectrum(p, offset=1e6)) == pytest.approx(1, abs=1e-3)


@given(labelled_features())
@settings(max_examples=60, deadline=None)
def test_alpha_req_equals_the_fit_to_components(data):
    X, _ = data
    s = np.linalg.svd(X - X.mean(0), compute_uv=False) ** 2
    # At least two directions, and none that rounding may count or not.
    assume((s > 1e-11 * s[0]).sum() > 1 and not ((s > 1e-17 * s[0]) & (s < 1e-11 * s[0]) & (s > 0)).any())
    assert alpha_req(X) == pytest.approx(literal.alpha_req(X), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
@pytest.mark.parametrize(("d", "n"), [(2, 20), (3, 20), (8, 20), (150, 400)])
def test_alpha_of_a_power_law(alpha, d, n):
    values = np.arange(1.0, d + 1) ** (-alpha / 2)
    assert alpha_req(with_spectrum(values, n, offset=7.0)) == pytest.approx(-abs(alpha - 1), abs=1e-9)


def test_alpha_looks_at_the_fourth_to_the_hundredth():
    values = np.arange(1.0, 151) ** -0.5
    values[[0, 1, 2]] = 100, 30, 10
    values[100:] *= 0.1
    assert alpha_req(with_spectrum(values)) == pytest.approx(0, abs=1e-9)
    values[3:100] *= np.arange(4.0, 101) ** -0.25
    assert alpha_req(with_spectrum(values)) == pytest.approx(-0.5, abs=1e-9)


@pytest.mark.parametrize("metric", [effective_rank, alpha_req])
def test_labels_are_not_looked_at_but_checked(metric):
    X = np.random.default_rng(0).standard_normal((30, 6))
    assert metric(X) == metric(X, np.arange(30) % 3) == metric(X, ["a", "b"] * 15)
    with pytest.raises(ValueError, match="^labels: expected one label for each of the 30 rows"):
        metric(X, np.arange(29))
