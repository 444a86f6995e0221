"""Pre-trained networks of any size, by name: from a library, a local file or the pocket zoo.

Weights are looked for on this machine first and downloaded second, from where their
authors publish them; pickles are never read in full.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import pickle
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from sfda import models
from sfda.augment import normalise

LIBRARIES = ("torchvision", "timm")
POOLS = ("average", "channels-last average", "class token", "token mean")


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
    pool : {"average", "channels-last average", "class token", "token mean"}, default "average"
        What is done with an input that is no vector: mean over height and width of
        (B, D, H, W) or, channels last, of (B, H, W, D); the first token or the mean of all
        of (B, T, D). A map that the layer does not read in this order is refused.
    input_size : tuple of int, optional
        Height and width of the tensors that `transform` makes, where they are known.

    Raises
    ------
    ValueError
        No such pool, or no module of that name.

    Examples
    --------
    A network that exists already needs a name and a transform:

    >>> from sfda.features import extract
    >>> from torch import nn
    >>> from torchvision import datasets, transforms
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    >>> backbone = Backbone("mine", network, transforms.ToTensor())
    >>> extract(backbone, datasets.FakeData(6, (3, 32, 32)), "six random images").features.shape
    (6, 8)
    """

    name: str
    network: nn.Module
    transform: Callable
    layer: str = ""
    pool: str = "average"
    input_size: tuple[int, int] | None = None

    def __post_init__(self):
        if self.pool not in POOLS:
            raise ValueError(f"pool: expected one of {', '.join(POOLS)}, got {self.pool!r}")
        if self.layer and self.layer not in dict(self.network.named_modules()):
            raise ValueError(f"layer: {self.name} has no module {self.layer!r}")

    @property
    def parameters(self):
        """How many numbers the network has learnt, those of its classifier among them."""
        return models.parameters(self.network)


# --- the paper's networks ---------------------------------------------------------


@dataclass(frozen=True)
class Checkpoint:
    """A published file of weights, and how a network of ours is made of it.

    Attributes
    ----------
    url : str
        Where its authors put it.
    licence : str
        What they state in the repository that leads there; "not stated" where they do not.
    prefix : str, default ""
        Of the encoder's weights, after the ``module.`` of parallel training; others
        (projections, momentum encoders) are left.
    md5 : str, default ""
        First digits of the file's MD5, where the authors state them.
    readable : bool, default True
        False for a format that cannot be read safely (BYOL's is a pickle of other
        classes) or not by torch (SimCLR's are TensorFlow's). Then a converted file,
        ``NAME.pth`` with a state dict of torchvision's ResNet-50, is wanted.
    build : callable, optional
        Makes the network without weights; not for those that torchvision makes and fills.
    renamed : bool, default False
        timm calls the weights otherwise than their authors, and has the rule.
    interpolation : {"bilinear", "bicubic"}, default "bilinear"
        As the authors resize images to evaluate it.
    layer, pool : str
        As in :class:`sfda.backbones.Backbone`.
    """

    url: str
    licence: str
    prefix: str = ""
    md5: str = ""
    readable: bool = True
    build: Callable | None = None
    renamed: bool = False
    interpolation: str = "bilinear"
    layer: str = ""
    pool: str = "average"

    @property
    def file(self):
        """The file's name."""
        return self.url.rpartition("/")[2].partition("?")[0]

    @property
    def sha256(self):
        """First digits of the file's SHA-256, where its name states them, as torch.hub's do."""
        found = re.search(r"-([0-9a-f]{8,})\.", self.file)
        return found[1] if found else ""


def _resnet50():
    from torchvision import models as zoo

    network = zoo.resnet50(weights=None)
    network.fc = nn.Identity()
    return network


def _timm_network(name, **options):
    import timm

    return timm.create_model(name, pretrained=False, **options)


def _pvt(name):
    from sfda import pvt

    return pvt.PyramidVisionTransformer(pvt.DEPTHS[name])


