"""The commands of the benchmarks: ``pretrain``, ``benchmark``, ``score``, ``paper``, ``ablate``, ``select``."""

import signal
from pathlib import Path

from sfda.files import CACHE, FEATURES, data_folder, say


def add_parsers(commands):
    """Add one subparser a command; each parsed result has its function as ``run``."""
    parser = _parser(
        commands, "benchmark", _benchmark, "fine-tune networks on tasks, cell by cell",
        "Fine-tune networks on tasks: one cell a network, task and seed, for which a grid of learning rates and weight "
        "decays is tried, setting by setting. What each gives is written as it ends, and every few minutes how far it "
        "is: a run that was stopped or killed goes on where it ended. SIGTERM makes it write that down and leave. "
        "Cells that stand in the tables are not measured again.",
        grid=True,
    )  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="default: the grid's own, 0 1 of the pocket")
    parser.add_argument("--cells", type=Path, metavar="FOLDER",
                        help="of the cells' files; default: ~/.cache/sfda/cells")  # fmt: skip
    parser.add_argument("--again", action="store_true",
                        help="measure also what stands in the tables, leave these alone and compare; needs --cells, "
                        "a folder of its own")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="processes side by side, each at one setting; default: 1")  # fmt: skip
    parser.add_argument("--scheduler", metavar="ADDRESS",
                        help="do the settings on the workers of this Dask scheduler, for example "
                        "tcp://10.0.0.1:8786, which must see the same folders")  # fmt: skip
    parser.add_argument("--collect", action="store_true",
                        help="measure nothing, only bring the cells into the tables")  # fmt: skip
    parser.add_argument("--record", type=Path, metavar="FILE",
                        help="also add the tables' accuracies of these networks and tasks, and scores where there are "
                        "some, to this record of past fine-tunings (python -m sfda record)")  # fmt: skip

    parser = _parser(
        commands, "score", _score, "compute every metric of every network and task",
        "Compute the metrics from the features of the training images and add them to scores.csv; of the twins, to "
        "untrained_scores.csv. What is there is not computed again. Of the paper's data sets all images are scored, as "
        "the paper does, and the weighted tau with the published accuracies is printed beside the published one.",
        grid=True,
    )  # fmt: skip
    parser.add_argument("--metrics", nargs="+", metavar="METRIC",
                        help="names; by default all, of the paper's grid the fast ones")  # fmt: skip
    paper = parser.add_argument_group("of the paper's grid only")
    _add_group(paper)
    paper.add_argument("--cache", type=Path, metavar="FOLDER",
                       help="of the features; default: ~/.cache/sfda/features")  # fmt: skip
    paper.add_argument("--download", action="store_true", help="fetch data sets that are missing")
    paper.add_argument("--limit", type=int, metavar="N", help="at most N images a class: a quick look")
    paper.add_argument("--batch", type=int, default=64, metavar="N", help="default: 64")
    paper.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read images; default: 0")

    parser = commands.add_parser(
        "paper", help="the paper's experiment: check what is there, fetch what can be fetched, compare",
        description="What the paper's experiment needs, 33 networks and eleven data sets, and what came out. `score "
        "paper` and `benchmark paper` run it.",
    )  # fmt: skip
    steps = parser.add_subparsers(dest="step", required=True)
    check = steps.add_parser(
        "check", help="say what is there, what is missing, and what comes next",
        description="Say on one screen which images, weights, scores and fine-tunings are there, which are missing and "
        "how to get them, and which command comes next. Exit status 0 if all images and weights are there, 1 if not.",
    )  # fmt: skip
    check.add_argument("--tables", type=Path, default="paper", metavar="FOLDER", help="default: ./paper")
    check.add_argument("--cells", type=Path, metavar="FOLDER", help="as of benchmark paper")
    fetch = steps.add_parser(
        "fetch", help="download the images and the weights that can be downloaded",
        description="Download the data sets and the weights that are missing, as far as they can be downloaded. What "
        "fails is told, and the others are fetched all the same. Exit status 0 if nothing failed and nothing is cut "
        "off, 1 if not.",
    )  # fmt: skip
    compare = steps.add_parser(
        "compare", help="put the scores that are there beside the published numbers, and beside your own fine-tuning",
        description="Print the weighted tau of the scores in the tables with the published accuracies, beside the "
        "published tau; and, where networks have been fine-tuned, with your own accuracies.",
    )  # fmt: skip
    compare.add_argument("--tables", type=Path, default="paper", metavar="FOLDER", help="default: ./paper")
    for each, run in ((check, _check), (fetch, _fetch), (compare, _compare)):
        each.set_defaults(run=run)
        each.add_argument("--models", nargs="+", metavar="NAME", help="names; all by default")
        _add_group(each)
        each.add_argument("--tasks", nargs="+", metavar="TASK", help="names of data sets; all by default")
    for each in (check, fetch):
        each.add_argument("--images", type=Path, metavar="FOLDER", help="of the images; default: $SFDA_IMAGES")
        each.add_argument("--weights", type=Path, metavar="FOLDER",
                          help="of the networks' weights; default: torch.hub's folder")  # fmt: skip

    _parser(
        commands, "ablate", _ablate, "compute SFDA with one part changed at a time",
        "Compute the variants of the SFDA score, also on fewer and on more images, and add them to ablations.csv. What "
        "is there is not computed again.",
    )  # fmt: skip
    _parser(
        commands, "select", _select, "choose ensembles by every method, and try all ensembles",
        "Choose up to five of the 33 networks, and of each group, by every method from the features of the training "
        "images, and add the choices to ensembles.csv; and from the predictions find the best ensembles and what "
        "random ones reach, for ensemble_limits.csv. What is there is not computed again.",
        models=False,
    )  # fmt: skip
    parser = _parser(
        commands, "pretrain", _pretrain, "make networks of the pocket zoo from nothing",
        "Pre-train networks of the pocket zoo on drawn images. One whose weights are already in the folder is passed "
        "over.",
        tasks=False,
    )  # fmt: skip
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="where to write; default: data/pocket/weights")
    parser.add_argument("--epochs", type=int, metavar="N", help="default: as the zoo was made")


