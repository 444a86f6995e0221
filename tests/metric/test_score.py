"""The score against the public code's values, its definition, and bad input."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import literal
from data_sets import CASES, gaussian_classes, labelled_features, reference_case
from sfda import FisherDiscriminant, SaturationWarning, sfda_score, stream_score
from sfda.metric import linalg, scatter, score
from sfda.metric.inputs import _move
from sfda.metric.scatter import LabelledFeatures, OutOfPrecision
from sfda.metric.score import log_posterior
from sfda.metric.shrinkage import ROUGH, TELLING, best_shrinkage, telling
from sfda.streaming import moments

torch = pytest.importorskip("torch")


def quietly(*args, **kwargs):
    """The score where saturation is not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SaturationWarning)
        return sfda_score(*args, **kwargs)


both_posteriors = pytest.mark.parametrize("posterior", ["resubstitution", "leave-one-out"])


@pytest.mark.parametrize("name", CASES)
def test_reference_cases(name):
    X, y = reference_case(name)
    expected = CASES[name]["checksum"]
    assert X.sum() == pytest.approx(expected["X_sum"], abs=1e-8)
    assert (X[0, 0], X[-1, -1]) == pytest.approx((expected["X_first"], expected["X_last"]))
    assert np.bincount(y).tolist() == expected["class_counts"]
    expected = CASES[name]["scores"]
    assert quietly(X, y) == pytest.approx(expected["SFDA"], abs=1e-9)
    assert quietly(0.2 * X, y) == pytest.approx(expected["SFDA_scaled"], abs=1e-9)


# As in test_discriminant.py: lambda above 1e-3 keeps cond(S) below 4e4.
@given(labelled_features(), st.floats(1e-3, 1.0))
@settings(max_examples=100, deadline=None)
def test_score_equals_the_generalised_eigenproblem(data, shrinkage):
    X, y = data
    expected = literal.score(X, y, shrinkage)
    assert quietly(X, y, shrinkage=shrinkage) == pytest.approx(expected, abs=1e-8)


# An adaptive lambda may be much smaller: the comparison is kept to draws whose condition number is of the same order,
# where the generalised eigenproblem itself (not the score) keeps eight digits: 8e-10 were lost at 1e5, and 8e-8 at 1e7.
@given(labelled_features(), st.floats(0.5, 10.0))
@settings(max_examples=100, deadline=None)
def test_adaptive_score_equals_the_generalised_eigenproblem(data, strength):
    X, y = data
    S = literal.within_scatter(X, y)
    assume(np.linalg.cond(literal.shrink(S, literal.adaptive(S, strength))) < 1e5)
    expected = literal.score(X, y, strength=strength)
    assert quietly(X, y, strength=strength) == pytest.approx(expected, abs=1e-8)


@given(labelled_features(max_classes=6, max_features=30, min_per_class=2), st.floats(1e-3, 1.0))
@settings(max_examples=40, deadline=None)
def test_leave_one_out_score_equals_refitting(data, shrinkage):
    X, y = data
    value = sfda_score(X, y, posterior="leave-one-out", shrinkage=shrinkage)
    assert value == pytest.approx(literal.left_out_score(X, y, shrinkage), abs=1e-9)


@pytest.mark.parametrize("D", [6, 80])
def test_leave_one_out_score_with_its_own_shrinkage_equals_refitting(D):
    y = np.repeat([0, 1, 2], [10, 20, 12])
    X = gaussian_classes(0, y, D)
    chosen = FisherDiscriminant("leave-one-out").fit(X, y).shrinkage_
    value = sfda_score(X, y, posterior="leave-one-out")
    assert value == pytest.approx(literal.left_out_score(X, y, chosen), abs=1e-9)


@given(labelled_features(max_classes=5, max_features=8, min_per_class=6), st.floats(1e-2, 1.0))
@settings(max_examples=40, deadline=None)
def test_float32_agrees_with_float64(data, shrinkage):
    X, y = data
    for posterior in ("resubstitution", "leave-one-out"):
        options = {"posterior": posterior, "shrinkage": shrinkage}
        single = quietly(X + 5, y, dtype="float32", **options)
        assert single == pytest.approx(quietly(X + 5, y, **options), abs=1e-5)


