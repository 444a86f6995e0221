"""The script that makes data/features, run with no network, and what it made."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")
safetensors_torch = pytest.importorskip("safetensors.torch")
Image = pytest.importorskip("PIL.Image")

DATA = Path(__file__).resolve().parents[2] / "data"
SCRIPT = DATA / "extract_features.py"
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
SIZE = 64
# name -> builder, and the penultimate activations written out by hand, with the classifier they enter
NETWORKS = {
    "efficient": ("timm.create_model", ["test_efficientnet"], {"pretrained": False, "num_classes": 7},
                  lambda net, x: net.forward_head(net.forward_features(x), pre_logits=True), "classifier"),
    "mobile": ("torchvision.models.mobilenet_v3_small", [], {"weights": None, "num_classes": 7},
               lambda net, x: net.classifier[:3](net.avgpool(net.features(x)).flatten(1)), "classifier.3"),
    "squeeze": ("torchvision.models.squeezenet1_1", [], {"weights": None, "num_classes": 7},
                lambda net, x: net.features(x).mean((2, 3)), "classifier.1"),
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("extract_features", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """Keep to two threads, and to the name that the script has on the command line."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(2, threads))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of random pictures, 4 to train and 2 to test in each, no side square."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for label in ("ash", "birch", "cedar"):
            place = folder / split / label
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(place / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    made = {}
    for name, (callable_, args, kwargs, *_) in NETWORKS.items():
        module, function = callable_.rsplit(".", 1)
        net = getattr(importlib.import_module(module), function)(*args, **kwargs)
        for layer in net.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        # Without statistics of its own a random network's activations vanish layer by layer.
        with torch.no_grad():
            net(torch.randn(8, 3, SIZE, SIZE))
        made[name] = net.eval()
    return made


def entry(name, file=None):
    callable_, args, kwargs, *_ = NETWORKS[name]
    return {"file": file or f"{name}.safetensors", "input_size": [3, SIZE, SIZE],
            "builder": {"callable": callable_, "args": args, "kwargs": kwargs},
            "normalisation": {"mean": MEAN, "std": STD}}


def write_manifest(folder, *entries):
    path = folder / "manifest.json"
    path.write_text(json.dumps({"models": entries}))
    return path


@pytest.fixture(scope="module")
def manifest(nets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, net in nets.items():
        safetensors_torch.save_file(net.state_dict(), folder / f"{name}.safetensors")
    return write_manifest(folder, *map(entry, NETWORKS))


@pytest.fixture(scope="module")
def output(images, manifest, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "features.npz"
    done = subprocess.run([sys.executable, SCRIPT, images, path, "--manifest", manifest, "--device", "cpu"],
                          capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return path


def read(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def refused(script, capsys, *argv):
    """The one line a run that must fail prints."""
    with pytest.raises(SystemExit) as stop:
        script.main([str(a) for a in argv])
    printed = capsys.readouterr().err
    assert stop.value.code == 2
    assert printed.count("\n") == 1 and printed.startswith("extract_features.py: ")
    return printed


def by_hand(path):
    """Bicubic to a short side of 64, centre crop, normalise, with Pillow and NumPy alone."""
    image = Image.open(path).resize((SIZE * 48 // 40, SIZE), Image.Resampling.BICUBIC)
    left = (image.width - SIZE) // 2
    x = np.asarray(image.crop((left, 0, left + SIZE, SIZE)), np.float32) / 255
    return torch.from_numpy(((x - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1))


def test_the_archive_describes_its_images(output, images):
    z = read(output)
    assert set(z) == {*NETWORKS, "labels", "split", "classes", "images"}
    assert (z["labels"].dtype, z["split"].dtype) == (np.int16, np.uint8)
    assert z["classes"].tolist() == ["ash", "birch", "cedar"]
    for label, split, name in zip(z["labels"], z["split"], z["images"], strict=True):
        assert (images / str(name)).is_file()
        assert name.split("/")[:2] == [("train", "test")[split], z["classes"][label]]
    assert np.bincount(z["split"]).tolist() == [12, 6]


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_the_penultimate_activations(name, output, images, nets):
    z, net = read(output), nets[name]
    *_, penultimate, layer = NETWORKS[name]
    batch = torch.stack([by_hand(images / str(image)) for image in z["images"]])
    with torch.inference_mode():
        expected, logits = penultimate(net, batch), net(batch)
    assert z[name].dtype == np.float16 and z[name].shape == expected.shape
    assert expected.std(0).max() > 0
    np.testing.assert_allclose(z[name], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    classifier = net.get_submodule(layer)
    if isinstance(classifier, torch.nn.Linear):
        with torch.inference_mode():
            from_features = classifier(torch.from_numpy(z[name].astype(np.float32)))
        np.testing.assert_allclose(from_features, logits, rtol=0, atol=2e-3 * float(logits.abs().max()))


def test_a_second_run_writes_the_same_bytes(script, output, images, manifest, tmp_path):
    again = tmp_path / "again.npz"
    script.main([str(images), str(again), "--manifest", str(manifest), "--device", "cpu"])
    one, two = read(output), read(again)
    assert one.keys() == two.keys()
    # Another process may use another number of threads, hence another order of summation.
    for key in one:
        if key in NETWORKS:
            np.testing.assert_allclose(one[key], two[key], rtol=2e-3, atol=1e-6)
        else:
            np.testing.assert_array_equal(one[key], two[key])
    first = again.read_bytes()
    script.main([str(images), str(again), "--manifest", str(manifest), "--device", "cpu"])
    assert again.read_bytes() == first and [path.name for path in tmp_path.iterdir()] == ["again.npz"]


def test_a_limited_draw_is_balanced_and_depends_on_the_seed_alone(script, images):
    def draw(limits, seed):
        return script.image_folders(images, limits, seed)[1]

    z = draw([2, 1], 0)
    assert [np.bincount(z["labels"][z["split"] == split]).tolist() for split in (0, 1)] == [[2, 2, 2], [1, 1, 1]]
    np.testing.assert_array_equal(z["images"], draw([2, 1], 0)["images"])
    assert len({tuple(draw([2, 1], seed)["images"]) for seed in range(5)}) > 1
    assert draw([3], 0)["labels"].size == 3 * 3 + 3 * 2
    subsets, z = script.image_folders(images / "train", [None], 0)  # without splits all is train
    assert len(subsets) == 1 and not z["split"].any() and z["images"][0] == "ash/0.png"


def test_networks_by_name_and_by_manifest(script, images, manifest, nets, output, tmp_path, capsys):
    weights = manifest.parent / "squeeze.safetensors"
    names = [f"torchvision:squeezenet1_1={weights}", "pocket:googlenet", "efficient"]
    script.main([str(images), str(tmp_path / "f.npz"), "--models", *names, "--manifest", str(manifest),
                 "--per-class", "1", "--device", "cpu"])
    z = read(tmp_path / "f.npz")
    assert set(z) == {*names, "labels", "split", "classes", "images"}
    assert [z[name].shape for name in names] == [(6, 512), (6, 144), (6, 256)]
    whole = read(output)
    rows = [list(whole["images"]).index(image) for image in z["images"]]
    np.testing.assert_allclose(z["efficient"], whole["efficient"][rows], rtol=2e-3, atol=1e-6)
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[0] for line in lines[:3]] == names
    assert "6 x 512, input of classifier.1, " in lines[0] and lines[3].endswith(" bytes")


@pytest.mark.parametrize("options, says", [
    ([], "no network is named"), (["--models", "nonesuch"], "expected torchvision:NAME"),
    (["--models", "timm:a", "timm:a"], "given twice"), (["--models", "labels"], "reserved"),
    (["--manifest", "nonesuch.json"], "nonesuch.json is missing"),
    (["--models", "timm:a", "--per-class", "0"], "at least 1"),
    (["--models", "timm:a", "--per-class", "1", "2", "3"], "one or two numbers"),
    (["--models", "timm:a", "--batch-size", "few"], "invalid int value"),
    (["--models", "timm:a", "--device", "abacus"], "--device cpu"),
    (["--nonesuch"], "unrecognized arguments"),
])
def test_bad_options_get_one_line(script, options, says, images, tmp_path, capsys):
    assert says in refused(script, capsys, images, tmp_path / "f.npz", *options)
    assert not any(tmp_path.iterdir())


def test_bad_folders_get_one_line(script, images, manifest, tmp_path, capsys):
    run = ["--manifest", manifest, "--models", "efficient", "--device", "cpu"]
    assert "must end in .npz" in refused(script, capsys, images, tmp_path / "f.txt", *run)
    assert "make it first" in refused(script, capsys, images, tmp_path / "no" / "f.npz", *run)
    assert "is not a folder" in refused(script, capsys, tmp_path / "no", tmp_path / "f.npz", *run)
    (tmp_path / "empty").mkdir()
    assert "FOLDER/class/image" in refused(script, capsys, tmp_path / "empty", tmp_path / "f.npz", *run)
    (tmp_path / "bare" / "ash").mkdir(parents=True)
    assert "FOLDER/class/image" in refused(script, capsys, tmp_path / "bare", tmp_path / "f.npz", *run)
    (tmp_path / "bare" / "ash" / "0.png").write_text("not a picture")
    assert "0.png cannot be read" in refused(script, capsys, tmp_path / "bare", tmp_path / "f.npz", *run)
    for place in ("train/ash", "test/birch"):
        (tmp_path / "odd" / place).mkdir(parents=True)
        (tmp_path / "odd" / place / "0.png").touch()
    assert "different classes" in refused(script, capsys, tmp_path / "odd", tmp_path / "f.npz", *run)
    assert not (tmp_path / "f.npz").exists()


def test_what_cannot_be_loaded_gets_one_line(script, nets, images, manifest, tmp_path, capsys):
    def says(*options):
        return refused(script, capsys, images, tmp_path / "f.npz", "--device", "cpu", *options)

    assert "efficient, mobile, squeeze" in says("--manifest", manifest, "--models", "nonesuch")
    own = write_manifest(tmp_path, entry("efficient"))
    assert "efficient.safetensors is missing" in says("--manifest", own)
    state = nets["efficient"].state_dict()
    zeros = {key: torch.zeros_like(value) if value.is_floating_point() else value for key, value in state.items()}
    safetensors_torch.save_file(zeros, tmp_path / "efficient.safetensors")
    assert "all zero" in says("--manifest", own)
    assert not (tmp_path / "f.npz").exists()


# ---- what the script made ----

SETS = {"flowers": (5, 60, 20), "cifar10": (10, 60, 20)}


TABLE = pd.read_csv(DATA / "networks.csv", index_col="name")


@pytest.mark.parametrize("name", SETS)
def test_committed_features_are_whole(name):
    z, (classes, train, test) = read(DATA / "features" / f"{name}.npz"), SETS[name]
    names = [key for key in z if key not in {"labels", "split", "classes", "images"}]
    assert len(names) >= 3 and set(names) <= set(TABLE.index)
    count = classes * (train + test)
    assert z["classes"].shape == (classes,) and len(set(z["images"])) == count
    for split, each in ((0, train), (1, test)):
        assert np.bincount(z["labels"][z["split"] == split], minlength=classes).tolist() == [each] * classes
    for network in names:
        assert z[network].dtype == np.float16
        assert z[network].shape == (count, TABLE.feature_dimension[network])
        assert np.isfinite(z[network]).all()
        assert len(np.unique(z[network], axis=0)) == count


def test_every_network_of_the_table_is_used_and_all_is_small():
    assert set(TABLE.index) <= set(read(DATA / "features" / "flowers.npz"))
    assert TABLE.notna().all(axis=None) and (TABLE.sha256.str.len() == 64).all()
    assert (TABLE.parameters > 0).all() and TABLE.imagenet_sample_top1.between(0, 1, inclusive="neither").all()
    sizes = [path.stat().st_size for path in (DATA / "features").iterdir()]
    assert max(sizes) < 4e6 and sum(sizes) < 6e6


@pytest.mark.parametrize("name, least", [("flowers", 0.75), ("cifar10", 0.5)])
def test_committed_features_tell_the_classes_apart(name, least):
    """Ridge regression on the labels, far above chance for every network."""
    z = read(DATA / "features" / f"{name}.npz")
    train, test = z["split"] == 0, z["split"] == 1
    for network in set(z) - {"labels", "split", "classes", "images"}:
        X = z[network].astype(np.float64)
        X = (X - X[train].mean(0)) / (X[train].std(0) + 1e-9)
        one_hot = np.eye(z["classes"].size)[z["labels"]] - 1 / z["classes"].size
        ridge = X[train].T @ np.linalg.solve(X[train] @ X[train].T + 1e4 * np.eye(train.sum()), one_hot[train])
        accuracy = (np.argmax(X[test] @ ridge, 1) == z["labels"][test]).mean()
        assert accuracy > least, (network, accuracy)
