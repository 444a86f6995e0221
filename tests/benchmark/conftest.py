"""What needs networks is left out without their libraries; small networks run faster on one thread than on many."""

from importlib.util import find_spec

import pytest

if not all(map(find_spec, ("torch", "torchvision", "timm", "safetensors"))):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    import torch

    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)
