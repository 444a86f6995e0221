"""Streaming: the same scores as of all samples at once, whatever the chunks; bad input."""

import itertools
import warnings
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sfda
from data_sets import gaussian_classes
from sfda import METRICS, SaturationWarning, stream_score
from sfda.metric.scatter import ClassMoments
from sfda.streaming import chunks, stream

torch = pytest.importorskip("torch")

NAMES = [*stream.STREAMED, "H-score"]


def split(X, y, sizes):
    """Chunks of these sizes, and the rest."""
    bounds = np.cumsum([0, *sizes, len(y)])
    return [(X[a:b], y[a:b]) for a, b in itertools.pairwise(bounds)]


def streamed(parts, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SaturationWarning)
        return stream_score(lambda: iter(parts), **options)


def at_once(X, y, metric, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SaturationWarning)
        return METRICS[metric](X, y, **options)


def sample(n=300, d=12, c=5, seed=0, separation=1.0):
    y = np.random.default_rng(seed).integers(0, c, n)
    y[: 2 * c] = np.arange(2 * c) % c
    return gaussian_classes(seed, y, d, separation=separation), y


# --- equal to the score of all samples ---------------------------------------------


@st.composite
def samples_in_chunks(draw):
    c, d = draw(st.integers(2, 6)), draw(st.integers(1, 15))
    n = draw(st.integers(2 * c + 1, 90))
    X, y = sample(n, d, c, draw(st.integers(0, 99)), draw(st.floats(0, 3)))
    order = draw(st.sampled_from(["drawn", "sorted"]))
    if order == "sorted":  # so that most chunks hold one class only
        place = np.argsort(y, kind="stable")
        X, y = X[place], y[place]
    sizes = []
    while sum(sizes) < n and len(sizes) < 8:
        sizes.append(draw(st.integers(0, n - sum(sizes))))
    return X + draw(st.sampled_from([0.0, 1e3])), y, split(X, y, sizes)


@pytest.mark.parametrize("metric", NAMES)
@given(samples_in_chunks(), st.sampled_from([1, 7, 8192]))
@settings(max_examples=50, deadline=None)
def test_any_chunks_give_the_score_of_all_samples(metric, data, rows):
    _, y, divided = data
    expected = at_once(np.concatenate([x for x, _ in divided]), y, metric)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "ROWS", rows)
        assert streamed(divided, metric=metric) == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("metric", NAMES)
def test_an_offset_costs_no_digits(metric):
    X, y = sample()
    expected = at_once(X + 1e4, y, metric)
    assert streamed(split(X + 1e4, y, [7, 100]), metric=metric) == pytest.approx(expected, abs=1e-9)


OPTIONS = [
    ("SFDA", {"shrinkage": 0.3}), ("SFDA", {"strength": 1.0}), ("SFDA", {"posterior": "leave-one-out"}),
    ("SFDA", {"posterior": "leave-one-out", "shrinkage": 0.1}),
    ("SFDA leave-one-out", {"posterior": "resubstitution"}),
    ("discriminant accuracy", {"shrinkage": "leave-one-out"}), ("discriminant probability", {"strength": 2}),
    ("left-out probability", {"shrinkage": 0.2}), ("left-out accuracy", {"posterior": "resubstitution"}),
]  # fmt: skip


@pytest.mark.parametrize("metric, options", OPTIONS)
def test_options_are_those_of_the_metric(metric, options):
    X, y = sample(n=80, separation=0.4)
    expected = at_once(X, y, metric, **options)
    found = streamed(split(X, y, [50, 0, 12]), metric=metric, **options)
    assert found == pytest.approx(expected, rel=0, abs=1e-10)
    assert found != pytest.approx(at_once(X, y, metric), rel=0, abs=1e-6)


