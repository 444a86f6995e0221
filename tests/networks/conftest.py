"""What tests of networks need."""

from importlib.util import find_spec

import pytest

if not all(map(find_spec, ("torch", "torchvision", "timm", "safetensors"))):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def undrawn(monkeypatch):
    """Networks are made without drawing the numbers that weights replace: most of the time that it takes."""
    torchs = [f"torch.nn.init.{name}_" for name in ("kaiming_normal", "kaiming_uniform", "normal", "uniform", "trunc_normal")]
    for function in (*torchs, "timm.layers.weight_init._trunc_normal_"):
        monkeypatch.setattr(function, lambda tensor, *arguments, **options: tensor)
