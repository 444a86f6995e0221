"""Every metric of the catalogue: complete entries, public values, the same rules for all, torch, bounds, bad input."""

import math
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import sfda
from data_sets import CASES, gaussian_classes, reference_case, reference_source_probabilities
from sfda import METRICS, leep, nce
from sfda.metric import inputs, linalg
from sfda.rivals import neighbours
from sfda.rivals.catalogue import RIVALS, Metric
from sfda.rivals.ncti import ncti_terms
from sfda.rivals.ped import ped

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::sfda.SaturationWarning")

Y = np.repeat([0, 1, 2], [40, 30, 20])
X = gaussian_classes(0, Y, 10, 0.5, 0.5)
THETA = np.random.default_rng(1).dirichlet(np.ones(6), 90)
FUNCTIONS = RIVALS | {"NCTI terms": ncti_terms, "PED": ped}
UNLABELLED = ("ETran energy", "effective rank", "alpha-ReQ")  # which see no labels


def first_argument(metric, features=X):
    if metric.needs == "features":
        return features
    return THETA if metric.needs == "source probabilities" else {"a": features, "b": 2 * features}


def with_name(function):
    """The modules that define or import a function of `sfda.metric`."""
    modules = [module for name, module in sys.modules.items() if name.startswith("sfda.") and hasattr(module, function)]
    assert {inputs, linalg} & set(modules) and len(modules) > 5
    return modules


def test_metrics_are_the_rivals_that_need_only_features():
    assert METRICS is sfda.METRICS
    assert list(METRICS.values()) == [m for m in RIVALS.values() if m.needs == "features"]
    assert set(RIVALS) - set(METRICS) == {"LEEP", "NCE", "NCTI", "ETran", "ETran as published", "committee"}
    assert METRICS["GBC"](X, Y, log=True) == METRICS["GBC log"](X, Y)


@pytest.mark.parametrize("name", RIVALS)
def test_entries_are_complete(name):
    metric = RIVALS[name]
    assert isinstance(metric, Metric) and metric.name == name and metric.paper and metric.cost
    assert 1936 <= metric.year <= 2026
    assert metric.needs in ("features", "source probabilities", "zoo") and len(metric.bounds) == 2
    with pytest.raises(FrozenInstanceError):
        metric.year = 2000


# Values of public code. Other variants of LogME stop elsewhere, another of the H-score cuts elsewhere. PARC's
# depend on the processor: test_as_published.py.
REFERENCES = [
    ("SFDA", {}, "SFDA", 1e-9), ("LEEP", {}, "LEEP", 1e-9), ("NCE", {}, "NCE", 1e-9),
    ("LogME", {}, "LogME_corrected", 1e-9), ("LogME", {}, "LogME_tllib", 1e-3), ("LogME", {}, "LogME_icml", 1e-3),
    ("LogME as published", {}, "LogME", 1e-9), ("LogME", {"as_published": True}, "LogME", 1e-9),
    ("H-score", {}, "H_score", 1e-9), ("H-score", {}, "H_score_parc", 1e-6),
    ("regularised H-score", {}, "H_score_regularised", 1e-9), ("GBC", {}, "GBC_spherical", 1e-9),
    ("GBC diagonal", {}, "GBC_diagonal", 1e-9), ("TransRate", {}, "TransRate_tllib", 1e-9),
    ("TransRate normalised", {}, "TransRate_normalised", 1e-9), ("ETran energy", {}, "ETran_energy", 1e-9),
    ("ETran discriminant", {}, "SFDA_first_pass_mean_true_prob", 1e-9),
    ("ETran discriminant as published", {}, "ETran_LDA", 1e-9),
    ("ETran discriminant as published", {}, "class_mean_softmax", 1e-9),
    ("discriminant probability", {}, "SFDA_first_pass_mean_true_prob", 1e-9),
    ("left-out log-likelihood", {"posterior": "resubstitution"}, "SFDA_first_pass_mean_log_prob", 1e-6),
    ("nearest neighbour", {}, "kNN1_LOO_accuracy_percent", 1e-9),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "options", "key", "tolerance"), REFERENCES)
