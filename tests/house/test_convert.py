"""The script that makes safetensors of packaged weights, on files of the same form with random weights."""

import json
import re
from collections import OrderedDict

import pytest

from tree import ROOT, module_at

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from sfda.benchmark import grids
from sfda.networks import backbones


@pytest.fixture(scope="module")
def script():
    return module_at(ROOT / "data" / "real" / "convert.py")


def packaged(network):
    """A state dict as the packages have it: the same tensors in the same order, by other names, with random statistics."""
    generator = torch.Generator().manual_seed(0)
    state = OrderedDict((f"_{key}", value.clone()) for key, value in network.state_dict().items())
    for key, value in state.items():
        if key.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return state


def test_converted_networks_are_the_packaged_ones(script, tmp_path):
    file = script.NETWORKS["efficientnet_lite0_r224"][0]
    network = timm.create_model("tf_efficientnet_lite0")
    (tmp_path / "package" / "models").mkdir(parents=True)
    torch.save(packaged(network), tmp_path / "package" / "models" / file)
    (tmp_path / "manifest.json").write_text(json.dumps({"models": [{"file": "other.safetensors"}]}))
    for _ in range(2):  # a second time in its own place
        assert script.convert(tmp_path, tmp_path) == ["efficientnet_lite0_r224"]
    entries = json.loads((tmp_path / "manifest.json").read_text())["models"]
    assert [entry["file"] for entry in entries] == ["other.safetensors", "efficientnet_lite0_r224.safetensors"]
    found = backbones.load(f"{tmp_path / 'manifest.json'}:efficientnet_lite0_r224")
    network.load_state_dict(dict(zip(network.state_dict(), packaged(network).values())))
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(found.network(x), network.eval()(x))  # the same operations on the same numbers
    assert found.own_size == (224, 224) and found.source_classes == 1000


def test_tensors_that_do_not_pair_up_are_refused(script):
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 4))
    state = network.state_dict()
    with pytest.raises(ValueError, match=re.escape("b (3,) is not 0.weight (3, 2)")):
        script.renamed({"b": state["0.bias"], **state}, network)
    with pytest.raises(ValueError, match="zip"):
        script.renamed({key: state[key] for key in list(state)[:3]}, network)


def test_the_grids_are_of_networks_that_were_measured(tmp_path):
    """Each at the size that it was trained on, by one protocol."""
    import pandas as pd

    models = pd.read_csv(ROOT / "data" / "real" / "models.csv").set_index("model")
    entries = [{"file": f"{name}.safetensors"} for name in models.index]
    (tmp_path / "manifest.json").write_text(json.dumps({"models": entries}))
    one = grids.read(ROOT / "data" / "real" / "grid.toml", weights=tmp_path)
    sizes = {}
    for path in (ROOT / "data" / "real" / "own_size").glob("*.toml"):
        grid = grids.read(path, weights=tmp_path)
        assert grid.tasks == one.tasks and grid.options == one.options and path.stem == str(grid.side)
        sizes |= dict.fromkeys(grid.networks, grid.side)
    assert sizes == models["input_size"].to_dict() and list(one.networks) == list(models.index)
