"""Streaming: the same scores as of all samples at once, whatever the chunks; bad input."""

import itertools
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sfda
from data_sets import gaussian_classes
from hostile import quick
from sfda import METRICS, SaturationWarning, stream_score
from sfda.streaming import chunks, stream

torch = pytest.importorskip("torch")

NAMES = [*stream.STREAMED, "H-score"]


def split(X, y, sizes):
    """Chunks of these sizes, and the rest."""
    bounds = np.cumsum([0, *sizes, len(y)])
    return [(X[a:b], y[a:b]) for a, b in itertools.pairwise(bounds)]


def quietly(function, *arguments, **options):
    with warnings.catch_warnings(action="ignore", category=SaturationWarning):
        return function(*arguments, **options)


def streamed(parts, **options):
    return quietly(stream_score, lambda: iter(parts), **options)


def at_once(X, y, metric, **options):
    return quietly(METRICS[metric], X, y, **options)


def sample(n=300, d=12, c=5, seed=0, separation=1.0):
    y = np.random.default_rng(seed).integers(0, c, n)
    y[: 2 * c] = np.arange(2 * c) % c
    return gaussian_classes(seed, y, d, separation=separation), y


X, Y = sample()

# --- equal to the score of all samples ---------------------------------------------


@st.composite
def samples_in_chunks(draw):
    c, d = draw(st.integers(2, 6)), draw(st.integers(1, 15))
    n = draw(st.integers(2 * c + 1, 90))
    X, y = sample(n, d, c, draw(st.integers(0, 99)), draw(st.floats(0, 3)))
    if draw(st.booleans()):  # sorted, so that most chunks hold one class only
        place = np.argsort(y, kind="stable")
        X, y = X[place], y[place]
    sizes = []
    while sum(sizes) < n and len(sizes) < 8:
        sizes.append(draw(st.integers(0, n - sum(sizes))))
    return X + draw(st.sampled_from([0.0, 1e3])), y, split(X, y, sizes)


@pytest.mark.parametrize("metric", NAMES)
@given(samples_in_chunks(), st.sampled_from([2, 9, 8192]))
@quick(24)
def test_any_chunks_give_the_score_of_all_samples(metric, data, rows):
    _, y, divided = data
    expected = at_once(np.concatenate([x for x, _ in divided]), y, metric)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "ROWS", rows)
        assert streamed(divided, metric=metric) == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("metric, options", [
    ("SFDA", {"shrinkage": 0.3}), ("SFDA", {"strength": 1.0}), ("SFDA", {"posterior": "leave-one-out"}),
    ("SFDA", {"posterior": "leave-one-out", "shrinkage": 0.1}), ("left-out SFDA", {"posterior": "resubstitution"}),
    ("discriminant accuracy", {"shrinkage": "leave-one-out"}), ("discriminant probability", {"strength": 2}),
    ("left-out probability", {"shrinkage": 0.2}), ("left-out accuracy", {"posterior": "resubstitution"}),
])  # fmt: skip
def test_options_are_those_of_the_metric(metric, options):
    X, y = sample(n=80, separation=0.4)
    found = streamed(split(X, y, [50, 0, 12]), metric=metric, **options)
    assert found == pytest.approx(at_once(X, y, metric, **options), rel=0, abs=1e-10)
    assert found != pytest.approx(at_once(X, y, metric), rel=0, abs=1e-6)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("n, d, offset", [(40, 40, 0), (41, 40, 0), (20, 60, 0), (300, 12, 1e4)])
def test_as_few_samples_as_features_and_far_from_the_origin(metric, n, d, offset):
    X, y = sample(n, d, 4)
    found = streamed(split(X + offset, y, [11, 11]), metric=metric)
    assert found == pytest.approx(at_once(X + offset, y, metric), rel=0, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, ">f4", np.float32, "float32"])
