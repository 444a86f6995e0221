"""Rank networks for labelled images: their scores, how sure these are, and which networks to take.

:func:`rank` takes networks and images, :func:`sfda.rank.result.rank_features` features
that exist already. The features of :func:`rank` go through the cache of
:mod:`sfda.networks.extract`, so that a run that was stopped goes on where it ended.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.special import softmax

from sfda.evidence.record import Record, as_shares
from sfda.files import FEATURES, data_folder
from sfda.networks.device import resolve_device
from sfda.rank.jackknife import Judge, Scored
from sfda.rank.outlook import past_of
from sfda.rank.report import duration, one_line, reason
from sfda.rank.result import Ranking, check_compared, made_of, named_metrics
from sfda.rivals.catalogue import METRIC

if TYPE_CHECKING:
    import torch

    from sfda.images.image_sets import ImageSet
    from sfda.networks.backbones import Backbone

KEPT = 2**28  # parameters of networks that are loaded once, a gigabyte


def rank(
    networks: "str | Backbone | Sequence[str | Backbone]",
    images: "str | Path | ImageSet | torch.utils.data.Dataset", *,
    metric: str | Sequence[str] = METRIC, part: Literal["train", "all"] = "train", per_class: int | None = None,
    shuffle: bool = False, seed: int = 0, side: int | None = None, weights: str | PathLike[str] | None = None,
    cache: str | PathLike[str] | None = FEATURES, dtype: Literal["float32", "float16"] = "float32",
    device: "str | torch.device" = "auto", batch: int | Literal["auto"] = "auto",
    workers: int | Literal["auto"] = "auto",
    skip_unreadable: bool = False, record: Record | str | PathLike[str] | None = "published",
    observed: Mapping[str, float] | None = None, progress: Callable[[str, bool], object] | None = None,
) -> Ranking:  # fmt: skip
    """Rank networks for labelled images.

    Parameters
    ----------
    networks : str, sfda.networks.backbones.Backbone, or a sequence of them
        Names as :func:`sfda.networks.backbones.load` takes them; a manifest stands for all its networks.
        ``sfda.networks.checkpoints.ZOOS`` has whole zoos.
    images : str, path, sfda.images.image_sets.ImageSet or torch.utils.data.Dataset
        As :func:`sfda.images.official.load_images` or :func:`sfda.images.folders.from_dataset` take them.
    metric : str or sequence of str, default "left-out probability"
        Key of ``sfda.rivals.catalogue.RIVALS``, in any case of letters; the first of several decides the order. LEEP
        and NCE score only networks that have a classifier of source classes.
    part : {"train", "all"}, default "train"
        "train" leaves the test part out, whose labels a benchmark may not use; "all" takes it too, as the paper's
        public code does.
    per_class : int, optional
        Score at most so many images of each class, the same for all networks.
    shuffle : bool, default False
        Deal the labels to the images at random. No network can know such classes: a score that is high all the same
        cannot be trusted.
    seed : int, default 0
        Of the choice of these images, of the shuffle, and of the groups behind the intervals.
    side : int, optional
        Height and width of the images in pixels, in the place of each network's own: better those that it will be
        fine-tuned with, for the order may depend on them.
    weights : path, optional
        Folder of weights, as in :func:`sfda.networks.backbones.load`.
    cache : path or None, default "~/.cache/sfda/features"
        Folder of features; None keeps nothing.
    dtype, device, batch, skip_unreadable
        As in :func:`sfda.networks.extract.extract`. Images that cannot be read are left out of the scores of all
        networks.
    workers : int or "auto", default "auto"
        Processes that read images. "auto": none on the CPU, whose cores the forward pass needs, and up to eight
        beside an accelerator.
    record : Record, path, "published" or "none", default "published"
        Past results of the networks: of a record, of a file that :meth:`sfda.Record.read` takes, or what is published
        of networks that are known by their names (:func:`sfda.evidence.past.published_for`). With it the result has an
        ``outlook``.
    observed : mapping of str to float, optional
        Accuracies, shares of 1, of networks that have been fine-tuned on these images already, by their names as in
        `networks` or in the table; needs past results.
    progress : callable, optional
        Called with one line of text, and True if no later line is to take its place.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        Before anything is computed: an unknown metric, network, part or data set, one class only, a class with one
        image where the metric leaves images out. Later: images that cannot be read; no network at all could be
        ranked.
    FileNotFoundError
        Images or weights are missing. All weights are looked for, and downloaded, before the first forward pass.
        ``sfda.files.NeedsRepository``: pocket networks, outside a clone.
    OSError
        The cache cannot be written.

    Notes
    -----
    What goes wrong with one network only, in its forward pass or its score, does not stop the others: it is reported
    in ``failures``.

    Examples
    --------
    >>> from sfda.rank import rank
    >>> names = ["torchvision:resnet18", "timm:resnet50.a1_in1k"]
    >>> found = rank(names, "photographs")  # doctest: +SKIP
    >>> print(found)  # doctest: +SKIP
    """
    from sfda.images import folders, image_sets, official
    from sfda.networks.extract import UnreadableImages, extract

    metrics = named_metrics(metric, ("features", "source probabilities", "zoo"))
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
    if batch != "auto" and batch < 1:
        raise ValueError(f"batch: expected 1 or more, got {batch}")
    named = named_networks(networks)
    past = _past(record, observed, named)
    if side is not None and (own := [name for name, each in named.items() if not isinstance(each, str)]):
        raise ValueError(f"side: {own[0]} is a Backbone, whose transform makes its images: give them their size there")
    if weights is None and any(isinstance(each, str) and each.startswith("pocket:") for each in named.values()):
        data_folder("pocket/weights")  # or NeedsRepository, before any network is tried
    if not isinstance(images, image_sets.ImageSet):
        known = isinstance(images, (str, Path))
        images = official.load_images(images) if known else folders.from_dataset(images)
    chosen = _chosen(images, part, per_class, seed)

    def judges_of(labels):
        if shuffle:
            labels = np.random.default_rng(seed).permutation(labels)
        return [Judge(metric, labels, images.classes, seed) for metric in metrics]

    judges = judges_of(chosen.labels)
    if cache is not None:
        cache = _writable(cache)
    device, workers = _device(device, workers)
    if judges[0].needs == "zoo":
        check_compared(metrics[0], named)
    facts, kept = _loadable(named, weights, side, progress)
    alone = [judge.metric for judge in judges if judge.needs == "source probabilities"]
    without = [name for name in named if not facts[name]["source_classes"]]
    if metrics[0] in alone and len(without) == len(named):
        raise ValueError(f"metric: {metrics[0]} needs a network's own classifier, and none of these has one")

    found: dict[str, np.ndarray] = {}
    failures: dict[str, str] = {}
    skipped, notes = [], []
    scored: dict[str, dict[str, Scored]] = {metric: {} for metric in metrics}
    pace = _Pace(len(named))
    for i, (name, network) in enumerate(named.items(), 1):
        say = _Speaker(progress, f"[{i}/{len(named)}] {name}", pace)
        classifier = facts[name].pop("source_classes")
        try:
            if metrics[0] in alone and not classifier:
                raise ValueError(f"{metrics[0]} needs a network's own classifier, which it has not")
            say("loading", last=False)
            backbone = kept.pop(name, None) or _backbone(network, weights, side)
            start = time.perf_counter()
            taken = extract(
                backbone, chosen.dataset, chosen.fingerprint, cache=cache, dtype=dtype, device=device,
                batch=batch, workers=workers, skip_unreadable=skip_unreadable, logits=bool(alone and classifier),
                progress=say.images,
            )  # fmt: skip
            elapsed = time.perf_counter() - start
            if not found and taken.skipped:
                judges, skipped = judges_of(taken.labels), taken.skipped
            if taken.skipped != skipped:
                raise ValueError("other images could not be read than for the networks before it")
            for judge in judges:
                if judge.needs == "zoo" or (judge.metric in alone and not classifier):
                    continue
                say(f"scoring by {judge.metric}", last=False)
                own = taken.features if judge.needs == "features" else softmax(taken.logits.astype(float), axis=1)
                try:
                    scored[judge.metric][name] = judge(own)
                except (ValueError, MemoryError) as error:
                    if judge is judges[0]:
                        raise
                    notes.append(f"{judge.metric} of {name}: {reason(error, len(chosen.labels))}")
        except OSError:
            raise  # a full disk stops every network
        except UnreadableImages as error:  # so do images that no network can read
            skip = "; skip_unreadable=True (--skip-unreadable) leaves them out"
            raise UnreadableImages(f"{error}{skip}") from error
        except Exception as error:  # whatever one network does, the others are wanted
            failures[name] = reason(error, len(chosen.labels))
            say(f"failed: {failures[name]}", last=True)
            continue
        finally:
            pace.took(time.perf_counter() - say.start)
        notes += [f"{name}: {backbone.note}"] if backbone.note else []
        found[name] = taken.features
        facts[name] |= {"forward_seconds": 0.0 if taken.cached else elapsed, "cached": taken.cached}
        say.done(taken, elapsed, scored[metrics[0]].get(name))
    if not found:
        why = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise ValueError(f"networks: none of {len(named)} could be ranked; {why}")
    everything = _Speaker(progress, "all networks")
    for judge in judges:
        if judge.needs == "zoo":
            everything(f"scoring by {judge.metric}", last=False)
            try:
                scored[judge.metric], wrong = judge.together(found)
            except (ValueError, MemoryError) as error:
                if judge is judges[0]:
                    raise
                notes.append(f"{judge.metric}: {reason(error, len(chosen.labels))}")
                continue
            for name, cause in wrong.items():
                if judge is judges[0]:
                    failures[name] = reason(cause, len(chosen.labels))
                else:
                    notes.append(f"{judge.metric} of {name}: {reason(cause, len(chosen.labels))}")
        elif judge.metric in alone and without and judge is not judges[0]:
            notes.append(f"{judge.metric} needs a network's own classifier, which is not there: {', '.join(without)}")
    everything("choosing ensembles", last=False)
    about = {
        "images": images.name, "part": chosen.words, "fingerprint": chosen.fingerprint, "seed": seed,
        "per_class": per_class, "shuffled": bool(shuffle), "side": side, "skipped": len(skipped),
        "left_out": images.left_out, "dtype": dtype, "device": device,
        "cache": None if cache is None else str(cache),
    }  # fmt: skip
    if shuffle:
        notes.insert(0, "the labels are shuffled: what scores here are worth nothing, and their order means nothing")
    if skipped:
        notes.append(f"images that could not be read and were left out: {len(skipped)}")
    if images.left_out:
        notes.append("left out: " + ", ".join(f"{reason} ({n})" for reason, n in images.left_out.items()))
    if images.targets is not None:
        notes.append("images that show several classes count as the first of them")
    return made_of(judges, scored, found, facts, notes, failures, about, past)


class _Chosen(NamedTuple):
    dataset: object
    labels: np.ndarray
    fingerprint: str
    words: str


def _chosen(images, part, per_class, seed):
    """The images to score, and in words which they are."""
    from torch.utils.data import ConcatDataset, Subset

    if part not in ("train", "all"):
        raise ValueError(f"part: expected 'train' or 'all', got {part!r}")
    if per_class is not None and per_class < 1:
        raise ValueError(f"per_class: expected 1 or more, got {per_class}")
    kept = [p for p in images.parts if part == "all" or p is not images.test]
    dataset, labels = ConcatDataset(kept), np.concatenate([p.labels for p in kept])
    fingerprint = images.fingerprint + (" without test" if len(labels) < len(images.labels) else "")
    words = _words(images, part)
    if per_class is not None:
        rng = np.random.default_rng(seed)
        positions = [rng.permutation(np.flatnonzero(labels == c))[:per_class] for c in np.unique(labels)]
        positions = np.sort(np.concatenate(positions))
        if len(positions) < len(labels):
            fingerprint += " " + hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest()
            words += f"; of each class at most {per_class}, drawn with seed {seed}"
            dataset, labels = Subset(dataset, positions.tolist()), labels[positions]
    return _Chosen(dataset, labels, fingerprint, words)


def _words(images, part):
    if len(images.parts) == 1:
        return "all of it, for it has no parts"
    if images.test is None:
        return "the training and validation parts"
    if part == "all":
        return "all parts, the test part too"
    training = "training part" if images.validation is None else "training and validation parts"
    return f"the {training}; the test part, {len(images.test)} images, is left out"


def named_networks(networks):
    """Networks by what the table calls them; ValueError of a wrong name, before any weights are read."""
    from sfda.networks import backbones

    wanted = []
    for each in [networks] if isinstance(networks, (str, backbones.Backbone)) else networks:
        if isinstance(each, str) and each.endswith(".json"):
            wanted += backbones.names_in(each)
        else:
            wanted.append(each)
    if not wanted:
        raise ValueError("networks: expected at least one, got none")
    by_full = {}
    for each in wanted:
        full = each if isinstance(each, str) else each.name
        if by_full.get(full, each) is not each and by_full[full] != each:
            raise ValueError(f"networks: two different ones are called {full!r}")
        if isinstance(each, str):
            backbones.check(each)
        by_full[full] = each
    short = [full.rpartition(".json:")[2] for full in by_full]
    return {full if short.count(name) > 1 else name: each for name, (full, each) in zip(short, by_full.items())}


def _past(record, observed, named):
    """Past results of the networks, and what has been observed of them on these images."""
    from sfda.networks.backbones import full_name

    of_full = {each if isinstance(each, str) else each.name: name for name, each in named.items()}
    given = as_shares(observed)
    observed = {of_full.get(name, name): accuracy for name, accuracy in given.items()}
    if len(observed) < len(given):
        raise ValueError(f"observed: one network is there by two names, found {', '.join(map(str, given))}")
    return past_of(record, observed, {name: full_name(full) for full, name in of_full.items()})


def _backbone(network, weights, side):
    from sfda.networks import backbones

    return backbones.load(network, folder=weights, side=side) if isinstance(network, str) else network


def _loadable(named, weights, side, progress):
    """What the table says of the networks, and those that need not be loaded again, as far as they are small.

    Each is loaded now, so that what is missing is found out before anything is computed.
    """
    facts, kept, wrong, room = {}, {}, {}, KEPT
    for i, (name, network) in enumerate(named.items(), 1):
        _Speaker(progress, f"[{i}/{len(named)}] {name}")("looking for its weights", last=False)
        try:
            one = _backbone(network, weights, side)
        except Exception as error:  # damaged or missing files, in any way
            wrong[name] = error
            continue
        facts[name] = {"parameters": one.parameters, "source_classes": one.source_classes}
        for column, size in (("side", one.input_size), ("own_side", one.own_size)):
            facts[name] |= {column: size[0]} if size else {}
        if one is not network and one.parameters <= room:
            kept[name] = one
            room -= one.parameters
    if wrong:
        first, *others = wrong
        cause = wrong[first]
        also = f"; nor can {', '.join(others)}" if others else ""
        kind = FileNotFoundError if isinstance(cause, FileNotFoundError) else ValueError
        raise kind(f"{first} cannot be loaded ({one_line(cause)}){also}; nothing was computed") from cause
    return facts, kept


def _writable(cache):
    """The folder of the cache, made now: better to fail before a forward pass than after it."""
    cache = Path(cache).expanduser()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        probe = cache / f".{time.time_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"cache: {cache} cannot be written ({one_line(error)}); name another folder") from error
    return cache


def _device(device, workers):
    """The torch device, which must be there, and how many processes read images."""
    import torch

    try:
        device = resolve_device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: cannot compute on {device} ({one_line(error)})") from None
    if workers == "auto":
        workers = 0 if device == "cpu" else min(8, torch.multiprocessing.cpu_count())
    return device, workers


class _Pace:
    """How long networks have taken, for a guess at how long all will take."""

    def __init__(self, networks):
        self.left, self.seconds = networks, []

    def took(self, seconds):
        self.left -= 1
        self.seconds.append(seconds)

    def rest(self, own):
        """Seconds of the networks that follow, if they take as long as those so far and this one, `own`."""
        return (self.left - 1) * float(np.mean([*self.seconds, own]))


class _Speaker:
    """Lines about one network, for `progress`."""

    def __init__(self, progress, name, pace=None):
        self.progress, self.name, self.pace, self.start = progress, name, pace, time.perf_counter()

    def __call__(self, text, *, last):
        if self.progress is not None:
            self.progress(f"{self.name}: {text}", last)

    def images(self, done, total):
        from tqdm import tqdm

        elapsed = time.perf_counter() - self.start
        rest = elapsed * (total / done - 1) + self.pace.rest(elapsed * total / done) if self.pace.left > 1 else 0
        words = f"; all networks: about {duration(rest)} left" if rest else ""
        self(tqdm.format_meter(done, total, elapsed, unit="image", ascii=True) + words, last=False)

    def done(self, taken, elapsed, own):
        n = len(taken.labels) + len(taken.skipped)
        how = "from the cache" if taken.cached else f"in {duration(elapsed)}, {n / max(1e-9, elapsed):.0f} a second"
        self(f"{n} images {how}" + (f"; score {own.score:.4g}" if own else ""), last=True)
