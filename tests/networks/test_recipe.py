"""How the pocket zoo is made: weights and facts are written and can be read again."""

import json

import pytest
import torch

pytest.importorskip("lightly")

from sfda.networks import pocket
from sfda.networks.pretraining import recipe


@pytest.mark.parametrize("name", ["googlenet", "simclr", "dino_small"])
def test_make(name, tmp_path):
    lines, folder = [], tmp_path / "weights"
    record = recipe.make(name, folder, n_images=256, epochs=1, progress=lines.append)
    assert sorted(p.name for p in folder.iterdir()) == [f"{name}.json", f"{name}.safetensors"]
    text = (folder / f"{name}.json").read_text(encoding="utf-8")
    assert json.loads(text) == record and text.endswith("}\n") and "NaN" not in text
    entry = pocket.POCKET[name]
    about = {"objective": entry.objective, "model": name, "n_images": 256, "seed": 0, "device": "cpu",
             "torch": torch.__version__} | recipe.recipe(name) | {"epochs": 1}
    assert set(record) == {"loss", "source_accuracy", "seconds", "curve", *about}
    assert {key: record[key] for key in about} == about
    assert record["curve"] == [record["loss"]] and len(lines) == 1
    network, twin = pocket.pretrained(name, folder=folder), pocket.untrained(name)
    assert pocket.head(name, network).out_features == pocket.SOURCE_CLASSES
    pairs, learnt = zip(network.named_parameters(), twin.parameters(), strict=True), entry.objective == "supervised"
    # By more than float16's rounding.
    moved = {key for (key, a), b in pairs if not torch.allclose(a, b, rtol=1e-3, atol=1e-6)}
    assert (f"{entry.head}.weight" in moved) == learnt
    assert len(moved) > 0.3 * len(list(network.parameters()))  # all that has a gradient to speak of
    assert 0 <= record["source_accuracy"] <= 1 if learnt else record["source_accuracy"] is None


def test_seed_fixes_the_weights(tmp_path):
    weights = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        recipe.make("googlenet", tmp_path / folder, n_images=256, epochs=1, seed=seed)
        weights.append((tmp_path / folder / "googlenet.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_unknown_network(tmp_path):
    with pytest.raises(ValueError, match=f"^model: expected one of {', '.join(pocket.POCKET)}, got 'resnet_50'$"):
        recipe.make("resnet_50", tmp_path / "new")
    assert not (tmp_path / "new").exists()
