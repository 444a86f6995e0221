"""The command line: ``python -m sfda rank``; ``pretrain``, ``benchmark``, ``score``, ``ablate``, ``select``."""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

CACHE = Path.home() / ".cache" / "sfda"
FOLDER = Path(__file__).resolve().parent.parent / "data" / "pocket"


def build_parser():
    """The parser, with one subparser a command."""
    parser = argparse.ArgumentParser(
        prog="python -m sfda", description="Rank networks for your images; and the benchmarks of the SFDA companion."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_rank(commands)

    benchmark = commands.add_parser(
        "benchmark",
        help="fine-tune networks on tasks, cell by cell",
        description="Fine-tune networks on tasks: one cell a network, task and "
        "seed. Each is written as it ends; a run that was stopped goes on where it ended, and "
        "cells that stand in the tables are not measured again.",
    )
    _add_grid(benchmark)
    _add_common(benchmark)
    _add_tasks(benchmark)
    benchmark.add_argument("--seeds", nargs="+", type=int, metavar="N",
                           help="default: the grid's own, 0 1 of the pocket")  # fmt: skip
    benchmark.add_argument("--cells", type=Path, metavar="FOLDER",
                           help="of the cells' files; default: ~/.cache/sfda/cells")  # fmt: skip
    benchmark.add_argument("--again", action="store_true",
                           help="measure also what stands in the tables, leave these alone and "
                           "compare; needs --cells, a folder of its own")  # fmt: skip
    benchmark.add_argument("--jobs", type=int, default=1, metavar="N",
                           help="processes side by side; default: 1")  # fmt: skip
    benchmark.add_argument("--scheduler", metavar="ADDRESS",
                           help="measure on the workers of this Dask scheduler, for example "
                           "tcp://10.0.0.1:8786, which must see the same folders")  # fmt: skip
    benchmark.add_argument("--collect", action="store_true",
                           help="measure nothing, only bring the cells into the tables")  # fmt: skip

    score = commands.add_parser(
        "score",
        help="compute every metric of every network and task",
        description="Compute the metrics from the features of the training images and add them "
        "to scores.csv; of the twins, to untrained_scores.csv. What is there is not computed again. "
        "Of the paper's data sets all images are scored, as the paper does, and the weighted tau with "
        "the published accuracies is printed beside the published one.",
    )
    _add_grid(score)
    _add_common(score)
    _add_tasks(score)
    score.add_argument("--metrics", nargs="+", metavar="METRIC",
                       help="names; by default all, of the paper's grid the fast ones")  # fmt: skip
    paper = score.add_argument_group("of the paper's grid only")
    paper.add_argument("--group", choices=["supervised", "self_supervised", "vit"],
                       help="networks of one of the paper's tables")  # fmt: skip
    paper.add_argument("--cache", type=Path, metavar="FOLDER",
                       help="of the features; default: ~/.cache/sfda/features")  # fmt: skip
    paper.add_argument("--download", action="store_true", help="fetch data sets that are missing")
    paper.add_argument("--limit", type=int, metavar="N", help="at most N images a class: a quick look")
    paper.add_argument("--batch", type=int, default=64, metavar="N", help="default: 64")
    paper.add_argument("--workers", type=int, default=0, metavar="N",
                       help="processes that read images; default: 0")  # fmt: skip

    ablate = commands.add_parser(
        "ablate",
        help="compute SFDA with one part changed at a time",
        description="Compute the variants of the SFDA score, also on fewer and on more images, and "
        "add them to ablations.csv. What is there is not computed again.",
    )
    _add_common(ablate)
    _add_tasks(ablate, twins=False)

    select = commands.add_parser(
        "select",
        help="choose ensembles by every method, and try all ensembles",
        description="Choose up to five of the 33 networks, and of each group, by every method from "
        "the features of the training images, and add the choices to ensembles.csv; and from the "
        "predictions find the best ensembles and what random ones reach, for "
        "ensemble_limits.csv. What is there is not computed again.",
    )
    _add_common(select, models=False)
    _add_tasks(select, twins=False)

    pretrain = commands.add_parser(
        "pretrain",
        help="make networks of the pocket zoo from nothing",
        description="Pre-train networks of the pocket zoo on drawn images. One whose weights are "
        "already in the folder is passed over.",
    )
    _add_common(pretrain)
    pretrain.add_argument("--weights", type=Path, metavar="FOLDER", default=FOLDER / "weights",
                          help="where to write; default: data/pocket/weights")  # fmt: skip
    pretrain.add_argument("--epochs", type=int, metavar="N", help="default: as the zoo was made")
    return parser


def _add_grid(parser):
    parser.add_argument("grid", nargs="?", default="pocket", metavar="GRID",
                        help="pocket (default), paper, or a TOML file of networks and tasks, as "
                        "data/real/grid.toml")  # fmt: skip


def _add_common(parser, models=True):
    if models:
        parser.add_argument("--models", nargs="+", metavar="NAME", help="names; all by default")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")


def _add_tasks(parser, twins=True):
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="names; all by default")
    if twins:
        parser.add_argument("--untrained", action="store_true",
                            help="the twins of the pocket zoo, before pre-training")  # fmt: skip
    parser.add_argument("--tables", type=Path, metavar="FOLDER", default=None if twins else FOLDER,
                        help="of the tables; default: data/pocket"
                        + (", of a file its own folder, of the paper ./paper" if twins else ""))  # fmt: skip
    parser.add_argument("--images", type=Path, metavar="FOLDER",
                        help="of the real images; default: $SFDA_IMAGES")  # fmt: skip
    parser.add_argument("--weights", type=Path, metavar="FOLDER",
                        help="of the networks' weights; default of the pocket: data/pocket/weights")  # fmt: skip


