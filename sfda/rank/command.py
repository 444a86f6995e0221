"""The command ``python -m sfda rank``."""

import argparse
import json
import sys
import time
from pathlib import Path

from sfda.evidence.command import observed_once, result
from sfda.files import FEATURES, replacing, say

RANK = """\
Rank pre-trained networks for labelled images without fine-tuning any: one
forward pass of each network, one score, and how sure it is.

Features are kept in a cache. A run that was stopped, in whatever way, goes on
with the same command; only the network that was at work is done again."""
RANK_MORE = """\
examples:
  python -m sfda rank photographs --zoo supervised
  python -m sfda rank photographs --models timm:resnet50.a1_in1k \\
      torchvision:densenet121 --per-class 50 --figure ranking.png --json all.json
  python -m sfda rank pets --download --models weights/manifest.json \\
      --side 160 --metric "left-out probability" --metric LEEP

how to read the table:
  score            larger is better; comparable on the same images only
  95 % interval    how far the score would move with other images like these
  tied with first  yes: on these images its lag behind the first may be chance
  saturated        yes: the score is at its maximum and tells no networks apart
                   (the column is left out where all are "no")
  pixels           height of the images, and of the network's own where another
                   (said above the table where it is the same for all)
  features         numbers a network makes of an image; parameters: its size
  forward          seconds of the forward pass, or "cached"; scoring: seconds of
                   the score and its interval

folders (what is left out is counted by reason below the table):
  cat/1.jpg, cat/young/2.jpg    classes; any file that Pillow opens is an image
  train/cat/1.jpg, test/cat/..  parts, as are Training_set, val2017, dev, eval
  photos/all/cat/1.jpg          as from all: a folder alone is no choice
  test/3.jpg beside train/cat/  left out: images without classes
  cat/train/1.jpg, fold/cat/..  refused, as is train beside cat: part or class?
  .git, __MACOSX, cat/clip.mp4  left out, as are links to folders in a class

The intervals do not say how well the score forecasts fine-tuning; the last
lines of the output do, as far as this project has measured it.

exit codes:
  0    all networks are ranked
  2    nothing could be done, or some networks failed: one line says why
  130  stopped by Ctrl-C

files:
  features in ~/.cache/sfda/features (--cache), data sets in $SFDA_IMAGES or
  ~/.cache/sfda/images, weights in torch.hub's folder (--weights). All of them
  may be deleted."""
SUFFIXES = (".png", ".svg", ".pdf")


