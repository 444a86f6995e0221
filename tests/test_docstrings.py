"""The examples in the docstrings print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import sfda


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(sfda.__path__)])
def test_examples(module):
    assert doctest.testmod(importlib.import_module(f"sfda.{module}")).failed == 0
