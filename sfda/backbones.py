"""Pre-trained networks of any size, by name: from a library, a local file or the pocket zoo.

Weights are looked for on this machine first and downloaded second, by the library that
publishes them; pickles are never read in full.
"""

import contextlib
import importlib
import json
import os
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from sfda import models
from sfda.augment import normalise

LIBRARIES = ("torchvision", "timm")
POOLS = ("average", "class token", "token mean")
#: The paper's supervised networks, with the weights that it used (confirmed by its code).
SUPERVISED = tuple(
    f"torchvision:{name}:IMAGENET1K_V1"
    for name in (
        "resnet34", "resnet50", "resnet101", "resnet152", "densenet121", "densenet169",
        "densenet201", "mnasnet1_0", "mobilenet_v2", "googlenet", "inception_v3",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """Where the authors of a self-supervised ResNet-50 put its weights, and how they call them.

    Attributes
    ----------
    url : str
    prefix : str
        Of the encoder's weights; others (projections, prototypes) are left.
    inside : str, default ""
        Key of the weights in what is in the file; "" where they are all of it.
    readable : bool, default True
        False for a format that cannot be read safely (BYOL's is a pickle of other
        classes) or not by torch (SimCLR's are TensorFlow's). Then a converted file,
        ``NAME.pth`` with a state dict of torchvision's ResNet-50, is wanted.
    """

    url: str
    prefix: str = "module."
    inside: str = ""
    readable: bool = True


_MOCO = "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/"
_SWAV = "https://dl.fbaipublicfiles.com/deepcluster/"
_PCL = "https://storage.googleapis.com/sfr-pcl-data-research/PCL_checkpoint/"
_PYCONTRAST = "https://www.dropbox.com/sh/87d24jqsl6ra7t2/"
#: The paper's self-supervised networks; the places as L. Ericsson, H. Gouk and T. Hospedales
#: (*How well do self-supervised models transfer?*, CVPR 2021) list them.
SELF_SUPERVISED = {
    "byol": Checkpoint("https://storage.googleapis.com/deepmind-byol/checkpoints/pretrain_res50x1.pkl", readable=False),
    "deepcluster-v2": Checkpoint(_SWAV + "deepclusterv2_800ep_pretrain.pth.tar"),
    "infomin": Checkpoint(_PYCONTRAST + "AAAzMTynP3Qc8mIE4XWkgILUa/InfoMin_800.pth?dl=1", "module.encoder.", "model"),
    "insdis": Checkpoint(_PYCONTRAST + "AACcsSIt1_Njv7GsmsuzZ6Sta/InsDis.pth?dl=1", "module.encoder.", "model"),
    "moco-v1": Checkpoint(_MOCO + "moco_v1_200ep/moco_v1_200ep_pretrain.pth.tar", "module.encoder_q.", "state_dict"),
    "moco-v2": Checkpoint(_MOCO + "moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar", "module.encoder_q.", "state_dict"),
    "pcl-v1": Checkpoint(_PCL + "PCL_v1_epoch200.pth.tar", "module.encoder_q.", "state_dict"),
    "pcl-v2": Checkpoint(_PCL + "PCL_v2_epoch200.pth.tar", "module.encoder_q.", "state_dict"),
    "sela-v2": Checkpoint(_SWAV + "selav2_400ep_pretrain.pth.tar"),
    "simclr-v1": Checkpoint("https://storage.cloud.google.com/simclr-gcs/checkpoints/ResNet50_1x.zip", readable=False),
    "simclr-v2": Checkpoint("https://console.cloud.google.com/storage/browser/simclr-checkpoints/simclrv2/pretrained/r50_1x_sk0", readable=False),
    "swav": Checkpoint(_SWAV + "swav_800ep_pretrain.pth.tar"),
}  # fmt: skip


@dataclass(frozen=True)
class Backbone:
    """A network and what has to be known to take its features.

    Attributes
    ----------
    name : str
        What tables call it.
    network : torch.nn.Module
        Maps a batch (B, 3, H, W) to logits.
    transform : callable
        Turns one image of the data set into a tensor (3, H, W).
    layer : str, default ""
        Name of the module whose input is taken as features. By default the last linear or
        convolutional layer that runs: the classifier.
    pool : {"average", "class token", "token mean"}, default "average"
        What is done with an input that is no vector: mean over height and width
        (B, D, H, W); the first token or the mean of all of (B, T, D).
    """

    name: str
    network: nn.Module
    transform: Callable
    layer: str = ""
    pool: str = "average"

    def __post_init__(self):
        if self.pool not in POOLS:
            raise ValueError(f"pool: expected one of {', '.join(POOLS)}, got {self.pool!r}")
        if self.layer and self.layer not in dict(self.network.named_modules()):
            raise ValueError(f"layer: {self.name} has no module {self.layer!r}")


def load(name, *, folder=None):
    """A network by name, ready for :func:`sfda.features.extract`.

    Parameters
    ----------
    name : str
        ``torchvision:resnet50`` or ``torchvision:resnet50:IMAGENET1K_V1``, by default
        the library's newest weights; ``timm:NAME``; ``self-supervised:NAME``, a key of
        ``SELF_SUPERVISED``; ``pocket:NAME``, of the pocket zoo; ``PATH.json:NAME``, an
        entry of a manifest; ``PATH.json``, where it has only one.
    folder : path, optional
        Where weights may lie: torchvision's and the self-supervised ones under the names
        that their files are published under (``resnet50-0676ba61.pth``), timm's as
        ``NAME.safetensors``. They are looked for there first, and downloaded to there.

    Returns
    -------
    Backbone
        With the library's own preprocessing. Of a network of a library the input of its
        last linear layer is taken, which is pooled already.

    Raises
    ------
    ValueError
        No such network, or weights that do not fit it.
    FileNotFoundError
        A local file is missing.

    Notes
    -----
    A manifest is JSON: ``{"models": [{"file": "net.safetensors", "builder": {"callable":
    "timm.create_model", "args": [...], "kwargs": {...}}, "input_size": [3, H, W],
    "normalisation": {"mean": [...], "std": [...]}}]}``, the weights beside it. Its images
    have their short side resized to the input size (bicubic) and their centre cropped.
    Only builders of torchvision and timm are called.
    """
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        return _torchvision(name, *rest.partition(":")[::2], folder)
    if kind == "timm":
        return _timm(name, rest, folder)
    if kind == "self-supervised":
        return _self_supervised(name, rest, folder)
    if kind == "pocket":
        return _pocket(name, rest)
    path, _, entry = name.rpartition(".json:") if ".json:" in name else (name, "", "")
    if name.endswith(".json") or entry:
        return _manifest(Path(path if name.endswith(".json") else path + ".json"), entry)
    raise ValueError(
        f"name: expected torchvision:NAME, timm:NAME, self-supervised:NAME, pocket:NAME "
        f"or MANIFEST.json:NAME, got {name!r}"
    )


def _torchvision(name, architecture, weights_name, folder):
    from torchvision import models as zoo

    try:
        weights = zoo.get_model_weights(architecture)
        weights = weights[weights_name] if weights_name else weights.DEFAULT
    except (ValueError, KeyError):
        raise ValueError(f"name: torchvision has no {name.partition(':')[2]!r}") from None
    try:
        with _checkpoints(folder):
            # The library's builder knows the old names in its oldest files.
            network = zoo.get_model(architecture, weights=weights, progress=False)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())[:300]}") from error
    return Backbone(name, network.eval(), weights.transforms())