def test_reference_values(name, options, key, tolerance, case):
    features, y = reference_case(case)
    if RIVALS[name].needs == "source probabilities":
        features, checksum = reference_source_probabilities(case), CASES[case]["checksum"]
        assert (features[0, 0], features[-1, -1]) == pytest.approx((checksum["theta_first"], checksum["theta_last"]))
    value, expected = RIVALS[name](features, y, **options), CASES[case]["scores"][key]
    assert value * (100 if key.endswith("percent") else 1) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("name", RIVALS)
def test_bounds(name):
    metric, places = RIVALS[name], {"C": 3, "N": 90, "log": math.log}
    low, high = (eval(b, places) if isinstance(b, str) else b for b in metric.bounds)
    for apart in (0.0, 5.0):
        value = metric(first_argument(metric, gaussian_classes(2, Y, 10, apart, 0.5)), Y)
        for v in value.values() if isinstance(value, dict) else [value]:
            assert (low is None or v >= low - 1e-9) and (high is None or v <= high + 1e-9)


@pytest.mark.parametrize("name", [name for name in METRICS if name not in UNLABELLED])
def test_larger_is_better(name):
    # Classes apart from each other, which every metric should like.
    rng = np.random.default_rng(3)
    noise, means = rng.standard_normal((90, 10)), rng.standard_normal((3, 10))
    low, high = (METRICS[name](noise + s * means[Y], Y) for s in (0.1, 1.0))
    assert low < high


# What leaves a score as it is. Whatever else is done to the features changes it: it has a unit, an origin or axes.
# Accuracies jump or stay.
ACCURACIES = {
    "nearest neighbour": "rotate shift scale", "nearest neighbours standardised": "shift scale units",
    "linear probe": "shift scale units", "left-out ridge": "rotate shift scale", "left-out kernel ridge": "shift scale units",
}  # fmt: skip
UNCHANGED = ACCURACIES | {
    "SFDA": "rotate shift", "left-out SFDA": "rotate shift scale", "LogME": "rotate",
    "H-score": "rotate shift scale units map", "regularised H-score": "rotate shift scale",
    "PARC": "shift scale units", "GBC": "rotate shift scale", "GBC diagonal": "shift scale units",
    "TransRate": "rotate shift", "TransRate normalised": "rotate shift scale", "ETran energy": "",
    "ETran discriminant": "rotate shift", "ETran discriminant as published": "rotate shift",
    "discriminant probability": "rotate shift", "left-out probability": "rotate shift scale",
    "left-out log-likelihood": "rotate shift scale", "effective rank": "rotate scale",
    "alpha-ReQ": "rotate shift scale", "directional CDNV": "rotate shift scale",
}  # fmt: skip


