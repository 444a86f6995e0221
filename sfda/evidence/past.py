"""Which published record knows networks, by the names under which they are loaded."""

import pandas as pd

from sfda.evidence import published
from sfda.evidence.record import Record
from sfda.files import NeedsRepository

# How a record's networks are called where they are loaded. The accuracies behind the paper's three tables come from
# one protocol, so that their tasks are the same; what this project measured is apart.
_LOADED_AS = {
    "supervised": "torchvision:{}:IMAGENET1K_V1", "self-supervised": "self-supervised:{}",
    "transformers": "transformer:{}", "pocket": "pocket:{}", "real": "{}",
}  # fmt: skip
_APART = ("pocket", "real")
_TIMM = "timm:{}"


def key_of(name):
    """The name under which a published record may know a network.

    An entry of a manifest goes by its own name, and timm's copies of torchvision's weights by torchvision's.
    """
    entry = name.rpartition(".json:")[2]
    if entry.startswith("timm:") and entry.endswith(".tv_in1k"):
        return _LOADED_AS["supervised"].format(entry[len("timm:") : -len(".tv_in1k")])
    return entry


def published_for(names):
    """The published results of networks, and of those that were fine-tuned with them.

    Parameters
    ----------
    names : iterable of str
        As :func:`sfda.networks.backbones.load` takes them, with their weights where there are several
        (:func:`sfda.networks.backbones.full_name`).

    Returns
    -------
    Record or None
        None where no record knows one of them. Its networks are called as :func:`key_of` does, or as in `names`. The
        accuracies are those of the records "supervised", "self-supervised", "transformers", "pocket" and "real" that
        know some of them, on tasks by name; and, as one more task, ``imagenet_top1``: top-1 accuracy as torchvision
        documents it, and of timm's networks the column ``imagenet_top1`` of ``timm_imagenet``.

    Notes
    -----
    What this project measured, "pocket" and "real", needs the repository; an installed package does without.
    """
    names = list(names)
    wanted, tables, scores = {key_of(name) for name in names}, [], {}
    for name, pattern in _LOADED_AS.items():
        try:
            record = Record.published(name)
        except NeedsRepository:  # of what this project measured
            continue
        called = {network: pattern.format(network) for network in record.accuracies.index}
        if wanted.isdisjoint(called.values()):
            continue
        prefix = f"{name} " if name in _APART else ""
        tables.append(record.accuracies.rename(index=called).add_prefix(prefix))
        for metric, table in record.scores.items():
            scores.setdefault(metric, []).append(table.rename(index=called).add_prefix(prefix))
    known = {network for table in tables for network in table.index}
    imagenet = _imagenet()
    # Copies of torchvision's weights that these tables do not know have timm's own number.
    wanted |= {name for name in names if key_of(name) not in known}
    # Where it is the only task, all of timm says how far apart networks are.
    if tables or wanted.isdisjoint(imagenet.index):
        imagenet = imagenet[imagenet.index.isin(known | wanted)]
    if len(imagenet) > 1:
        tables.append(imagenet.to_frame("imagenet_top1"))
    if not tables:
        return None
    return Record(_joined(tables), {metric: _joined(each) for metric, each in scores.items()})


def _joined(tables):
    """One table of several: each cell from the first that has it."""
    joined = tables[0]
    for table in tables[1:]:
        joined = joined.combine_first(table)
    return joined


def _imagenet():
    """Top-1 accuracies as shares of 1, by the names of torchvision and timm."""
    of_timm = published.record("imagenet")[0]["imagenet_top1"].rename(_TIMM.format)
    of_torchvision = published.table("imagenet_top1").set_index("model")["imagenet_top1"] / 100
    of_torchvision = of_torchvision.rename(_LOADED_AS["supervised"].format)
    return pd.concat([of_torchvision, of_timm])
