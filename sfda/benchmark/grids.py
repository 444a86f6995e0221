"""Which networks are fine-tuned on which tasks, and how: what a benchmark is a grid of."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from sfda.benchmark import finetune
from sfda.images import official, tasks
from sfda.images.folders import with_all_parts
from sfda.images.task_images import SIDE
from sfda.images.views import Photographs
from sfda.networks import backbones, encoders, pocket

#: Multiple of the usual number of steps, by group; transformers learn more slowly.
BUDGET = {"supervised": 1, "self-supervised": 1, "transformer": 2}
OPTIONS = ("rates", "decays", "every_pair", "steps", "batch", "plain")
#: What the keys of a grid's file hold, of a list also its elements, and how that is called.
KINDS = {
    "networks": (list, str, "a list of names"), "group": (str, object, "a name"),
    "tasks": (list, str, "a list of names"), "seeds": (list, int, "a list of whole numbers"),
    "side": (int, object, "a whole number"), "protocol": (dict, object, "a table"),
}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """Networks, tasks and seeds, and how the networks are fine-tuned.

    Attributes
    ----------
    networks : mapping of str to str
        From names in tables to names that :func:`sfda.networks.backbones.load` takes.
    tasks : tuple of str
        Keys of :data:`sfda.images.tasks.TASKS`, or of `places`.
    groups : mapping of str to str
        Of the networks, by name.
    seeds : tuple of int, default (0, 1)
    side : int, default 32
        Height and width of the images in pixels.
    options : mapping, default none
        Of :func:`sfda.benchmark.finetune.choose` and :func:`sfda.benchmark.finetune.measure`.
    places : mapping, default none
        From names of tasks to images of one's own, as :func:`sfda.images.official.load_images` takes them.
    """

    networks: Mapping
    tasks: tuple
    groups: Mapping
    seeds: tuple = (0, 1)
    side: int = SIDE
    options: Mapping = field(default_factory=dict)
    places: Mapping = field(default_factory=dict)

    def check(self, name, *tasks):
        """Raise ValueError unless there are such a network and such tasks."""
        if name not in self.networks:
            raise ValueError(f"model: expected one of {', '.join(self.networks)}, got {name!r}")
        if unknown := [task for task in tasks if task not in self.tasks]:
            raise ValueError(f"task: expected one of {', '.join(self.tasks)}, got {unknown[0]!r}")

    def encoder(self, name, *, folder=None, untrained=False):
        """A network without its head, as :mod:`sfda.benchmark.finetune` wants it.

        Parameters
        ----------
        name : str
            Key of `networks`.
        folder : path, optional
            Of the weights, as in :func:`sfda.networks.backbones.load`.
        untrained : bool, default False
            The twin of a network of the pocket zoo.
        """
        self.check(name)
        if untrained:
            raise ValueError(f"untrained: only networks of the pocket zoo have twins, got {name!r}")
        backbone = backbones.load(self.networks[name], folder=folder)
        encoders.fold_batch_norm(backbone.network)
        return encoders.Encoder(backbone).eval()

    def classifier(self, name, *, folder=None):
        """The network with its head, which gives logits of its source classes.

        None where the head was never trained.
        """
        return self.encoder(name, folder=folder).classifier()

    def task(self, name, folder=None):
        """Images and labels of a task: :func:`sfda.images.tasks.load_task` at this grid's size.

        Of one's own images, a fifth of the training images of each class is set aside for a part that they lack.
        """
        if name not in self.places:
            return tasks.load_task(name, folder, side=self.side)
        found = with_all_parts(official.load_images(self.places[name], folder))
        return as_task(name, found, len(found.classes), self.side, f"images of {self.places[name]}", tasks.accuracy)

    def options_of(self, name):
        """Options of the fine-tuning of one network."""
        return dict(self.options)

    @property
    def how(self):
        """Text that is the same for grids whose cells are measured alike."""
        return " ".join(f"{key}={value}" for key, value in sorted(self.options.items()))


class Pocket(Grid):
    """The pocket benchmark: 33 networks of the pocket zoo, whose encoders need no library's preprocessing."""

    def encoder(self, name, *, folder=None, untrained=False):
        """As :meth:`Grid.encoder`; the twin has the same initial weights and no pre-training."""
        self.check(name)
        network = pocket.untrained(name) if untrained else pocket.pretrained(name, folder=folder)
        pocket.replace_head(name, network, nn.Identity())
        return network

    def classifier(self, name, *, folder=None):
        """As :meth:`Grid.classifier`: of the networks that learnt from labels."""
        if pocket.find(name).objective == "supervised":
            return pocket.pretrained(name, folder=folder)
        return None

    def options_of(self, name):
        """Options of the fine-tuning of one network: transformers take twice as many steps."""
        return {"budget": BUDGET[self.groups[name]]}


#: The grid of the pocket benchmark, all networks of its zoo on all of its tasks.
POCKET = Pocket(
    {name: f"pocket:{name}" for name in pocket.POCKET}, tuple(tasks.TASKS),
    {name: entry.group for name, entry in pocket.POCKET.items()},
)  # fmt: skip


