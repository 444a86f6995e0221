"""Pre-trained networks of any size, by name: from a library, a local file or the pocket zoo.

Weights are looked for on this machine first and downloaded second, from where their authors publish them; pickles
are never read in full.
"""

import contextlib
import hashlib
import importlib
import json
import os
import pickle
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from sfda.files import in_one_line
from sfda.images import augment
from sfda.networks import pocket
from sfda.networks.checkpoints import (
    SELF_SUPERVISED,
    SUPERVISED,
    TRANSFORMERS,
    file_of,
    renamed_simclr_v2,
    timm_network,
)
from sfda.networks.weights import UNREADABLE, existing_file, fill, fit_classifier, own_state, read_state

LIBRARIES = ("torchvision", "timm")
BUILDERS = [["torchvision", "models"], ["timm", "models"]]  # where they are defined
_WITH_AUXILIARIES = ("googlenet", "inception_v3")  # classifiers for training
_MORE_CLASSES = (19168, 115217)  # of networks of timm that were trained on more than ImageNet's
_WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
POOLS = ("average", "channels-last average", "class token", "token mean")


@dataclass(frozen=True)
class Backbone:
    """A network and what has to be known to take its features.

    Attributes
    ----------
    name : str
        What tables call it.
    network : torch.nn.Module
        Maps a batch (B, 3, H, W) to logits. One in ``DataParallel`` or of ``torch.compile`` is taken out of it.
    transform : callable
        Turns one image of the data set into a tensor (3, H, W).
    layer : str, default ""
        Name of the module whose input is taken as features. By default, of networks of timm, what
        ``forward_head(forward_features(x), pre_logits=True)`` gives, unless `pool` says otherwise, and of others the
        input of the last linear or convolutional layer that runs, the classifier; or, where a normalisation comes
        after it or the result has another width than it, so that there is none, what the network gives.
    pool : {"average", "channels-last average", "class token", "token mean"}, default "average"
        What is done with an input that is no vector: mean over height and width of (B, D, H, W) or, channels last,
        of (B, H, W, D); the first token or the mean of all of (B, T, D). A map that the layer does not read in this
        order is refused.
    input_size : tuple of int, optional
        Height and width of the tensors that `transform` makes, where they are known.
    own_size : tuple of int, optional
        Height and width that the network's authors state for it, where they are known.
    source_classes : int, optional
        How many classes the network itself tells apart, by logits: what LEEP and NCE need. None where it has no
        classifier.
    note : str, default ""
        Which of the weights in a file they are, where there was a choice.

    Raises
    ------
    ValueError
        No such pool, or no module of that name.

    Examples
    --------
    A network that exists already needs a name and a transform:

    >>> from sfda.networks.extract import extract
    >>> from torch import nn
    >>> from torchvision import datasets, transforms
    >>> network = nn.Sequential(
    ...     nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ...     nn.Linear(8, 5))
    >>> backbone = Backbone("mine", network, transforms.ToTensor())
    >>> images = datasets.FakeData(6, (3, 32, 32))
    >>> extract(backbone, images, "six random images").features.shape
    (6, 8)
    """

    name: str
    network: nn.Module
    transform: Callable
    layer: str = ""
    pool: str = "average"
    input_size: tuple[int, int] | None = None
    own_size: tuple[int, int] | None = None
    source_classes: int | None = None
    note: str = ""

    def __post_init__(self):
        network = self.network
        while type(network).__name__ in _WRAPPERS:  # whose copies and graphs would hide the layers
            network = getattr(network, _WRAPPERS[type(network).__name__])
        object.__setattr__(self, "network", network)
        if self.pool not in POOLS:
            raise ValueError(f"pool: expected one of {', '.join(POOLS)}, got {self.pool!r}")
        if self.layer and self.layer not in dict(self.network.named_modules()):
            raise ValueError(f"layer: {self.name} has no module {self.layer!r}")

    @property
    def body(self):
        """The network of timm that this is, or that it only prepares images for; None where features are others."""
        if self.layer or self.pool != "average":
            return None
        for module in self.network.modules():
            of_timm = any(c.__module__.startswith("timm.") for c in type(module).__mro__)
            if of_timm and hasattr(module, "forward_head") and pocket.parameters(module) == self.parameters:
                return module
        return None

    @property
    def parameters(self):
        """How many numbers the network has learnt, those of its classifier among them."""
        return pocket.parameters(self.network)


# --- by name ----------------------------------------------------------------------


