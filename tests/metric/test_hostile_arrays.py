"""Hostile arrays: a finite score, or an error that names the argument; never anything else."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.exceptions import DataConversionWarning

import sfda
from data_sets import gaussian_classes
from hostile import SLOW, answer, cases, classes_of, forms, numbers_of, objects_of, outcome, quick, within
from sfda import METRICS, FisherDiscriminant
from sfda.metric.challenge import expected_confmix
from sfda.metric.inputs import as_features, as_labels
from sfda.streaming import stream

torch = pytest.importorskip("torch")

UNLABELLED = ("ETran energy", "effective rank", "alpha-ReQ")


@pytest.mark.parametrize("valid", [False, True])
@pytest.mark.parametrize("name", METRICS)
@given(data=st.data())
@quick(30)
def test_anything_is_scored_or_refused(name, valid, data):
    features, labels = data.draw(cases(valid, most=12 if name in SLOW else 40))
    if name in UNLABELLED and labels is None:
        return  # they are optional there
    value = answer(METRICS[name], features, labels)
    if value is not None:
        n, n_classes = len(as_features(features)), len(as_labels(labels, len(features))[1])
        assert within(value, METRICS[name].bounds, n, n_classes)


OPTIONS = st.fixed_dictionaries({}, optional={
    "posterior": st.sampled_from(["resubstitution", "leave-one-out", "loo", None, 3]),
    "shrinkage": st.sampled_from([None, 0, 0.0, 1, 1.0, 1e-300, 0.5, -1, 2, math.nan, math.inf, "x", True, np.float32(0.1), np.array(0.1), 1j]),
    "strength": st.sampled_from([0, 5, 1e308, 1e-308, -1, math.nan, math.inf, None, "5", True, np.float16(2)]),
    "dtype": st.sampled_from([None, "float32", "float64", np.float32, torch.float32, "float16", "no", 3]),
    "device": st.sampled_from([None, "cpu", torch.device("cpu"), "meta", "nowhere", "cuda:99", 3]),
})  # fmt: skip


@given(cases(), OPTIONS)
@quick(150)
def test_options_of_the_score(case, options):
    answer(sfda.sfda_score, *case, names=("features", "labels", *options), **options)


@pytest.mark.parametrize("valid", [False, True])
@given(st.data(), st.sampled_from([*stream.STREAMED, "H-score"]), st.integers(1, 40))
@quick(150)
def test_streams_of_anything(valid, data, metric, rows):
    x, y = data.draw(cases(valid))

    def chunks():
        try:
            return [(x[i : i + rows], y[i : i + rows]) for i in range(0, len(x), rows)]
        except Exception:  # what has no rows
            return [(x, y)]

    names = (r"chunk \d+.*: (features|labels|expected)", "features", "labels", "make_chunks", "shrinkage")
    value = answer(lambda x, y: sfda.stream_score(chunks, metric=metric), x, y, names=names)
    if valid and value is not None:
        assert within(value, METRICS[metric].bounds, len(y), len(set(y.tolist())))


def mixed(function, features, *arguments):
    """A result of finite numbers, or an error that names the argument."""
    names = ("features", "labels", "confidence", "posterior")
    result = outcome(function, features, *arguments, names=names)
    if result is not None:
        assert bool(np.isfinite(as_features(result)).all()) and len(result) == len(as_features(features))


@given(st.data())
@quick(150)
def test_confmix_of_anything(data):
    features, labels = data.draw(cases())
    try:
        n = len(as_features(features))
    except ValueError:
        n = 3
    p = data.draw(st.one_of(
        st.lists(st.floats(0, 1), min_size=n, max_size=n), st.lists(st.floats(), max_size=3), st.floats(),
        st.sampled_from([None, "p", [[0.5]] * n, [0.5j] * n, [None] * n, torch.full((n,), 0.5, requires_grad=True),
                         np.ma.masked_all(n), ["0.5"] * n, [10**400] * n, pd.Series([0.5] * n)]),
    ))  # fmt: skip
    mixed(sfda.confmix, features, labels, p)
    posterior = data.draw(forms(data.draw(numbers_of(3, 2, np.arange(3)))))
    mixed(expected_confmix, features, labels, posterior)


@pytest.mark.parametrize("function", [sfda.leep, sfda.nce])
@given(data=st.data())
@quick(150)
def test_source_probabilities_of_any_kind(function, data):
    features, labels = data.draw(cases())
    names = ("source_probabilities", "labels")
    answer(function, features, labels, names=names)
    x, y = data.draw(cases(valid=True))
    assume(np.isfinite(x).all())
    with np.errstate(all="ignore"):
        theta = np.exp(x - x.max(1, keepdims=True))
        theta = data.draw(forms(theta / theta.sum(1, keepdims=True)))
    value = answer(function, theta, y, names=names)
    if value is not None:
        bounds = sfda.rivals.catalogue.RIVALS[function.__name__.upper()].bounds
        assert within(value, bounds, len(y), len(set(y.tolist()))) and value <= 0


VECTORS = st.one_of(
    st.lists(st.floats(), max_size=8),
    st.lists(st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, 5e-324, 2.0**53, 1, 10**400, "1", None, True, 1j, b"1", math.nan]), max_size=8),
    st.sampled_from([None, "12", 3, {1: 2, 3: 4}, {1, 2}, [[1, 2], [3, 4]], [[1], [2, 3]], np.array([1, 2j]), np.ma.masked_equal([1, 2, 3], 2),
                     torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.tensor([1, 2, 3]).bfloat16(), torch.tensor([1, 2, 3]).to_sparse(),
                     [torch.tensor(1.0, requires_grad=True), 2.0], pd.Series([1, None, 3], dtype="Int64"), np.array(["2020", "2021"], "M8[Y]"),
                     np.array([1, 2, 3], dtype="g"), np.array(["1e4000", 1], dtype="g"), np.array(["1", "2"]), np.broadcast_to(1.0, 3)]),
)  # fmt: skip


@given(VECTORS, VECTORS)
@quick(300)
def test_weighted_tau_of_anything(scores, accuracies):
    value = outcome(sfda.weighted_tau, scores, accuracies, names=("scores", "accuracies"))
    if value is not None:
        assert type(value) is float
        a, b = (np.array([float(k.detach() if isinstance(k, torch.Tensor) else k) for k in v]) for v in (scores, accuracies))
        constant = (a == a[0]).all() or (b == b[0]).all()
        assert math.isnan(value) if constant else -1 - 1e-9 <= value <= 1 + 1e-9


@pytest.mark.parametrize("valid", [False, True])
@given(data=st.data(), shrinkage=st.sampled_from([None, 0.0, 0.5, 1.0, "leave-one-out"]))
@quick(150)
def test_the_estimator_on_anything(valid, data, shrinkage):
    def fit(x, y):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            warnings.simplefilter("ignore", DataConversionWarning)  # of a column in the place of a vector
            try:
                return FisherDiscriminant(shrinkage).fit(x, y)
            except TypeError as error:  # scikit-learn's, for what is no array
                raise ValueError(error) from None

    x, y = data.draw(cases(valid))
    model = outcome(fit, x, y, names=(r".+",))  # scikit-learn's own checks have words of their own
    if model is not None:
        p = model.predict_proba(x)
        assert np.isfinite(p).all() and p.min() >= 0 and np.allclose(p.sum(1), 1)
        assert np.isfinite(model.transform(x)).all()
        assert set(np.unique(model.predict(x))) <= set(model.classes_)


@given(st.data(), st.sampled_from(["held-out", "top", "nuclear", "diverse"]), st.sampled_from([1, 2]))
@quick(100)
def test_ensembles_of_anything(data, method, size):
    x, y = data.draw(cases(valid=True, most=20))
    other = data.draw(st.one_of(numbers_of(len(y), 3, y), st.just(x), st.just(x.copy())))
    try:
        other = data.draw(forms(other))
    except ValueError:
        return
    names = (r"features_by_model\[.*", "labels", "size", "shrinkage")

    def select(x, other, y):
        return sfda.select_ensemble({"a": x, ("b", 1): other}, y, size, method=method)

    found = outcome(select, x, other, y, names=names)
    if found is not None:
        assert len(found.members) == size and set(found.members) <= {"a", ("b", 1)}
        assert all(math.isfinite(part) for step in found.scores for part in step)


SEEDED = ("NLEEP", "linear probe", "PARC 32 components", "PARC 32 components as published")
# Whose jumps are no rounding.
TIES = (
    "nearest neighbour", "nearest neighbours standardised", "discriminant accuracy", "left-out accuracy", "left-out ridge",
    "left-out kernel ridge",
)  # fmt: skip
BY_NUMBER = ("PARC as published", "PARC 32 components as published", "linear probe")
# Of no unit; a constant column tells them nothing.
WITHOUT_UNIT = (
    "left-out SFDA", "H-score", "regularised H-score", "PARC", "TransRate normalised", "left-out probability",
    "left-out log-likelihood", "effective rank", "alpha-ReQ", "directional CDNV",
)  # fmt: skip
WITHOUT_CONSTANTS = (
    "H-score", "GBC diagonal", "TransRate", "TransRate normalised", "nearest neighbour", "nearest neighbours standardised",
    "left-out ridge", "left-out kernel ridge", "alpha-ReQ", "directional CDNV",
)  # fmt: skip


@st.composite
def samples(draw, least=1):
    """Ordinary features; classes of two and of many."""
    y = np.repeat([0, 1, 2], draw(st.tuples(*[st.integers(2, 15)] * 3)))
    x = gaussian_classes(draw(st.integers(0, 999)), y, draw(st.integers(least, 30)), 0.5, draw(st.sampled_from([0.1, 1.0])))
    return x + draw(st.sampled_from([0.0, 3.0])), y, np.random.default_rng(len(y)).permutation(len(y))


def scored(name, x, y):
    value = answer(METRICS[name], x, y)
    assume(value is not None)
    return value


@pytest.mark.parametrize("name", [name for name in METRICS if name not in SEEDED + TIES])
@given(data=st.data())
@quick(15)
def test_the_order_of_the_samples_and_the_names_of_the_classes_change_nothing(name, data):
    x, y, order = data.draw(samples(2))
    value = pytest.approx(scored(name, x, y), rel=1e-9, abs=1e-9)
    assert scored(name, x[order], y[order]) == value
    if name not in BY_NUMBER:
        for labels in (7 - 3 * y, np.array(["zebra", "ape", "mole"])[y], y + 2.0**40):
            assert scored(name, x, labels) == value


@pytest.mark.parametrize("name", METRICS)
@given(data=st.data())
@quick(6)
def test_torch_and_every_layout_give_the_same(name, data):
    x, y, _ = data.draw(samples(2))
    value = scored(name, x, y)
    for same in (torch.from_numpy(x).requires_grad_(), np.asfortranarray(x), x[::-1].copy()[::-1], pd.DataFrame(x), x.tolist()):
        assert scored(name, same, torch.from_numpy(y)) == pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", WITHOUT_UNIT)
@given(samples(2), st.sampled_from([1e-40, 1e-6, 1e6, 1e30]))
@quick(15)
def test_the_unit_of_the_features_changes_nothing(name, sample, scale):
    x, y, _ = sample
    assert scored(name, scale * x, y) == pytest.approx(scored(name, x, y), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("name", WITHOUT_CONSTANTS)
@given(samples(), st.sampled_from([0.0, 0.1, -3e5, 1e-30, 1e30]))
@quick(20)
def test_a_constant_column_says_nothing(name, sample, constant):
    x, y, _ = sample
    wide = np.insert(x, 0, constant, axis=1)
    assert scored(name, wide, y) == pytest.approx(scored(name, x, y), rel=1e-9, abs=1e-9)


Y = np.repeat([0, 1, 2], [8, 7, 6])
WIDE, NARROW = gaussian_classes(0, Y, 30), gaussian_classes(1, Y, 4)


@pytest.mark.parametrize(("labels", "classes"), [
    ([2**63, -1, 2**63 + 1, -1], 3),  # in one array NumPy makes floats of them
    ([2**53, 2**53 + 1, 1.0, 1.0], 3), ([10**400, 0, 1, 0], 3),
    (["a", "a\0", "a", "a\0"], 2), ([b"a", b"a\0", b"a", b"a\0"], 2),  # whose ends it cuts
    (np.array(["b", "a", "b", "a"], dtype=np.dtypes.StringDType()), 2),
    ([torch.tensor(1.0, requires_grad=True), torch.tensor(2.0)] * 2, 2),
    (torch.tensor([1.0, 2, 1, 2]).to(torch.float8_e4m3fn), 2),
    (torch.tensor([1 + 1j, 2 + 2j] * 2).conj().imag, 2),
])  # fmt: skip
def test_labels_that_differ_are_different_classes(labels, classes):
    y, found = as_labels(labels, 4)
    assert len(found) == classes == len(set(y.tolist()))
    assert y[1] != y[0] and (y[0] == y[2]) == (classes == 2)


NOT_SORTED = "labels: expected integers or strings, got objects that cannot be sorted"


def nested():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a prototype, torch says
        return torch.nested.nested_tensor([torch.ones(1)] * 4)


@pytest.mark.parametrize(("labels", "message"), [
    ([b"1", 1, b"1", 1], "labels: expected numbers or strings, got a mixture of both"),
    *[(objects_of([make(k) for k in (1, 2, 1, 2)]), NOT_SORTED)
      for make in (lambda k: {k}, lambda k: frozenset([k]), lambda k: np.array([k, k]))],
    ([np.ma.masked, 1, 2, 1], "labels: expected a value in every place, found a masked one; fill it or drop its row"),
    (torch.tensor([1, 2, 1, 2]).to_sparse(), "labels: expected a dense vector, got a sparse one; use .to_dense()"),
    (torch.ones(4, device="meta"), "labels: expected numbers, got a tensor on the meta device"),
    (nested(), "labels: expected one size for all rows, got a nested tensor"),
    (torch.tensor([1j, 2, 1j, 2]).conj(), "labels: expected integers or strings, got dtype complex64"),
])  # fmt: skip
def test_what_is_no_label(labels, message):
    with pytest.raises(ValueError) as error:
        as_labels(labels, 4)
    assert str(error.value) == message


class Stubborn:
    def __array__(self, *arguments, **options):
        raise RuntimeError("no")


def test_what_cannot_be_made_an_array():
    for check in (lambda x: as_features(x), lambda x: as_labels(x, 3)):
        with pytest.raises(ValueError, match="got Stubborn: no$"):
            check(Stubborn())
    rows = list(torch.ones(3, 2, requires_grad=True))
    assert as_features(rows).tolist() == [[1.0, 1.0]] * 3
    assert sfda.sfda_score(list(torch.from_numpy(NARROW).requires_grad_()), Y) == sfda.sfda_score(NARROW, Y)
    negative = torch.complex(torch.ones(3, 2), torch.ones(3, 2)).conj().imag  # a view with a sign
    assert as_features(negative).tolist() == [[-1.0, -1.0]] * 3


@pytest.mark.parametrize("x", [NARROW, WIDE])
def test_neither_a_constant_column_nor_an_offset_adds_to_the_h_score(x):
    """The rounding of a mean left 1e-17, which was then brought to variance 1: one more than C - 1."""
    whole = METRICS["H-score"](np.c_[x, np.full(len(x), 0.1)], Y)
    assert whole <= 2 + 1e-9 and METRICS["H-score"](x + 1e12, Y) <= 2 + 1e-9
    chunks = [(np.c_[x, np.full(len(x), 0.1)][i::3], Y[i::3]) for i in range(3)]
    assert sfda.stream_score(lambda: chunks, metric="H-score") == pytest.approx(whole, abs=1e-9)
    for constant in (0.0, 0.1):  # whose scatter is singular
        with pytest.raises(ValueError, match="^shrinkage: the within-class scatter is singular at 0;"):
            sfda.sfda_score(np.c_[x, np.full(len(x), constant)], Y, shrinkage=0)


ALIKE = "^features: expected variation within classes, found every sample equal"
FAR = np.array([[0.0, -1.3e-101], [1e75, 1.0e-101], [0.0, 3.6e-101], [1e75, 9.5e-101]])  # found by a search


@pytest.mark.parametrize("name", ["SFDA", "left-out SFDA", "left-out probability", "left-out accuracy", "ETran discriminant"])
@pytest.mark.parametrize(("x", "y", "message"), [
    *[(np.repeat(0.1 * (1 + Y[:, None]), d, 1), Y, ALIKE) for d in (1, 4, 30)], (FAR, [0, 1, 0, 1], "^features: ")])  # fmt: skip
def test_samples_that_equal_their_class_mean_and_classes_that_are_infinitely_far_apart(name, x, y, message):
    """But for the rounding of the means; beside the variation within them."""
    for function in (METRICS[name], METRICS["left-out log-likelihood"], FisherDiscriminant("leave-one-out").fit):
        with pytest.raises(ValueError, match=message):
            function(x, y)


@pytest.mark.parametrize("name", METRICS)
def test_numbers_have_one_bound(name):
    large = 1e75 * WIDE / np.abs(WIDE).max()
    answer(METRICS[name], large, Y)
    with pytest.raises(ValueError, match=r"^features: expected numbers of at most 1e\+75 in size, found -?1.*e\+75 in row \d+; rescale"):
        METRICS[name](1.01 * large, Y)


def test_transrate_of_large_numbers_counts_no_rounding_errors():
    """With N <= D one direction has no variance, and its rounding errors were taken for some."""
    value = METRICS["TransRate"](1e3 * WIDE, Y)
    for power in (5, 8, 30):
        # A factor s adds (rank of all - mean rank of the classes) log s, and all directions count.
        larger = METRICS["TransRate"](10.0**power * WIDE, Y)
        rise = (len(Y) - 1 - np.mean([len(Y) / 3] * 3)) * (power - 3) * math.log(10)
        assert larger - value == pytest.approx(rise, rel=1e-3)


@pytest.mark.parametrize(("x", "y"), [(WIDE, Y), (np.repeat(WIDE, 2, 0), np.repeat(Y, 2)), (NARROW @ np.ones((4, 9)), Y)])
def test_components_without_variance_are_not_scaled_to_some(x, y):
    """As many components as samples: the last is nothing but rounding errors, which count as published only."""
    score = METRICS["PARC 32 components"]
    assert score(np.asfortranarray(x), y) == pytest.approx(score(x, y), abs=1e-9)
    assert score(x * 3 + 7, y) == pytest.approx(score(x, y), abs=1e-9)


def test_leep_of_rows_that_sum_to_more_than_one_is_at_most_zero():
    theta = np.array([[1.009, 0.0], [0.0, 1.009]])
    assert sfda.leep(theta, [0, 1]) == 0


@pytest.mark.parametrize("scores", [np.ma.masked_equal([1.0, 2.0, 3.0], 2.0), np.array([1, 2j, 3]), [10**400, 1, 2],
                                    ["1", "2", "3"], np.array(["2020", "2021", "2022"], "M8[Y]")])  # fmt: skip
def test_weighted_tau_of_no_numbers(scores):
    with pytest.raises(ValueError, match="^scores: expected"):
        sfda.weighted_tau(scores, [1, 2, 3])


@given(st.data())
@quick(20)
def test_labels_make_the_classes_that_python_sees(data):
    """Any two labels are of one class if Python calls them equal, in a list of one kind."""
    y = data.draw(classes_of(data.draw(st.integers(2, 12))))
    kinds = [int, float, str, lambda v: 2**60 + v, lambda v: "a" + "\0" * v, lambda v: bytes(v), lambda v: chr(v + 0xD7FF)]
    labels = [data.draw(st.sampled_from(kinds))(v) for v in y[:1].tolist()]
    make = data.draw(st.sampled_from(kinds))
    labels = [make(v) for v in y.tolist()]
    assume(len(set(labels)) > 1)
    found, classes = as_labels(labels, len(labels))
    assert len(classes) == len(set(labels)) and [classes[k] for k in found] == labels


def test_sparse_chunks_and_masked_labels_are_refused():
    with pytest.raises(ValueError, match=r"^chunk 0: expected arrays that have rows, got .* \(\w+Error\)$"):
        sfda.stream_score(lambda: [(np.ones((4, 2)), torch.tensor([0, 1, 0, 1]).to_sparse())])
    sparse = scipy.sparse.csr_array(np.ones((4, 2)))
    for chunk in ((sparse, [0, 1, 0, 1]), (np.ones((4, 2)), scipy.sparse.csr_array([[0, 1, 0, 1]]).T)):
        with pytest.raises(ValueError, match="^chunk 0"):
            sfda.stream_score(lambda chunk=chunk: [chunk])
    with pytest.raises(ValueError, match="^y: expected a value in every place, found a masked one"):
        FisherDiscriminant().fit(np.ones((2, 1)), [0, np.ma.masked])