_resnet = partial(Checkpoint, build=_resnet50, layer="fc")
_transformer = partial(Checkpoint, interpolation="bicubic", layer="norm", pool="class token")
_APACHE, _NOT_COMMERCIAL, _BSD = "Apache-2.0", "CC-BY-NC-4.0", "BSD-2-Clause"
_SWAV_LICENCE = "see LICENSE of github.com/facebookresearch/swav"

_TORCHVISION = "https://download.pytorch.org/models/"
#: The paper's supervised networks, with the weights that it used (confirmed by its code).
#: torchvision, itself BSD-3-Clause, says that weights may have terms of their own.
SUPERVISED = {
    f"torchvision:{name}:IMAGENET1K_V1": Checkpoint(_TORCHVISION + file, "not stated")
    for name, file in {
        "resnet34": "resnet34-b627a593.pth",
        "resnet50": "resnet50-0676ba61.pth",
        "resnet101": "resnet101-63fe2227.pth",
        "resnet152": "resnet152-394f9c45.pth",
        "densenet121": "densenet121-a639ec97.pth",
        "densenet169": "densenet169-b2777c0a.pth",
        "densenet201": "densenet201-c1103571.pth",
        "mnasnet1_0": "mnasnet1.0_top1_73.512-f206786ef8.pth",
        "mobilenet_v2": "mobilenet_v2-b0353104.pth",
        "googlenet": "googlenet-1378be20.pth",
        "inception_v3": "inception_v3_google-0cc3c7bd.pth",
    }.items()
}

_BYOL = "https://storage.googleapis.com/deepmind-byol/checkpoints/"
_MOCO = "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/"
_SWAV = "https://dl.fbaipublicfiles.com/deepcluster/"
_PCL = "https://storage.googleapis.com/sfr-pcl-data-research/PCL_checkpoint/"
_PYCONTRAST = "https://www.dropbox.com/sh/87d24jqsl6ra7t2/"
_SIMCLR = "https://storage.cloud.google.com/simclr-gcs/checkpoints/"
_SIMCLR_V2 = "https://console.cloud.google.com/storage/browser/simclr-checkpoints/simclrv2/pretrained/"
#: The paper's self-supervised networks; the places as L. Ericsson, H. Gouk and T. Hospedales
#: (*How well do self-supervised models transfer?*, CVPR 2021) list them.
SELF_SUPERVISED = {
    "byol": _resnet(_BYOL + "pretrain_res50x1.pkl", _APACHE, readable=False),
    "deepcluster-v2": _resnet(_SWAV + "deepclusterv2_800ep_pretrain.pth.tar", _SWAV_LICENCE),
    "infomin": _resnet(
        _PYCONTRAST + "AAAzMTynP3Qc8mIE4XWkgILUa/InfoMin_800.pth?dl=1", _BSD, "encoder."
    ),
    "insdis": _resnet(_PYCONTRAST + "AACcsSIt1_Njv7GsmsuzZ6Sta/InsDis.pth?dl=1", _BSD, "encoder."),
    "moco-v1": _resnet(
        _MOCO + "moco_v1_200ep/moco_v1_200ep_pretrain.pth.tar", _NOT_COMMERCIAL, "encoder_q.",
        md5="b251726a",
    ),
    "moco-v2": _resnet(
        _MOCO + "moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar", _NOT_COMMERCIAL, "encoder_q.",
        md5="a04e12f8",
    ),
    "pcl-v1": _resnet(_PCL + "PCL_v1_epoch200.pth.tar", "MIT", "encoder_q."),
    "pcl-v2": _resnet(_PCL + "PCL_v2_epoch200.pth.tar", "MIT", "encoder_q."),
    "sela-v2": _resnet(_SWAV + "selav2_400ep_pretrain.pth.tar", _SWAV_LICENCE),
    "simclr-v1": _resnet(_SIMCLR + "ResNet50_1x.zip", _APACHE, readable=False),
    "simclr-v2": _resnet(_SIMCLR_V2 + "r50_1x_sk0", _APACHE, readable=False),
    "swav": _resnet(_SWAV + "swav_800ep_pretrain.pth.tar", _SWAV_LICENCE),
}  # fmt: skip