@both_posteriors
@pytest.mark.parametrize(("N", "D"), [(300, 20), (700, 100), (1500, 300)])
@pytest.mark.parametrize("scale", [0.1, 10])  # an adaptive lambda of about 0.5, and at its floor
def test_float32_agrees_with_float64_by_default(N, D, scale, posterior):
    y = np.arange(N) % 5
    X = gaussian_classes(N, y, D, separation=0.1, scale=scale)
    single = quietly(X, y, dtype="float32", posterior=posterior)
    assert single == pytest.approx(quietly(X, y, posterior=posterior), abs=1e-5)


def dependent(kind, seed):
    y = np.arange(400) % 4
    X = gaussian_classes(seed, y, 20, separation=0.5, scale=10)
    if kind == "repeated":
        return np.c_[X, X[:, 0]], y
    if kind == "sum":
        return np.c_[X, X[:, 0] + X[:, 1]], y
    return X[:, :10] @ np.random.default_rng(seed).standard_normal((10, 60)), y


@pytest.mark.parametrize("kind", ["repeated", "sum", "low rank"])
@pytest.mark.parametrize("seed", range(5))
def test_dependent_columns(kind, seed):
    # lambda is at its floor, and a ridge of 1e-10 is beyond float32.
    X, y = dependent(kind, seed)
    single = X.astype("float32")
    assert quietly(single, y, dtype="float32") == pytest.approx(quietly(single, y), abs=1e-5)
    for posterior in ("resubstitution", "leave-one-out"):
        with pytest.raises(ValueError, match="^shrinkage: the within-class scatter is singular at 0;"):
            quietly(X, y, posterior=posterior, shrinkage=0)


@both_posteriors
def test_few_samples_are_scored_in_float64(posterior):
    y = np.arange(110) % 4
    X = gaussian_classes(2, y, 60).astype("float32")
    assert quietly(X, y, dtype="float32", posterior=posterior) == quietly(X, y, posterior=posterior)


@both_posteriors
def test_float32_where_one_sample_has_a_direction_of_its_own(posterior):
    # Its leverage is 1 up to rounding: leaving it out subtracts equal numbers.
    y = np.arange(60) % 3
    X = gaussian_classes(3, y, 8)
    X[5] = 0
    X[:, -1] = 0
    X[5, -1] = 1e3
    single = quietly(X, y, dtype="float32", posterior=posterior, shrinkage=1e-4)
    assert single == pytest.approx(quietly(X, y, posterior=posterior, shrinkage=1e-4), abs=1e-5)


@both_posteriors
@pytest.mark.parametrize("D", [8, 100])
def test_invariances(posterior, D):
    y = np.repeat([0, 1, 2], [30, 20, 10])
    X = gaussian_classes(2, y, D, separation=0.5, scale=0.2)
    rotation = np.linalg.qr(np.random.default_rng(4).standard_normal((D, D)))[0]
    assert quietly(X + 100, y, posterior=posterior) == pytest.approx(quietly(X, y, posterior=posterior), abs=1e-9)
    # The adaptive lambda changes with the basis; at a given one nothing does.
    value = quietly(X, y, posterior=posterior, shrinkage=0.3)
    for moved in (X @ rotation, 1e6 * X):
        assert quietly(moved, y, posterior=posterior, shrinkage=0.3) == pytest.approx(value, abs=1e-9)


@both_posteriors
def test_extreme_scales(posterior):
    y = np.arange(60) % 3
    X = gaussian_classes(6, y, 8)
    value = quietly(X, y, posterior=posterior, shrinkage=0.1)
    for scale in (1e-40, 1e-20, 1e20, 1e37, 1e73):
        for dtype in ("float64", "float32"):
            options = {"posterior": posterior, "dtype": dtype}
            scaled = quietly(scale * X, y, shrinkage=0.1, **options)
            assert scaled == pytest.approx(value, abs=1e-9 if dtype == "float64" else 1e-5)
            assert 0 <= quietly(scale * X, y, **options) <= 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_tensors_of_lower_precision(dtype):
    y = np.arange(90) % 3
    X = torch.from_numpy(gaussian_classes(7, y, 10)).to(getattr(torch, dtype))
    value = sfda_score(X, torch.from_numpy(y).to(X.dtype))
    assert type(value) is float and value == sfda_score(X.double().numpy(), y)