@pytest.mark.parametrize("metric", NAMES)
def test_blocks_within_a_chunk_meet(metric, monkeypatch):
    X, y = sample()
    monkeypatch.setattr(chunks, "ROWS", 37)
    assert streamed([(X, y)], metric=metric) == pytest.approx(at_once(X, y, metric), rel=0, abs=1e-10)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("n, d", [(40, 40), (41, 40), (20, 60)])
def test_as_few_samples_as_features(metric, n, d):
    X, y = sample(n, d, 4)
    found = streamed(split(X, y, [11, 11]), metric=metric)
    assert found == pytest.approx(at_once(X, y, metric), rel=0, abs=1e-9)


def test_float32_products_have_the_precision_of_float32():
    X, y = sample(600, 20)
    for posterior in ("resubstitution", "leave-one-out"):
        exact = sfda.sfda_score(X, y, posterior=posterior)
        found = streamed(split(X, y, [200, 200]), posterior=posterior, dtype="float32")
        assert found == pytest.approx(exact, abs=2e-6)
        assert found != exact


def test_float32_that_does_not_bear_it_becomes_float64():
    few = sample(30, 20, 3)  # N < 2 D
    dependent = np.hstack([*[sample(200)[0]] * 2])
    for X, y in (few, (dependent, sample(200)[1])):
        expected = at_once(X, y, "SFDA")
        assert streamed(split(X, y, [9]), dtype="float32") == pytest.approx(expected, abs=1e-9)


# --- where samples come from ---------------------------------------------------------


def test_number_of_passes():
    X, y = sample()
    for metric, passes in {
        "H-score": 1, "discriminant accuracy": 2, "SFDA": 3, "SFDA leave-one-out": 5,
        "left-out probability": 4,
    }.items():  # fmt: skip
        calls = []
        stream_score(lambda calls=calls: calls.append(1) or split(X, y, [100]), metric=metric)
        assert len(calls) == passes, metric
    calls = []
    stream_score(
        lambda: calls.append(1) or split(X, y, [100]), metric="SFDA leave-one-out", shrinkage=0.1
    )
    assert len(calls) == 3


def test_memory_mapped_arrays_and_shards(tmp_path):
    X, y = sample(500, 10)
    X = X.astype(np.float32)
    np.save(tmp_path / "all.npy", X)
    for i, (x, labels) in enumerate(split(X, y, [123, 200])):
        np.savez(tmp_path / f"{i}.npz", x=x, y=labels)

    def shards():
        for path in sorted(tmp_path.glob("*.npz")):
            with np.load(path) as file:
                yield file["x"], file["y"]

    expected = at_once(X, y, "SFDA")
    whole = np.load(tmp_path / "all.npy", mmap_mode="r")
    assert stream_score(lambda: [(whole, y)]) == pytest.approx(expected, abs=1e-12)
    assert stream_score(shards) == pytest.approx(expected, abs=1e-12)


def test_a_torch_loader_in_any_order():
    X, y = sample()
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y))
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)
    assert stream_score(lambda: loader) == pytest.approx(at_once(X, y, "SFDA"), abs=1e-11)
    half = stream_score(lambda: ((x.half(), labels) for x, labels in loader))
    assert half == pytest.approx(at_once(torch.tensor(X).half(), y, "SFDA"), abs=1e-11)


def test_labels_of_any_kind():
    X, y = sample()
    expected = at_once(X, y, "SFDA")
    gaps = y * 1000 - 7
    words = np.array(["ant", "bee", "cow of one's own", "dog", "elk"])[y]
    for labels in (gaps, words, words.tolist(), words.astype(object), y.astype(float)):
        assert streamed(split(X, labels, [5, 100])) == pytest.approx(expected, abs=1e-12)


def test_input_is_not_modified():
    X, y = sample()
    before = X.copy()
    for metric in NAMES:
        streamed([(X, y)], metric=metric)
    assert (X == before).all()