@pytest.mark.parametrize("posterior", ["resubstitution", "leave-one-out"])
def test_float32_products_have_the_precision_of_float32(posterior, dtype):
    X, y = sample(600, 20)
    exact = sfda.sfda_score(X, y, posterior=posterior)
    found = streamed(split(X, y, [200, 200]), posterior=posterior, dtype=dtype)
    assert found == pytest.approx(exact, abs=2e-6) and found != exact
    assert streamed(split(X, y, [200, 200]), posterior=posterior, dtype=torch.float64) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("X, y, options", [
    (*sample(30, 20, 3), {}), (*sample(30, 40), {"posterior": "leave-one-out"}), (np.hstack([X, X]), Y, {}),
    (X * np.where(np.arange(300) == 250, 1e39, 1.0)[:, None], Y, {"shrinkage": 0.5}),
])  # fmt: skip
def test_what_float32_does_not_bear_is_scored_in_float64(X, y, options):
    """N < 2 D, N < D, dependent columns, and numbers beyond it."""
    found = streamed(split(X, y, [9]), dtype="float32", **options)
    assert found == pytest.approx(at_once(X, y, "SFDA", **options), rel=0, abs=1e-9)


# --- where samples come from ---------------------------------------------------------


@pytest.mark.parametrize("metric, options, passes", [
    ("H-score", {}, 1), ("discriminant accuracy", {}, 2), ("SFDA", {}, 3), ("left-out SFDA", {"shrinkage": 0.1}, 3),
    ("left-out probability", {}, 4), ("left-out SFDA", {}, 5),
])  # fmt: skip
def test_number_of_passes(metric, options, passes):
    calls = itertools.count()
    stream_score(lambda: split(X, Y, [100 + next(calls)]), metric=metric, **options)
    assert next(calls) == passes


@pytest.mark.parametrize("rows", [97, 1_700, 5_000])
@pytest.mark.parametrize("metric, least", [("left-out log-likelihood", 4), ("left-out SFDA", 5)])
def test_lambda_of_many_samples_is_that_of_all_at_once(metric, least, rows):
    y = np.sort(np.arange(5_000) % 7)  # class by class: some of each are asked first
    X = gaussian_classes(1, y, 30, 0.3)
    parts, passes = [(X[i : i + rows], y[i : i + rows]) for i in range(0, 5_000, rows)], []
    found = stream_score(lambda: passes.append(1) or iter(parts), metric=metric)
    # Another lambda would move either by 1e-6 and more, another order of addition by 1e-12.
    assert found == pytest.approx(METRICS[metric](X, y), abs=1e-9)
    assert abs(found - METRICS[metric](X, y, shrinkage=0.5)) > 1e-6
    # Moments, some samples, once or twice all for lambda, the challenge where there is one, the score.
    assert least <= len(passes) <= least + 1
    tensors = [(torch.from_numpy(x), torch.from_numpy(t)) for x, t in parts]
    assert stream_score(lambda: iter(tensors), metric=metric) == pytest.approx(found, abs=1e-9)
    calls, shorter = itertools.count(1), [(x[1:], t[1:]) for x, t in parts]
    with pytest.raises(ValueError, match=f"found {5_000 - len(parts)} samples after 5000 in the first pass"):
        stream_score(lambda: shorter if next(calls) == 2 else parts, metric=metric)


def test_memory_mapped_arrays_shards_and_a_torch_loader_in_any_order(tmp_path):
    single = X.astype(np.float32)
    np.save(tmp_path / "all.npy", single)
    for i, (x, labels) in enumerate(split(single, Y, [123, 100])):
        np.savez(tmp_path / f"{i}.npz", x=x, y=labels)

    def shards():
        for path in sorted(tmp_path.glob("*.npz")):
            with np.load(path) as file:
                yield file["x"], file["y"]

    whole = np.load(tmp_path / "all.npy", mmap_mode="r")
    for parts in (lambda: [(whole, Y)], shards):
        assert stream_score(parts) == pytest.approx(at_once(single, Y, "SFDA"), abs=1e-12)
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)
    assert stream_score(lambda: loader) == pytest.approx(at_once(X, Y, "SFDA"), abs=1e-11)
    half = stream_score(lambda: ((x.half(), labels) for x, labels in loader))
    assert half == pytest.approx(at_once(torch.tensor(X).half(), Y, "SFDA"), abs=1e-11)


