"""The same scores and the benchmark's cells over Dask, on as many machines as there are.

Dask is an optional extra (``pip install dask distributed``), imported when it is needed.
"""

import sys
import warnings
from functools import reduce
from typing import Any

import numpy as np

from sfda.metric.linalg import to_numpy
from sfda.streaming import stream
from sfda.streaming.chunks import combine, fold

_TREE = 8  # results that are merged at a time


def dask_score(features: Any, labels: Any = None, *, metric: str = "SFDA", **options: Any) -> float:
    """:func:`sfda.stream_score` of a Dask array, or of chunks that Dask computes.

    Parameters
    ----------
    features : Dask array of shape (N, D), or list
        An array in any chunks; those of columns are joined. Or one delayed pair (features (n, D), labels (n,)) a
        chunk, and no `labels`.
    labels : array-like of shape (N,), optional
        One label a row of the array; a Dask array, or one in memory.
    metric, **options
        As in :func:`sfda.stream_score`.

    Returns
    -------
    float
        The same score, up to the rounding errors of another order of addition.

    Raises
    ------
    ValueError
        As :func:`sfda.stream_score`; unknown numbers of rows; labels beside delayed chunks.
    ModuleNotFoundError
        Dask is not installed.

    Notes
    -----
    Runs wherever ``dask.compute`` does: on the threads of this process, or on the cluster of the
    ``dask.distributed.Client`` that has been made. Chunks are computed anew in each pass unless they have been
    persisted. What each sends on is C x D and D x D numbers; eight results at a time are merged, on the workers.
    The samples themselves travel where chunks of columns are joined, or N <= D, and some 500 of them where lambda is
    searched among many.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> from sfda.streaming.cluster import dask_score  # doctest: +SKIP
    >>> X = da.from_zarr("features.zarr")  # doctest: +SKIP
    >>> dask_score(X, labels, metric="left-out probability")  # doctest: +SKIP
    """
    dask()
    return stream.score_passes(DaskPasses(_chunks(features, labels)), metric, options)


def dask():
    """The module ``dask``; ModuleNotFoundError with the remedy where there is none."""
    try:
        import dask
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a cluster needs Dask, which is not installed: pip install dask distributed"
        ) from None
    return dask


def outcomes(function, jobs, address, *, after=lambda job, outcome: (), dropped=lambda job: False):
    """What ``function(job)`` returns on the workers of a Dask scheduler, as each ends.

    Parameters
    ----------
    function : callable
        It may raise what ``again()`` gives.
    jobs : sequence
        Each is done once, and again where its worker dies before the result has arrived.
    address : str
        Of the scheduler, for example "tcp://10.0.0.1:8786".
    after : callable, optional
        ``after(job, outcome)`` gives further jobs, which go before those that no worker has begun.
    dropped : callable, optional
        ``dropped(job)`` tells, as another has ended, of which jobs the outcome is not wanted any more.

    Yields
    ------
    tuple
        The job, and what `function` returned or the exception that it raised; an exception, too, where the job has
        ended several workers.

    Raises
    ------
    ModuleNotFoundError
        Dask is not installed.
    OSError
        No scheduler answers.
    """
    dask()
    from distributed import Client, as_completed

    with Client(address, set_as_default=False) as client:
        # Not pure: a job leaves files behind, and must not be looked up by its arguments.
        futures = {client.submit(function, job, pure=False): job for job in jobs}
        ended = as_completed(list(futures), loop=client.loop)
        for future in ended:
            if future not in futures:  # dropped
                continue
            job, error = futures.pop(future), future.exception()
            outcome = future.result() if error is None else error
            # What is done is done: were it kept, the death of its worker would have it done again.
            future.release()
            for more in after(job, outcome):
                new = client.submit(function, more, pure=False, priority=1)
                futures[new] = more
                ended.add(new)
            for other in [other for other, its in futures.items() if dropped(its)]:
                del futures[other]
                other.cancel()
            yield job, outcome


def closing():
    """Whether this runs on a Dask worker that is about to leave, as one does at the end of its ``--lifetime``."""
    if "distributed" not in sys.modules:
        return False
    from distributed import Status, get_worker

    try:
        return get_worker().status not in (Status.running, Status.paused)
    except ValueError:  # not on a worker
        return False


def again():
    """An exception: raised by a job on a Dask worker, it has another worker do the job."""
    from distributed import Reschedule

    return Reschedule()


class DaskPasses:
    """Runs passes over delayed chunks (features, labels) wherever Dask computes."""

    def __init__(self, chunks):
        self.chunks = chunks

    def __call__(self, step, merge):
        """As :class:`sfda.streaming.chunks.LocalPasses`."""
        delayed = dask().delayed
        # One object in the graph, which a worker fetches once.
        step = delayed(step, pure=False, traverse=False)
        folded = delayed(fold, pure=False)
        merged = delayed(_merge, pure=False)
        level = [folded(chunk, step, merge, number) for number, chunk in enumerate(self.chunks)]
        while len(level) > 1:
            level = [merged(level[i : i + _TREE], merge) for i in range(0, len(level), _TREE)]
        with warnings.catch_warnings():
            # A step is D x D numbers. Scattered, it would be lost with the worker that holds it.
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            result = level[0].compute() if level else None
        return combine([] if result is None else [result], merge)


def _merge(results, merge):
    """Those of chunks with samples, merged; None where there are none."""
    results = [r for r in results if r is not None]
    return reduce(merge, results) if results else None


def _chunks(features, labels):
    """Delayed pairs of features and labels."""
    delayed = dask().delayed
    if isinstance(features, (list, tuple)):
        if labels is not None:
            raise ValueError("labels: expected none beside delayed chunks, which hold their own")
        return list(features)
    if not hasattr(features, "to_delayed"):
        raise ValueError(f"features: expected a Dask array or a list of delayed chunks, got {type(features).__name__}")
    if len(features.shape) != 2:
        raise ValueError(f"features: expected 2 dimensions (samples x features), got {len(features.shape)}")
    if labels is None:
        raise ValueError("labels: expected one a row of the array, got none")
    n = features.shape[0]
    if np.isnan(n):
        raise ValueError("features: expected known numbers of rows; call .compute_chunk_sizes()")
    if len(labels) != n:
        raise ValueError(f"labels: expected one for each of the {n} rows of features, got {len(labels)}")
    features = features.rechunk({1: -1})
    rows = features.chunks[0]
    if hasattr(labels, "to_delayed"):
        parts = labels.rechunk((rows,)).to_delayed().ravel()
    else:
        labels, ends = to_numpy(labels), np.cumsum(rows)
        parts = [labels[end - n : end] for n, end in zip(rows, ends)]
    pair = delayed(_pair, pure=False)
    return [pair(x, part) for x, part in zip(features.to_delayed().ravel(), parts, strict=True)]


def _pair(features, labels):
    return features, labels