@contextlib.contextmanager
def _checkpoints(folder):
    """torch.hub reads from, and downloads to, `folder`, and runs no code from pickles."""
    before, safe = torch.hub._hub_dir, os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with tempfile.TemporaryDirectory() as hub:
            if folder:
                Path(folder).mkdir(parents=True, exist_ok=True)
                os.symlink(Path(folder).resolve(), Path(hub) / "checkpoints")
                torch.hub.set_dir(hub)
            yield
    finally:
        torch.hub._hub_dir = before  # set_dir would hide what TORCH_HOME says later
        if safe is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = safe


def _self_supervised(name, rest, folder):
    from torchvision import models as zoo

    if rest not in SELF_SUPERVISED:
        raise ValueError(f"name: expected one of {', '.join(SELF_SUPERVISED)}, got {rest!r}")
    entry = SELF_SUPERVISED[rest]
    with _checkpoints(folder):
        place = Path(torch.hub.get_dir()) / "checkpoints"
        converted = place / f"{rest}.pth"
        file = place / entry.url.rpartition("/")[2].partition("?")[0]
        prefix, inside = entry.prefix, entry.inside
        if converted.exists() or not entry.readable:
            file, prefix, inside = converted, "", ""
        if not entry.readable and not file.exists():
            raise FileNotFoundError(
                f"{name}: {entry.url} is not in a format that can be read safely here: convert it to "
                f"a state dict of torchvision's resnet50, {(Path(folder) if folder else place) / file.name}"
            )
        if not file.exists():
            place.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(entry.url, str(file), progress=False)
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged bytes make the unpickler stumble in any way
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ValueError(f"{name}: {file.name} cannot be read ({reason})") from error
    state = state[inside] if inside and inside in state else state
    network = zoo.resnet50(weights=None)
    network.fc = nn.Identity()
    own = network.state_dict()
    # What is not the encoder's: projections, prototypes, momentum encoders.
    state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    _fill(name, network, {key: value for key, value in state.items() if key in own})
    network.fc = nn.Linear(2048, 1000)  # whose input are the features; its outputs mean nothing
    return Backbone(name, network.eval(), zoo.ResNet50_Weights.IMAGENET1K_V1.transforms(), layer="fc")


