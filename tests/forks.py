"""Processes of the tests that fork from one which has the package loaded: they need not load it again, for seconds each."""

import multiprocessing

PRELOAD = ("sfda.benchmark.cells", "sfda.networks.extract", "sfda.streaming.cluster", "sfda.images.drawn.drawings", "timm", "distributed")


def forkserver():
    """The context; modules that cannot be loaded are loaded by none."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD])
    return context
