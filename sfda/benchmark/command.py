"""The commands of the benchmarks: ``pretrain``, ``benchmark``, ``score``, ``ablate``, ``select``."""

from pathlib import Path

from sfda.files import CACHE, FEATURES, data_folder, say


def add_parsers(commands):
    """Add one subparser a command; each parsed result has its function as ``run``."""
    parser = _parser(
        commands, "benchmark", _benchmark, "fine-tune networks on tasks, cell by cell",
        "Fine-tune networks on tasks: one cell a network, task and seed. Each is written as it ends; a run that was "
        "stopped goes on where it ended, and cells that stand in the tables are not measured again.",
        grid=True,
    )  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="default: the grid's own, 0 1 of the pocket")
    parser.add_argument("--cells", type=Path, metavar="FOLDER",
                        help="of the cells' files; default: ~/.cache/sfda/cells")  # fmt: skip
    parser.add_argument("--again", action="store_true",
                        help="measure also what stands in the tables, leave these alone and compare; needs --cells, "
                        "a folder of its own")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes side by side; default: 1")
    parser.add_argument("--scheduler", metavar="ADDRESS",
                        help="measure on the workers of this Dask scheduler, for example tcp://10.0.0.1:8786, which "
                        "must see the same folders")  # fmt: skip
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
    paper.add_argument("--group", choices=["supervised", "self_supervised", "vit"],
                       help="networks of one of the paper's tables")  # fmt: skip
    paper.add_argument("--cache", type=Path, metavar="FOLDER",
                       help="of the features; default: ~/.cache/sfda/features")  # fmt: skip
    paper.add_argument("--download", action="store_true", help="fetch data sets that are missing")
    paper.add_argument("--limit", type=int, metavar="N", help="at most N images a class: a quick look")
    paper.add_argument("--batch", type=int, default=64, metavar="N", help="default: 64")
    paper.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read images; default: 0")

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
    pocket = options.grid == "pocket"
    place = options.cells or Path(CACHE).expanduser() / ("cells" if pocket else f"cells of {folder.resolve().name}")
    try:
        if not options.collect:
            cells.run(
                names, task_names, seeds, cells=place, tables=None if options.again else folder,
                images=options.images, weights=options.weights, untrained=options.untrained, device=options.device,
                jobs=options.jobs, scheduler=options.scheduler, progress=say, grid=grid,
            )  # fmt: skip
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
    return 0


def _score(options):
    from sfda.benchmark import scores

    grid, folder = _grid(options)
    if options.grid == "paper":
        return _score_paper(options, grid, folder)
    scores.score_zoo(
        options.models or list(grid.networks), options.tasks or list(grid.tasks), metrics=options.metrics,
        table=folder / ("untrained_scores.csv" if options.untrained else "scores.csv"), images=options.images,
        weights=options.weights, untrained=options.untrained, device=options.device, progress=say, grid=grid,
    )  # fmt: skip
    return 0


def _score_paper(options, grid, folder):
    from sfda.benchmark import paper

    names = options.models or list(paper.NETWORKS[options.group] if options.group else grid.networks)
    scores = paper.score(
        names, options.tasks or list(grid.tasks), metrics=options.metrics or paper.METRICS, folder=folder,
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