def _add_group(parser):
    once = {"self_supervised": "self-supervised", "vit": "transformers"}  # as the published files call them
    parser.add_argument(
        "--group", choices=["supervised", "self-supervised", "transformers"], type=lambda name: once.get(name, name),
        help="networks of one of the paper's tables",
    )  # fmt: skip


def _parser(commands, name, run, help, description, *, grid=False, models=True, tasks=True):
    """A subparser with the options that commands share; those of a grid may be another one than the pocket's."""
    parser = commands.add_parser(name, help=help, description=description)
    parser.set_defaults(run=run)
    if grid:
        parser.add_argument("grid", nargs="?", default="pocket", metavar="GRID",
                            help="pocket (default), paper, or a TOML file of networks and tasks, as "
                            "data/real/grid.toml")  # fmt: skip
    if models:
        parser.add_argument("--models", nargs="+", metavar="NAME", help="names; all by default")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    if not tasks:
        return parser
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="names; all by default")
    if grid:
        parser.add_argument("--untrained", action="store_true",
                            help="the twins of the pocket zoo, before pre-training")  # fmt: skip
    others = ", of a file its own folder, of the paper ./paper" if grid else ""
    parser.add_argument("--tables", type=Path, metavar="FOLDER", help=f"of the tables; default: data/pocket{others}")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="of the real images; default: $SFDA_IMAGES")
    parser.add_argument("--weights", type=Path, metavar="FOLDER",
                        help="of the networks' weights; default of the pocket: data/pocket/weights")  # fmt: skip
    return parser


def _grid(options):
    """The grid by its name, and the folder of its tables."""
    from sfda.benchmark import grids

    if options.grid == "pocket":
        return grids.POCKET, options.tables or data_folder("pocket")
    if options.grid == "paper":
        from sfda.benchmark import paper

        return paper.GRID, options.tables or Path("paper")
    return grids.read(options.grid, weights=options.weights), options.tables or Path(options.grid).parent


def _benchmark(options):
    from sfda.benchmark import cells, tables
    from sfda.benchmark.resuming import Stopped
    from sfda.evidence.past import key_of
    from sfda.evidence.runs import check_runs
    from sfda.networks.backbones import full_name

    grid, folder = _grid(options)
    if options.again and not options.cells:
        raise ValueError("--again needs --cells, an empty folder: in the usual one they are done")
    if options.record and (options.again or options.untrained):
        raise ValueError("--record takes what is new and pre-trained: neither --again nor --untrained")
    names, task_names = options.models or list(grid.networks), options.tasks or list(grid.tasks)
    seeds = options.seeds or list(grid.seeds)
    called = {}
    if options.record:
        for name in names:
            grid.check(name, *task_names)
        called = {name: key_of(full_name(grid.networks[name])) for name in names}
        check_runs(options.record)  # before hours of work
    pocket, stopped = options.grid == "pocket", False
    place = options.cells or _cells_of(folder, pocket)
    try:
        if not options.collect:
            cells.run(
                names, task_names, seeds, cells=place, tables=None if options.again else folder,
                images=options.images, weights=options.weights, untrained=options.untrained, device=options.device,
                jobs=options.jobs, scheduler=options.scheduler, progress=say, grid=grid,
            )  # fmt: skip
    except Stopped:
        stopped = True
    finally:
        # Also what was measured before a run was stopped.
        if options.again:
            say(tables.compare_cells(place, folder).to_string(index=False))
        else:
            for name, rows in tables.collect(place, folder, options.images, predictions=pocket).items():
                say(f"{folder / name}.csv: {rows} rows")
            if options.record and (folder / "accuracy.csv").exists():
                added, rows = tables.add_to_record(options.record, folder, called, task_names, seeds)
                say(f"{options.record}: {added} results added, {rows} in all")
    if stopped:
        say("stopped; the same command goes on from what is written down")
    return 128 + signal.SIGTERM if stopped else 0