_FACEBOOK = "https://dl.fbaipublicfiles.com/"
_PVT = "https://github.com/whai362/PVT/releases/download/v2/"
_SWIN = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
#: Ten vision transformers, with the weights and the features for which F. Meng et al.
#: (*Foundation Model is Efficient Multimodal Multitask Model Selector*, NeurIPS 2023) publish
#: accuracies. What enters the last normalisation is taken: the class token, of PVT v2 the
#: mean of the tokens, of Swin the average of the map.
TRANSFORMERS = {
    "deit_tiny": _transformer(
        _FACEBOOK + "deit/deit_tiny_patch16_224-a1311bcf.pth", _APACHE,
        build=partial(_timm_network, "deit_tiny_patch16_224"),
    ),
    "deit_small": _transformer(
        _FACEBOOK + "deit/deit_small_patch16_224-cd65a155.pth", _APACHE,
        build=partial(_timm_network, "deit_small_patch16_224"),
    ),
    "deit_base": _transformer(
        _FACEBOOK + "deit/deit_base_patch16_224-b5f2ef4d.pth", _APACHE,
        build=partial(_timm_network, "deit_base_patch16_224"),
    ),
    "dino_small": _transformer(
        _FACEBOOK + "dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth", _APACHE,
        build=partial(_timm_network, "vit_small_patch16_224", num_classes=0),
    ),
    "mocov3_small": _transformer(
        _FACEBOOK + "moco-v3/vit-s-300ep/vit-s-300ep.pth.tar", _NOT_COMMERCIAL, "base_encoder.",
        # 12 heads, where others of its width have 6; its fixed position embeddings are in the file.
        build=partial(_timm_network, "vit_small_patch16_224", num_classes=0, num_heads=12),
        interpolation="bilinear",
    ),
    "pvtv2_b2": _transformer(
        _PVT + "pvt_v2_b2.pth", _APACHE, build=partial(_timm_network, "pvt_v2_b2"),
        renamed=True, layer="stages.3.norm", pool="token mean",
    ),
    "pvt_tiny": _transformer(_PVT + "pvt_tiny.pth", _APACHE, build=partial(_pvt, "pvt_tiny")),
    "pvt_small": _transformer(_PVT + "pvt_small.pth", _APACHE, build=partial(_pvt, "pvt_small")),
    "pvt_medium": _transformer(_PVT + "pvt_medium.pth", _APACHE, build=partial(_pvt, "pvt_medium")),
    "swin_t": _transformer(
        _SWIN + "swin_tiny_patch4_window7_224.pth", "MIT",
        build=partial(_timm_network, "swin_tiny_patch4_window7_224"),
        renamed=True, pool="channels-last average",
    ),
}  # fmt: skip

#: Names of whole zoos, all of which :func:`sfda.backbones.load` takes.
ZOOS = {
    "supervised": tuple(SUPERVISED),
    "self-supervised": tuple(f"self-supervised:{name}" for name in SELF_SUPERVISED),
    "transformers": tuple(f"transformer:{name}" for name in TRANSFORMERS),
    "pocket": tuple(f"pocket:{name}" for name in models.POCKET),
}


# --- by name ----------------------------------------------------------------------