def test_labels_of_any_kind_and_metrics_in_any_case():
    expected = at_once(X, Y, "SFDA")
    words = np.array(["ant", "bee", "cow of one's own", "dog", "elk"])[Y]
    for labels in (Y * 1000 - 7, words, words.tolist(), words.astype(object), Y.astype(float)):
        assert streamed(split(X, labels, [5, 100])) == pytest.approx(expected, abs=1e-12)
    for name in ("SFDA", "left-out probability", "H-score"):
        assert streamed([(X, Y)], metric=name.swapcase()) == pytest.approx(at_once(X, Y, name), abs=1e-10)


@pytest.mark.parametrize("separation, n", [(40.0, 300), (1.0, 12)])
def test_saturation_is_said_where_the_score_is_asked_for(separation, n):
    X, y = sample(n, separation=separation)
    with pytest.warns(SaturationWarning, match="plain SFDA score") as found:
        stream_score(lambda: [(X, y)], shrinkage=0.1)
    assert found[0].filename == __file__


# --- bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["SFDA", "left-out SFDA", "left-out accuracy"])
def test_an_iterator_that_is_used_up_or_stands_for_a_function(metric):
    chunks = iter(split(X, Y, [100]))
    with pytest.raises(TypeError, match="make_chunks: expected a function.*iterator"):
        stream_score(chunks, metric=metric)
    with pytest.raises(ValueError, match="fresh iterator at each call"):
        stream_score(lambda: chunks, metric=metric)


@pytest.mark.parametrize("metric, at, shrinkage", [
    ("SFDA", 2, 0.1), ("SFDA", 3, 0.1), ("left-out SFDA", 3, 0.1), ("discriminant accuracy", 2, 0.1),
    ("left-out probability", 2, None), ("left-out probability", 3, None),  # passes of the search
])  # fmt: skip
def test_a_pass_over_fewer_samples_or_other_classes(metric, at, shrinkage):
    calls, parts = itertools.count(1), split(X, Y, [100, 100])
    with pytest.raises(ValueError, match="found 200 samples after 300 in the first pass"):
        stream_score(lambda: parts[: 2 if next(calls) == at else 3], metric=metric, shrinkage=shrinkage)
    with pytest.raises(ValueError, match="chunk 0: make_chunks: found classes that the first pass"):
        stream_score(lambda: [(X, np.where(Y == 4, Y + next(calls), Y))])


LONG = np.where((np.arange(12_000) == 9000)[:, None], np.inf, np.tile(X, (40, 1)))
SHORT = split(np.where((np.arange(300) == 107)[:, None], np.nan, X), Y, [50, 50, 50])
@pytest.mark.parametrize("metric", ["SFDA", "H-score"])
@pytest.mark.parametrize("parts, message", [
    ([(X[:0], Y[:0])], "expected chunks with samples, found none"),
    ([X], "chunk 0: expected a pair of features and labels, got ndarray of length 300"),
    ([(X, Y), (X, Y[1:])], "chunk 1: expected one label for each of the 300 rows.*299"),
    ([(X, Y), (X[:, 1:], Y)], "features: expected 12 columns as before, got 11"),
    ([(X[:, 0], Y)], "chunk 0: features: expected 2 dimensions"),
    ([(X, Y), (X * [np.nan] + 0, Y)], "chunk 1: features: expected finite numbers, found NaN"),
    ([(X, Y * 0), (X, Y * 0)], r"labels: expected at least 2 classes, got 1 \(0\) in 600 rows"),
    ([(X, Y), (X, Y.astype(str))], "labels: expected numbers or strings, got both"),
    ([(X, Y + 0.5)], "chunk 0: labels: expected classes, found"), ([(X * 0, Y), (X * 0, Y)], "expected variation"),
    ([(LONG, np.tile(Y, 40))], "chunk 0, rows from 8192 on: features: .* infinity, first in row 808"),
    (SHORT, "chunk 2: features: .*NaN, first in row 7"),
    ([(X * 1e200, Y)], "features: expected numbers of at most 1e[+]75 in size"),
])  # fmt: skip
def test_bad_chunks(parts, message, metric):
    with pytest.raises(ValueError, match=message):
        stream_score(lambda: iter(parts), metric=metric)


