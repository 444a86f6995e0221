"""The command line: ``python -m sfda pretrain``, ``benchmark``, ``score``, ``ablate``, ``select``."""

import argparse
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "data" / "pocket"


def build_parser():
    """The parser, with one subparser a command."""
    parser = argparse.ArgumentParser(
        prog="python -m sfda", description="The pocket benchmark of the SFDA companion."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    benchmark = commands.add_parser(
        "benchmark",
        help="fine-tune networks on tasks, cell by cell",
        description="Fine-tune networks of the pocket zoo on tasks: one cell a network, task and "
        "seed. Each is written as it ends; a run that was stopped goes on where it ended, and "
        "cells that stand in the tables are not measured again.",
    )
    _add_common(benchmark)
    _add_tasks(benchmark)
    benchmark.add_argument("--seeds", nargs="+", type=int, default=[0, 1], metavar="N",
                           help="default: 0 1")  # fmt: skip
    benchmark.add_argument("--cells", type=Path, metavar="FOLDER",
                           help="of the cells' files; default: ~/.cache/sfda/cells")  # fmt: skip
    benchmark.add_argument("--again", action="store_true",
                           help="measure also what stands in the tables, leave these alone and "
                           "compare; needs --cells, a folder of its own")  # fmt: skip
    benchmark.add_argument("--jobs", type=int, default=1, metavar="N",
                           help="processes side by side; default: 1")  # fmt: skip
    benchmark.add_argument("--collect", action="store_true",
                           help="measure nothing, only bring the cells into the tables")  # fmt: skip

    score = commands.add_parser(
        "score",
        help="compute every metric of every network and task",
        description="Compute the metrics from the features of the training images and add them "
        "to scores.csv; of the twins, to untrained_scores.csv. What is there is not computed again.",
    )
    _add_common(score)
    _add_tasks(score)
    score.add_argument("--metrics", nargs="+", metavar="METRIC", help="names; all by default")

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


def _add_common(parser, models=True):
    if models:
        parser.add_argument("--models", nargs="+", metavar="NAME", help="names; all 33 by default")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")


def _add_tasks(parser, twins=True):
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="names; all by default")
    if twins:
        parser.add_argument("--untrained", action="store_true",
                            help="the networks' twins, before pre-training")  # fmt: skip
    parser.add_argument("--tables", type=Path, metavar="FOLDER", default=FOLDER,
                        help="of the tables; default: data/pocket")  # fmt: skip
    parser.add_argument("--images", type=Path, metavar="FOLDER",
                        help="of the real images; default: $SFDA_IMAGES")  # fmt: skip
    parser.add_argument("--weights", type=Path, metavar="FOLDER",
                        help="default: data/pocket/weights")  # fmt: skip


def main(arguments=None):
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print("stopped; what was finished is kept, and the same command goes on", file=sys.stderr)
        return 130
    except (ValueError, FileNotFoundError, ImportError, RuntimeError) as error:
        print(f"python -m sfda: {error}", file=sys.stderr)
        return 2


def _benchmark(options):
    from sfda import benchmark, models, tasks

    if options.again and not options.cells:
        raise ValueError("--again needs --cells, an empty folder: in the usual one they are done")
    cells = options.cells or Path.home() / ".cache" / "sfda" / "cells"
    try:
        if not options.collect:
            benchmark.run(
                options.models or list(models.POCKET), options.tasks or list(tasks.TASKS),
                options.seeds, cells=cells,
                tables=None if options.again else options.tables, images=options.images,
                weights=options.weights, untrained=options.untrained, device=options.device,
                jobs=options.jobs, progress=_say,
            )  # fmt: skip
    finally:
        # Also what was measured before a run was stopped.
        if options.again:
            _say(benchmark.compare(cells, options.tables).to_string(index=False))
        else:
            for name, rows in benchmark.collect(cells, options.tables, options.images).items():
                _say(f"{options.tables / name}.csv: {rows} rows")
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
    from sfda import models, scoring, tasks

    name = "untrained_scores.csv" if options.untrained else "scores.csv"
    scoring.score_zoo(
        options.models or list(models.POCKET), options.tasks or list(tasks.TASKS),
        metrics=options.metrics, table=options.tables / name, images=options.images,
        weights=options.weights, untrained=options.untrained, device=options.device, progress=_say,
    )  # fmt: skip
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


def _say(line):
    print(line, flush=True)


_COMMANDS = {"ablate": _ablate, "benchmark": _benchmark, "pretrain": _pretrain, "score": _score,
             "select": _select}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
