"""Published results by the names under which networks are loaded."""

import pytest

from sfda.evidence import past, published
from sfda.evidence.past import key_of, published_for
from sfda.evidence.record import Record


def test_names():
    assert key_of("torchvision:resnet50:IMAGENET1K_V1") == key_of("timm:resnet50.tv_in1k") == "torchvision:resnet50:IMAGENET1K_V1"
    for name in ("timm:resnet50.a1_in1k", "pocket:byol", "self-supervised:byol", "timm:resnet50=/a/b.pth", "mine"):
        assert key_of(name) == name
    assert key_of("weights/manifest.json:resnet_small") == "resnet_small"


@pytest.mark.parametrize(("zoo", "pattern"), [
    ("supervised", "torchvision:{}:IMAGENET1K_V1"), ("self-supervised", "self-supervised:{}"), ("transformers", "transformer:{}"),
])  # fmt: skip
def test_networks_of_the_papers_tables_bring_all_that_were_fine_tuned_with_them(zoo, pattern):
    accuracies = Record.published(zoo).accuracies
    first = pattern.format(accuracies.index[0])
    found = published_for([first, "unknown"])
    for network in accuracies.index:
        cells = found.accuracies.loc[pattern.format(network), list(accuracies)]
        assert (cells[accuracies.loc[network].notna()] == accuracies.loc[network].dropna()).all()
    imagenet = published.table("imagenet_top1").set_index("model")["imagenet_top1"] / 100
    if zoo == "supervised":
        assert found.accuracies["imagenet_top1"].dropna().rename(lambda name: name.split(":")[1]).to_dict() == imagenet.to_dict()
        copy = published_for([first.replace("torchvision:", "timm:").replace(":IMAGENET1K_V1", ".tv_in1k")])
        assert copy.accuracies.equals(found.accuracies)


def test_what_this_project_measured_has_tasks_and_scores_of_its_own():
    found, pocket = published_for(["pocket:byol"]), Record.published("pocket")
    assert set(found.scores) == set(pocket.scores) and list(found.accuracies) == [f"pocket {task}" for task in pocket.accuracies]
    assert found.accuracies.loc["pocket:byol", "pocket digits"] == pocket.accuracies.loc["byol", "digits"]
    assert found.scores["LogME"].loc["pocket:byol", "pocket digits"] == pocket.scores["LogME"].loc["byol", "digits"]
    both = published_for(["pocket:byol", "self-supervised:byol"])
    assert both.accuracies.shape[0] == 33 + 12 and both.accuracies.loc["pocket:byol", "cars"] != both.accuracies.loc["pocket:byol", "cars"]


def test_networks_of_timm_are_known_by_their_accuracy_on_imagenet():
    found = published_for(["timm:resnet50.a1_in1k"])
    rows = published.table("timm_imagenet").query("model == 'resnet50.a1_in1k'")
    assert found.accuracies.loc["timm:resnet50.a1_in1k", "imagenet_top1"] == rows["imagenet_top1"].max() / 100
    assert list(found.accuracies) == ["imagenet_top1"] and len(found.accuracies) > 1000
    # A copy of torchvision's weights that the paper's tables do not know is known as timm's.
    copy = published_for(["timm:resnet18.tv_in1k"])
    assert copy.accuracies.loc["timm:resnet18.tv_in1k", "imagenet_top1"] == pytest.approx(0.698, abs=0.002)  # torchvision's own 69.758 %


def test_unknown_networks_have_no_record():
    assert published_for(["mine", "timm:nothing.at_all", "torchvision:vit_b_16:IMAGENET1K_V1"]) is None and published_for([]) is None


def test_published_names_are_those_that_are_loaded():
    checkpoints = pytest.importorskip("sfda.networks.checkpoints")
    for zoo in ("supervised", "self-supervised", "transformers"):
        called = {past._LOADED_AS[zoo].format(name) for name in Record.published(zoo).accuracies.index}
        assert {key_of(name) for name in checkpoints.ZOOS[zoo]} <= called, zoo