def test_a_class_of_one_sample_is_named_where_samples_are_left_out():
    labels = np.where(np.arange(300) == 7, 99, Y)
    for metric, options in (("left-out probability", {}), ("discriminant accuracy", {"shrinkage": "leave-one-out"})):
        with pytest.raises(ValueError, match="at least 2 samples in every class, found 1 in 99"):
            streamed([(X, labels)], metric=metric, **options)
    assert streamed([(X, labels)]) == pytest.approx(at_once(X, labels, "SFDA"), abs=1e-10)


@pytest.mark.parametrize("options, message", [
    ({"metric": "LogME"}, "metric: expected one of SFDA, .* got 'LogME'"),
    ({"metric": None}, "metric: expected one of"), ({"dtype": "int8"}, "dtype: expected float32 or float64"),
    ({"alpha": 1}, "options of SFDA: expected device, dtype, posterior, shrinkage, strength, got alpha"),
    ({"metric": "H-score", "shrinkage": 1}, "options of H-score: expected none, got shrinkage"),
    ({"metric": "discriminant accuracy", "dtype": "float32"}, "options of discriminant accuracy"),
    ({"posterior": "prior"}, "posterior: expected 'resubstitution' or 'leave-one-out', got 'prior'"),
    *(({"shrinkage": bad}, "shrinkage: expected None or a number") for bad in ("leave-one-out", 2)),
    ({"device": "abacus"}, "device: cannot compute on abacus"),
])  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        stream_score(lambda: [(X, Y)], **options)


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


def test_short_chunks_are_joined_and_what_differs_is_not(monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", 10)

    def steps(parts):
        """Numbers of rows of the blocks that a pass over these chunks works on."""
        return chunks.LocalPasses(lambda: iter(parts))(lambda x, y: [len(x)], lambda a, b: a + b)

    def sizes(*n):
        return split(X[: sum(n)], Y[: sum(n)], n[:-1])

    assert steps(sizes(3, 4, 3, 10, 9, 1, 1)) == [10, 10, 10, 1]
    assert steps(sizes(3, 25, 4, 0, 6)) == [3, 10, 10, 5, 4, 6]
    tensors = [(torch.tensor(x), torch.tensor(y)) for x, y in sizes(4, 4, 4)]
    assert steps(tensors) == steps([(x, y.tolist()) for x, y in sizes(4, 4, 4)]) == [8, 4]
    x, y = X[:4], Y[:4]
    texts = y.astype(str)
    for other in ((x.astype(np.float32), y), (x, texts), (torch.tensor(x), y), (x, y.tolist()),
                  (np.ma.masked_array(x), y), (x, list(texts))):  # fmt: skip
        assert steps([(x, y), other]) == [4, 4]
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

    for make in (parts, lambda: ((torch.from_numpy(x), torch.from_numpy(y)) for _ in parts())):
        assert stream_score(make) == pytest.approx(at_once(X, Y, "SFDA"), rel=0, abs=1e-12)


@pytest.mark.parametrize("metric", NAMES)
def test_path_of_accelerators(metric, monkeypatch):
    """Tensors as on a GPU: nothing may turn them into arrays."""
    read = stream.as_features
    monkeypatch.setattr(stream, "as_features", lambda *a, **k: torch.as_tensor(read(*a, **k)))
    assert streamed(split(X, Y, [70, 100]), metric=metric) == pytest.approx(at_once(X, Y, metric), rel=0, abs=1e-9)


def test_few_samples_of_many_features_take_no_memory_for_their_scatter():
    rng, y = np.random.default_rng(0), np.arange(60) % 3
    x = rng.standard_normal((60, 2000))
    tracemalloc.start()
    streamed(split(x, y, [20]), posterior="leave-one-out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * x.nbytes < 2000**2 * 8  # the scatter