def _timm(name, rest, folder):
    import timm

    if not timm.is_model(rest.partition(".")[0]):
        raise ValueError(f"name: timm has no {rest!r}")
    file = Path(folder or "") / f"{rest}.safetensors"
    local = {"pretrained_cfg_overlay": {"file": str(file)}} if folder and file.exists() else {}
    try:
        network = timm.create_model(rest, pretrained=True, **local).eval()
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())[:300]}") from error
    config = timm.data.resolve_model_data_config(network)
    return Backbone(name, network, timm.data.create_transform(**config, is_training=False))


def _pocket(name, rest):
    network = models.pretrained(rest)
    return Backbone(name, network, _small, layer=models.find(rest).head)


def _small(image):
    """Any image as the pocket zoo wants it: RGB, 32 x 32, normalised."""
    from torchvision.transforms import functional

    image = functional.center_crop(functional.resize(image.convert("RGB"), models.SIZE), models.SIZE)
    return normalise(functional.pil_to_tensor(image)[None])[0]


def _manifest(path, name):
    from safetensors.torch import load_file
    from torchvision import transforms

    try:
        entries = {Path(e["file"]).stem: e for e in json.loads(path.read_text("utf-8"))["models"]}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected JSON with a list 'models' whose entries name their 'file' "
            f"({type(error).__name__}: {error})"
        ) from None
    if not name and len(entries) == 1:
        (name,) = entries
    if name not in entries:
        raise ValueError(f"{path}: expected one of {', '.join(entries)}, got {name!r}")
    entry = entries[name]
    builder, weights = entry["builder"], path.parent / entry["file"]
    if weights.suffix != ".safetensors":
        raise ValueError(f"{weights}: pickles can run code; convert it to safetensors")
    module, _, function = builder["callable"].rpartition(".")
    if module.split(".")[0] not in LIBRARIES:
        raise ValueError(f"{path}: builder {builder['callable']} is refused, only {' and '.join(LIBRARIES)} are called")
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing")
    network = getattr(importlib.import_module(module), function)(*builder["args"], **builder["kwargs"])
    _fill(name, network, load_file(weights))
    size = entry["input_size"][1:]
    transform = transforms.Compose([
        transforms.Resize(max(size), transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(size), transforms.ToTensor(),
        transforms.Normalize(**entry["normalisation"]),
    ])  # fmt: skip
    return Backbone(name, network.eval(), transform)


def _fill(name, network: nn.Module, state):
    """Load the weights, every one of them."""
    filled = network.state_dict()  # with its metadata, which MNASNet asks for
    wrong = [
        key for key in filled | state
        if key not in filled or key not in state or filled[key].shape != state[key].shape
    ]  # fmt: skip
    if wrong:
        raise ValueError(f"{name}: these are not its weights: {', '.join(wrong[:3])} and {len(wrong)} in all")
    filled.update(state)
    network.load_state_dict(filled)
