"""The Fisher discriminant against its definition, its invariances and scikit-learn's rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.utils.estimator_checks import parametrize_with_checks

import literal
from data_sets import CASES, alike, gaussian_classes, labelled_features, reference_case
from sfda import FisherDiscriminant
from sfda.metric.scatter import LabelledFeatures
from sfda.metric.score import fisher_posterior

# scikit-learn warns where most classes are singletons, which is meant here.
pytestmark = pytest.mark.filterwarnings("ignore:The number of unique classes is greater")

# S = (1 - lambda) S_W + lambda tr(S_W)/D I has cond(S) <= D / lambda. The draws have D <= 40 and lambda >= 1e-3, so at
# most 4e4; two ways of solving with S then differ by about 1e-16 * 4e4 of discriminants of order 10, well below 1e-9.
SHRINKAGES = st.floats(1e-3, 1.0)


@parametrize_with_checks([FisherDiscriminant(shrinkage=value) for value in (None, 0.1, "leave-one-out")])
def test_scikit_learn_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", CASES)
def test_reference_cases(name):
    X, y = reference_case(name)
    expected = CASES[name]["scores"]
    for prefix, scale in (("SFDA", 1.0), ("SFDA_scaled", 0.2)):
        fitted = FisherDiscriminant().fit(scale * X, y)
        assert fitted.sigma_ == pytest.approx(expected[f"{prefix}_sigma_power_iteration"], rel=1e-9)
        assert fitted.shrinkage_ == pytest.approx(expected[f"{prefix}_lambda"], rel=1e-9)
    p = FisherDiscriminant().fit(X, y).predict_log_proba(X)[np.arange(len(y)), y]
    assert np.exp(p).mean() == pytest.approx(expected["SFDA_first_pass_mean_true_prob"], abs=1e-9)
    assert p.mean() == pytest.approx(expected["SFDA_first_pass_mean_log_prob"], abs=1e-9)


@given(st.one_of(labelled_features(), labelled_features(max_classes=8)), SHRINKAGES)
@settings(max_examples=100, deadline=None)
def test_posterior_and_sigma_equal_their_definitions(data, shrinkage):
    X, y = data
    fitted = FisherDiscriminant(shrinkage).fit(X, y)
    proba = fitted.predict_proba(X)
    alike(proba, literal.posterior(X, y, shrinkage), atol=1e-8)
    split = LabelledFeatures.from_features(X, y, y.max() + 1)  # as the score does it
    alike(split.judged(fisher_posterior(split, shrinkage)), proba, atol=1e-9)
    assert fitted.sigma_ == pytest.approx(literal.power_iteration(literal.within_scatter(X, y)), rel=1e-9)


@pytest.mark.parametrize("exactly", [False, True])
def test_sigma_where_the_row_sums_of_the_scatter_vanish(exactly):
    y = np.arange(60) % 3
    X = gaussian_classes(0, y, 6)
    X -= X.mean(1, keepdims=True)  # as a layer norm leaves them, up to rounding
    if exactly:
        X = np.round(X * 64) / 64
        X[:, -1] -= X.sum(1)
    exact = np.linalg.eigvalsh(literal.within_scatter(X, y))[-1]
    sigma = FisherDiscriminant(shrinkage=0.5).fit(X, y).sigma_
    assert 0.9 * exact < sigma <= exact * (1 + 1e-12)
    # Not rounding errors amplified: another order of summation gives the same.
    assert FisherDiscriminant(shrinkage=0.5).fit(X[::-1], y[::-1]).sigma_ == pytest.approx(sigma, rel=1e-9)


@given(labelled_features(max_classes=6, max_features=30, min_per_class=2), SHRINKAGES)
@settings(max_examples=60, deadline=None)
def test_leave_one_out_at_the_samples_and_at_other_points_equals_refitting(data, shrinkage):
    X, y = data
    Z = X[::-1] + np.linspace(-1, 1, X.shape[1])  # outside the samples' row space, too
    for points, at in ((X, {}), (Z, {"at": Z})):
        expected = literal.left_out_posterior(X, y, shrinkage, points)
        alike(FisherDiscriminant(shrinkage).leave_one_out_proba(X, y, **at), expected, atol=1e-9)


# The optima lie at both ends of the search and on both sides of a whole logit.
@pytest.mark.parametrize(
    ("seed", "N", "D", "separation", "logit"),
    [(0, 60, 80, 0.5, 0.5), (0, 60, 5, 0.5, -1.25),
     (2, 60, 10, 0, 0.75), (1, 300, 8, 1, -10.75), (4, 60, 300, None, 6.75)],
)
def test_chosen_shrinkage_has_the_largest_leave_one_out_likelihood(seed, N, D, separation, logit):
    y = np.arange(N) % 3
    X = np.random.default_rng(seed).standard_normal((N, D))  # round noise: the more shrinkage the better
    if separation is not None:
        X = gaussian_classes(seed, y, D, separation=separation)

    def likelihood(shrinkage):
        proba = FisherDiscriminant(shrinkage).leave_one_out_proba(X, y)
        with np.errstate(divide="ignore"):  # a probability may underflow to 0
            return np.log(proba[np.arange(N), y]).mean()

    chosen = FisherDiscriminant(shrinkage="leave-one-out").fit(X, y).shrinkage_
    assert np.log(chosen / (1 - chosen)) == pytest.approx(logit, abs=1e-9)
    grid = 1 / (1 + np.exp(-np.linspace(-10.75, 6.75, 71)))
    assert likelihood(chosen) >= max(likelihood(value) for value in grid) - 1e-9


def test_leave_one_out_blocks_meet(monkeypatch):
    y = np.arange(50) % 4
    X = gaussian_classes(2, y, 7)
    whole = FisherDiscriminant(0.2).leave_one_out_proba(X, y)
    blocks = "sfda.metric.scatter.row_blocks"
    monkeypatch.setattr(blocks, lambda x, nbytes=0: (slice(i, i + 9) for i in range(0, len(x), 9)))
    assert FisherDiscriminant(0.2).leave_one_out_proba(X, y) == pytest.approx(whole, abs=1e-13)


@pytest.mark.parametrize("D", [6, 20, 100])
def test_invariances_of_the_posterior(D):
    y = np.arange(60) % 3
    X = gaussian_classes(3, y, D)
    rng = np.random.default_rng(4)
    rotation = np.linalg.qr(rng.standard_normal((D, D)))[0]
    order = rng.permutation(60)

    def proba(X, y):
        return FisherDiscriminant(0.2).fit(X, y).predict_proba(X)

    expected = proba(X, y)
    for same in (X + 1e3, X @ rotation, 7 * X):
        assert proba(same, y) == pytest.approx(expected, abs=1e-9)
    assert proba(X[order], y[order]) == pytest.approx(expected[order], abs=1e-9)
    assert proba(X, np.array([20, -1, 4])[y])[:, [2, 0, 1]] == pytest.approx(expected, abs=1e-9)
    # The adaptive lambda depends on the basis: the power iteration starts from S_W's row sums, which rotation changes.
    one, other = (FisherDiscriminant().fit(0.2 * Z, y).sigma_ for Z in (X, X @ rotation))
    assert one != pytest.approx(other, rel=1e-6)
    exact = np.linalg.eigvalsh(literal.within_scatter(0.2 * X, y))[-1]
    assert max(one, other) <= exact * (1 + 1e-12)


@pytest.mark.parametrize(("D", "shrinkage"), [(2, 0.1), (6, 0.0), (6, 0.1), (6, 0.3), (6, 1.0), (9, 0.1), (100, 0.3)])
def test_fisher_directions(D, shrinkage):
    y = np.repeat([0, 1, 2, 3], [10, 20, 15, 15])
    X = gaussian_classes(5, y, D)
    fitted = FisherDiscriminant(shrinkage).fit(X, y)
    k, U, Z = min(3, D), fitted.scalings_, fitted.transform(X)
    S = literal.shrink(literal.within_scatter(X, y), shrinkage)
    S_B = np.cov(X.T, bias=True) - literal.within_scatter(X, y)
    ratios = np.diag(U.T @ S_B @ U)
    assert Z.shape == (60, k)
    assert U.T @ S @ U == pytest.approx(np.eye(k), abs=1e-9)
    assert U.T @ S_B @ U == pytest.approx(np.diag(ratios), abs=1e-9)
    assert np.all(np.diff(ratios) <= 0) and np.all(U[np.abs(U).argmax(0), np.arange(k)] > 0)
    assert Z == pytest.approx((X - X.mean(0)) @ U)
    # They hold all that separates the classes.
    M = fitted.transform(fitted.means_)
    delta = Z @ M.T - 0.5 * (M * M).sum(1) + np.log(fitted.priors_)
    assert literal.softmax(delta) == pytest.approx(fitted.predict_proba(X), abs=1e-9)
    other = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(X, y)
    assert fitted.predict_proba(X) == pytest.approx(other.predict_proba(X), abs=1e-9)


Y = np.arange(20) % 2
FINE, WIDE = (gaussian_classes(8, Y, D) for D in (4, 40))
SMALL = "labels: leave-one-out needs at least 2 samples in every class, found 1 in"


@pytest.mark.parametrize(
    ("parameters", "method", "data", "message"),
    [
        ({"shrinkage": 1.5}, "fit", (FINE, Y), "shrinkage: expected None, 'leave-one-out' or a number in [0, 1], got 1.5"),
        ({"shrinkage": "auto"}, "fit", (FINE, Y), "shrinkage: expected None, 'leave-one-out' or a number in [0, 1], got 'auto'"),
        ({"strength": -1}, "fit", (FINE, Y), "strength: expected a finite number >= 0, got -1"),
        ({"shrinkage": 0.0}, "fit", (WIDE, Y), "shrinkage: the within-class scatter is singular at 0; expected a larger value"),
        ({}, "fit", (FINE, np.full(20, 7)), "y: expected at least 2 classes, got 1 (7) in 20 rows"),
        ({}, "fit", (np.eye(4)[Y], Y), "features: expected variation within classes, found every sample equal to its class mean"),
        ({"shrinkage": "leave-one-out"}, "fit", (FINE, np.r_[Y[:-1], 2]), f"{SMALL} 2"),
        ({"shrinkage": 0.1}, "leave_one_out_proba", (FINE[:6], np.array(list("aabccd"))), f"{SMALL} 'b', 'd'"),
        ({"shrinkage": 0.1}, "leave_one_out_proba", (FINE[:6], list("aabbab"), FINE[:2]), "at: expected shape (6, 4), got (2, 4)"),
    ],
)  # fmt: skip
def test_bad_input(parameters, method, data, message):
    with pytest.raises(ValueError) as error:
        getattr(FisherDiscriminant(**parameters), method)(*data)
    assert str(error.value) == message
