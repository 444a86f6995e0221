"""How the pocket zoo is made: weights and facts are written and can be read again."""

import json

import pytest
import torch

pytest.importorskip("lightly")

from sfda.networks import pocket
from sfda.networks.pretraining import recipe


def changed(one, other):
    """Which parameters differ by more than float16's rounding."""
    pairs = zip(one.named_parameters(), other.parameters(), strict=True)
    return {key for (key, a), b in pairs if not torch.allclose(a, b, rtol=1e-3, atol=1e-6)}


@pytest.mark.parametrize("name", ["googlenet", "simclr", "dino_small"])
def test_make(name, tmp_path):
    lines, folder = [], tmp_path / "weights"
    record = recipe.make(name, folder, n_images=256, epochs=1, progress=lines.append)
    assert sorted(p.name for p in folder.iterdir()) == [f"{name}.json", f"{name}.safetensors"]
    text = (folder / f"{name}.json").read_text(encoding="utf-8")
    assert json.loads(text) == record and text.endswith("}\n") and "NaN" not in text
    chosen = recipe.recipe(name) | {"epochs": 1}
    entry = pocket.POCKET[name]
    about = {"objective": entry.objective, "model": name, "n_images": 256, "seed": 0, "device": "cpu",
             "torch": torch.__version__} | chosen  # fmt: skip
    assert set(record) == {"loss", "source_accuracy", "seconds", "curve", *about}
    assert {key: record[key] for key in about} == about
    assert record["curve"] == [record["loss"]] and len(lines) == 1
    network, twin = pocket.pretrained(name, folder=folder), pocket.untrained(name)
    own, learnt = pocket.head(name, network), entry.objective == "supervised"
    assert own.out_features == pocket.SOURCE_CLASSES
    moved = changed(network, twin)
    assert (f"{entry.head}.weight" in moved) == learnt
    # Of the encoder, all that has a gradient to speak of.
    assert len(moved) > 0.3 * len(list(network.parameters()))
    assert 0 <= record["source_accuracy"] <= 1 if learnt else record["source_accuracy"] is None


def test_seed_fixes_the_weights(tmp_path):
    weights = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        recipe.make("googlenet", tmp_path / folder, n_images=256, epochs=1, seed=seed)
        weights.append((tmp_path / folder / "googlenet.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_unknown_network(tmp_path):
    with pytest.raises(ValueError) as error:
        recipe.make("resnet_50", tmp_path / "new")
    expected = f"model: expected one of {', '.join(pocket.POCKET)}, got 'resnet_50'"
    assert str(error.value) == expected and not (tmp_path / "new").exists()