def main(arguments=None):
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print("stopped; what was finished is kept, and the same command goes on", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
        # In one line, whatever names of files and classes are in it.
        print(f"python -m sfda: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _grid(options):
    """The grid by its name, and the folder of its tables."""
    from sfda import grids

    if options.grid == "pocket":
        return grids.POCKET, options.tables or FOLDER
    if options.grid == "paper":
        from sfda import paper

        return paper.GRID, options.tables or Path("paper")
    return grids.read(options.grid, weights=options.weights), options.tables or Path(options.grid).parent


def _benchmark(options):
    from sfda import benchmark, collecting

    grid, tables = _grid(options)
    if options.again and not options.cells:
        raise ValueError("--again needs --cells, an empty folder: in the usual one they are done")
    cells = options.cells or CACHE / ("cells" if options.grid == "pocket" else f"cells of {tables.resolve().name}")
    try:
        if not options.collect:
            benchmark.run(
                options.models or list(grid.networks), options.tasks or list(grid.tasks),
                options.seeds or list(grid.seeds), cells=cells,
                tables=None if options.again else tables, images=options.images,
                weights=options.weights, untrained=options.untrained, device=options.device,
                jobs=options.jobs, scheduler=options.scheduler, progress=_say, grid=grid,
            )  # fmt: skip
    finally:
        # Also what was measured before a run was stopped.
        if options.again:
            _say(collecting.compare_cells(cells, tables).to_string(index=False))
        else:
            kept = options.grid == "pocket"
            counts = collecting.collect(cells, tables, options.images, predictions=kept)
            for name, rows in counts.items():
                _say(f"{tables / name}.csv: {rows} rows")
    return 0


def _pretrain(options):
    from sfda import benchmark, models, pocket

    names = options.models or list(models.POCKET)
    for name in names:
        models.find(name)
    extra = {} if options.epochs is None else {"epochs": options.epochs}
    for name in names:
        if (options.weights / f"{name}.json").exists():
            continue
        record = pocket.make(
            name, options.weights, device=benchmark.resolve_device(options.device),
            progress=lambda line, name=name: _say(f"{name}: {line}"), **extra,
        )  # fmt: skip
        _say(f"{name}: {record['seconds']:.0f} s")
        pocket.facts(options.weights, options.weights.parent)
    return 0


def _score(options):
    from sfda import scoring

    if options.grid == "paper":
        return _score_paper(options)
    grid, tables = _grid(options)
    name = "untrained_scores.csv" if options.untrained else "scores.csv"
    scoring.score_zoo(
        options.models or list(grid.networks), options.tasks or list(grid.tasks),
        metrics=options.metrics, table=tables / name, images=options.images,
        weights=options.weights, untrained=options.untrained, device=options.device, progress=_say,
        grid=grid,
    )  # fmt: skip
    return 0


def _score_paper(options):
    from sfda import paper

    grid, folder = _grid(options)
    names = options.models or list(paper.NETWORKS[options.group] if options.group else grid.networks)
    scores = paper.score(
        names, options.tasks or list(grid.tasks), metrics=options.metrics or paper.METRICS,
        folder=folder, images=options.images, weights=options.weights,
        cache=options.cache or CACHE / "features", download=options.download, limit=options.limit,
        device=options.device, batch=options.batch, workers=options.workers, progress=_say,
    )  # fmt: skip
    _say(paper.compare(scores).round(3).to_string(index=False))
    if options.limit:
        _say(f"at most {options.limit} images a class: not what the published tau was computed on")
    return 0


def _ablate(options):
    from sfda import models, scoring, tasks

    scoring.ablate_zoo(
        options.models or list(models.POCKET), options.tasks or list(tasks.TASKS),
        table=options.tables / "ablations.csv", images=options.images, weights=options.weights,
        device=options.device, progress=_say,
    )  # fmt: skip
    return 0


def _select(options):
    from sfda import ensemble_truth, selecting, tasks

    names = options.tasks or list(tasks.TASKS)
    selecting.select_zoo(
        names, table=options.tables / "ensembles.csv", images=options.images,
        weights=options.weights, device=options.device, progress=_say,
    )  # fmt: skip
    ensemble_truth.write_limits(
        names, selecting.pools(), table=options.tables / "ensemble_limits.csv",
        folder=options.tables, progress=_say,
    )  # fmt: skip
    return 0


def _add_rank(commands):
    parser = commands.add_parser(
        "rank",
        help="rank networks for your images",
        description=RANK, epilog=RANK_MORE, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("images", metavar="IMAGES",
                        help="a folder with one subfolder a class (or train/CLASS, val/CLASS, test/CLASS), an "
                        ".npz archive of encoded images, or the name of one of the paper's data sets")  # fmt: skip
    networks = parser.add_argument_group("networks (at least one of the first two)")
    networks.add_argument("--models", nargs="+", metavar="NAME", default=[],
                          help="torchvision:NAME[:WEIGHTS], timm:NAME, self-supervised:NAME, "
                          "transformer:NAME, pocket:NAME, MANIFEST.json[:NAME] (alone: all in it); "
                          "torchvision:NAME=FILE and timm:NAME=FILE are weights of your own")  # fmt: skip
    networks.add_argument("--zoo", choices=["supervised", "self-supervised", "transformers", "pocket"],
                          help="a whole zoo: the paper's 11 supervised or 12 self-supervised networks, ten "
                          "transformers, or the 33 small ones of the pocket benchmark")  # fmt: skip
    networks.add_argument("--weights", type=Path, metavar="FOLDER",
                          help="where weights lie, or are downloaded to; default: torch.hub's folder")  # fmt: skip
    score = parser.add_argument_group("score")
    score.add_argument("--metric", default="left-out probability", metavar="NAME",
                       help="any of sfda.METRICS, such as SFDA or LogME (a wrong name lists them all); "
                       "default: %(default)s")  # fmt: skip
    score.add_argument("--part", choices=["train", "all"], default="train",
                       help="train leaves the test part out; all takes it too, as the paper's public code "
                       "does; default: train")  # fmt: skip
    score.add_argument("--per-class", type=_whole(1), metavar="N",
                       help="at most N images of each class, the same for all networks")  # fmt: skip
    score.add_argument("--seed", type=_whole(0), default=0, metavar="N",
                       help="of that choice, of the shuffle and of the intervals; default: 0")  # fmt: skip
    score.add_argument("--shuffle", action="store_true",
                       help="deal the labels to the images at random: scores that are high all the same "
                       "cannot be trusted")  # fmt: skip
    score.add_argument("--skip-unreadable", action="store_true",
                       help="leave out images that cannot be read, instead of stopping")  # fmt: skip
    score.add_argument("--download", action="store_true",
                       help="fetch the data set, if it is one of the paper's and not there")  # fmt: skip
    work = parser.add_argument_group("forward pass")
    work.add_argument("--cache", type=Path, metavar="FOLDER",
                      help="of features; default: ~/.cache/sfda/features")  # fmt: skip
    work.add_argument("--no-cache", action="store_true", help="keep no features")
    work.add_argument("--half", action="store_true", help="keep features in 16 bits: half the disk")
    work.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    work.add_argument("--batch", type=_whole(1), default=64, metavar="N",
                      help="images at a time, fewer where memory does not suffice; default: 64")  # fmt: skip
    work.add_argument("--workers", type=_whole(0), metavar="N",
                      help="processes that read images; default: none on the CPU, else up to 8")  # fmt: skip
    output = parser.add_argument_group("output, beside the table on the screen")
    output.add_argument("--csv", type=Path, metavar="FILE", help="the table")
    output.add_argument("--json", type=Path, metavar="FILE", help="everything, with options and versions")
    output.add_argument("--figure", type=Path, metavar="FILE", help="scores and intervals: .png, .svg or .pdf")


RANK = """\
Rank pre-trained networks for labelled images without fine-tuning any: one forward
pass of each network, one score, and how sure it is.

Features are kept in a cache. A run that was stopped, in whatever way, goes on with
the same command; only the network that was at work is done again."""
RANK_MORE = """\
examples:
  python -m sfda rank photographs --zoo supervised
  python -m sfda rank photographs --models timm:resnet50.a1_in1k torchvision:densenet121 \\
      --per-class 50 --figure ranking.png --json ranking.json
  python -m sfda rank pets --download --models weights/manifest.json --metric LogME

how to read the table:
  score            larger is better; comparable on the same images only
  95 % interval    how far the score would move with other images like these
  tied with first  yes: on these images the difference to the first may be chance
  saturated        yes: the score is at its maximum and cannot tell networks apart
                   (the column is left out where all are "no")
  features         numbers a network makes of an image; parameters: its size
  forward          seconds of the forward pass, or "cached"; scoring: of the score
                   and its interval

The intervals do not say how well the score forecasts fine-tuning; the last lines of
the output do, as far as this project has measured it.

exit codes:
  0    all networks are ranked
  2    nothing could be done, or some networks failed: one line says why
  130  stopped by Ctrl-C

files:
  features in ~/.cache/sfda/features (--cache), data sets in $SFDA_IMAGES or
  ~/.cache/sfda/images, weights in torch.hub's folder (--weights). All may be deleted."""
SUFFIXES = (".png", ".svg", ".pdf")


def _whole(least):
    """A type of arguments: whole numbers from `least`."""

    def convert(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got {text}")
        return int(text)

    return convert


def _rank(options):
    from sfda import rank
    from sfda.baselines import find_metric

    # What can be wrong without a look at images or networks is said before torch is there.
    for option, path in (("--csv", options.csv), ("--json", options.json), ("--figure", options.figure)):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{option}: there is no folder {path.parent}; make it first")
        if path is not None and path.is_dir():
            raise ValueError(f"{option}: {path} is a folder; name a file in it")
    if options.figure is not None and options.figure.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--figure: expected a name with {', '.join(SUFFIXES)}, got {options.figure}")
    if not options.models and not options.zoo:
        raise ValueError("name some networks with --models, or a zoo with --zoo")
    find_metric(options.metric)

    from sfda import checkpoints, datasets

    images = datasets.load_images(options.images, download=options.download)
    line = _Line()
    try:
        found = rank.rank(
            [*options.models, *(checkpoints.ZOOS[options.zoo] if options.zoo else ())], images,
            metric=options.metric, part=options.part, per_class=options.per_class,
            shuffle=options.shuffle, seed=options.seed, weights=options.weights,
            cache=None if options.no_cache else options.cache or rank.CACHE,
            dtype="float16" if options.half else "float32", device=options.device, batch=options.batch,
            workers="auto" if options.workers is None else options.workers,
            skip_unreadable=options.skip_unreadable, progress=line,
        )  # fmt: skip
    except KeyboardInterrupt:
        if not options.no_cache:
            raise
        line.clear()
        print("stopped; with --no-cache nothing was kept", file=sys.stderr)
        return 130
    finally:
        line.clear()
    _say(str(found))
    if options.csv:
        _write(options.csv, lambda part: found.table.to_csv(part, index=False))
    if options.json:
        text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        # Names of files may be no text; their odd bytes become escapes, which JSON has, too.
        _write(options.json, lambda part: part.write_text(text + "\n", "utf-8", "backslashreplace"))
    if options.figure:
        _write(options.figure, lambda part: _draw(found, part))
    return 2 if found.failures else 0


def _draw(found, path):
    import textwrap

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from sfda import plots

    plots.use_style()
    fig, ax = plt.subplots(figsize=(8, 1.4 + 0.28 * len(found.table)))
    label = f"{found.metric} with 95 % interval, {found.n} images of {len(found.classes)} classes"
    plots.ranked(found.table, ax=ax, xlabel=label, title=textwrap.fill(found.finding, 64))
    fig.savefig(path)
    plt.close(fig)


def _write(path, write):
    """Whole or not at all: a file beside its place, renamed at the end."""
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Line:
    """Progress on stderr: on a terminal in one line that changes, elsewhere in few lines."""

    def __init__(self):
        self.live, self.shown, self.last = sys.stderr.isatty(), False, time.monotonic()

    def __call__(self, text, last):
        if self.live:
            text = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
            self.shown = not last
        elif last or time.monotonic() - self.last > 30:
            print(text, file=sys.stderr, flush=True)
            self.last = time.monotonic()

    def clear(self):
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self.shown = False


def _say(line):
    encoding = sys.stdout.encoding or "utf-8"  # which may have no such characters
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


_COMMANDS = {"ablate": _ablate, "benchmark": _benchmark, "pretrain": _pretrain, "rank": _rank,
             "score": _score, "select": _select}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
