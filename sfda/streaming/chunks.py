"""Passes over samples that come in chunks."""

import copy

import numpy as np

from sfda.metric.linalg import full_precision, is_torch, namespace
from sfda.metric.scatter import OutOfPrecision

ROWS = 8192  # that are in memory at a time


class LocalPasses:
    """Runs passes over the chunks one after the other.

    Chunks of few rows are joined up to ROWS, for each result is as large as D x D however few samples it comes
    from.

    Attributes
    ----------
    make_chunks : callable
        Returns an iterable of (features (n, D), labels (n,)), the same at each call.
    """

    def __init__(self, make_chunks):
        self.make_chunks = make_chunks

    def __call__(self, step, merge):
        """Merge the results of ``step(features, labels)`` over blocks of rows."""
        return combine(self._results(step, merge), merge)

    def _results(self, step, merge):
        few, rows = [], 0  # chunks that wait to be joined, with their numbers

        def wait_no_longer():
            nonlocal few, rows
            together, few, rows = few, [], 0
            yield from _fold_together(together, step, merge)

        number = 0
        for chunk in self.make_chunks():
            n = _few(chunk)
            if few and not (n and rows + n <= ROWS and _alike(few[-1][1], chunk)):
                yield from wait_no_longer()
            if n:
                few.append((number, _kept(chunk)))
                rows += n
            else:
                result = fold(chunk, step, merge, number)
                if result is not None:
                    yield result
            number += 1
            del chunk  # before the next is made: only short ones are kept
        yield from wait_no_longer()


def combine(results, merge):
    """All results merged, from the first to the last."""
    total = None
    for result in results:
        total = result if total is None else merge(total, result)
    if total is None:
        raise ValueError(
            "make_chunks: expected chunks with samples, found none; it must return a fresh iterator at each call"
        )
    return total


@full_precision()
def fold(chunk, step, merge, number=0):
    """The merged results of one chunk's blocks of rows; None where it is empty.

    Raises ValueError that names the chunk.
    """
    try:
        features, labels = chunk
    except (TypeError, ValueError):
        raise ValueError(f"chunk {number}: expected a pair of features and labels, got {_kind(chunk)}") from None
    if not hasattr(features, "shape"):
        features = np.asarray(features)
    if not hasattr(labels, "__len__"):
        raise ValueError(f"chunk {number}: expected one label a row, got {_kind(labels)}")
    n, n_labels = _rows(features), _rows(labels)
    if n_labels != n:
        raise ValueError(f"chunk {number}: expected one label for each of the {n} rows of features, got {n_labels}")
    total = None
    for start in range(0, n, ROWS):
        rows = slice(start, start + ROWS)
        try:
            some = features[rows], labels[rows]
        except Exception as error:  # what sparse and other arrays do is up to them
            raise ValueError(f"chunk {number}: expected arrays that have rows, got {_kind(features)} and "
                             f"{_kind(labels)} ({type(error).__name__})") from error  # fmt: skip
        try:
            result = step(*some)
            total = result if total is None else merge(total, result)
        except OutOfPrecision:
            raise
        except ValueError as error:
            where = f", rows from {start} on" if n > ROWS else ""
            raise ValueError(f"chunk {number}{where}: {error}") from error
    return total


def _rows(values):
    """How many there are; sparse arrays do not tell by their length."""
    shape = getattr(values, "shape", None)
    return len(values) if shape is None else int(shape[0]) if len(shape) else 0


def _fold_together(chunks, step, merge):
    """Results of short chunks that are alike: one of all, or one of each where that fails."""
    if len(chunks) > 1:
        features, labels = zip(*(chunk for _, chunk in chunks))
        try:
            result = fold((_joined(features), _joined(labels)), step, merge)
        except OutOfPrecision:
            raise
        except ValueError:
            pass  # one by one they tell which it is
        else:
            yield result
            return
    yield from (fold(chunk, step, merge, number) for number, chunk in chunks)


def _few(chunk):
    """The number of rows of a chunk that may be joined with others, or 0."""
    if not isinstance(chunk, (tuple, list)) or len(chunk) != 2:
        return 0
    features, labels = chunk
    # Not of their subclasses: joining masked arrays would lose the masks.
    if not (type(features) in (np.ndarray, np.memmap) or is_torch(features)) or features.ndim != 2:
        return 0
    if not (type(labels) in (np.ndarray, np.memmap, list, tuple) or is_torch(labels)):
        return 0
    return len(features) if len(features) == len(labels) and len(features) < ROWS else 0


def _alike(first, second):
    """Whether two chunks differ in nothing but their samples."""

    def kind(part):
        shape = tuple(getattr(part, "shape", (0,)))
        return type(part), getattr(part, "dtype", None), shape[1:], str(getattr(part, "device", ""))

    return all(kind(a) == kind(b) for a, b in zip(first, second))


def _kept(chunk):
    """A copy, for whoever made the chunk may fill the same arrays again."""
    return tuple(part.clone() if is_torch(part) else copy.copy(part) for part in chunk)


def _joined(parts):
    first = parts[0]
    if is_torch(first):
        return namespace(first).cat(parts)
    if isinstance(first, (list, tuple)):
        return [label for part in parts for label in part]
    return np.concatenate(parts)


def _kind(chunk):
    try:
        return f"{type(chunk).__name__} of length {len(chunk)}"
    except TypeError:
        return type(chunk).__name__
