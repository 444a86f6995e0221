"""The script that makes data/features, run with no network, and what it made."""

import contextlib
import io
import json
import pydoc
import runpy
import sys

import numpy as np
import pandas as pd
import pytest

from tree import ROOT, module_at

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")
safetensors_torch = pytest.importorskip("safetensors.torch")
Image = pytest.importorskip("PIL.Image")

DATA = ROOT / "data"
SCRIPT = DATA / "extract_features.py"
MEAN, STD, SIZE = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4], 64
# name -> builder, and the penultimate activations written out by hand, with the classifier they enter
NETWORKS = {
    "efficient": ("timm.create_model", ["test_efficientnet"], {"pretrained": False, "num_classes": 7},
                  lambda net, x: net.forward_head(net.forward_features(x), pre_logits=True), "classifier"),
    "mobile": ("torchvision.models.mobilenet_v3_small", [], {"weights": None, "num_classes": 7},
               lambda net, x: net.classifier[:3](net.avgpool(net.features(x)).flatten(1)), "classifier.3"),
}
ABOUT = {"labels", "split", "classes", "images"}


@pytest.fixture(scope="module", autouse=True)
def script():
    """The script as a module, with the name that it has on the command line, and kept to two threads."""
    module, threads = module_at(SCRIPT), torch.get_num_threads()
    torch.set_num_threads(min(2, threads))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [str(SCRIPT)])
        yield module
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of random pictures, 4 to train and 2 to test in each, no side square."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for label in ("ash", "birch", "cedar"):
            (folder / split / label).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / split / label / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    made = {}
    for name, (builder, args, kwargs, *_) in NETWORKS.items():
        net = pydoc.locate(builder)(*args, **kwargs)
        for layer in net.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        # Without statistics of its own a random network's activations vanish layer by layer.
        with torch.no_grad():
            net(torch.randn(8, 3, SIZE, SIZE))
        made[name] = net.eval()
    return made


@pytest.fixture(scope="module")
def manifest(nets, tmp_path_factory):
    """Of these networks, and of one whose weights are all zero."""
    folder, entries = tmp_path_factory.mktemp("weights"), []
    states = {name: net.state_dict() for name, net in nets.items()}
    states["zeros"] = {key: torch.zeros_like(value) for key, value in states["efficient"].items()}
    for name, state in states.items():
        builder, args, kwargs, *_ = NETWORKS.get(name, NETWORKS["efficient"])
        safetensors_torch.save_file(state, folder / f"{name}.safetensors")
        entries.append({"file": f"{name}.safetensors", "input_size": [3, SIZE, SIZE],
                        "builder": {"callable": builder, "args": args, "kwargs": kwargs},
                        "normalisation": {"mean": MEAN, "std": STD}})
    (folder / "manifest.json").write_text(json.dumps({"models": entries}))
    return folder / "manifest.json"


