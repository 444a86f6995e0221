"""H-scores, PARC, GBC, TransRate, ETran: public values, formulas, invariances, bad input."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

import literal_rivals as literal
from data_sets import CASES, gaussian_classes, labelled_features, reference_case
from sfda.rivals.etran import etran_discriminant, etran_energy
from sfda.rivals.gbc import gbc
from sfda.rivals.h_score import h_score, regularised_h_score
from sfda.rivals.parc import parc
from sfda.rivals.transrate import transrate

PUBLISHED = {
    "H_score": (h_score, {}, 1e-9),
    "H_score_parc": (h_score, {}, 1e-6),
    "H_score_regularised": (regularised_h_score, {}, 1e-9),
    "PARC": (parc, {"as_published": True}, 1e-9),
    # The stated tolerance of the randomised solver is 1e-3.
    "PARC_pca32": (parc, {"as_published": True, "components": 32}, 1e-3),
    "TransRate_tllib": (transrate, {}, 1e-9),
    "TransRate_normalised": (transrate, {"normalised": True}, 1e-9),
    "GBC_spherical": (gbc, {}, 1e-9),
    "GBC_diagonal": (gbc, {"covariance": "diagonal"}, 1e-9),
    "ETran_energy": (etran_energy, {}, 1e-9),
    "ETran_LDA": (etran_discriminant, {"as_published": True}, 1e-9),
    "class_mean_softmax": (etran_discriminant, {"as_published": True}, 1e-9),
    "SFDA_first_pass_mean_true_prob": (etran_discriminant, {}, 1e-9),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("key", PUBLISHED)
def test_reference_cases(name, key):
    metric, options, tolerance = PUBLISHED[key]
    expected = CASES[name]["scores"][key]
    if expected is None:  # the original cannot run there
        pytest.skip("no reference: D is smaller than the original's fixed PCA")
    assert metric(*reference_case(name), **options) == pytest.approx(expected, rel=tolerance)


# --- H-scores --------------------------------------------------------------


# The pseudo-inverse squares the condition number and cuts at 1e-10 of the
# largest eigenvalue; real directions lie above 1e-6 of it in these draws and
# keep ten digits.
@given(labelled_features())
@settings(max_examples=60, deadline=None)
def test_h_score_equals_its_formula(data):
    X, y = data
    assume(X.std(0).any())
    assert h_score(X, y) == pytest.approx(literal.h_score(X, y, cut=1e-10), abs=1e-6)


@given(labelled_features())
@settings(max_examples=60, deadline=None)
def test_regularised_h_score_equals_its_formula(data):
    X, y = data
    assume(X.std(0).any())
    # The literal pseudo-inverse is of use only where the estimate is regular.
    if X.shape[1] == 1 or ledoit_wolf(X)[1] > 1e-6:
        expected = literal.regularised_h_score(X, y)
        assert regularised_h_score(X, y) == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_h_score_of_few_samples_says_nothing():
    y = np.arange(30) % 5
    for separation in (0, 3):
        assert h_score(gaussian_classes(0, y, 29, separation), y) == pytest.approx(4)
        assert h_score(gaussian_classes(0, y, 80, separation), y) == pytest.approx(4)
    weak, strong = (regularised_h_score(gaussian_classes(0, y, 80, s), y) for s in (0.5, 2))
    assert weak < strong < 4 * 30 / 29


def test_h_score_does_not_divide_by_rounding_errors():
    y = np.arange(200) % 5
    X = gaussian_classes(1, y, 30, 0.5)
    dependent = np.c_[X, X @ np.random.default_rng(0).standard_normal((30, 20))]
    value = h_score(X, y)
    assert h_score(dependent, y) == pytest.approx(value, rel=1e-9)
    # What little is left of a column, 1e-15 of its variance, is not counted either.
    for seed in range(8):
        noise = np.random.default_rng(seed).standard_normal((200, 1))
        almost = np.c_[X, X @ noise[:30], X[:, :1] + 1e-8 * noise]
        assert h_score(almost, y) == pytest.approx(value, rel=1e-6)
    # A cut at 1e-15 is not enough in single precision.
    single = gaussian_classes(1, y, 250, 0.5).astype("float32")
    assert h_score(single, y) == pytest.approx(4)
    covariance = np.cov(single, rowvar=False, dtype="float32")
    between = np.cov(literal.class_means(single, y)[y], rowvar=False)
    assert abs(np.trace(np.linalg.pinv(covariance, rcond=1e-15) @ between) - 4) > 0.1


@pytest.mark.parametrize("D", [5, 100])
def test_h_score_is_invariant_to_linear_maps(D):
    y = np.repeat([0, 1, 2], [40, 20, 10])
    X = gaussian_classes(2, y, D, 0.5)
    rng = np.random.default_rng(3)
    value = h_score(X, y)
    assert h_score(X @ rng.standard_normal((D, D)) + 5, y) == pytest.approx(value, rel=1e-8)
    # Units far apart, which would otherwise fall below the rounding errors.
    units = np.geomspace(1e-9, 1e9, D)
    assert h_score(X * units, y) == pytest.approx(value, rel=1e-6)
    if D == 5:
        assert abs(regularised_h_score(X * units, y) - regularised_h_score(X, y)) > 1e-3


def test_a_regularised_h_score_without_regularisation():
    # Two points: every sample's outer product is the covariance, the shrinkage is 0.
    X, y = np.array([[1.0, 2], [-1, -2]] * 3), np.array([0, 1] * 3)
    assert ledoit_wolf(X)[1] == 0
    assert regularised_h_score(X, y) == pytest.approx(6 / 5)
    assert regularised_h_score(X[:, :1], y) == pytest.approx(6 / 5)


# --- PARC ------------------------------------------------------------------


# Ranks are discrete: pairs that are equal but for rounding must be equal in
# both versions, which is why the literal one rounds to 12 digits as well.
@given(labelled_features(max_classes=12, max_features=20))
@settings(max_examples=60, deadline=None)
def test_parc_equals_its_formula(data):
    X, y = data
    X = X[:, X.std(0) > 0]
    # With two columns every correlation is 1 or -1.
    assume(X.shape[1] > 2 and np.bincount(y).max() > 1)
    for components in (None, 5):
        expected = literal.parc(X, y, components)
        assert parc(X, y, components=components) == pytest.approx(expected, abs=1e-5)


def test_parc_in_public_code_depends_on_the_numbers_of_the_classes():
    X, y = reference_case("C")
    renamed = np.array([2, 0, 1])[y]
    assert parc(X, y) == pytest.approx(parc(X, renamed), abs=1e-9)
    assert parc(X, y) == pytest.approx(literal.parc(X, y), abs=1e-9)
    published = [parc(X, numbers[y], as_published=True) for numbers in np.array([[0, 1, 2], [2, 0, 1]])]
    assert abs(published[0] - published[1]) > 1
    # Four classes: 1 / C is exact, and nothing is wrong.
    X, y = reference_case("A")
    assert parc(X, y, as_published=True) == pytest.approx(parc(X, y), abs=1e-9)


def test_parc_of_repeated_samples():
    X, y = reference_case("C")
    X, y = np.r_[X, X[:40], X[:40]], np.r_[y, y[:40], y[:40]]
    assert parc(X, y) == pytest.approx(literal.parc(X, y), abs=1e-6)


def test_parc_with_nothing_to_tell_pairs_apart():
    assert parc(np.ones((6, 3)), [0, 0, 0, 1, 1, 1]) == 0
    assert parc(np.ones((6, 3)), [0, 0, 0, 1, 1, 1], as_published=True) == 0
    # Samples that are constant over their standardised features.
    X = np.array([[1.0, 1, 1], [2, 2, 2], [1, 2, 3], [3, 2, 1]])
    assert -100 <= parc(X, [0, 0, 1, 1]) <= 100


def test_parc_extremes():
    y = np.repeat([0, 1], 10)
    X = gaussian_classes(0, y, 50, separation=20)
    # The most that two label values allow: the pairs of one class are all more similar.
    k, m = 90, 190
    assert parc(X, y) == pytest.approx(100 * np.sqrt(3 * k * (m - k) / (m**2 - 1)))


# --- GBC -------------------------------------------------------------------


@given(labelled_features(max_classes=10), st.sampled_from([1.0, 30.0]))
@settings(max_examples=50, deadline=None)
def test_gbc_equals_its_formula(data, scale):
    X, y = data
    for covariance in ("spherical", "diagonal"):
        expected = literal.gbc(scale * X, y, covariance == "spherical")
        value = gbc(scale * X, y, covariance=covariance)
        # Distances come from inner products: a relative 1e-14 of |mu|^2 / v < 1e6.
        assert value == pytest.approx(expected, rel=1e-7, abs=1e-300)
        assert -(y.max() + 1) * y.max() - 1e-9 <= value <= 0
        if value < 0:
            assert gbc(scale * X, y, covariance=covariance, log=True) == pytest.approx(
                -np.log(-value), abs=1e-9
            )


def test_gbc_underflows_and_its_logarithm_does_not():
    y = np.repeat([0, 1], 20)
    X = np.random.default_rng(0).standard_normal((40, 5))
    near, far = X + 500 * y[:, None], X + 600 * y[:, None]
    assert gbc(near, y) == gbc(far, y) == 0
    assert gbc(near, y, log=True) < gbc(far, y, log=True)


def test_gbc_invariances():
    y = np.repeat([0, 1, 2], [30, 20, 10])
    X = gaussian_classes(4, y, 6, 0.5)
    rotation = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 6)))[0]
    value = gbc(X, y)
    for moved in (X @ rotation, X + 50, 10 * X):
        assert gbc(moved, y) == pytest.approx(value, rel=1e-9)
    # Singletons have no variance: the floor, which has a unit.
    assert gbc(0.001 * X, y) != pytest.approx(value, rel=1e-3)
    diagonal = gbc(X, y, covariance="diagonal")
    assert gbc(X * np.arange(1, 7), y, covariance="diagonal") == pytest.approx(diagonal, rel=1e-9)
    assert gbc(X @ rotation, y, covariance="diagonal") != pytest.approx(diagonal, rel=1e-3)


def test_gbc_of_principal_components():
    X, y = reference_case("A")
    assert gbc(X, y, components=500) == pytest.approx(gbc(X, y), rel=1e-9)
    X, y = reference_case("B")
    U, S, _ = np.linalg.svd(X - X.mean(0), full_matrices=False)
    expected = literal.gbc(U[:, :8] * S[:8], y, spherical=False)
    assert gbc(X, y, components=8, covariance="diagonal") == pytest.approx(expected, rel=1e-9)


# --- TransRate -------------------------------------------------------------


@given(labelled_features(max_classes=12), st.booleans())
@settings(max_examples=50, deadline=None)
def test_transrate_equals_its_formula(data, normalised):
    X, y = data
    assume(X.std(0).any())
    expected = literal.transrate(X, y, normalised=normalised)
    assert transrate(X, y, normalised=normalised) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_transrate_invariances():
    y = np.repeat([0, 1, 2], [30, 20, 10])
    X = gaussian_classes(4, y, 6, 0.5)
    rotation = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 6)))[0]
    for normalised in (False, True):
        value = transrate(X, y, normalised=normalised)
        for moved in (X @ rotation, X + 50, np.c_[X, np.zeros((60, 200))]):
            assert transrate(moved, y, normalised=normalised) == pytest.approx(value, abs=1e-9)
    assert transrate(1e-3 * X, y, normalised=True) == pytest.approx(value, abs=1e-9)
    assert abs(transrate(1e-3 * X, y) - transrate(X, y)) > 0.1
    # The plain form gives small classes as much weight as large ones, and may be negative.
    X, y = np.r_[np.tile([1.0, -1.0], 500), 22, -22][:, None], np.repeat([0, 1], [1000, 2])
    assert transrate(X, y) < 0 < transrate(X, y, normalised=True)


@given(labelled_features(max_classes=8))
@settings(max_examples=25, deadline=None)
def test_normalised_transrate_is_never_negative(data):
    X, y = data
    assume(X.std(0).any())
    assert transrate(X, y, normalised=True) >= -1e-9


# --- ETran -----------------------------------------------------------------


@given(labelled_features(max_classes=10), st.floats(1e-3, 1.0))
@settings(max_examples=50, deadline=None)
def test_etran_equals_its_steps(data, shrinkage):
    X, y = data
    assert etran_energy(X, y) == pytest.approx(literal.etran_energy(X), rel=1e-12)
    # Whatever the shrinkage: orthonormal vectors drop out.
    expected = literal.etran_discriminant(X, y, shrinkage)
    assert etran_discriminant(X, y, as_published=True) == pytest.approx(expected, abs=1e-9)


def test_etran_discriminant_as_published_is_no_fisher_discriminant():
    # A nuisance direction of large variance: Euclidean distance fails, Fisher's does not.
    y = np.arange(400) % 2
    rng = np.random.default_rng(0)
    X = np.c_[rng.standard_normal(400) + 3 * y, 30 * rng.standard_normal(400)]
    assert etran_discriminant(X, y) > 0.85
    assert etran_discriminant(X, y, as_published=True) < 0.75
    # It has a unit; the right one, apart from its adaptive shrinkage, has none.
    assert etran_discriminant(0.1 * X, y, as_published=True) < 0.55
    rotation = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    for moved in (X + 100, X @ rotation):
        assert etran_discriminant(moved, y, as_published=True) == pytest.approx(
            etran_discriminant(X, y, as_published=True), abs=1e-9
        )


def test_etran_energy_of_a_share():
    X = np.arange(400.0)[:, None]
    assert etran_energy(X) == pytest.approx(0.5)
    assert etran_energy(X[:100]) == 0  # NaN in public code: 0.5 % of fewer than 200
    assert etran_energy(X, share=1) == pytest.approx(199.5)
    assert etran_energy(X[::-1], share=0.01) == pytest.approx(1.5)
    assert etran_energy(1000 + X) == pytest.approx(1000.5)  # exp would overflow


# --- bad input -------------------------------------------------------------

Y = np.arange(20) % 2
X = gaussian_classes(0, Y, 4)
SAME = "features: expected variation, found every row the same"

BAD_INPUT = [
    (h_score, np.ones((20, 3)), Y, {}, SAME),
    (h_score, np.ones((20, 30)), Y, {}, SAME),
    (regularised_h_score, np.ones((20, 3)), Y, {}, SAME),
    (transrate, np.ones((20, 3)), Y, {"normalised": True}, SAME),
    (transrate, X, Y, {"epsilon": 0}, "epsilon: expected a finite number > 0, got 0"),
    (transrate, X, Y, {"epsilon": np.nan}, "epsilon: expected a finite number > 0, got nan"),
    (gbc, X, Y, {"covariance": "full"}, "covariance: expected 'spherical' or 'diagonal', got 'full'"),
    (gbc, X, Y, {"components": 0}, "components: expected None or an integer of 1 or more, got 0"),
    (gbc, np.ones((20, 3)), Y, {"components": 2}, SAME),
    (parc, X, Y, {"components": 1.5}, "components: expected None or an integer of 1 or more, got 1.5"),
    (parc, X[:, :1], Y, {}, "features: expected at least 2 columns to correlate samples over, got 1"),
    (parc, X, np.arange(20), {}, "labels: expected two samples of one class, found none"),
    (etran_energy, X, Y, {"share": 0}, "share: expected a number in (0, 1], got 0"),
    (etran_energy, X, Y[:3], {}, "labels: expected one label for each of the 20 rows of features, got 3"),
    (etran_discriminant, np.ones((20, 3)), Y, {}, "features: expected variation within classes, found every sample equal to its class mean"),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "features", "labels", "options", "message"), BAD_INPUT)
def test_bad_input(metric, features, labels, options, message):
    with pytest.raises(ValueError) as error:
        metric(features, labels, **options)
    assert str(error.value) == message
