"""The examples in the docstrings print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import sfda


@pytest.mark.parametrize("module", [module.name for module in pkgutil.walk_packages(sfda.__path__, "sfda.")])
def test_examples(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0
