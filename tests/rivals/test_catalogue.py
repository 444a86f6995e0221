"""Every metric of the catalogue: complete entries, the same rules for all, torch, bounds."""

import math
import sys
import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import sfda
from data_sets import (
    CASES,
    gaussian_classes,
    reference_case,
    reference_source_probabilities,
)
from sfda import METRICS, SaturationWarning, leep
from sfda.metric import inputs, linalg
from sfda.rivals import neighbours, parc
from sfda.rivals.catalogue import RIVALS, Metric

torch = pytest.importorskip("torch")

Y = np.repeat([0, 1, 2], [40, 30, 20])
X = gaussian_classes(0, Y, 10, 0.5, 0.5)
THETA = np.random.default_rng(1).dirichlet(np.ones(6), 90)


def first_argument(metric, features=X):
    if metric.needs == "features":
        return features
    return THETA if metric.needs == "source probabilities" else {"a": features, "b": 2 * features}


def with_name(function):
    """The modules that define or import a function of `sfda.metric`."""
    modules = [module for name, module in sys.modules.items() if name.startswith("sfda.") and hasattr(module, function)]
    assert {inputs, linalg} & set(modules) and len(modules) > 5
    return modules


# --- the catalogue ---------------------------------------------------------


def test_metrics_are_the_rivals_that_need_only_features():
    assert METRICS is sfda.METRICS
    assert list(METRICS.values()) == [m for m in RIVALS.values() if m.needs == "features"]
    assert set(RIVALS) - set(METRICS) == {"LEEP", "NCE", "NCTI", "ETran", "ETran as published"}
    for name in ("SFDA", "SFDA leave-one-out", "LogME", "NLEEP", "H-score", "PARC", "GBC"):
        assert name in METRICS


@pytest.mark.parametrize("name", RIVALS)
def test_entries_are_complete(name):
    metric = RIVALS[name]
    assert isinstance(metric, Metric)
    assert metric.name == name
    assert metric.paper and metric.cost
    assert 1936 <= metric.year <= 2026
    assert metric.needs in ("features", "source probabilities", "zoo")
    assert len(metric.bounds) == 2
    assert callable(metric.function)
    with pytest.raises(FrozenInstanceError):
        metric.year = 2000


REFERENCES = {
    "SFDA": ("SFDA", 1e-9),
    "LEEP": ("LEEP", 1e-9),
    "NCE": ("NCE", 1e-9),
    "LogME": ("LogME_corrected", 1e-9),
    "LogME as published": ("LogME", 1e-9),
    "H-score": ("H_score", 1e-9),
    "regularised H-score": ("H_score_regularised", 1e-9),
    "PARC 32 components as published": ("PARC_pca32", 1e-3),
    "GBC": ("GBC_spherical", 1e-9),
    "GBC diagonal": ("GBC_diagonal", 1e-9),
    "TransRate": ("TransRate_tllib", 1e-9),
    "TransRate normalised": ("TransRate_normalised", 1e-9),
    "ETran energy": ("ETran_energy", 1e-9),
    "ETran discriminant": ("SFDA_first_pass_mean_true_prob", 1e-9),
    "ETran discriminant as published": ("ETran_LDA", 1e-9),
    "discriminant probability": ("SFDA_first_pass_mean_true_prob", 1e-9),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", REFERENCES)
def test_entries_give_the_reference_values(name, case):
    key, tolerance = REFERENCES[name]
    features, y = reference_case(case)
    if RIVALS[name].needs == "source probabilities":
        features = reference_source_probabilities(case)
    expected = CASES[case]["scores"][key]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SaturationWarning)
        value = RIVALS[name](features, y)
    # Where D is below 32 the original PARC cannot run, and ours uses all components.
    assert expected is None or value == pytest.approx(expected, rel=tolerance)


def test_options_go_to_the_function():
    assert METRICS["GBC"](X, Y, log=True) == METRICS["GBC log"](X, Y)
    assert METRICS["LogME"](X, Y, as_published=True) == METRICS["LogME as published"](X, Y)