@pytest.mark.parametrize("D", [8, 120])
@pytest.mark.parametrize("name", UNCHANGED)
def test_invariances(name, D):
    rng = np.random.default_rng(3)
    x = gaussian_classes(2, Y, D, 0.5, 0.5)
    moved = {
        "rotate": x @ np.linalg.qr(rng.standard_normal((D, D)))[0], "shift": x + 5, "scale": 3 * x,
        "units": x * np.geomspace(1, 100, D), "map": x @ rng.standard_normal((D, D)) + 5,
    }  # fmt: skip
    value = METRICS[name](x, Y)
    for how, other in moved.items():
        same = METRICS[name](other, Y) == pytest.approx(value, rel=1e-7, abs=1e-9)
        # More columns than samples: the H-score is C - 1, the discriminants fit.
        if how in UNCHANGED[name].split() or (D < 90 and name not in ACCURACIES):
            assert same == (how in UNCHANGED[name].split()), how


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", RIVALS)
def test_what_goes_in(name, dtype):
    metric = RIVALS[name]
    given = first_argument(metric, X.astype(dtype))
    given = given.astype(dtype) if metric.needs == "source probabilities" else given
    many = given if isinstance(given, dict) else {"": given}
    before, labels = {k: v.copy() for k, v in many.items()}, Y.copy()
    expected = metric(given, Y)
    values = expected.values() if isinstance(expected, dict) else [expected]
    assert all(type(value) is float and math.isfinite(value) for value in values)
    assert metric(given, Y) == expected
    assert np.array_equal(Y, labels)
    assert all(np.array_equal(before[k], v) and v.dtype == dtype for k, v in many.items())
    tensors = {k: torch.from_numpy(v.copy()) for k, v in many.items()}
    tensors = tensors if isinstance(given, dict) else tensors[""]
    # Sorted alike, or a split into folds would draw others.
    for features, y in [(tensors, torch.from_numpy(Y)), (given, np.array(["a", "m", "z"])[Y]), (given, 7 * Y - 3)]:
        assert metric(features, y) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("shape", [(90, 10), (90, 300)])
def test_the_path_of_accelerators(name, shape, monkeypatch):
    # On the CPU tensors are scored by NumPy; here they stay tensors, as on a GPU.
    features = gaussian_classes(4, Y, shape[1], 0.3, 0.3)
    expected, checked = METRICS[name](features, Y), inputs.as_features

    def as_features(x, **options):
        checked(x, **options)
        return x.double()

    for module in with_name("as_features"):
        monkeypatch.setattr(module, "as_features", as_features)
    tensor = torch.from_numpy(features)
    value = METRICS[name](tensor, Y)
    assert type(value) is float
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert np.array_equal(tensor.numpy(), gaussian_classes(4, Y, shape[1], 0.3, 0.3))


@pytest.mark.parametrize("metric", [leep, nce])
def test_source_probabilities_on_the_path_of_accelerators(metric, monkeypatch):
    expected = metric(THETA, Y)
    monkeypatch.setitem(metric.__globals__, "as_features", lambda x, **_: x)
    assert metric(torch.from_numpy(THETA), Y) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", [*RIVALS, "PED"])
def test_in_small_blocks(name, monkeypatch):
    # As large data are scored: block by block.
    metric = FUNCTIONS[name]
    first = X if name == "PED" else first_argument(metric)
    expected = metric(first, Y)

    def row_blocks(x, nbytes=None):
        return [slice(start, start + 7) for start in range(0, len(x), 7)]

    for module in with_name("row_blocks"):
        monkeypatch.setattr(module, "row_blocks", row_blocks)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", (7 * 8 * 90,) * 2)
    monkeypatch.setitem(RIVALS["PARC"].function.__globals__, "BLOCK_BYTES", 7 * 8 * 90)
    assert metric(first, Y) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.cuda
def test_cuda(name):
    expected = METRICS[name](X, Y)
    assert METRICS[name](torch.from_numpy(X).cuda(), Y) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("D", [1, 8, 200])
def test_dead_columns_repeated_samples_and_small_classes(name, D):
    y = np.repeat(np.arange(6), [12, 9, 6, 4, 2, 2])
    features = gaussian_classes(5, y, D, 0.5, 0.5)
    if D > 1:
        features[:, 3] = 0
        features[:, 5] = features[:, 4]
    features[1] = features[0]
    if D > 1 or not name.startswith(("PARC", "alpha-ReQ")):  # a single column has no correlation, nor a slope
        assert math.isfinite(METRICS[name](features, y))