def _cells_of(folder, pocket=False):
    """Where cells are by default."""
    return Path(CACHE).expanduser() / ("cells" if pocket else f"cells of {folder.resolve().name}")


def _check(options):
    from sfda.benchmark import paper_check

    names, task_names = _corner(options)
    found = paper_check.inventory(
        names, task_names, images=options.images, weights=options.weights, tables=options.tables,
        cells=options.cells or _cells_of(options.tables),
    )  # fmt: skip
    if not options.cells:
        found.options.pop("cells", None)
    say(str(found))
    return 0 if found.complete else 1


def _fetch(options):
    from sfda.benchmark import paper_check

    failed = paper_check.fetch_missing(*_corner(options), images=options.images, weights=options.weights, progress=say)
    return 1 if failed else 0


def _compare(options):
    from sfda.benchmark import paper
    from sfda.files import read_table

    names, task_names = _corner(options)
    for name in names:
        paper.GRID.check(name, *task_names)
    found, own = options.tables / "scores.csv", options.tables / "accuracy.csv"
    if not found.exists():
        raise FileNotFoundError(f"{found} is missing: python -m sfda score paper writes it")
    scores = read_table(found, paper.COLUMNS)
    scores = scores[scores["model"].isin(names) & scores["task"].isin(task_names)]
    accuracies = read_table(own, ["model", "task", "accuracy"]) if own.exists() else None
    say(paper.compare(scores, accuracies).round(3).to_string(index=False))
    return 0


def _corner(options):
    """Networks and data sets of the paper that are asked for."""
    from sfda.benchmark import paper

    if options.models and options.group:
        raise ValueError("--models and --group: name the networks by one of them")
    names = options.models or list(paper.NETWORKS[options.group] if options.group else paper.GRID.networks)
    return names, options.tasks or list(paper.GRID.tasks)


def _score(options):
    from sfda.benchmark import scores

    grid, folder = _grid(options)
    if options.grid == "paper":
        return _score_paper(options, folder)
    scores.score_zoo(
        options.models or list(grid.networks), options.tasks or list(grid.tasks), metrics=options.metrics,
        table=folder / ("untrained_scores.csv" if options.untrained else "scores.csv"), images=options.images,
        weights=options.weights, untrained=options.untrained, device=options.device, progress=say, grid=grid,
    )  # fmt: skip
    return 0


def _score_paper(options, folder):
    from sfda.benchmark import paper

    names, task_names = _corner(options)
    scores = paper.score(
        names, task_names, metrics=options.metrics or paper.METRICS, folder=folder,
        images=options.images, weights=options.weights, cache=options.cache or FEATURES,
        download=options.download, limit=options.limit, device=options.device, batch=options.batch,
        workers=options.workers, progress=say,
    )  # fmt: skip
    say(paper.compare(scores).round(3).to_string(index=False))
    if options.limit:
        say(f"at most {options.limit} images a class: not what the published tau was computed on")
    return 0


def _ablate(options):
    from sfda.benchmark import ablation, grids

    grid, folder = grids.POCKET, options.tables or data_folder("pocket")
    ablation.ablate_zoo(
        options.models or list(grid.networks), options.tasks or list(grid.tasks), table=folder / "ablations.csv",
        images=options.images, weights=options.weights, device=options.device, progress=say,
    )  # fmt: skip
    return 0


def _select(options):
    from sfda.benchmark import grids, selections
    from sfda.evidence import ensembles

    names, folder = options.tasks or list(grids.POCKET.tasks), options.tables or data_folder("pocket")
    selections.select_zoo(
        names, table=folder / "ensembles.csv", images=options.images, weights=options.weights,
        device=options.device, progress=say,
    )  # fmt: skip
    ensembles.write_limits(
        names, selections.pools(), table=folder / "ensemble_limits.csv", folder=folder, progress=say,
    )  # fmt: skip
    return 0


def _pretrain(options):
    from sfda.benchmark.tables import facts
    from sfda.networks import device, pocket
    from sfda.networks.pretraining import recipe

    names = options.models or list(pocket.POCKET)
    for name in names:
        pocket.find(name)
    folder = options.weights or data_folder("pocket/weights")
    extra = {} if options.epochs is None else {"epochs": options.epochs}
    for name in names:
        if (folder / f"{name}.json").exists():
            continue
        record = recipe.make(
            name, folder, device=device.resolve_device(options.device),
            progress=lambda line, name=name: say(f"{name}: {line}"), **extra,
        )  # fmt: skip
        say(f"{name}: {record['seconds']:.0f} s")
        facts(folder, folder.parent)
    return 0
