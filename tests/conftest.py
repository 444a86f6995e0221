"""Lets the tests import the script that makes the notebooks; the same draws in every run."""

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))

# A failure belongs to the change that caused it, not to the luck of a draw.
# HYPOTHESIS_PROFILE=search looks for new failures.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