# For every metric.
BAD_INPUT = [
    (X[0], Y, "features: expected 2 dimensions (samples x features), got 1 (shape (10,))"),
    (X[:0], Y[:0], "features: expected at least one row and one column, got shape (0, 10)"),
    (np.where(np.arange(90)[:, None] == 7, np.nan, X), Y, "features: expected finite numbers, found NaN, first in row 7"),
    (X, Y[:19], "labels: expected one label for each of the 90 rows of features, got 19"),
    (X, Y / 2, "labels: expected classes, found 0.5 in row 40; a regression target cannot be scored"),
    (X, np.zeros(90, int), "labels: expected at least 2 classes, got 1 (0) in 90 rows"),
    (X, None, "labels: expected one label a row of features, got None"),
]  # fmt: skip


SINGLES, ONE_ALONE = np.arange(90), np.r_[Y[:89], 5]
SAME = "features: expected variation, found every row the same"
WITHIN = "features: expected variation within classes, found every sample equal to its class mean"
NO_PAIR = "labels: expected two samples of one class, found none"
LEFT_OUT = "labels: leave-one-out needs at least 2 samples in every class, found 1 in 5"
ONES = np.ones((90, 10))

BAD_ARGUMENTS = [
    ("H-score", ONES, Y, {}, SAME),
    ("H-score", np.ones((90, 100)), Y, {}, SAME),
    ("regularised H-score", ONES, Y, {}, SAME),
    ("TransRate", ONES, Y, {"normalised": True}, SAME),
    ("GBC", ONES, Y, {"components": 2}, SAME),
    ("NLEEP", ONES, Y, {}, SAME),
    ("discriminant accuracy", ONES, Y, {}, WITHIN),
    ("ETran discriminant", ONES, Y, {}, WITHIN),
    ("LogME", 0 * X, Y, {}, "features: expected a value other than zero"),
    ("LogME", 1e-150 * X, Y, {}, "features: too small, their scatter underflows; rescale them"),
    ("TransRate", X, Y, {"epsilon": 0}, "epsilon: expected a finite number > 0, got 0"),
    ("TransRate", X, Y, {"epsilon": np.nan}, "epsilon: expected a finite number > 0, got nan"),
    ("TransRate", X, Y, {"epsilon": 5e-324}, "epsilon: too small beside the features; rescale them"),
    ("GBC", X, Y, {"covariance": "full"}, "covariance: expected 'spherical' or 'diagonal', got 'full'"),
    ("GBC", X, Y, {"components": 0}, "components: expected None or an integer of 1 or more, got 0"),
    ("PARC", X, Y, {"components": 1.5}, "components: expected None or an integer of 1 or more, got 1.5"),
    ("PARC", X[:, :1], Y, {}, "features: expected at least 2 columns to correlate samples over, got 1"),
    ("PARC", X, SINGLES, {}, NO_PAIR),
    ("linear probe", X, SINGLES, {}, NO_PAIR),
    ("NCTI terms", X, SINGLES, {}, NO_PAIR),
    ("linear probe", X, Y, {"folds": 1}, "folds: expected an integer of 2 or more, got 1"),
    ("ETran energy", X, Y, {"share": 0}, "share: expected a number in (0, 1], got 0"),
    ("nearest neighbour", X, Y, {"k": 0}, "k: expected an integer from 1 to N - 1 = 89, got 0"),
    ("nearest neighbour", X, Y, {"k": 90}, "k: expected an integer from 1 to N - 1 = 89, got 90"),
    ("nearest neighbour", X, Y, {"k": 1.0}, "k: expected an integer from 1 to N - 1 = 89, got 1.0"),
    ("nearest neighbours standardised", ONES, Y, {}, SAME),
    ("left-out ridge", ONES, Y, {}, SAME),
    ("left-out ridge", np.ones((90, 100)), Y, {"standardise": True}, SAME),
    ("left-out kernel ridge", ONES, Y, {}, SAME),
    ("left-out kernel ridge", X, Y, {"samples": 1}, "samples: expected an integer of 2 or more, got 1"),
    ("left-out kernel ridge", X, Y, {"samples": 10.0}, "samples: expected an integer of 2 or more, got 10.0"),
    ("effective rank", 0 * X, Y, {}, "features: expected a value other than zero"),
    ("alpha-ReQ", ONES, Y, {}, SAME),
    ("alpha-ReQ", X[:, :1] @ X[:1], Y, {}, "features: expected variation in at least 2 directions, found 1"),
    ("directional CDNV", ONES, Y, {}, SAME),
    ("discriminant accuracy", X, Y, {"posterior": "loo"}, "posterior: expected 'resubstitution' or 'leave-one-out', got 'loo'"),
    ("discriminant accuracy", X, Y, {"shrinkage": 2}, "shrinkage: expected None, 'leave-one-out' or a number in [0, 1], got 2"),
    ("discriminant accuracy", X, ONE_ALONE, {"posterior": "leave-one-out"}, LEFT_OUT),
    ("discriminant accuracy", X, ONE_ALONE, {"shrinkage": "leave-one-out"}, LEFT_OUT),
    ("NLEEP", X, Y, {"components_per_class": 0}, "components_per_class: expected an integer of 1 or more, got 0"),
    ("NLEEP", X, Y, {"components_per_class": 2.5}, "components_per_class: expected an integer of 1 or more, got 2.5"),
    ("NLEEP", X, Y, {"variance": 1.0}, "variance: expected a number between 0 and 1, got 1.0"),
    ("NLEEP", X, Y, {"covariance": "round"}, "covariance: expected one of full, tied, diag, spherical, got 'round'"),
    ("PED", X, Y, {"mean": np.zeros(3)}, "mean: expected shape (10,), got (3,)"),
    ("PED", X, Y, {"mean": [0, 0, np.nan] + 7 * [0]}, "mean: expected finite numbers, found nan in column 2"),
    ("PED", X, Y, {"mean": ["a"] * 10}, "mean: expected one number a feature"),
    ("PED", X, Y, {"std": [1, -1] + 8 * [1]}, "std: expected finite numbers >= 0, found -1 in column 1"),
    ("PED", X, Y, {"nsigma": -1}, "nsigma: expected a finite number >= 0, got -1"),
    ("PED", X, Y, {"time_step": 0}, "time_step: expected a finite number > 0, got 0"),
    ("PED", X, Y, {"exit_ratio": np.inf}, "exit_ratio: expected a finite number >= 0, got inf"),
    ("PED", X, Y, {"max_steps": 1.5}, "max_steps: expected an integer >= 0, got 1.5"),
]  # fmt: skip