@pytest.mark.parametrize("metric", ["sfda", "LEFT-OUT PROBABILITY", "h-score"])
def test_metrics_in_any_case(metric):
    X, y = sample()
    name = next(name for name in NAMES if name.lower() == metric.lower())
    assert streamed([(X, y)], metric=metric) == pytest.approx(at_once(X, y, name), abs=1e-10)


@pytest.mark.parametrize("separation, n", [(40.0, 300), (1.0, 12)])
def test_saturation_is_said_where_the_score_is_asked_for(separation, n):
    X, y = sample(n, separation=separation)
    with pytest.warns(SaturationWarning, match="plain SFDA score") as found:
        stream_score(lambda: [(X, y)], shrinkage=0.1)
    assert found[0].filename == __file__


# --- bad input ---------------------------------------------------------------------------


def test_an_iterator_in_place_of_a_function():
    with pytest.raises(TypeError, match="make_chunks: expected a function.*list"):
        stream_score([sample()])


@pytest.mark.parametrize("metric", ["SFDA", "SFDA leave-one-out", "left-out accuracy"])
def test_an_iterator_that_is_used_up(metric):
    chunks = iter(split(*sample(), [100]))
    with pytest.raises(ValueError, match="fresh iterator at each call"):
        stream_score(lambda: chunks, metric=metric)


@pytest.mark.parametrize(
    "metric, at",
    [("SFDA", 2), ("SFDA", 3), ("SFDA leave-one-out", 3), ("discriminant accuracy", 2)],
)
def test_a_pass_over_fewer_samples(metric, at):
    X, y = sample()
    calls = []

    def parts():
        calls.append(1)
        return split(X, y, [100, 100])[: 2 if len(calls) == at else 3]

    with pytest.raises(ValueError, match="found 200 samples after 300 in the first pass"):
        stream_score(parts, metric=metric, shrinkage=0.1)


def test_a_class_that_appears_later():
    X, y = sample()
    calls = []

    def parts():
        calls.append(1)
        return [(X, np.where(y == 4, y + len(calls) - 1, y))]

    with pytest.raises(ValueError, match="chunk 0: make_chunks: found classes that the first pass"):
        stream_score(parts)


X, Y = sample()
BAD = {
    "no chunks": ([], "expected chunks with samples, found none"),
    "empty chunks": ([(X[:0], Y[:0])], "expected chunks with samples, found none"),
    "no pair": ([X], "chunk 0: expected a pair of features and labels, got ndarray of length 300"),
    "lengths": ([(X, Y), (X, Y[1:])], "chunk 1: expected one label for each of the 300 rows.*299"),
    "columns": ([(X, Y), (X[:, 1:], Y)], "features: expected 12 columns as before, got 11"),
    "one dimension": ([(X[:, 0], Y)], "chunk 0: features: expected 2 dimensions"),
    "NaN": ([(X, Y), (X * [np.nan] + 0, Y)], "chunk 1: features: expected finite numbers, found NaN"),
    "one class": ([(X, Y * 0), (X, Y * 0)], r"labels: expected at least 2 classes, got 1 \(0\) in 600 rows"),
    "kinds": ([(X, Y), (X, Y.astype(str))], "labels: expected numbers or strings, got both"),
    "fractions": ([(X, Y + 0.5)], "chunk 0: labels: expected classes, found"),
    "no variation": ([(X * 0, Y), (X * 0, Y)], "expected variation"),
    "too large": ([(X * 1e200, Y)], "features: expected numbers of at most 1e[+]75 in size"),
}  # fmt: skip


@pytest.mark.parametrize("metric", ["SFDA", "H-score"])
@pytest.mark.parametrize("case", BAD)
def test_bad_chunks(case, metric):
    parts, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        stream_score(lambda: iter(parts), metric=metric)


def test_rows_of_a_large_chunk_are_named():
    long = np.tile(X, (40, 1))
    long[9000, 3] = np.inf
    with pytest.raises(ValueError, match="chunk 0, rows from 8192 on: features: .* infinity, first in row 808"):
        stream_score(lambda: [(long, np.tile(Y, 40))])