def load(name, *, folder=None, side=None):
    """A network by name, ready for :func:`sfda.networks.extract.extract`.

    Parameters
    ----------
    name : str
        ``torchvision:resnet50`` or ``torchvision:resnet50:IMAGENET1K_V1``, by default the library's newest weights;
        ``timm:NAME``; ``self-supervised:NAME``, a key of ``SELF_SUPERVISED``; ``transformer:NAME``, one of
        ``TRANSFORMERS``; ``pocket:NAME``, of the pocket zoo; ``PATH.json:NAME``, an entry of a manifest;
        ``PATH.json``, where it has only one; ``torchvision:NAME=PATH`` or ``timm:NAME=PATH``, weights of one's own
        for a network of the library.
    folder : path, optional
        Where weights may lie: timm's and the pocket zoo's as ``NAME.safetensors``, others under the names that
        their files are published under (``resnet50-0676ba61.pth``); those of ``SELF_SUPERVISED`` and
        ``TRANSFORMERS`` also as ``NAME.pth``, a state dict in the names of torchvision or timm. They are looked for
        there first, and downloaded to there; by default to torch.hub's folder.
    side : int, optional
        Height and width of the images in pixels, in the place of the network's own; they are cropped from as much of
        the picture. Position embeddings are interpolated, by timm or torchvision.

    Returns
    -------
    Backbone
        With the library's own preprocessing, or that of the authors' evaluation: short side 256 pixels, the central
        224 x 224, ImageNet's mean and standard deviation.

    Raises
    ------
    ValueError
        No such network, weights that do not fit it, images of a size that it cannot take, or a download of another
        checksum than its authors state.
    FileNotFoundError
        A local file is missing, or a file can neither be found nor downloaded.

    Notes
    -----
    A manifest is JSON: ``{"models": [{"file": "net.safetensors", "builder": {"callable": "timm.create_model",
    "args": [...], "kwargs": {...}}, "input_size": [3, H, W], "normalisation": {"mean": [...], "std": [...]}}]}``,
    the weights beside it. Its images have their short side resized to the input size (bicubic) and their centre
    cropped. Only builders of torchvision and timm are called.

    Weights of one's own are a state dict in the library's names, as ``.safetensors`` or as torch.save writes it,
    alone or in a box ("state_dict", "model"), with whatever word stands before all of its names: ``module.``,
    ``_orig_mod.``, ``model.``, ``backbone.``. Where there are several, averaged ones (EMA, a teacher's) come first, and
    the ranking says so. The classifier may have any
    number of classes, or be missing. GoogLeNet and Inception v3 turn their inputs into the range that
    torchvision's own weights want.
    """
    if side is not None and not 1 <= side < 2**14:
        raise ValueError(f"side: expected a number of pixels from 1, got {side}")
    found = _found(name)(None if folder is None else Path(folder), side)
    if side:
        with _as_value_error(name), torch.inference_mode():
            found.network(torch.zeros(1, 3, side, side))  # not every network checks it before
    return found


def check(name):
    """Raise what :func:`sfda.networks.backbones.load` would raise of a name alone; load nothing.

    Parameters
    ----------
    name : str
        As for :func:`sfda.networks.backbones.load`.

    Raises
    ------
    ValueError
        No such network, or a manifest that is none.
    FileNotFoundError
        A manifest, or a file that the name contains, is missing.
    """
    _found(name)


def full_name(name):
    """The name with the weights that it stands for, where there are several.

    Parameters
    ----------
    name : str
        As for :func:`sfda.networks.backbones.load`, which would take it.

    Returns
    -------
    str
        ``torchvision:resnet50:IMAGENET1K_V2`` of ``torchvision:resnet50``, ``timm:resnet50.a1_in1k`` of
        ``timm:resnet50``; any other name as it is, weights of one's own among them.
    """
    kind, _, rest = name.partition(":")
    if "=" not in rest and kind == "torchvision" and ":" not in rest:
        from torchvision import models as zoo

        return f"{name}:{zoo.get_model_weights(rest).DEFAULT.name}"
    if "=" not in rest and kind == "timm" and "." not in rest:
        from timm.models import get_pretrained_cfg

        tag = getattr(get_pretrained_cfg(rest), "tag", "")
        return f"{name}.{tag}" if tag else name
    return name


