"""Processes of the tests that fork from one which has the package loaded: they need not load it again, for seconds each."""

import multiprocessing
import os

PRELOAD = ("sfda.benchmark.cells", "sfda.networks.extract", "sfda.streaming.cluster", "sfda.images.drawn.drawings", "timm", "distributed")


def forkserver():
    """The context; modules that cannot be loaded are loaded by none."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD])
    return context


def forked(code, **names):
    """A process that executes `code`, which finds these names, and a file to read what it writes to stdout and stderr."""
    reader, writer = forkserver().Pipe(duplex=False)
    code = "import os; [os.dup2(told.fileno(), standard) for standard in (1, 2)]; told.close()\n" + code
    process = forkserver().Process(target=exec, args=(code, names | {"told": writer}))
    process.start()
    writer.close()
    return process, open(os.dup(reader.fileno()), encoding="utf-8", errors="replace")
