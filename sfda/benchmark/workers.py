"""Jobs done one by one, in several processes, or on the workers of a Dask scheduler."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import torch
from threadpoolctl import threadpool_limits

from sfda.benchmark import resuming
from sfda.benchmark.jobs import run_job
from sfda.benchmark.resuming import Stopped
from sfda.streaming import cluster

DEATHS = 3  # of processes at one job before it is given up


def outcomes_of(todo, after, dropped, *, jobs=1, scheduler=None):
    """What jobs give, as they end.

    Parameters
    ----------
    todo : sequence of sfda.benchmark.jobs.Job
    after : callable
        ``after(job, outcome)`` gives further jobs, which go before those that were not begun.
    dropped : callable
        ``dropped(job)`` tells, as another has ended, of which jobs nothing is wanted any more.
    jobs : int, default 1
        Processes. What ran beside one that dies is done again.
    scheduler : str, optional
        Address of a Dask scheduler, in their place.

    Yields
    ------
    tuple
        The job, and what it gave or in words why it gave nothing.

    Raises
    ------
    sfda.benchmark.resuming.Stopped
        SIGTERM came; how far the jobs were is written down, on a scheduler's workers as they end.
    """
    if scheduler is not None:

        def in_words(job, outcome):
            return f"{job.model} on {job.task}: {outcome}" if isinstance(outcome, Exception) else outcome

        def then(job, outcome):
            return after(job, in_words(job, outcome))

        there = cluster.outcomes(_attempt_there, todo, scheduler, after=then, dropped=dropped)
        with resuming.stopping(), contextlib.closing(there):
            for job, outcome in there:
                yield job, in_words(job, outcome)
        return
    queue = deque(todo)
    with contextlib.closing(_one_by_one(queue, dropped) if jobs == 1 else _side_by_side(queue, jobs, dropped)) as here:
        for job, outcome in here:
            queue.extendleft(reversed(after(job, outcome)))  # a network and task is finished before others are begun
            yield job, outcome


def _attempt(job):
    """What the job gives, or why there is nothing: one bad cell must not cost the others."""
    if resuming.leaving():
        raise Stopped("asked to leave")
    try:
        return run_job(job)
    except (ArithmeticError, OSError, RuntimeError, ValueError) as error:
        return f"{job.model} on {job.task}: {error}"


_alone = threading.Lock()


def _attempt_there(job):
    """What the job gives on a Dask worker, which hands it on if it has to leave.

    One at a time, however many threads the worker has: they would share torch's generators.
    """
    try:
        with _alone:
            return _attempt(job)
    except Stopped as stopped:
        raise cluster.again() from stopped


def _one_by_one(queue, dropped):
    with resuming.listening():
        while queue:
            job = queue.popleft()
            if not dropped(job):
                yield job, _attempt(job)


def _side_by_side(queue, jobs, dropped):
    """In as many processes, which are replaced if one of them dies."""
    # Forked processes may hang on the locks of the parent's thread pools.
    context, share = multiprocessing.get_context("spawn"), max(1, torch.get_num_threads() // jobs)
    flag, lost, running, pool = context.RawValue("b", 0), Counter(), {}, None

    def blamed(job):
        return lost[job.folder, job.name] > 0

    try:
        with resuming.listening(flag):
            while queue or running:
                if resuming.leaving():
                    raise Stopped("asked to leave")
                pool = pool or ProcessPoolExecutor(jobs, context, _begin, (share, flag))
                while queue and len(running) < jobs:
                    if running and (blamed(queue[0]) or any(blamed(job) for job, _ in running.values())):
                        break  # alone, that no other is blamed for what it does
                    job = queue.popleft()
                    if dropped(job):
                        continue
                    try:
                        running[pool.submit(_attempt_here, job)] = job, pool
                    except BrokenProcessPool:
                        queue.appendleft(job)
                        break
                if not running:
                    pool = None  # nothing is left, or it broke while nothing ran
                    continue
                # A second at a time: where Ctrl-C does not interrupt a wait, it comes after it.
                for future in wait(running, 1, FIRST_COMPLETED).done:
                    job, its = running.pop(future)
                    try:
                        yield job, future.result()
                    except BrokenProcessPool:
                        pool = None if its is pool else pool
                        its.shutdown()  # waits for those beside it, which are asked to leave
                        lost[job.folder, job.name] += 1
                        if lost[job.folder, job.name] < DEATHS:
                            queue.appendleft(job)
                        else:
                            yield job, f"{job.model} on {job.task}: its process was killed {DEATHS} times"
    finally:
        flag.value = 1  # whatever ends this, an error or Ctrl-C too: they write down how far they are, and leave
        if pool:
            pool.shutdown(cancel_futures=True)


# Of a process among several: whether SIGTERM has come to it alone, and whether it does a job.
_own, _state = SimpleNamespace(value=0), SimpleNamespace(busy=False)


def _begin(threads, flag):
    """What a process does first."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # those of scikit-learn's probes
    resuming.follow(_own, flag)
    # Ctrl-C reaches all processes; the first one tells the others. A second one ends them at once.
    signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, signal.SIG_DFL))
    signal.signal(signal.SIGTERM, _ask)
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _ask(*_):
    """A batch system's signal to all processes, or that of a pool of which another one died; often both."""
    _own.value = 1
    if not _state.busy:
        os._exit(1)


def _outlive_nobody():
    """Leave as the first process is gone, which may have been killed."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    _ask()


def _attempt_here(job):
    """What the job gives in one of several processes, which leaves after it if it has been asked to."""
    _state.busy = True
    try:
        return _attempt(job)
    finally:
        _state.busy = False
        if _own.value:  # it waits for no other job
            os._exit(1)