@both_posteriors
@pytest.mark.parametrize(("D", "dtype"), [(10, "float64"), (200, "float64"), (10, "float32")])
@pytest.mark.parametrize("shrinkage", [None, 0.2])
def test_the_path_of_accelerators(posterior, D, dtype, shrinkage):
    # On the CPU tensors are scored by NumPy; here the torch kernels are called as a GPU would.
    y = np.repeat([0, 1, 2], [50, 30, 10])
    X = gaussian_classes(8, y, D, separation=0.3, scale=0.1).astype(dtype)
    x, t = torch.from_numpy(X), torch.from_numpy(y)
    before = x.clone()
    value = float(score._passes(x, t, 3, posterior == "leave-one-out", True, shrinkage, 5.0, score.softmax_at).mean())
    expected = quietly(X, y, posterior=posterior, shrinkage=shrinkage)
    assert value == pytest.approx(expected, abs=1e-9 if dtype == "float64" else 1e-5)
    assert torch.equal(x, before)


@pytest.mark.parametrize("allowed", ["highest", "high", "medium"])
def test_float32_is_not_what_torch_has_been_allowed_to_make_of_it(allowed, monkeypatch):
    """TF32 and bfloat16 keep 11 and 8 bits."""
    y = np.repeat([0, 1, 2], [50, 30, 10])
    X = gaussian_classes(8, y, 10, separation=0.3)
    used, products = [], linalg.gram

    def full():  # either name of the same setting, whichever torch has
        setting = torch.backends.cuda.matmul
        return getattr(setting, "fp32_precision", "") in ("none", "ieee") or not setting.allow_tf32

    def gram(x):
        used.append(full())
        return products(x)

    for module in (scatter, moments):
        monkeypatch.setattr(module, "gram", gram)
    try:
        torch.set_float32_matmul_precision(allowed)
        assert full() == (allowed == "highest")
        sfda_score(X, y, dtype="float32")
        stream_score(lambda: [(X, y)], dtype="float32")
        with pytest.raises(ValueError, match="labels"):
            sfda_score(X, y[1:], dtype="float32")
        assert torch.get_float32_matmul_precision() == allowed
        assert torch.backends.cuda.matmul.allow_tf32 == (allowed != "highest")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert len(used) >= 4 and all(used)


def test_accelerators_meet_the_limits_of_float32():
    X, y = dependent("sum", 0)
    with pytest.raises(OutOfPrecision):
        score._passes(torch.from_numpy(X).float(), torch.from_numpy(y), 4, False, True, None, 5.0, score.softmax_at)


@pytest.mark.parametrize("shape", ["reversed", "foreign", "read-only", "transposed"])
def test_arrays_that_torch_does_not_take(shape):
    y = np.arange(60) % 3
    X = gaussian_classes(9, y, 5)
    expected = sfda_score(X, y)
    X = {"reversed": X[:, ::-1].copy()[:, ::-1], "foreign": X.astype(">f8"), "transposed": X.T.copy().T}.get(shape, X)
    X.flags.writeable = shape != "read-only"
    for device in ("cpu", "cpu:0"):
        assert sfda_score(X, y, device=device) == pytest.approx(expected, abs=1e-12)
    # As an accelerator would get it.
    assert _move(X, "meta").shape == X.shape


@pytest.mark.cuda
@both_posteriors
def test_cuda(posterior):
    y = np.arange(900) % 3
    X = gaussian_classes(7, y, 64)
    expected = sfda_score(X, y, posterior=posterior)
    on_gpu = torch.from_numpy(X).cuda()
    assert sfda_score(on_gpu, y, posterior=posterior) == pytest.approx(expected, abs=1e-9)
    assert sfda_score(X, y, posterior=posterior, device="cuda") == pytest.approx(expected, abs=1e-9)


