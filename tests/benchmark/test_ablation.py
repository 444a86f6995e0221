"""SFDA from its parts: equal to the score where nothing is changed, and different where it is."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfda import FisherDiscriminant, sfda_score
from sfda.benchmark.ablation import VARIANTS, composed_score
from sfda.metric.score import discriminant_log_likelihood, discriminant_probability


def sample(n=120, d=8, c=4, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    return spread * (0.3 * rng.standard_normal((n, d)) + 0.3 * rng.standard_normal((c, d))[y]), y


@pytest.mark.filterwarnings("ignore::sfda.SaturationWarning")
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(60, 5, 3), (40, 30, 2), (90, 12, 6)]))
def test_unchanged_it_is_the_score(seed, shape):
    x, y = sample(*shape, seed=seed)
    for posterior, shrinkage in itertools.product(("resubstitution", "leave-one-out"), (None, 0.3)):
        options = {"posterior": posterior, "shrinkage": shrinkage}
        assert composed_score(x, y, **options) == pytest.approx(sfda_score(x, y, **options), abs=1e-8)


def test_without_a_challenge_it_is_the_discriminant():
    x, y = sample()
    for posterior in ("resubstitution", "leave-one-out"):
        for log, function in ((False, discriminant_probability), (True, discriminant_log_likelihood)):
            found = composed_score(x, y, challenge=None, log=log, posterior=posterior)
            assert found == pytest.approx(function(x, y, posterior=posterior))


def test_lambda_of_algorithm_1():
    x, y = sample()
    between = np.cov(np.stack([x[y == c].mean(0) for c in range(4)]).T, bias=True)  # classes of one size
    shrinkage = 1 / (1 + np.exp(-4 * np.linalg.eigvalsh(between)[-1]))
    found = composed_score(x, y, shrinkage="algorithm 1")
    assert found == pytest.approx(sfda_score(x, y, shrinkage=shrinkage)) and found != pytest.approx(sfda_score(x, y))


def test_one_softmax_by_hand():
    # Two classes: o_c is the other mean, and the confidence the posterior itself.
    x, y = sample(c=2)
    f, own = FisherDiscriminant(0.2).fit(x, y), (np.arange(len(y)), y)
    means = np.stack([x[y == c].mean(0) for c in (0, 1)])
    p = f.predict_proba(x)[own][:, None]
    mixed = p * x + (1 - p) * means[1 - y]
    expected = f.fit(mixed, y).predict_proba(mixed)[own].mean()
    assert composed_score(x, y, shrinkage=0.2, challenge="plain") == pytest.approx(expected)
    p = f.leave_one_out_proba(x, y)
    mixed = p[own][:, None] * x + (1 - p[own][:, None]) * means[1 - y]
    z = sum(p[:, [c]] * (p[:, [c]] * x + p[:, [1 - c]] * means[1 - c]) for c in (0, 1))
    expected = f.leave_one_out_proba(mixed, y, at=z)[own].mean()
    options = {"posterior": "leave-one-out", "shrinkage": 0.2, "challenge": "plain"}
    assert composed_score(x, y, **options) == pytest.approx(expected)


def test_every_variant_is_another_score():
    x, y = sample()
    found = pd.Series({name: composed_score(x, y, **options) for name, options in VARIANTS.items()})
    assert np.isfinite(found).all() and found.round(9).is_unique
    logs = found.index.str.contains("mean log")
    assert (found[logs] < 0).all() and found[~logs].between(0, 1).all()
    # Strings as labels, the floor of the logarithm, and no such choice.
    x, y = sample(n=40, d=60)  # fewer samples than features: some left-out probabilities vanish
    assert composed_score(x, np.array(["d", "b", "a", "c"])[y]) == pytest.approx(composed_score(x, y))
    assert composed_score(1e4 * x, y, posterior="leave-one-out", shrinkage=1e-5, log=True) >= np.log(1e-12)
    for option, value in (("posterior", "held-out"), ("challenge", "hard"), ("shrinkage", 2)):
        with pytest.raises(ValueError, match=f"^{option}: "):
            composed_score(x, y, **{option: value})