def weights_of(name, folder=None):
    """Where :func:`sfda.networks.backbones.load` looks for the weights of one of the paper's networks.

    Parameters
    ----------
    name : str
        As the loader takes it.
    folder : path, optional
        As there.

    Returns
    -------
    sfda.networks.checkpoints.Checkpoint, path
        What was published, and the file: one that is there, or else where it is to be.
    """
    kind, _, rest = name.partition(":")
    zoos = {"torchvision": SUPERVISED, "self-supervised": SELF_SUPERVISED, "transformer": TRANSFORMERS}
    found = zoos.get(kind, {}).get(name if kind == "torchvision" else rest)
    if found is None:
        raise ValueError(f"name: expected a network of the paper, got {name!r}")
    folder = _weights_folder(folder)
    converted = folder / f"{rest}.pth"
    as_converted = kind != "torchvision" and (converted.exists() or not found.readable)
    return found, converted if as_converted else folder / found.file


def _weights_folder(folder):
    return Path(folder) if folder else Path(torch.hub.get_dir()) / "checkpoints"


def names_in(path):
    """The names of all networks of a manifest, as :func:`sfda.networks.backbones.load` takes them.

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
    """The function of folder and side that loads the network; what is wrong with the name is said here."""
    kind, _, rest = name.partition(":")
    if kind in _KINDS:
        return _KINDS[kind](name, rest)
    path, _, entry = name.rpartition(".json:") if ".json:" in name else (name, "", "")
    if name.endswith(".json") or entry:
        return _manifest(Path(path if name.endswith(".json") else path + ".json"), entry)
    kinds = ", ".join(f"{kind}:NAME" for kind in _KINDS)
    raise ValueError(f"name: expected {kinds} or MANIFEST.json:NAME, got {name!r}")


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
        return partial(_own_torchvision, name, architecture, found, existing_file(path))
    return partial(_load_torchvision, name, architecture, found)


def _load_torchvision(name, architecture, weights, folder, side):
    try:
        with _weights_only():
            state = weights.get_state_dict(progress=False, check_hash=True, model_dir=folder)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{name}: {UNREADABLE}") from error
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{name}: {in_one_line(error)}") from error
    except OSError as error:
        raise _offline(name, weights.url, folder, error) from error
    network = _untrained_torchvision(architecture, side)
    fill(name, network, _renamed_torchvision(architecture, state, network))
    return _with_preset(name, network, weights, side, source_classes=len(weights.meta["categories"]))


def _own_torchvision(name, architecture, weights, path, folder, side):
    network = _untrained_torchvision(architecture, side)
    state, note = own_state(name, path, network)
    layer = _layers(network)[-1]
    fill(name, network, fit_classifier(network, layer, _renamed_torchvision(architecture, state, network)))
    head = network.get_submodule(layer)
    classes = None if isinstance(head, nn.Identity) else len(head.weight)
    return _with_preset(name, network, weights, side, layer=layer, source_classes=classes, note=note)


def _layers(network):
    """Names of the layers that a classifier may be, in the order of their definition."""
    return [key for key, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]


def _source_classes(network):
    """How many classes the classifier tells apart, the first of several; None where it was removed.

    A head as wide as timm's own that gives embeddings, of training with captions, tells no classes apart.
    """
    config = getattr(network, "pretrained_cfg", None)
    names = _layers(network)[-1:] if config is None else _classifiers(network)
    weight = getattr(network.get_submodule(names[0]), "weight", None) if names else None
    if weight is None or config is None or len(weight) != config.get("num_classes"):
        return None if weight is None else len(weight)
    from timm.data import infer_imagenet_subset

    labelled = infer_imagenet_subset(config) or len(weight) in _MORE_CLASSES
    return len(weight) if labelled else None


def _untrained_torchvision(architecture, side):
    from torchvision import models as zoo

    # As the library builds them for its own weights, but for what only training needs.
    options = {"transform_input": True, "aux_logits": False, "init_weights": False}
    options = options if architecture in _WITH_AUXILIARIES else {}
    if side and architecture.startswith("vit_"):
        options = {"image_size": side}
    with _as_value_error(architecture):
        return zoo.get_model(architecture, weights=None, **options)


def _renamed_torchvision(architecture, state, network):
    """What a published file has of the network, in the names of today's classes and for its size of images."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    if architecture.startswith("vit_") and "encoder.pos_embedding" in state:
        state = interpolate_embeddings(network.image_size, network.patch_size, state)
    if architecture in _WITH_AUXILIARIES:
        state = {key: value for key, value in state.items() if not key.lower().startswith("aux")}
    if architecture.startswith("densenet"):  # whose published files have names of an older class
        state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", k): v for k, v in state.items()}
    return state


