"""Lets the tests import the script that makes the notebooks; the same draws in every run; who begins in parallel."""

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from order import FIRST

gc.disable()  # until all is imported: to look for garbage meanwhile takes a fifth of that time
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))

# A failure belongs to the change that caused it, not to the luck of a draw.
# HYPOTHESIS_PROFILE=search looks for new failures.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
if settings.default.derandomize and hasattr(providers, "_get_local_constants"):
    # Hypothesis draws the constants of all modules of ours that are loaded, too: what a test draws
    # would depend on which tests ran before it in its process. Our pin has no setting for this.
    providers._get_local_constants = providers.Constants


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One worker a core that this process may use, containers' limits included; each takes a GB of memory or so."""
    import joblib

    return min(8, joblib.cpu_count())


def pytest_collection_finish():
    """What has been imported stays: to look through it for garbage, again and again, takes a twentieth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


def pytest_configure(config):
    config.addinivalue_line("markers", "cuda: needs a CUDA device, and is passed over without")


def pytest_collection_modifyitems(items):
    if marked := [item for item in items if item.get_closest_marker("cuda")]:
        import torch

        for item in marked if not torch.cuda.is_available() else ():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
    place = {file: number for number, file in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(FIRST)))