def load(name, *, folder=None):
    """A network by name, ready for :func:`sfda.features.extract`.

    Parameters
    ----------
    name : str
        ``torchvision:resnet50`` or ``torchvision:resnet50:IMAGENET1K_V1``, by default
        the library's newest weights; ``timm:NAME``; ``self-supervised:NAME``, a key of
        ``SELF_SUPERVISED``; ``transformer:NAME``, one of ``TRANSFORMERS``;
        ``pocket:NAME``, of the pocket zoo; ``PATH.json:NAME``, an entry of a manifest;
        ``PATH.json``, where it has only one; ``torchvision:NAME=PATH`` or
        ``timm:NAME=PATH``, weights of one's own for a network of the library.
    folder : path, optional
        Where weights may lie: timm's as ``NAME.safetensors``, all others under the names
        that their files are published under (``resnet50-0676ba61.pth``); those of
        ``SELF_SUPERVISED`` and ``TRANSFORMERS`` also as ``NAME.pth``, a state dict in the
        names of torchvision or timm. They are looked for there first, and downloaded to
        there; by default to torch.hub's folder.

    Returns
    -------
    Backbone
        With the library's own preprocessing, or that of the authors' evaluation: short side
        256 pixels, the central 224 x 224, ImageNet's mean and standard deviation. Of a
        network of a library the input of its last linear layer is taken, which is pooled
        already.

    Raises
    ------
    ValueError
        No such network, weights that do not fit it, or a download of another checksum than
        its authors state.
    FileNotFoundError
        A local file is missing, or a file can neither be found nor downloaded.

    Notes
    -----
    A manifest is JSON: ``{"models": [{"file": "net.safetensors", "builder": {"callable":
    "timm.create_model", "args": [...], "kwargs": {...}}, "input_size": [3, H, W],
    "normalisation": {"mean": [...], "std": [...]}}]}``, the weights beside it. Its images
    have their short side resized to the input size (bicubic) and their centre cropped.
    Only builders of torchvision and timm are called.

    Weights of one's own are a state dict in the library's names, as ``.safetensors`` or as
    torch.save writes it, alone or under "state_dict" or "model", with or without the
    ``module.`` of parallel training. The classifier may have any number of classes, or
    be missing. GoogLeNet and Inception v3 turn their inputs into the range that
    torchvision's own weights want.
    """
    return _found(name)(None if folder is None else Path(folder))


def check(name):
    """Raise what :func:`sfda.backbones.load` would raise of a name alone; load nothing.

    Parameters
    ----------
    name : str
        As for :func:`sfda.backbones.load`.

    Raises
    ------
    ValueError
        No such network, or a manifest that is none.
    FileNotFoundError
        A manifest, or a file that the name contains, is missing.
    """
    _found(name)


def names_in(path):
    """The names of all networks of a manifest, as :func:`sfda.backbones.load` takes them.

    Parameters
    ----------
    path : path
        Of the manifest, ``NAME.json``.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        It is no manifest.
    FileNotFoundError
        It is missing.
    """
    if Path(path).suffix != ".json":
        raise ValueError(f"{path}: expected a manifest, NAME.json")
    return [f"{path}:{name}" for name in _entries(Path(path))]


def _found(name):
    """The function of the folder that loads the network; what is wrong with the name is said here."""
    kind, _, rest = name.partition(":")
    if kind in _KINDS:
        return _KINDS[kind](name, rest)
    path, _, entry = name.rpartition(".json:") if ".json:" in name else (name, "", "")
    if name.endswith(".json") or entry:
        return _manifest(Path(path if name.endswith(".json") else path + ".json"), entry)
    raise ValueError(
        "name: expected torchvision:NAME, timm:NAME, self-supervised:NAME, transformer:NAME, "
        f"pocket:NAME or MANIFEST.json:NAME, got {name!r}"
    )


def _torchvision(name, rest):
    from torchvision import models as zoo

    rest, own, path = rest.partition("=")
    architecture, _, weights = rest.partition(":")
    try:
        found = zoo.get_model_weights(architecture)
        found = found[weights] if weights else found.DEFAULT
    except (ValueError, KeyError):
        raise ValueError(f"name: torchvision has no {rest!r}") from None
    if own:
        return partial(_own_torchvision, name, architecture, found, _existing(path))
    return partial(_load_torchvision, name, architecture, found)


