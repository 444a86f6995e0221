"""What one image costs before any score: read from its file, and passed through a network.

Per image, the networks of the paper's first table with random weights in batches of 16 on all cores, the file on one;
see data/timings/forward.csv.
"""

import io

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from torchvision import models

from sfda.images.views import centre
from sfda.networks.checkpoints import SUPERVISED

BATCH = 16


@pytest.fixture(scope="module")
def file():
    """A JPEG of the size that photographs of the paper's data sets have, as smooth as they are."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(256, size=(47, 63, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), float)
    pixels = (smooth + 8 * rng.standard_normal(smooth.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG", quality=90)
    return buffer.getvalue()


def test_image_from_file(benchmark, file):
    benchmark.pedantic(lambda: centre(Image.open(io.BytesIO(file))), rounds=100, warmup_rounds=5)


@pytest.mark.parametrize("name", [name.split(":")[1] for name in SUPERVISED])
def test_image_through(benchmark, name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = models.get_model(name, weights=None, **options).eval()
    with torch.inference_mode():
        benchmark.pedantic(network, (torch.zeros(BATCH, 3, 224, 224),), rounds=3, warmup_rounds=1)