def add_parser(commands):
    """Add the subparser; its parsed result has its function as ``run``."""
    # fmt: off
    parser = commands.add_parser("rank", help="rank networks for your images", description=RANK, epilog=RANK_MORE,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(run=_rank)
    parser.add_argument("images", metavar="IMAGES",
                        help="a folder with one subfolder a class (or train/CLASS, val/CLASS, test/CLASS), an "
                        ".npz archive of encoded images, a data set of Hugging Face (parquet, or a folder of its "
                        "save_to_disk), or the name of one of the paper's data sets")
    add = parser.add_argument_group("networks (at least one of the first two)").add_argument
    add("--models", nargs="+", metavar="NAME", default=[],
        help="torchvision:NAME[:WEIGHTS], timm:NAME, self-supervised:NAME, transformer:NAME, pocket:NAME, "
        "MANIFEST.json[:NAME] (alone: all in it); torchvision:NAME=FILE and timm:NAME=FILE are weights of your own")
    add("--zoo", choices=["supervised", "self-supervised", "transformers", "pocket"],
        help="a whole zoo: supervised or self-supervised, the paper's 11 and 12 networks; transformers, ten of them; "
        "or pocket, the 33 small ones of the pocket benchmark")
    add("--weights", type=Path, metavar="FOLDER",
        help="where weights lie, or are downloaded to; default: torch.hub's folder")
    add = parser.add_argument_group("score").add_argument
    add("--metric", action="append", metavar="NAME",
        help="any of sfda.METRICS, such as SFDA or LogME, or LEEP, NCE, ETran or NCTI (a wrong name lists them all); "
        "several times: the first decides the order; default: left-out probability")
    add("--side", type=_whole(1), metavar="N",
        help="images of N x N pixels, best those of the fine-tuning to come: the order may depend on it; default: "
        "each network's own size")
    add("--part", choices=["train", "all"], default="train",
        help="train leaves the test part out; all takes it too, as the paper's public code does; default: train")
    add("--per-class", type=_whole(1), metavar="N", help="at most N images of each class, the same for all networks")
    add("--seed", type=_whole(0), default=0, metavar="N",
        help="of that choice, of the shuffle and of the intervals; default: 0")
    add("--shuffle", action="store_true",
        help="deal the labels to the images at random: scores that are high all the same cannot be trusted")
    add("--skip-unreadable", action="store_true", help="leave out images that cannot be read, instead of stopping")
    add("--download", action="store_true", help="fetch the data set, if it is one of the paper's and not there")
    add = parser.add_argument_group("past results of the networks").add_argument
    add("--record", default="published", metavar="FILE",
        help="a CSV file of past fine-tunings, as `python -m sfda record add` makes it; published (default): what is "
        "published, or was measured by this project, of networks that are known by their names; one record of these, "
        "as real or supervised (`python -m sfda record show` lists them); none")
    add("--observed", action="extend", nargs="+", type=result, default=[], metavar="NAME=ACCURACY",
        help="networks that have been fine-tuned on these images, and their accuracies, from 0 to 1")
    add = parser.add_argument_group("forward pass").add_argument
    add("--cache", type=Path, metavar="FOLDER", help="of features; default: ~/.cache/sfda/features")
    add("--no-cache", action="store_true", help="keep no features")
    add("--half", action="store_true", help="keep features in 16 bits: half the disk")
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    add("--batch", type=_whole(1), metavar="N",
        help="images at a time, fewer where memory does not suffice; default: on a CPU what is fastest for the first "
        "images, else 64")
    add("--workers", type=_whole(0), metavar="N",
        help="processes that read images; default: none on the CPU, else up to 8")
    add = parser.add_argument_group("output, beside the table on the screen").add_argument
    add("--csv", type=Path, metavar="FILE", help="the table")
    add("--json", type=Path, metavar="FILE", help="everything, with options and versions")
    add("--figure", type=Path, metavar="FILE", help="scores and intervals: .png, .svg or .pdf")
    # fmt: on


def _whole(least):
    """A type of arguments: whole numbers from `least`."""

    def convert(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got {text}")
        return int(text)

    return convert


def _rank(options):
    """Rank, print and write; the exit code."""
    from sfda.rank import run
    from sfda.rank.result import named_metrics
    from sfda.rivals.catalogue import METRIC

    # What can be wrong without a look at images or networks is said before torch is there.
    _check_files(options)
    if not options.models and not options.zoo:
        raise ValueError("name some networks with --models, or a zoo with --zoo")
    metrics = named_metrics(options.metric or METRIC, ("features", "source probabilities", "zoo"))
    observed = observed_once(options.observed)

    from sfda.images import official
    from sfda.networks import checkpoints

    networks = [*options.models, *(checkpoints.ZOOS[options.zoo] if options.zoo else ())]
    run.named_networks(networks)  # before a look at the images
    images = official.load_images(options.images, download=options.download)
    progress = _Progress()
    try:
        found = run.rank(
            networks, images, metric=metrics, part=options.part, per_class=options.per_class,
            shuffle=options.shuffle, seed=options.seed, side=options.side, weights=options.weights,
            cache=None if options.no_cache else options.cache or FEATURES,
            dtype="float16" if options.half else "float32", device=options.device, batch=options.batch or "auto",
            workers="auto" if options.workers is None else options.workers,
            skip_unreadable=options.skip_unreadable, record=options.record, observed=observed,
            progress=progress,
        )  # fmt: skip
    except KeyboardInterrupt:
        if not options.no_cache:
            raise
        progress.close()
        print("stopped; with --no-cache nothing was kept", file=sys.stderr)
        return 130
    finally:
        progress.close()
    say(str(found))
    _write(found, options)
    return 2 if found.failures else 0


def _check_files(options):
    """Raise what would keep the results from being written."""
    for option, path in (("--csv", options.csv), ("--json", options.json), ("--figure", options.figure)):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{option}: there is no folder {path.parent}; make it first")
        if path is not None and path.is_dir():
            raise ValueError(f"{option}: {path} is a folder; name a file in it")
    if options.figure is not None and options.figure.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--figure: expected a name with {', '.join(SUFFIXES)}, got {options.figure}")


def _write(found, options):
    """The files that were asked for, each whole or not at all."""
    import pandas as pd

    if options.csv:
        tables = {found.metric: found.table} | found.others
        whole = pd.concat(tables, names=["metric"]).reset_index(level=0) if found.others else found.table
        if found.outlook:
            own = found.outlook.table.drop(columns="score").rename(columns={"low": "both_low", "high": "both_high"})
            whole = whole.merge(own, on="network", how="left")
        with replacing(options.csv) as part:
            whole.to_csv(part, index=False)
    if options.json:
        text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        with replacing(options.json) as part:
            # Names of files may be no text; their odd bytes become escapes, which JSON has, too.
            part.write_text(text + "\n", "utf-8", "backslashreplace")
    if options.figure:
        with replacing(options.figure) as part:
            _draw(found, part, options.figure.suffix[1:].lower())


def _draw(found, path, kind):
    import textwrap

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from sfda import plots
    from sfda.rank.report import finding

    plots.use_style()
    tables = {found.metric: found.table} | found.others
    heights = [1.4 + 0.28 * len(table) for table in tables.values()]
    fig, axes = plt.subplots(len(tables), figsize=(8, sum(heights)), height_ratios=heights, squeeze=False)
    for ax, (metric, table) in zip(axes.flat, tables.items()):
        label = f"{metric} with 95 % interval, {found.n} images of {len(found.classes)} classes"
        plots.ranked(table, ax=ax, xlabel=label, title=textwrap.fill(finding(table), 64))
    fig.savefig(path, format=kind)
    plt.close(fig)


class _Progress:
    """Progress on stderr: on a terminal in one line that changes, elsewhere in few lines."""

    def __init__(self):
        from tqdm import tqdm

        self.line = tqdm(file=sys.stderr, disable=None, leave=False, bar_format="{desc}", dynamic_ncols=True)
        self.close, self.last = self.line.close, time.monotonic()

    def __call__(self, text, last):
        if not last and not self.line.disable:
            self.line.set_description_str(text)
        elif last or time.monotonic() - self.last > 30:
            self.line.write(text, file=sys.stderr)
            self.last = time.monotonic()