def _load_torchvision(name, architecture, weights, folder):
    from torchvision import models as zoo

    try:
        with _checkpoints(folder):
            # The library's builder knows the old names in its oldest files.
            network = zoo.get_model(architecture, weights=weights, progress=False)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{name}: {_UNREADABLE}") from error
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{name}: {_reason(error)}") from error
    except OSError as error:
        raise FileNotFoundError(_offline(name, weights.url, folder, error)) from error
    return _with_preset(name, network, weights)


def _own_torchvision(name, architecture, weights, path, folder):
    from torchvision import models as zoo

    state, options = _state(name, path), {}
    if architecture in ("googlenet", "inception_v3"):
        # As the library builds them for its own weights, but for what only training needs.
        options = {"transform_input": True, "aux_logits": False, "init_weights": False}
        state = {key: value for key, value in state.items() if not key.lower().startswith("aux")}
    if architecture.startswith("densenet"):  # whose published files have names of an older class
        state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", k): v for k, v in state.items()}
    network = zoo.get_model(architecture, weights=None, **options)
    layers = [key for key, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    _fill(name, network, _fit_classifier(network, layers[-1], state))
    return _with_preset(name, network, weights, layers[-1])


def _with_preset(name, network, weights, layer=""):
    transform = weights.transforms()
    size = getattr(transform, "crop_size", None)
    return Backbone(name, network.eval(), transform, layer, input_size=size and (size[0], size[-1]))


@contextlib.contextmanager
def _checkpoints(folder):
    """torch.hub reads from, and downloads to, `folder`, and runs no code from pickles."""
    before, safe = torch.hub._hub_dir, os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with tempfile.TemporaryDirectory() as hub:
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
                os.symlink(folder.resolve(), Path(hub) / "checkpoints")
                torch.hub.set_dir(hub)
            yield
    finally:
        torch.hub._hub_dir = before  # set_dir would hide what TORCH_HOME says later
        if safe is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = safe


def _timm(name, rest):
    import timm

    rest, own, path = rest.partition("=")
    try:
        known = timm.is_model(rest.partition(".")[0])
        timm.models.get_pretrained_cfg(rest)
    except RuntimeError:  # no weights of that tag
        known = False
    if not known:
        raise ValueError(f"name: timm has no {rest!r}")
    return partial(_own_timm, name, rest, _existing(path)) if own else partial(_load_timm, name, rest)


def _load_timm(name, rest, folder):
    import timm

    file = (folder or Path()) / f"{rest}.safetensors"
    local = {"pretrained_cfg_overlay": {"file": str(file)}} if folder and file.exists() else {}
    try:
        network = timm.create_model(rest, pretrained=True, **local)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{name}: {_reason(error)}") from error
    except OSError as error:
        raise FileNotFoundError(
            f"{name}: {file.name} is not in {folder or 'a folder'} and cannot be downloaded "
            f"({_reason(error)}): put it there"
        ) from error
    return _with_config(name, network)


def _own_timm(name, rest, path, folder):
    network, state = _timm_network(rest), _state(name, path)
    for classifier in _classifiers(network):
        state = _fit_classifier(network, classifier, state)
    _fill(name, network, state)
    return _with_config(name, network)


def _with_config(name, network):
    import timm

    config = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**config, is_training=False)
    # Without a classifier the last linear layer is one of the encoder's.
    removed = [key for key in _classifiers(network) if isinstance(network.get_submodule(key), nn.Identity)]
    size = tuple(config["input_size"][1:])
    return Backbone(name, network.eval(), transform, removed[0] if removed else "", input_size=size)


def _classifiers(network):
    """Names of the classifiers of a network of timm: one, or two if it was distilled."""
    names = network.pretrained_cfg.get("classifier") or ()
    modules = dict(network.named_modules())
    return [name for name in ([names] if isinstance(names, str) else names) if name in modules]


def _published(zoo, name, rest):
    if rest not in zoo:
        raise ValueError(f"name: expected one of {', '.join(zoo)}, got {rest!r}")
    return partial(_load_published, name, rest, zoo[rest])