def test_a_class_of_one_sample_is_named_where_samples_are_left_out():
    labels = np.where(np.arange(300) == 7, 99, Y)
    with pytest.raises(ValueError, match="at least 2 samples in every class, found 1 in 99"):
        streamed([(X, labels)], metric="left-out probability")
    assert streamed([(X, labels)]) == pytest.approx(at_once(X, labels, "SFDA"), abs=1e-10)


@pytest.mark.parametrize(
    "options, message",
    [({"metric": "LogME"}, "metric: expected one of SFDA, .* got 'LogME'"),
     ({"metric": None}, "metric: expected one of"),
     ({"alpha": 1}, "options of SFDA: expected device, dtype, posterior, shrinkage, strength, got alpha"),
     ({"metric": "H-score", "shrinkage": 1}, "options of H-score: expected none, got shrinkage"),
     ({"metric": "discriminant accuracy", "dtype": "float32"}, "options of discriminant accuracy"),
     ({"posterior": "prior"}, "posterior: expected 'resubstitution' or 'leave-one-out', got 'prior'"),
     ({"shrinkage": "leave-one-out"}, "shrinkage: expected None or a number"),
     ({"shrinkage": 2}, "shrinkage: expected None or a number"),
     ({"dtype": "int8"}, "dtype: expected float32 or float64"),
     ({"device": "abacus"}, "device: cannot compute on abacus")],
)  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        stream_score(lambda: [(X, Y)], **options)


def test_moments_of_two_parts_are_those_of_the_whole():
    whole = ClassMoments.of(X, Y, np.arange(5))
    a, b = (ClassMoments.of(X[rows], Y[rows], np.arange(5)) for rows in (slice(90), slice(90, 300)))
    for one, other in ((a, b), (b, a)):
        merged = one.merge(other)
        assert np.allclose(merged.means, whole.means, rtol=0, atol=1e-13)
        assert np.allclose(np.tril(merged.scatter), np.tril(whole.scatter), rtol=1e-12, atol=1e-12)
        assert (merged.counts == whole.counts).all()


# --- found in review -----------------------------------------------------------------


def test_a_search_for_lambda_needs_two_samples_of_every_class():
    labels = np.where(np.arange(300) == 7, 99, Y)
    with pytest.raises(ValueError, match="found 1 in 99"):
        streamed([(X, labels)], metric="discriminant accuracy", shrinkage="leave-one-out")


@pytest.mark.parametrize("dtype", [torch.float32, ">f4", np.float32, "float32"])
def test_names_of_float32(dtype):
    found = streamed(split(X, Y, [100]), dtype=dtype)
    assert found == streamed(split(X, Y, [100]), dtype="float32")
    assert streamed(split(X, Y, [100]), dtype=torch.float64) == streamed(split(X, Y, [100]))


@pytest.mark.parametrize("posterior", ["resubstitution", "leave-one-out"])
def test_numbers_beyond_float32_are_scored_in_float64(posterior):
    large = X * np.where(np.arange(300) == 250, 1e39, 1.0)[:, None]
    options = {"posterior": posterior, "shrinkage": 0.5}
    expected = at_once(large, Y, "SFDA", **options)
    found = streamed(split(large, Y, [200]), dtype="float32", **options)
    assert found == pytest.approx(expected, rel=0, abs=1e-9)


def test_few_samples_are_not_rounded_to_float32():
    few, labels = sample(30, 40)
    options = {"posterior": "leave-one-out"}
    found = streamed(split(few, labels, [9]), dtype="float32", **options)
    assert found == pytest.approx(at_once(few, labels, "SFDA", **options), rel=0, abs=1e-12)


@pytest.mark.parametrize("at", [2, 3])
def test_a_search_over_fewer_samples(at):
    calls = []

    def parts():
        calls.append(1)
        return split(X, Y, [100, 100])[: 2 if len(calls) == at else 3]

    with pytest.raises(ValueError, match="found 200 samples after 300 in the first pass"):
        stream_score(parts, metric="left-out probability")