@both_posteriors
@pytest.mark.parametrize("shape", [(60, 5), (30, 50)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_are_not_modified(posterior, shape, dtype):
    y = np.arange(shape[0]) % 3
    X = gaussian_classes(9, y, shape[1]).astype(dtype)
    before = X.copy()
    first = quietly(X, y, posterior=posterior, dtype=dtype)
    assert np.array_equal(X, before)
    X.flags.writeable = False
    assert quietly(X, y, posterior=posterior, dtype=dtype) == first


def test_warns_once_where_samples_are_too_few_or_the_score_is_one():
    y = np.arange(30) % 3
    with pytest.warns(SaturationWarning) as caught:
        assert sfda_score(gaussian_classes(11, y, 40), y) == pytest.approx(1.0)
    assert [str(w.message) for w in caught] == [
        "the plain SFDA score cannot be trusted: N = 30 <= D = 40 samples can be separated "
        "whatever their labels, and are where lambda is near its floor; use posterior='leave-one-out', or more samples"
    ]
    assert caught[0].filename == __file__
    with pytest.warns(SaturationWarning, match=r"^the plain SFDA score has saturated: it is 1\.0000000 and"):
        sfda_score(gaussian_classes(12, y, 4, separation=30), y)
    # A singleton is legal.
    y = np.repeat([0, 1, 2], [20, 20, 1])
    assert 0 < sfda_score(gaussian_classes(10, y, 4), y) < 1


def test_few_samples_have_score_one_for_any_labels_only_where_lambda_is_small():
    y, rng = np.arange(30) % 3, np.random.default_rng(0)
    X = gaussian_classes(11, y, 40)
    for labels in (y, rng.permutation(y)):
        assert quietly(X, labels, shrinkage=1e-10) == pytest.approx(1, abs=1e-9)
        assert quietly(X, labels, shrinkage=0.9) < 0.98
        assert quietly(0.01 * X, labels) < 0.98  # lambda grows as features shrink


def test_leave_one_out_saturates_late_does_not_warn_and_never_falls_as_data_get_easier():
    y = np.arange(30) % 3
    values = [sfda_score(gaussian_classes(11, y, 40, s), y, posterior="leave-one-out") for s in (0.5, 1, 2, 8)]
    assert values[0] < values[1] < 0.9 and values[1] < values[2] <= values[3]
    # Where any lambda knows all classes, the smallest would let the challenge push samples into others.
    y, rng = np.arange(500) % 10, np.random.default_rng(0)
    means, noise = rng.standard_normal((10, 512)), rng.standard_normal((500, 512))
    hard, easy = (sfda_score(s * means[y] + noise, y, posterior="leave-one-out") for s in (0.5, 1))
    assert 0.94 < hard <= easy


def test_of_lambdas_whose_likelihoods_are_equal_but_for_rounding_the_largest_is_taken():
    def chosen(loss):
        def likelihoods(grid):
            return [-loss(np.log(v / (1 - v))) for v in grid]

        few = best_shrinkage(likelihoods)
        assert few == best_shrinkage(likelihoods, lambda grid: (likelihoods(grid), likelihoods))
        return few

    largest = 1 / (1 + np.exp(-6.75))
    assert (
        chosen(lambda x: 0)
        == chosen(lambda x: 1e-12 * np.cos(9 * x))
        == chosen(lambda x: np.exp(-50 - 5 * x))
        == largest
    )
    # What is no tie stays where it was, however flat.
    assert chosen(lambda x: 3 + 1e-6 * (x - 1.5) ** 2) == pytest.approx(1 / (1 + np.exp(-1.5)))


def test_the_search_goes_on_from_the_best_of_a_few_to_the_best_of_all():
    asked = []

    def likelihoods(who, best):
        def of(grid):
            asked.append((len(grid), who))
            return [-abs(np.log(v / (1 - v)) - best) for v in grid]

        return of

    def some(grid):
        return likelihoods("all", 1.25)(grid), likelihoods("few", 2.5)

    first = [(4, "all"), (17, "few"), (6, "few")]
    assert best_shrinkage(likelihoods("all", 1.25), some) == pytest.approx(1 / (1 + np.exp(-1.25)))
    assert asked == [*first, (3, "all"), *[(1, "all")] * 4]  # from 2.5, or rather from 2, which was asked, down to 1
    asked.clear()
    assert best_shrinkage(likelihoods("all", 1.25), some, reach=5) == pytest.approx(1 / (1 + np.exp(-1.25)))
    assert asked == [*first, (10, "all"), (5, "all")]


@pytest.mark.parametrize("n", [5_000, 20_000])
def test_the_telling_few_stand_for_all(n):
    rng = np.random.default_rng(0)
    logits = np.linspace(-8, 6, 29)
    # Losses of many kinds of samples; of eleven they are a thousand times larger than of the others.
    scale, place = rng.lognormal(size=(n, 1)), rng.normal(size=(n, 1))
    scale[rng.permutation(n)[:11]] *= 1e3
    of_all = -scale * np.logaddexp(0, -(logits - 2 * place) / 3) - 0.1 * np.logaddexp(0, logits)
    found, drawn = of_all[:, [list(logits).index(v) for v in ROUGH]], rng.random(n)
    rows, weights = telling(found, drawn, n, found.mean(0))
    assert len(rows) == len(set(rows)) and set(np.argsort(np.ptp(found, axis=1))[-TELLING:]) <= set(rows)
    assert 2 * TELLING - 6 * TELLING**0.5 < len(rows) < 2 * TELLING + 6 * TELLING**0.5
    # Sums of some 500 products of numbers below 10^4 with weights of the order of 1 / n, and a least-squares solution.
    assert weights.sum() == pytest.approx(1, abs=1e-10)
    np.testing.assert_allclose(weights @ found[rows], found.mean(0), rtol=1e-9, atol=1e-9)
    # Between those lambdas, too, the curve is that of all: its highest point is within two steps of theirs.
    estimate = weights @ of_all[rows]
    assert abs(int(estimate.argmax()) - int(of_all.mean(0).argmax())) <= 1
    # Of some of the samples that hold these the same are chosen.
    kept = np.sort(np.union1d(rows, rng.permutation(n)[: n // 2]))
    again, _ = telling(found[kept], drawn[kept], n)
    assert set(kept[again]) == set(rows)
    # Samples that are all alike, as of a score that has saturated.
    rows, weights = telling(np.zeros((n, 4)), drawn, n, np.zeros(4))
    assert weights.sum() == pytest.approx(1, abs=1e-10) and (weights > 0).all()


@pytest.mark.parametrize("seed, separation, decay, outliers", [(0, 0.1, 0, 0), (1, 0.4, 0.7, 0), (2, 0.2, 0.5, 0), (3, 3, 0, 0), (4, 1, 0.5, 3), (5, 1, 0.2, 40)])
def test_the_lambda_of_many_samples_is_that_of_a_search_among_all_of_them(seed, separation, decay, outliers, monkeypatch):
    y = np.arange(5_000) % 7
    X = gaussian_classes(seed, y, 30, separation) * np.arange(1, 31) ** -decay
    X[np.random.default_rng(seed).permutation(5_000)[:outliers]] *= 30  # which decide, and are not among a random few
    # Class by class: those that are asked first must be of all.
    X, y = X[np.argsort(y, kind="stable")], np.sort(y)
    grid = np.arange(-10.75, 7, 0.25)
    of_all = [log_posterior(X, y, challenge=False, shrinkage=1 / (1 + np.exp(-v)))[np.arange(5_000), y].mean() for v in grid]
    # Of likelihoods within 1e-9 the largest lambda; they are sums of 5,000 numbers, exact to 1e-12.
    best = grid[np.flatnonzero(of_all >= max(of_all) - 1e-9)[-1]]
    judged, judge = [], scatter.LeftOut.__call__
    monkeypatch.setattr(scatter.LeftOut, "__call__", lambda self, r, y: judged.append(len(y)) or judge(self, r, y))
    assert LabelledFeatures.from_features(X, y, 7).choose_shrinkage() == pytest.approx(1 / (1 + np.exp(-best)))
    assert sum(judged) < 16 * len(y)  # 23 times all if all are always asked
    # The kernels of an accelerator choose the same.
    x, t = torch.from_numpy(X), torch.from_numpy(y)
    assert LabelledFeatures.from_features(x, t, 7).choose_shrinkage() == pytest.approx(1 / (1 + np.exp(-best)))


Y = np.arange(20) % 2
X = gaussian_classes(0, Y, 4)


LARGE = X[0, np.abs(X[0]).argmax()]


def spoilt(value, row):
    features = X.copy()
    features[row:, 1] = value
    return features


BAD_INPUT = [
    (X[0], Y, {}, "features: expected 2 dimensions (samples x features), got 1 (shape (4,))"),
    (X.reshape(20, 1, 2, 2), Y, {}, "features: expected 2 dimensions (samples x features), got 4 (shape (20, 1, 2, 2)); average over the image positions first"),
    (torch.ones(20, 4, 1), Y, {}, "features: expected 2 dimensions (samples x features), got 3 (shape (20, 4, 1))"),
    (X[:0], Y[:0], {}, "features: expected at least one row and one column, got shape (0, 4)"),
    (spoilt(np.nan, 7), Y, {}, "features: expected finite numbers, found NaN, first in row 7"),
    (spoilt(-np.inf, 3), Y, {}, "features: expected finite numbers, found infinity, first in row 3"),
    (torch.tensor(spoilt(np.inf, 5)), Y, {}, "features: expected finite numbers, found infinity, first in row 5"),
    (np.where(np.arange(20)[:, None] == 9, np.nan, spoilt(np.inf, 11)), Y, {}, "features: expected finite numbers, found NaN, first in row 9"),
    (np.where(np.arange(20)[:, None] == 9, np.inf, spoilt(np.nan, 11)), Y, {}, "features: expected finite numbers, found infinity, first in row 9"),
    (np.ma.masked_greater(X, 1), Y, {}, "features: expected a value in every place, found a masked one; fill it or drop its row"),
    (torch.tensor(X).to_sparse(), Y, {}, "features: expected a dense matrix, got a sparse one; use .to_dense()"),
    (torch.ones(20, 4, device="meta"), Y, {}, "features: expected numbers, got a tensor on the meta device"),
    (X * 1j, Y, {}, "features: expected numbers, got ndarray: "),
    (torch.tensor(X * 1j), Y, {}, "features: expected real numbers, got dtype torch.complex128"),
    (X.astype(str), Y, {}, "features: expected numbers, got ndarray: "),
    ([[1.0, 2.0], [3.0]], [0, 1], {}, "features: expected numbers, got list: "),
    (scipy.sparse.csr_array(X), Y, {}, "features: expected numbers, got csr_array: "),
    (None, Y, {}, "features: expected real numbers, got dtype object"),
    (1e200 * X, Y, {}, f"features: expected numbers of at most 1e+75 in size, found {1e200 * LARGE:g} in row 0; rescale them"),
    (1e-200 * X, Y, {}, "features: too small, their scatter underflows; rescale them"),
    (1e200 * X, Y, {"dtype": "float32"}, f"features: expected numbers of at most 1e+75 in size, found {1e200 * LARGE:g} in row 0; rescale them"),
    (np.ones_like(X), Y, {}, "features: expected variation within classes, found every sample equal to its class mean"),
    (X, np.arange(20), {}, "labels: expected several samples of a class, found 20 classes of one each"),
    (X, None, {}, "labels: expected one label a row of features, got None"),
    (X, Y[:19], {}, "labels: expected one label for each of the 20 rows of features, got 19"),
    (X, np.eye(2)[Y], {}, "labels: expected 1 dimension, got 2 (shape (20, 2)); turn one-hot rows into labels with argmax(1)"),
    (X, 3, {}, "labels: expected 1 dimension, got 0 (shape ())"),
    (X, ["cat"] * 20, {}, "labels: expected at least 2 classes, got 1 (cat) in 20 rows"),
    (X, np.where(np.arange(20) == 6, np.nan, Y), {}, "labels: expected a class in every row, found none (nan) in row 6; drop it"),
    (X, ["cat", None] * 10, {}, "labels: expected a class in every row, found none (None) in row 1; drop it"),
    (X, pd.Series([0, None] * 10, dtype="Int64"), {}, "labels: expected a class in every row, found none (nan) in row 1; drop it"),
    (X, pd.Series(["cat", None] * 10, dtype="string"), {}, "labels: expected a class in every row, found none (<NA>) in row 1; drop it"),
    (X, pd.Series([pd.Timestamp(0), None] * 10), {}, "labels: expected a class in every row, found none (NaT) in row 1; drop it"),
    (X, Y[:, None], {}, "labels: expected 1 dimension, got 2 (shape (20, 1)); flatten them with np.ravel"),
    (X, Y[None], {}, "labels: expected 1 dimension, got 2 (shape (1, 20)); flatten them with np.ravel"),
    (X, np.c_[Y, Y, Y == Y], {}, "labels: expected 1 dimension, got 2 (shape (20, 3)); each row must be of one class, row 1 is of 3: choose one, or score class by class"),
    (X, np.full((20, 4), 0.25), {}, "labels: expected 1 dimension, got 2 (shape (20, 4)); of rows of probabilities take the likeliest class, argmax(1)"),
    (X, np.full((20, 4), 0.3), {}, "labels: expected 1 dimension, got 2 (shape (20, 4))"),
    (pd.DataFrame(X), pd.Series(Y)[::-1], {}, "labels: expected the rows of the features in their order, got 0 and 19 at position 0; use .loc or reset_index"),
    (pd.Series([[1.0, 2.0]] * 19 + [[3.0]]), Y, {}, "features: expected rows of one shape, got (2,) in row 0 and (1,) in row 19"),
    (X, Y / 2, {}, "labels: expected classes, found 0.5 in row 1; a regression target cannot be scored"),
    (X, (Y / 2).astype(object), {}, "labels: expected classes, found 0.5 in row 1; a regression target cannot be scored"),
    (X, np.array([0, np.inf] * 10, dtype=object), {}, "labels: expected classes, found inf in row 1; a regression target cannot be scored"),
    (X, np.ma.masked_equal(Y, 1), {}, "labels: expected a value in every place, found a masked one; fill it or drop its row"),
    (X, Y * 1j, {}, "labels: expected integers or strings, got dtype complex128"),
    (X, [0, "one"] * 10, {}, "labels: expected numbers or strings, got a mixture of both"),
    (X, np.array(["cat", None] * 10), {}, "labels: expected a class in every row, found none (None) in row 1; drop it"),
    (X, [[0], [1, 2]] * 10, {}, "labels: expected one label a row, got list: "),
    (X, Y, {"posterior": "loo"}, "posterior: expected 'resubstitution' or 'leave-one-out', got 'loo'"),
    (X, Y, {"posterior": np.array(["leave-one-out"] * 2)}, "posterior: expected 'resubstitution' or 'leave-one-out', got array(['leave-one-out', 'leave-one-out'], dtype='<U13')"),
    (X, Y, {"shrinkage": -0.1}, "shrinkage: expected None or a number in [0, 1], got -0.1"),
    (X, Y, {"shrinkage": True}, "shrinkage: expected None or a number in [0, 1], got True"),
    (X, Y, {"shrinkage": np.array([0.1, 0.2])}, "shrinkage: expected None or a number in [0, 1], got array([0.1, 0.2])"),
    (X, Y, {"shrinkage": "leave-one-out"}, "shrinkage: expected None or a number in [0, 1], got 'leave-one-out'"),
    (X[:6], Y[:6], {"shrinkage": 0.0, "posterior": "leave-one-out"}, "shrinkage: the within-class scatter is singular at 0; expected a larger value"),
    (X[:4], Y[:4], {"shrinkage": 0}, "shrinkage: the within-class scatter is singular at 0; expected a larger value"),
    (X, Y, {"strength": -1.0}, "strength: expected a finite number >= 0, got -1.0"),
    (X, Y, {"strength": np.inf}, "strength: expected a finite number >= 0, got inf"),
    (X, Y, {"device": "nowhere"}, "device: cannot compute on nowhere: "),
    (X, Y, {"dtype": "float16"}, "dtype: expected float32 or float64, got float16"),
    (X, np.r_[Y[:19], 5], {"posterior": "leave-one-out"}, "labels: leave-one-out needs at least 2 samples in every class, found 1 in 5"),
    (X[:8], list("abcdefgh"), {"posterior": "leave-one-out"}, "labels: leave-one-out needs at least 2 samples in every class, found 1 in 'a', 'b', 'c', 'd', 'e' and 3 more"),
]  # fmt: skip


@pytest.mark.parametrize(("features", "labels", "options", "message"), BAD_INPUT)
def test_bad_input(features, labels, options, message):
    with pytest.raises(ValueError) as error:
        sfda_score(features, labels, **options)
    # What follows a colon at the end is another library's.
    assert str(error.value) == message or (message.endswith(": ") and str(error.value).startswith(message))


def test_torch_is_not_imported_for_numpy_features():
    code = "import sys, sfda; sfda.sfda_score([[k * k % 7] for k in range(20)], [0, 1] * 10); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