def _load_published(name, rest, entry, folder):
    folder = folder or Path(torch.hub.get_dir()) / "checkpoints"
    network, converted = entry.build(), folder / f"{rest}.pth"
    if converted.exists():
        state = _state(name, converted)
    elif entry.readable:
        state = _fetched(name, entry, folder)
        state = {k.removeprefix(entry.prefix): v for k, v in state.items() if k.startswith(entry.prefix)}
        state = _renamed(name, network, state) if entry.renamed else state
    else:
        raise FileNotFoundError(
            f"{name}: {entry.url} is not in a format that can be read safely here: convert it to "
            f"a state dict of torchvision's resnet50, {converted}"
        )
    # What is not the encoder's: projections, prototypes, classifiers.
    own = {key.partition(".")[0] for key in network.state_dict()}
    _fill(name, network, {key: value for key, value in state.items() if key.partition(".")[0] in own})
    transform = _transform(256, 224, entry.interpolation, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Backbone(name, network.eval(), transform, entry.layer, entry.pool, (224, 224))


def _renamed(name, network, state):
    """The authors' weights in the names of timm's network."""
    try:
        return importlib.import_module(type(network).__module__).checkpoint_filter_fn(state, network)
    except (AttributeError, LookupError, RuntimeError) as error:  # layers that the network has not
        raise ValueError(f"{name}: these are not its weights ({_reason(error)})") from error


def _fetched(name, entry, folder):
    """The published weights; a download is kept if it is the published file and can be read."""
    file = folder / entry.file
    if file.exists():
        return _state(name, file)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{entry.file}.", dir=folder) as beside:
        part = Path(beside) / entry.file
        try:
            torch.hub.download_url_to_file(entry.url, str(part), progress=False)
        except OSError as error:
            raise FileNotFoundError(_offline(name, entry.url, folder, error)) from error
        for algorithm, expected in (("sha256", entry.sha256), ("md5", entry.md5)):
            with open(part, "rb") as opened:
                digits = hashlib.file_digest(opened, algorithm).hexdigest() if expected else ""
            if not digits.startswith(expected):
                raise ValueError(
                    f"{name}: expected a file whose {algorithm} begins with {expected}, got "
                    f"{digits[:len(expected)]} from {entry.url}: it was not kept, try again"
                )
        state = _state(name, part)
        part.replace(file)
    return state


def _offline(name, url, folder, error):
    file = url.rpartition("/")[2].partition("?")[0]
    folder = folder or Path(torch.hub.get_dir()) / "checkpoints"
    return f"{name}: {file} is not in {folder} and cannot be downloaded ({_reason(error)}): put {url} there"


def _pocket(name, rest):
    layer, size = models.find(rest).head, (models.SIZE, models.SIZE)
    return lambda folder: Backbone(name, models.pretrained(rest), _small, layer, input_size=size)


def _small(image):
    """Any image as the pocket zoo wants it: RGB, 32 x 32, normalised."""
    from torchvision.transforms import functional

    image = functional.center_crop(functional.resize(image.convert("RGB"), models.SIZE), models.SIZE)
    return normalise(functional.pil_to_tensor(image)[None])[0]


_KINDS = {
    "torchvision": _torchvision,
    "timm": _timm,
    "self-supervised": partial(_published, SELF_SUPERVISED),
    "transformer": partial(_published, TRANSFORMERS),
    "pocket": _pocket,
}


# --- by manifest ------------------------------------------------------------------


def _entries(path):
    """The entries of a manifest by name."""
    try:
        return {Path(e["file"]).stem: e for e in json.loads(path.read_text("utf-8"))["models"]}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected JSON with a list 'models' whose entries name their 'file' "
            f"({type(error).__name__}: {error})"
        ) from None