@pytest.fixture(scope="module")
def output(images, manifest, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "features.npz"
    argv = [SCRIPT, images, path, "--manifest", manifest, "--models", *NETWORKS, "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stderr(io.StringIO()) as said:
        patched.setattr(sys, "argv", [str(each) for each in argv])
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert said.getvalue() == ""
    return path


def read(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def by_hand(path):
    """Bicubic to a short side of 64, centre crop, normalise, with Pillow and NumPy alone."""
    image = Image.open(path).resize((SIZE * 48 // 40, SIZE), Image.Resampling.BICUBIC)
    left = (image.width - SIZE) // 2
    x = np.asarray(image.crop((left, 0, left + SIZE, SIZE)), np.float32) / 255
    return torch.from_numpy(((x - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1))


def test_the_archive_describes_its_images(output, images):
    z = read(output)
    assert set(z) == {*NETWORKS, *ABOUT} and (z["labels"].dtype, z["split"].dtype) == (np.int16, np.uint8)
    assert z["classes"].tolist() == ["ash", "birch", "cedar"] and np.bincount(z["split"]).tolist() == [12, 6]
    for label, split, name in zip(z["labels"], z["split"], z["images"], strict=True):
        assert (images / str(name)).is_file()
        assert name.split("/")[:2] == [("train", "test")[split], z["classes"][label]]


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_the_penultimate_activations(name, output, images, nets):
    z, net = read(output), nets[name]
    *_, penultimate, layer = NETWORKS[name]
    batch = torch.stack([by_hand(images / str(image)) for image in z["images"]])
    with torch.inference_mode():
        expected, logits = penultimate(net, batch), net(batch)
        from_features = net.get_submodule(layer)(torch.from_numpy(z[name].astype(np.float32)))
    assert z[name].dtype == np.float16 and z[name].shape == expected.shape and expected.std(0).max() > 0
    np.testing.assert_allclose(z[name], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    np.testing.assert_allclose(from_features, logits, rtol=0, atol=2e-3 * float(logits.abs().max()))


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


def test_networks_by_name_and_by_manifest(script, images, manifest, output, tmp_path, capsys):
    own = f"torchvision:mobilenet_v3_small={manifest.with_name('mobile.safetensors')}"
    names = [own, "pocket:googlenet", "efficient"]
    argv = [str(images), str(tmp_path / "f.npz"), "--models", *names, "--manifest", str(manifest), "--per-class", "1", "--device", "cpu"]
    script.main(argv)
    lines, first = capsys.readouterr().out.splitlines(), (tmp_path / "f.npz").read_bytes()
    script.main(argv)
    assert (tmp_path / "f.npz").read_bytes() == first and [path.name for path in tmp_path.iterdir()] == ["f.npz"]
    z, whole = read(tmp_path / "f.npz"), read(output)
    assert set(z) == {*names, *ABOUT} and [z[name].shape for name in names] == [(6, 1024), (6, 144), (6, 256)]
    # Another number of images at a time may be another order of summation.
    rows = [list(whole["images"]).index(image) for image in z["images"]]
    np.testing.assert_allclose(z["efficient"], whole["efficient"][rows], rtol=2e-3, atol=1e-6)
    assert [line.rpartition(": ")[0] for line in lines[:3]] == names
    assert "6 x 1024, input of classifier.3, " in lines[0] and lines[3].endswith(" bytes")


@pytest.mark.parametrize("made, options, says", [
    # What is made in the folder of images, if it is another: empty folders, and files that are no pictures.
    (None, "f.npz", "no network is named"), (None, "f.npz --models nonesuch", "expected torchvision:NAME"),
    (None, "f.npz --models timm:a timm:a", "given twice"), (None, "f.npz --models labels", "reserved"),
    (None, "f.npz --manifest nonesuch.json", "nonesuch.json is missing"),
    (None, "f.npz --models timm:a --per-class 0", "at least 1"),
    (None, "f.npz --models timm:a --per-class 1 2 3", "one or two numbers"),
    (None, "f.npz --models timm:a --batch-size few", "invalid int value"),
    (None, "f.npz --models timm:a --device abacus", "--device cpu"), (None, "f.npz --nonesuch", "unrecognized"),
    (None, "f.npz --manifest {manifest} --models nonesuch", "efficient, mobile, zeros"),
    (None, "f.npz --manifest {manifest} --device cpu", "zeros: its features are all zero"),  # by default all of it
    (None, "f.txt {run}", "must end in .npz"), (None, "no/f.npz {run}", "make it first"),
    ([], "f.npz {run}", "is not a folder"), (["."], "f.npz {run}", "FOLDER/class/image"),
    (["ash"], "f.npz {run}", "FOLDER/class/image"), (["ash/0.png"], "f.npz {run}", "0.png cannot be read"),
    (["train/ash/0.png", "test/birch/0.png"], "f.npz {run}", "different classes"),
])
def test_what_is_bad_gets_one_line(made, options, says, script, images, manifest, tmp_path, monkeypatch, capsys):
    for place in made or []:
        path = tmp_path / "images" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    folder = images if made is None else tmp_path / "images"
    run = f"--manifest {manifest} --models efficient --device cpu"
    with pytest.raises(SystemExit) as stop:
        script.main([str(folder), *options.format(manifest=manifest, run=run).split()])
    printed = capsys.readouterr().err
    assert stop.value.code == 2 and printed.count("\n") == 1 and printed.startswith("extract_features.py: ")
    assert says in printed and not [path for path in tmp_path.iterdir() if path.name != "images"]


# ---- what the script made ----

TABLE = pd.read_csv(DATA / "networks.csv", index_col="name")


@pytest.mark.parametrize("name, classes, least", [("flowers", 5, 0.75), ("cifar10", 10, 0.5)])
def test_committed_features_are_whole_and_tell_the_classes_apart(name, classes, least):
    """Sixty images a class to train, twenty to test; ridge regression on the labels is far above chance."""
    z = read(DATA / "features" / f"{name}.npz")
    names, labels, train, test = set(z) - ABOUT, z["labels"], z["split"] == 0, z["split"] == 1
    assert len(names) >= 3 and names <= set(TABLE.index)
    assert z["classes"].shape == (classes,) and len(set(z["images"])) == len(labels) == classes * 80
    for part, each in ((train, 60), (test, 20)):
        assert np.bincount(labels[part], minlength=classes).tolist() == [each] * classes
    one_hot = np.eye(classes)[labels] - 1 / classes
    for network in names:
        assert z[network].dtype == np.float16 and z[network].shape == (len(labels), TABLE.feature_dimension[network])
        assert np.isfinite(z[network]).all() and len(np.unique(z[network], axis=0)) == len(labels)
        X = z[network].astype(np.float64)
        X = (X - X[train].mean(0)) / (X[train].std(0) + 1e-9)
        ridge = X[train].T @ np.linalg.solve(X[train] @ X[train].T + 1e4 * np.eye(train.sum()), one_hot[train])
        accuracy = (np.argmax(X[test] @ ridge, 1) == labels[test]).mean()
        assert accuracy > least, (network, accuracy)


def test_every_network_of_the_table_is_used_and_all_is_small():
    assert set(TABLE.index) <= set(read(DATA / "features" / "flowers.npz"))
    assert TABLE.notna().all(axis=None) and (TABLE.sha256.str.len() == 64).all()
    assert (TABLE.parameters > 0).all() and TABLE.imagenet_sample_top1.between(0, 1, inclusive="neither").all()
    sizes = [path.stat().st_size for path in (DATA / "features").iterdir()]
    assert max(sizes) < 4e6 and sum(sizes) < 6e6
