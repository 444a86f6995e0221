"""What tests of networks need."""

from importlib.util import find_spec

import pytest

if not all(map(find_spec, ("torch", "torchvision", "timm", "safetensors"))):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def undrawn(monkeypatch):
    """Networks are made without drawing the numbers that weights replace: most of the time that it takes."""
    for function in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "trunc_normal_"):
        monkeypatch.setattr(f"torch.nn.init.{function}", lambda tensor, *arguments, **options: tensor)