def _manifest(path, name):
    entries = _entries(path)
    if not name and len(entries) == 1:
        (name,) = entries
    if name not in entries:
        raise ValueError(f"{path}: expected one of {', '.join(entries)}, got {name!r}")
    return partial(_load_entry, name, path, entries[name])


def _load_entry(name, path, entry, folder):
    weights = path.parent / entry["file"]
    if weights.suffix != ".safetensors":
        raise ValueError(f"{weights}: pickles can run code; convert it to safetensors")
    try:
        builder, size = entry["builder"], entry["input_size"][1:]
        module, _, function = builder["callable"].rpartition(".")
        if module.partition(".")[0] not in LIBRARIES:
            raise ValueError(f"{builder['callable']} is refused, only {' and '.join(LIBRARIES)} are called")
        network = getattr(importlib.import_module(module), function)(*builder["args"], **builder["kwargs"])
        transform = _transform(max(size), size, "bicubic", **entry["normalisation"])
    except (LookupError, AttributeError, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name} cannot be built ({_reason(error)})") from error
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing")
    _fill(name, network, _state(name, weights))
    return Backbone(name, network.eval(), transform, input_size=tuple(size))


def _transform(side, size, interpolation, mean, std):
    from torchvision import transforms

    return transforms.Compose([
        transforms.Resize(side, transforms.InterpolationMode(interpolation)),
        transforms.CenterCrop(size), transforms.ToTensor(), transforms.Normalize(mean, std),
    ])  # fmt: skip


# --- files of weights -------------------------------------------------------------

_UNREADABLE = "it is damaged, or holds more than weights and could run code; save the state dict alone"


def _existing(path):
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path or 'the file after ='} is missing")
    return Path(path)


def _state(name, file):
    """The state dict in a file, out of its box, without the prefix of parallel training; nothing is run."""
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            # The settings of the command line, which training scripts save beside the weights.
            with _settings_are_safe():
                state = torch.load(file, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{name}: {file.name} cannot be read ({_reason(error)})") from error
    except Exception as error:  # damaged bytes make the unpickler stumble in any way
        raise ValueError(f"{name}: {file.name} cannot be read: {_UNREADABLE}") from error
    for box in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(box), Mapping):
            state = state[box]
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        found = ", ".join(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(
            f"{name}: expected {file.name} to hold a state dict, alone or as 'state_dict' or 'model', "
            f"found {found[:100]}"
        )
    return {key.removeprefix("module."): value for key, value in state.items()}


@contextlib.contextmanager
def _settings_are_safe():
    """torch.load takes the values of a command line; torch 2.5 has a context for it, 2.4 has not."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _reason(error):
    """What went wrong, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _fit_classifier(network, layer, state):
    """Give the classifier the size that it has in the file, or remove it; return what fits.

    Its outputs are not used, but a network should not claim weights that it has not got.
    """
    keys = {key for key in state if key.startswith(f"{layer}.")}
    weight, biased = state.get(f"{layer}.weight"), f"{layer}.bias" in state
    if weight is not None and weight.ndim == 2:
        classifier = nn.Linear(weight.shape[1], weight.shape[0], biased)
    elif weight is not None and weight.ndim == 4:
        classifier = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], bias=biased)
    else:  # none, or one of several layers
        models.set_layer(network, layer, nn.Identity())
        return {key: value for key, value in state.items() if key not in keys}
    models.set_layer(network, layer, classifier)
    return state


def _fill(name, network: nn.Module, state):
    """Load the weights, every one of them."""
    filled = network.state_dict()  # with its metadata, which MNASNet asks for
    wrong = [
        key for key in filled | state
        if key not in filled or key not in state or filled[key].shape != state[key].shape
        # Counts of training steps, which old files lack and evaluation does not read.
        if key in state or not key.endswith(".num_batches_tracked")
    ]  # fmt: skip
    if wrong:
        some = ", ".join(wrong[:3])
        raise ValueError(f"{name}: these are not its weights: {some} and {len(wrong)} in all")
    filled.update(state)
    network.load_state_dict(filled)