def test_one_chunk_at_a_time_is_in_memory():
    alive, most = set(), []

    def make(start):
        x = X[start : start + 50].copy()
        alive.add(start)
        weakref.finalize(x, alive.discard, start)
        most.append(len(alive))
        return x, Y[start : start + 50]

    stream_score(lambda: map(make, range(0, 300, 50)))
    assert len(most) == 18 and max(most) == 1


# --- short chunks --------------------------------------------------------------------


def steps(monkeypatch, parts, rows):
    """Numbers of rows of the blocks that a pass over these chunks works on."""
    monkeypatch.setattr(chunks, "ROWS", rows)
    seen = chunks.LocalPasses(lambda: iter(parts))(lambda x, y: [len(x)], lambda a, b: a + b)
    assert sum(seen) == sum(len(x) for x, _ in parts)
    return seen


def test_short_chunks_are_joined(monkeypatch):
    def sizes(*n):
        ends = np.cumsum([0, *n])
        return [(X[a:b], Y[a:b]) for a, b in itertools.pairwise(ends)]

    assert steps(monkeypatch, sizes(3, 4, 3, 10, 9, 1, 1), 10) == [10, 10, 10, 1]
    assert steps(monkeypatch, sizes(3, 25, 4, 0, 6), 10) == [3, 10, 10, 5, 4, 6]
    tensors = [(torch.tensor(x), torch.tensor(y)) for x, y in sizes(4, 4, 4)]
    lists = [(x, y.tolist()) for x, y in sizes(4, 4, 4)]
    assert steps(monkeypatch, tensors, 10) == steps(monkeypatch, lists, 10) == [8, 4]


def test_what_differs_is_not_joined(monkeypatch):
    x, y = X[:4], Y[:4]
    others = [(x.astype(np.float32), y), (x, y.astype(str)), (torch.tensor(x), y), (x, y.tolist()),
              (np.ma.masked_array(x), y), (x, list(y.astype(str)))]  # fmt: skip
    for other in others:
        assert steps(monkeypatch, [(x, y), other], 10) == [4, 4]
    hidden = np.ma.masked_array(X, np.zeros(X.shape, bool))
    hidden[5, 3] = np.ma.masked
    with pytest.raises(ValueError, match="chunk 0.*masked"):
        streamed(split(hidden, Y, [100]))


def test_chunks_in_the_same_memory():
    """A reader may fill one array again and again."""
    x, y = np.empty((60, X.shape[1])), np.empty(60, int)

    def parts():
        for start in range(0, len(Y), 60):
            x[:], y[:] = X[start : start + 60], Y[start : start + 60]
            yield x, y

    assert stream_score(parts) == pytest.approx(at_once(X, Y, "SFDA"), rel=0, abs=1e-12)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    shared = stream_score(lambda: (tensors for _ in parts()))
    assert shared == pytest.approx(at_once(X, Y, "SFDA"), rel=0, abs=1e-12)


def test_a_bad_chunk_among_short_ones_is_named():
    parts = split(X, Y, [50, 50, 50])
    parts[2] = (np.where(np.arange(50)[:, None] == 7, np.nan, parts[2][0]), parts[2][1])
    with pytest.raises(ValueError, match="chunk 2: features: .*NaN, first in row 7"):
        streamed(parts)


@pytest.mark.parametrize("metric", NAMES)
def test_path_of_accelerators(metric, monkeypatch):
    """Tensors as on a GPU: nothing may turn them into arrays."""
    read = stream.as_features
    monkeypatch.setattr(stream, "as_features", lambda *a, **k: torch.as_tensor(read(*a, **k)))
    found = streamed(split(X, Y, [70, 100]), metric=metric)
    assert found == pytest.approx(at_once(X, Y, metric), rel=0, abs=1e-9)