def spoilt(value):
    theta = THETA * 1
    theta[7, 2] = value
    return theta


NO_SHARES = "source_probabilities: expected rows of probabilities that sum to 1, found {}; turn logits into probabilities with softmax"
BAD_SOURCE = [
    (spoilt(np.nan), Y, "source_probabilities: expected finite numbers, found NaN, first in row 7"),
    (spoilt(-0.1), Y, NO_SHARES.format("-0.1 in row 7")),
    (spoilt(THETA[7, 2] + 0.25), Y, NO_SHARES.format("a sum of 1.25 in row 7")),
    (100 * THETA, Y, NO_SHARES.format("a sum of 100 in row 0")),
    (THETA[0], Y, "source_probabilities: expected 2 dimensions (samples x features), got 1 (shape (6,))"),
    (THETA, Y[:19], "labels: expected one label for each of the 90 rows of features, got 19"),
    (THETA, None, "labels: expected one label a row of features, got None"),
]

BAD = [(name, *case[:2], {}, case[2]) for name in METRICS for case in BAD_INPUT]
BAD += [(name, *case[:2], {}, case[2]) for name in ("LEEP", "NCE") for case in BAD_SOURCE]


@pytest.mark.parametrize(("name", "features", "labels", "options", "message"), BAD + BAD_ARGUMENTS)
def test_bad_input(name, features, labels, options, message):
    if name not in UNLABELLED or labels is not None:  # they are optional there
        with pytest.raises(ValueError) as error:
            FUNCTIONS[name](features, labels, **options)
        assert str(error.value) == message