class _Part(NamedTuple):
    """Images and labels of one part of a data set, the images read when they are needed."""

    images: Photographs
    labels: torch.Tensor


def as_task(name, found, n_classes, side, description, measure):
    """An :class:`sfda.images.image_sets.ImageSet` of three parts as a :class:`sfda.images.tasks.LoadedTask`.

    Its images are photographs of `side` pixels, which training may mirror; where they show several classes, labels
    (n, C) are all of them. ``measure(logits, labels)`` is what results are judged by.
    """
    parts, start = [], 0
    for which, part in zip(("train", "validation", "test"), found.parts):
        photographs = Photographs(part, f"{found.fingerprint} {which}", side=side)
        labels = torch.from_numpy(part.labels)
        if found.targets is not None:
            labels = torch.from_numpy(found.targets[start : start + len(part)]).float()
        parts.append(_Part(photographs, labels))
        start += len(part)
    task = tasks.Task(name, description, n_classes, "", True, True, tuple(map(len, found.parts)))
    return tasks.LoadedTask(task, *parts, measure=measure)


def read(path, *, weights=None):
    """A grid from a TOML file.

    Parameters
    ----------
    path : path
        Keys: ``networks``, a list of names as :func:`sfda.networks.backbones.load` takes them, or of manifests, of
        which all networks are taken; ``tasks``, a list of names of :data:`sfda.images.tasks.TASKS` or of folders and
        files of images, relative to the file, as :func:`sfda.images.official.load_images` takes them, each called as
        its folder or file; and, if wanted, ``seeds``, ``side``, ``group`` (one name for all networks, "supervised" by
        default) and a table ``protocol`` with ``rates``, ``decays``, ``every_pair``, ``steps``, ``batch`` and
        ``plain``, options of :func:`sfda.benchmark.finetune.choose` and :func:`sfda.benchmark.finetune.finetune`.
    weights : path, optional
        Where relative paths of manifests begin; by default the folder of the file.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        Not such a file, or unknown keys, tasks or networks.
    FileNotFoundError
        No such file, or a manifest is missing.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: name pocket, paper or a TOML file") from None
    except ValueError as error:
        raise ValueError(f"{path}: expected TOML ({error})") from None
    for key, value in content.items():
        kind, each, words = KINDS.get(key, (object, object, ""))
        if not isinstance(value, kind) or (kind is list and not all(isinstance(v, each) for v in value)):
            raise ValueError(f"{path}: {key}: expected {words}, got {value!r}")
    options = content.get("protocol", {})
    for found, known in ((content, KINDS), (options, OPTIONS)):
        if unknown := sorted(set(found) - set(known)):
            raise ValueError(f"{path}: expected the keys {', '.join(known)}, got {unknown[0]!r}")
    for key in ("networks", "tasks"):
        if not content.get(key):
            raise ValueError(f"{path}: expected a list {key!r}")
    base = Path(weights) if weights else path.parent
    names = []
    for name in content["networks"]:
        if ".json" in name:
            name = str(base / name)
            names += backbones.names_in(name) if name.endswith(".json") else [name]
        else:
            backbones.check(name)
            names.append(name)
    networks = {name.rpartition(":")[2]: name for name in names}
    if len(networks) < len(names):
        raise ValueError(f"{path}: two networks have one name")
    own, places = [], {}
    for name in content["tasks"]:
        if name in tasks.TASKS:
            own.append(name)
            continue
        place = (path.parent / Path(name).expanduser()).absolute()
        if not place.exists():
            known = ", ".join(tasks.TASKS)
            raise ValueError(f"{path}: expected tasks among {known}, or images, got {name!r}, which is not there")
        called = place.name if place.is_dir() else place.stem
        if called in tasks.TASKS or called in places:
            raise ValueError(f"{path}: two tasks are called {called!r}; rename the folder")
        own.append(called)
        places[called] = str(place)
    return Grid(
        networks, tuple(own), dict.fromkeys(networks, content.get("group", "supervised")),
        tuple(content.get("seeds", (0, 1))), content.get("side", SIDE),
        {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()},
        places,
    )  # fmt: skip


def digest_of(encoder, parts, how=""):
    """Fingerprint of what is measured on: weights, images, labels and protocol.

    Cells and table rows of another fingerprint are measured again, so that those of other weights, or of other images
    under the same name, never mix.

    Parameters
    ----------
    encoder : torch.nn.Module
    parts : iterable of sfda.images.tasks.Part
        Of a cell, the training, validation and test part; of a score, the first.
    how : str, default ""
        What else decides, as :attr:`sfda.benchmark.grids.Grid.how` says it.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    digest = hashlib.sha256(f"protocol {finetune.PROTOCOL}{how}".encode())
    tensors = list(encoder.state_dict().values())
    for part in parts:
        if isinstance(part.images, torch.Tensor):
            tensors.append(part.images)
        else:
            digest.update(part.images.fingerprint.encode())
        tensors.append(part.labels)
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
