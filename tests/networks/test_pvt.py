"""The first PVT: names and shapes of the published files, and every number of it computed again by hand."""

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax

from sfda.networks.pvt import DEPTHS, PyramidVisionTransformer


def published_shapes(depths):
    """Names and shapes as the authors' files have them, for images of 224 pixels."""
    shapes, channels = {"cls_token": (1, 1, 512)}, 3

    def add(name, outputs, *inputs):
        shapes.update({f"{name}.weight": (outputs, *inputs), f"{name}.bias": (outputs,)})

    for stage, (width, side, patch, hidden, reduction) in enumerate(
        [(64, 56, 4, 512, 8), (128, 28, 2, 1024, 4), (320, 14, 2, 1280, 2), (512, 7, 2, 2048, 1)], start=1
    ):
        shapes[f"pos_embed{stage}"] = (1, side * side + (stage == 4), width)
        add(f"patch_embed{stage}.proj", width, channels, patch, patch)
        add(f"patch_embed{stage}.norm", width)
        for at in (f"block{stage}.{i}" for i in range(depths[stage - 1])):
            for layer, *shape in (
                ("norm1", width), ("attn.q", width, width), ("attn.kv", 2 * width, width), ("attn.proj", width, width),
                ("norm2", width), ("mlp.fc1", hidden, width), ("mlp.fc2", width, hidden),
                *([("attn.sr", width, width, reduction, reduction), ("attn.norm", width)] if reduction > 1 else []),
            ):
                add(f"{at}.{layer}", *shape)
        channels = width
    add("norm", 512)
    add("head", 1000, 512)
    return shapes


@pytest.mark.parametrize("depths", DEPTHS.values())
def test_names_and_shapes_of_the_published_files(depths):
    with torch.device("meta"):
        network = PyramidVisionTransformer(depths)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == published_shapes(depths)
    with pytest.raises(ValueError, match="images: expected 224 x 224 pixels, got 160 x 192"):
        network(torch.zeros(1, 3, 160, 192))


def normal(x, w, name, eps):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def patches(image, w, name):
    """Convolution whose kernels do not overlap: (D, H, W) to tokens (T, D)."""
    kernel = w[f"{name}.weight"]
    side = kernel.shape[-1]
    d, rows, columns = image.shape[0], image.shape[1] // side, image.shape[2] // side
    cut = image.reshape(d, rows, side, columns, side).transpose(1, 3, 0, 2, 4).reshape(rows * columns, -1)
    return cut @ kernel.reshape(len(kernel), -1).T + w[f"{name}.bias"]


def block(x, w, at, heads, reduction, side):
    z = kept = normal(x, w, f"{at}.norm1", 1e-6)
    if reduction > 1:
        kept = normal(patches(z.T.reshape(-1, side, side), w, f"{at}.attn.sr"), w, f"{at}.attn.norm", 1e-5)
    q, (k, v) = linear(z, w, f"{at}.attn.q"), np.split(linear(kept, w, f"{at}.attn.kv"), 2, axis=1)
    out = []
    for columns in np.split(np.arange(x.shape[1]), heads):
        score = q[:, columns] @ k[:, columns].T / np.sqrt(len(columns))
        out.append(softmax(score, axis=1) @ v[:, columns])
    x = x + linear(np.concatenate(out, 1), w, f"{at}.attn.proj")
    h = linear(normal(x, w, f"{at}.norm2", 1e-6), w, f"{at}.mlp.fc1")
    return x + linear(h * (1 + erf(h / np.sqrt(2))) / 2, w, f"{at}.mlp.fc2")


def literal(image, w, depths):
    side = image.shape[1]
    for stage, (heads, reduction, patch) in enumerate([(1, 8, 4), (2, 4, 2), (5, 2, 2), (8, 1, 2)], start=1):
        side //= patch
        x = normal(patches(image, w, f"patch_embed{stage}.proj"), w, f"patch_embed{stage}.norm", 1e-5)
        if stage == 4:
            x = np.concatenate([w["cls_token"][0], x])
        x = x + w[f"pos_embed{stage}"][0]
        for i in range(depths[stage - 1]):
            x = block(x, w, f"block{stage}.{i}", heads, reduction, side)
        image = x.T.reshape(-1, side, side) if stage < 4 else x
    return linear(normal(x, w, "norm", 1e-6)[0], w, "head")


def test_every_number_by_hand():
    torch.manual_seed(0)
    network = PyramidVisionTransformer((2, 1, 1, 1), n_classes=5, size=64).double().eval()
    with torch.no_grad():
        for p in network.parameters():  # position embeddings and biases are zero, norms one
            p.add_(torch.randn_like(p) * 0.05)
        images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
        found = network(images).numpy()
    w = {key: value.numpy() for key, value in network.state_dict().items()}
    expected = [literal(image, w, (2, 1, 1, 1)) for image in images.numpy()]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    # Every weight matters: without the class token or the positions it is another function.
    for key in ("cls_token", "pos_embed4", "block1.1.attn.sr.weight", "block1.0.attn.norm.bias"):
        changed = literal(images[0].numpy(), w | {key: w[key] * 1.1}, (2, 1, 1, 1))
        assert not np.allclose(changed, expected[0], rtol=1e-9, atol=1e-9)