def _with_preset(name, network, weights, side, **facts):
    transform = weights.transforms()
    own = transform.crop_size[0]
    if side:
        transform = weights.transforms(crop_size=side, resize_size=round(transform.resize_size[0] * side / own))
    size = transform.crop_size[0]
    return Backbone(name, network.eval(), transform, input_size=(size, size), own_size=(own, own), **facts)


@contextlib.contextmanager
def _as_value_error(name):
    """What libraries say of a size of images that a network cannot take, by assertions among others."""
    try:
        yield
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: it cannot take images of this size ({in_one_line(error)})") from error


@contextlib.contextmanager
def _weights_only():
    """torch.load runs no code from pickles, whoever calls it."""
    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before


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
    return partial(_own_timm, name, rest, existing_file(path)) if own else partial(_load_timm, name, rest)


def _load_timm(name, rest, folder, side):
    import timm

    file = (folder or Path()) / f"{rest}.safetensors"
    local = {"pretrained_cfg_overlay": {"file": str(file)}} if folder and file.exists() else {}
    try:
        network = timm.create_model(rest, pretrained=True, **local)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{name}: {in_one_line(error)}") from error
    except OSError as error:
        raise _offline(name, file.name, folder or "a folder", error) from error
    return _with_config(name, network, side, source_classes=_source_classes(network))


def _own_timm(name, rest, path, folder, side):
    network = timm_network(rest)
    state, note = own_state(name, path, network)
    for classifier in _classifiers(network):
        state = fit_classifier(network, classifier, state)
    fill(name, network, state)
    return _with_config(name, network, side, source_classes=_source_classes(network), note=note)


def _with_config(name, network, side, **facts):
    import timm

    config = timm.data.resolve_model_data_config(network)
    own = tuple(config["input_size"][1:])
    if side:
        config["input_size"] = (3, side, side)
        _resize(name, network, side)
    transform = timm.data.create_transform(**config, is_training=False)
    return Backbone(
        name, network.eval(), transform, input_size=tuple(config["input_size"][1:]), own_size=own, **facts,
    )  # fmt: skip


def _resize(name, network, side):
    """Make a network take images of this size, where it takes one size only."""
    with _as_value_error(name):
        if hasattr(network, "set_input_size"):
            network.set_input_size(img_size=(side, side))
        elif getattr(network, "pretrained_cfg", {}).get("fixed_input_size"):
            raise ValueError("its own is fixed")


def _classifiers(network):
    """Names of the classifiers of a network of timm: one, or two if it was distilled."""
    names = network.pretrained_cfg.get("classifier") or ()
    modules = dict(network.named_modules())
    return [name for name in ([names] if isinstance(names, str) else names) if name in modules]


def _published(zoo, name, rest):
    if rest not in zoo:
        raise ValueError(f"name: expected one of {', '.join(zoo)}, got {rest!r}")
    return partial(_load_published, name, rest, zoo[rest])


