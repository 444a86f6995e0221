"""What tests of images need, and the machine kept out of them."""

import os
import urllib.error
from importlib.util import find_spec

import pytest

if not (find_spec("torch") and find_spec("torchvision")):
    collect_ignore_glob = ["test_[!d]*.py"]  # drawings need neither


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """No download, and no images of this machine."""

    def unreachable(*arguments, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setenv("SFDA_IMAGES", str(tmp_path / "unset"))


@pytest.fixture
def any_checksum(monkeypatch):
    """torchvision compares CIFAR's and two of Flowers' files with md5 sums, which tiny ones cannot have."""
    for module in ("cifar", "flowers102"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda path, md5: os.path.exists(path))
