"""What the rival metrics cost: ours, a literal transcription of the original, and plain SFDA.

The fastest round counts; see data/timings/rivals.csv. Nothing is asserted but that both versions agree, so that the
same thing is timed. Features with a spectrum that decays as those of real networks do: NLEEP's mixture takes hours in
the hundreds of dimensions that 80 % of white noise needs.
"""

import numpy as np
import pytest

import literal
import literal_rivals
from sfda.rivals.catalogue import RIVALS
from sfda.rivals.ncti import ncti_terms
from sfda.rivals.ped import ped

N, D, C, SOURCES = 5_000, 1_024, 50, 1_000

OURS = {name: m for name, m in RIVALS.items() if m.needs != "zoo"}
OURS |= {"NCTI terms": ncti_terms, "PED": ped}


def _posterior(X, y):
    return literal.posterior(X, y, literal.adaptive(literal.within_scatter(X, y)))


def _posterior_mean(X, y):
    return _posterior(X, y)[np.arange(len(y)), y].mean()


LITERAL = {
    "SFDA": literal.score,
    "LEEP": literal_rivals.leep,
    "NCE": literal_rivals.nce,
    "NLEEP": literal_rivals.nleep,
    "LogME": lambda X, y: literal_rivals.logme(X, y, direct=False),
    "H-score": literal_rivals.h_score,
    "regularised H-score": literal_rivals.regularised_h_score,
    "PARC": lambda X, y: literal_rivals.parc(X, y, rounded=False),
    "PARC 32 components": lambda X, y: literal_rivals.parc(X, y, 32, rounded=False),
    "GBC": literal_rivals.gbc,
    "GBC diagonal": lambda X, y: literal_rivals.gbc(X, y, spherical=False),
    "TransRate": literal_rivals.transrate,
    "TransRate normalised": lambda X, y: literal_rivals.transrate(X, y, normalised=True),
    "ETran energy": lambda X, y: literal_rivals.etran_energy(X),
    "ETran discriminant": _posterior_mean,
    "ETran discriminant as published": lambda X, y: literal_rivals.etran_discriminant(X, y, 0.1),
    "NCTI terms": lambda X, y: literal_rivals.ncti_terms(X, y, solver="auto"),
    "nearest neighbour": literal_rivals.nearest_neighbours,
    "nearest neighbours standardised": lambda X, y: literal_rivals.nearest_neighbours((X - X.mean(0)) / X.std(0), y, 10),
    "linear probe": literal_rivals.linear_probe,
    "directional CDNV": literal_rivals.directional_cdnv,
    "effective rank": lambda X, y: literal_rivals.effective_rank(X),
    "alpha-ReQ": lambda X, y: literal_rivals.alpha_req(X),
    "discriminant accuracy": lambda X, y: (_posterior(X, y).argmax(1) == y).mean(),
    "discriminant probability": _posterior_mean,
    "PED": lambda X, y: literal_rivals.ped(X, y, X.mean(0), X.std(0)),
}
# PARC ranks rounding errors of the labels, NCTI's solver is random.
AGREES = {"PARC": 0.05, "PARC 32 components": 0.05, "NCTI terms": 0.01}
# In the mixture the threads of two BLAS libraries meet: on a busy machine its times
# scatter by a factor of ten, so both versions get as many rounds.
ROUNDS = {"NLEEP": (3, 3), "linear probe": (1, 1)}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(N) % C)
    X = rng.standard_normal((N, D)) + 0.7 * rng.standard_normal((C, D))[y]
    X *= np.arange(1, D + 1) ** -0.65
    X = X @ np.linalg.qr(rng.standard_normal((D, D)))[0]
    theta = rng.dirichlet(np.full(SOURCES, 0.05), N)
    return X, theta, y, {}


# Ours and its original one after the other: other work on the machine comes and goes.
PAIRS = [(v, name) for name in OURS for v in ("ours", "literal") if v == "ours" or name in LITERAL]


@pytest.mark.parametrize(("version", "name"), PAIRS)
def test_speed(benchmark, data, quietly, version, name):
    X, theta, y, values = data
    metric = OURS[name] if version == "ours" else LITERAL[name]
    rounds = ROUNDS.get(name, (3, 2))[version == "literal"]
    value = benchmark.pedantic(quietly(metric), (theta if name in ("LEEP", "NCE") else X, y), rounds=rounds)
    # Sums of 5,000 terms in float64, in another order: 1e-5 of them is far more than rounding.
    assert value == pytest.approx(values.setdefault(name, value), rel=AGREES.get(name, 1e-5), abs=1e-8)
