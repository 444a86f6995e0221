"""Trainings that are stopped and go on: how far one is, kept in a file, and whether it is time to leave.

SIGTERM asks a run to leave: a batch system sends it before a job's time ends. So does a Dask worker whose own time is
up. A training looks after every step, writes down how far it is, and raises :class:`sfda.benchmark.resuming.Stopped`.
After anything worse, at most the minutes since it was last written down are lost.
"""

import hashlib
import signal
import threading
import time
import warnings
import zipfile
from contextlib import contextmanager
from types import SimpleNamespace

import torch

from sfda.files import replacing
from sfda.streaming import cluster

MINUTES = 3.0  # between two times that a training is written down
_flags: tuple = ()  # whose value says whether this process has been asked, or all of one run


class Stopped(Exception):
    """The run was asked to leave; how far it was is kept."""


@contextmanager
def listening(flag=None):
    """Within it, SIGTERM asks the trainings of this process to leave; a second one does what it did before.

    Parameters
    ----------
    flag : object, optional
        Its ``value`` becomes 1, which other processes may share: :func:`follow`.
    """
    global _flags
    flag, were = SimpleNamespace(value=0) if flag is None else flag, _flags  # a shared number may be false itself
    before = signal.getsignal(signal.SIGTERM)
    main = _receives_signals() and before is not None  # None: one that could not be put back

    def ask(*_):
        flag.value = 1
        signal.signal(signal.SIGTERM, before)

    _flags = (flag,)
    if main:
        signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        _flags = were
        if main:
            signal.signal(signal.SIGTERM, before)


def follow(*flags):
    """From now on this process is asked to leave by the ``value`` of any of these flags."""
    global _flags
    _flags = flags


@contextmanager
def stopping():
    """Within it, SIGTERM raises :class:`Stopped`: for a process that trains nothing itself, and only waits."""

    def stop(*_):
        raise Stopped("asked to leave")

    before = signal.getsignal(signal.SIGTERM)
    main = _receives_signals() and before is not None
    if main:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _receives_signals():
    return threading.current_thread() is threading.main_thread()


def leaving():
    """Whether this process, or the Dask worker that runs this, has been asked to leave."""
    return any(flag.value for flag in _flags) or cluster.closing()


class Halfway:
    """How far one training is, in a file that is written every few minutes, whole or not at all.

    Parameters
    ----------
    path : path
        Of the file; its folder is made.
    digest : str
        Fingerprint of network, images and protocol: what another one left is not gone on with, nor what is damaged.

    Attributes
    ----------
    earlier : float
        Seconds that runs before this one have spent on what is gone on with.
    """

    def __init__(self, path, digest):
        self.path, self.digest, self.earlier = path, digest, 0.0
        self.key = digest
        self.begun = self.written = time.monotonic()

    def read(self, what):
        """What an earlier run of the same training left, or None.

        Parameters
        ----------
        what : str
            All that decides how the training runs, beside the digest.
        """
        self.key = hashlib.sha256(f"{self.digest} {what}".encode()).hexdigest()
        try:
            with zipfile.ZipFile(self.path) as archive:  # torch does not look at the checksums in it
                if archive.testzip() is not None:
                    return None
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if state["key"] != self.key:
                return None
            self.earlier = float(state["seconds"])
        except Exception:  # there is none, or its damaged bytes make their readers stumble in any way
            return None
        return state

    def after(self, state):
        """To be called after each step: writes ``state()`` down if it is time.

        Parameters
        ----------
        state : callable
            Gives a dict of tensors, numbers, texts and of dicts and lists of these.

        Raises
        ------
        Stopped
            It is time to leave; the state has been written, where that is possible.

        Warns
        -----
        RuntimeWarning
            It cannot be written, as on a full disk: the training goes on all the same.
        """
        stop = leaving()
        if stop or time.monotonic() - self.written > 60 * MINUTES:
            seconds = self.earlier + time.monotonic() - self.begun
            reached = {**state(), "key": self.key, "seconds": seconds}
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(self.path) as part:
                    torch.save(reached, part)
            except (OSError, RuntimeError) as error:  # torch has its own error for a full disk
                why = " ".join(str(error).split())
                warnings.warn(f"{self.path}: how far it is cannot be written: {why}", RuntimeWarning, stacklevel=2)
            self.written = time.monotonic()
        if stop:
            raise Stopped("asked to leave")

    def remove(self):
        """Take the file away, if there is one."""
        self.path.unlink(missing_ok=True)