@pytest.mark.parametrize("name", RIVALS)
def test_bounds(name):
    metric = RIVALS[name]
    for apart in (0.0, 5.0):
        features = gaussian_classes(2, Y, 10, apart, 0.5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)
            value = metric(first_argument(metric, features), Y)
        names = {"C": 3, "N": 90, "log": math.log}
        low, high = (eval(b, names) if isinstance(b, str) else b for b in metric.bounds)
        for v in value.values() if isinstance(value, dict) else [value]:
            assert (low is None or v >= low - 1e-9) and (high is None or v <= high + 1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_larger_is_better(name):
    # Classes apart from each other, which every metric but one should like.
    if name == "ETran energy":
        pytest.skip("does not look at the labels")
    rng = np.random.default_rng(3)
    noise, means = rng.standard_normal((90, 10)), rng.standard_normal((3, 10))
    low, high = (METRICS[name](noise + s * means[Y], Y) for s in (0.1, 1.0))
    assert low < high


# --- the same rules for all ------------------------------------------------


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SaturationWarning)
        expected = METRICS[name](features, Y)
        checked = inputs.as_features

        def as_features(x, **options):
            checked(x, **options)
            return x.double()

        for module in with_name("as_features"):
            monkeypatch.setattr(module, "as_features", as_features)
        tensor = torch.from_numpy(features)
        before = tensor.clone()
        value = METRICS[name](tensor, Y)
    assert type(value) is float
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert torch.equal(tensor, before)


@pytest.mark.parametrize("name", RIVALS)
def test_in_small_blocks(name, monkeypatch):
    # As large data are scored: block by block.
    metric = RIVALS[name]
    expected = metric(first_argument(metric), Y)

    def row_blocks(x, nbytes=None):
        return [slice(start, start + 7) for start in range(0, len(x), 7)]

    for module in with_name("row_blocks"):
        monkeypatch.setattr(module, "row_blocks", row_blocks)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", (7 * 8 * 90,) * 2)
    monkeypatch.setattr(parc, "BLOCK_BYTES", 7 * 8 * 90)
    assert metric(first_argument(metric), Y) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("metric", [leep, sfda.nce])
def test_source_probabilities_on_the_path_of_accelerators(metric, monkeypatch):
    expected = metric(THETA, Y)
    monkeypatch.setitem(metric.__globals__, "as_features", lambda x, **_: x)
    assert metric(torch.from_numpy(THETA), Y) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda(name):
    expected = METRICS[name](X, Y)
    assert METRICS[name](torch.from_numpy(X).cuda(), Y) == pytest.approx(expected, abs=1e-9)


BAD_INPUT = [
    (X[0], Y, "features: expected 2 dimensions (samples x features), got 1 (shape (10,))"),
    (X[:0], Y[:0], "features: expected at least one row and one column, got shape (0, 10)"),
    (np.where(np.arange(90)[:, None] == 7, np.nan, X), Y, "features: expected finite numbers, found NaN, first in row 7"),
    (X.astype(str), Y, f"features: expected real numbers, got dtype {X.astype(str).dtype}"),
    (X, Y[:19], "labels: expected one label for each of the 90 rows of features, got 19"),
    (X, Y / 2, "labels: expected classes, found 0.5 in row 40; a regression target cannot be scored"),
    (X, np.zeros(90, int), "labels: expected at least 2 classes, got 1 (0) in 90 rows"),
    (X, None, "labels: expected one label a row of features, got None"),
]  # fmt: skip


@pytest.mark.parametrize(("features", "labels", "message"), BAD_INPUT)
@pytest.mark.parametrize("name", METRICS)
def test_bad_input(name, features, labels, message):
    if labels is None and name == "ETran energy":
        pytest.skip("its labels are optional")
    with pytest.raises(ValueError) as error:
        METRICS[name](features, labels)
    assert str(error.value) == message


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("D", [1, 8, 200])
def test_dead_columns_repeated_samples_and_small_classes(name, D):
    y = np.repeat(np.arange(6), [12, 9, 6, 4, 2, 2])
    features = gaussian_classes(5, y, D, 0.5, 0.5)
    if D > 1:
        features[:, 3] = 0
        features[:, 5] = features[:, 4]
    features[1] = features[0]
    if D == 1 and name.startswith("PARC"):
        pytest.skip("a single column has no correlation")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SaturationWarning)
        assert math.isfinite(METRICS[name](features, y))