def _load_published(name, rest, entry, folder, side):
    folder = _weights_folder(folder)
    network, converted = entry.build(), folder / f"{rest}.pth"
    if converted.exists():
        state = renamed_simclr_v2(read_state(name, converted))
    elif entry.readable:
        state = _fetched(name, entry, folder)
        state = {k.removeprefix(entry.prefix): v for k, v in state.items() if k.startswith(entry.prefix)}
        state = _renamed(name, network, state) if entry.renamed else state
    else:
        how = entry.how_to_place(converted)
        raise FileNotFoundError(f"{name}: {entry.url} is not in a format that can be read safely here: {how}")
    # What is not the encoder's: projections, prototypes, classifiers.
    own = {key.partition(".")[0] for key in network.state_dict()}
    fill(name, network, {key: value for key, value in state.items() if key.partition(".")[0] in own})
    if side:
        _resize(name, network, side)
    size = side or 224
    transform = _transform(
        round(256 / 224 * size), size, entry.interpolation, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
    return Backbone(
        name, network.eval(), transform, entry.layer, entry.pool, (size, size), (224, 224),
        source_classes=None if entry.layer == "fc" else _source_classes(network),  # "fc" is removed
    )  # fmt: skip


def _renamed(name, network, state):
    """The authors' weights in the names of timm's network."""
    try:
        return importlib.import_module(type(network).__module__).checkpoint_filter_fn(state, network)
    except (AttributeError, LookupError, RuntimeError) as error:  # layers that the network has not
        raise ValueError(f"{name}: these are not its weights ({in_one_line(error)})") from error


def _fetched(name, entry, folder):
    """The published weights; a download is kept if it is the published file and can be read."""
    file = folder / entry.file
    if file.exists():
        return read_state(name, file)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{entry.file}.", dir=folder) as beside:
        part = Path(beside) / entry.file
        try:
            torch.hub.download_url_to_file(entry.url, str(part), progress=False)
        except OSError as error:
            raise _offline(name, entry.url, folder, error) from error
        for algorithm, expected in (("sha256", entry.sha256), ("md5", entry.md5)):
            with open(part, "rb") as opened:
                digits = hashlib.file_digest(opened, algorithm).hexdigest() if expected else ""
            if not digits.startswith(expected):
                found = f"got {digits[: len(expected)]} from {entry.url}: it was not kept, try again"
                raise ValueError(f"{name}: expected a file whose {algorithm} begins with {expected}, {found}")
        state = read_state(name, part)
        part.replace(file)
    return state


def _offline(name, url, folder, error):
    folder, file = _weights_folder(folder), file_of(url)
    remedy = f"cannot be downloaded ({in_one_line(error)}): put {'it' if file == url else url} there"
    return FileNotFoundError(f"{name}: {file} is not in {folder} and {remedy}")


def _pocket(name, rest):
    entry = pocket.find(rest)

    def found(folder, side):
        own = folder is not None and (folder / f"{rest}.safetensors").exists()
        network = pocket.pretrained(rest, folder=folder if own else None)
        if side:
            _resize(name, network, side)
        classes = pocket.SOURCE_CLASSES if entry.objective == "supervised" else None
        small, size = _Small(side or pocket.SIZE), side or pocket.SIZE
        return Backbone(name, network, small, entry.head, "average", (size, size), (pocket.SIZE, pocket.SIZE), classes)

    return found


@dataclass(frozen=True)
class _Small:
    """Any image as the pocket zoo wants it: RGB, square, normalised."""

    side: int
    mean, std = augment.MEAN, augment.DEVIATION

    def __call__(self, image):
        from sfda.images.views import centre

        return augment.normalise(centre(image, self.side, "bilinear")[None])[0]


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
    existing_file(path)
    try:
        return {Path(e["file"]).stem: e for e in json.loads(path.read_text("utf-8"))["models"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = "expected JSON with a list 'models' whose entries name their 'file'"
        raise ValueError(f"{path}: {expected} ({in_one_line(error)})") from None


def _manifest(path, name):
    entries = _entries(path)
    if not name and len(entries) == 1:
        (name,) = entries
    if name not in entries:
        raise ValueError(f"{path}: expected one of {', '.join(entries)}, got {name!r}")
    return partial(_load_entry, name, path, entries[name])


def _load_entry(name, path, entry, folder, side):
    weights = path.parent / entry["file"]
    if weights.suffix != ".safetensors":
        raise ValueError(f"{weights}: pickles can run code; convert it to safetensors")
    try:
        builder, own = entry["builder"], tuple(entry["input_size"][1:])
        size = (side, side) if side else own
        module, _, function = builder["callable"].rpartition(".")
        if module.partition(".")[0] not in LIBRARIES:
            raise ValueError(f"{builder['callable']} is refused, only {' and '.join(LIBRARIES)} are called")
        build = getattr(importlib.import_module(module), function)
        # Other functions of theirs download, unpack, or read pickles.
        home = str(getattr(build, "__module__", "")).split(".")[:2]
        if home not in BUILDERS or re.search("load|checkpoint|_hub", f"{build.__module__}.{function}"):
            raise ValueError(f"{builder['callable']} is refused, it is no builder of networks")
        with _weights_only():
            network = build(*builder["args"], **builder["kwargs"])
        if not isinstance(network, nn.Module):
            raise ValueError(f"{builder['callable']} made no network")
        transform = _transform(max(size), size, "bicubic", **entry["normalisation"])
    except (LookupError, AttributeError, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name} cannot be built ({in_one_line(error)})") from error
    fill(name, network, read_state(name, existing_file(weights)))
    if side:
        _resize(name, network, side)
    classes = _source_classes(network)
    return Backbone(name, network.eval(), transform, input_size=size, own_size=own, source_classes=classes)


def _transform(side, size, interpolation, mean, std):
    from torchvision import transforms

    return transforms.Compose([
        transforms.Resize(side, transforms.InterpolationMode(interpolation)),
        transforms.CenterCrop(size), transforms.ToTensor(), transforms.Normalize(mean, std),
    ])  # fmt: skip
