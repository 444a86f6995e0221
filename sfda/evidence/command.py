"""The command ``python -m sfda record``."""

import argparse
import textwrap
from pathlib import Path

from sfda.files import say

RECORD = """\
Keep what was found when networks were fine-tuned: the strongest evidence there
is on how they will do on the next task. `python -m sfda rank --record FILE`
uses it."""
RECORD_MORE = """\
examples:
  python -m sfda record add mine.csv birds torchvision:resnet50=0.84 \\
      timm:resnet50.a1_in1k=0.87
  python -m sfda record add mine.csv --table data/real/accuracy.csv
  python -m sfda record show mine.csv
  python -m sfda record show mine.csv --observed timm:resnet50.a1_in1k=0.91

the file:
  one row a result: network, task, seed, accuracy (a share of 1), and scores
  under the names of their metrics. Call networks as `rank` does. A table of
  networks by tasks can be read too. Results of one network and task are
  averaged over their seeds."""


def add_record_parser(commands):
    """Add the subparser; its parsed result has its function as ``run``."""
    parser = commands.add_parser("record", help="keep results of fine-tuning", description=RECORD, epilog=RECORD_MORE,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    of = parser.add_subparsers(dest="action", required=True)
    add = of.add_parser("add", help="add results to a file, which is made if it is not there")
    add.set_defaults(run=_add)
    add.add_argument("file", type=Path, metavar="FILE", help="the record, a CSV file")
    add.add_argument("task", nargs="?", metavar="TASK", help="what the networks were fine-tuned on")
    add.add_argument("results", nargs="*", type=result, metavar="NAME=ACCURACY",
                     help="the networks, and their accuracies, from 0 to 1")  # fmt: skip
    add.add_argument("--seed", type=int, default=0, metavar="N", help="tells repeated runs apart; default: 0")
    add.add_argument("--table", type=Path, metavar="FILE",
                     help="add the results of this file, as accuracy.csv of a benchmark")  # fmt: skip
    show = of.add_parser("show", help="what a file, or a published record, says of a new task")
    show.set_defaults(run=_show)
    show.add_argument("file", metavar="FILE", help="or the name of a published record (a wrong name lists them all)")
    show.add_argument("--networks", nargs="+", metavar="NAME", help="default: all")
    show.add_argument("--observed", nargs="+", type=result, default=[], metavar="NAME=ACCURACY",
                      help="already fine-tuned on the new task")  # fmt: skip


def result(text):
    """A type of arguments: a name, which may have an equals sign, and a number."""
    name, _, accuracy = text.rpartition("=")
    try:
        if not name:
            raise ValueError
        return name, float(accuracy)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=ACCURACY, a number from 0 to 1, got {text}") from None


def observed_once(results):
    """What :func:`result` gave as a dict by network; ValueError of one that is there twice."""
    names = [name for name, _ in results]
    if again := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"--observed: {again[0]} is there twice")
    return dict(results)


def _add(options):
    import pandas as pd

    from sfda.evidence.runs import add_runs, read_runs

    if (options.task or options.table is None) and not options.results:
        raise ValueError("nothing to add: give a task and NAME=ACCURACY, or --table FILE")
    parts = [] if options.table is None else [read_runs(options.table)]
    rows = [(name, options.task, options.seed, accuracy) for name, accuracy in options.results]
    parts += [pd.DataFrame(rows, columns=["network", "task", "seed", "accuracy"])] if rows else []
    new = pd.concat(parts)
    before = len(read_runs(options.file)) if options.file.exists() else 0
    every = add_runs(options.file, new)
    replaced = len(new) - (every - before)
    which = f", {replaced} of them in the place of older ones" if replaced else ""
    say(f"{options.file}: {len(new)} result{'s' * (len(new) != 1)} added{which}, {every} in all")
    return 0


def _show(options):
    import pandas as pd

    from sfda.evidence import published
    from sfda.evidence.record import MEASURED, Record

    names = (*published.RECORDS, *MEASURED)
    if Path(options.file).is_file():
        record = Record.read(options.file)
    elif options.file in names:
        record = Record.published(options.file)
    else:
        raise ValueError(f"there is no file {options.file}, nor such a record; published are {', '.join(names)}")
    known, observed = record.accuracies.notna(), observed_once(options.observed)
    table = record.forecast(options.networks, observed=observed)
    n, k = known.shape
    say(f"{n} networks on {k} task{'s' * (k != 1)}: {int(known.to_numpy().sum())} of {n * k} accuracies are known")
    say(f"tasks: {', '.join(f'{task} ({count})' for task, count in known.sum().items())}\n")
    shown = pd.DataFrame({
        "network": table.index, "forecast": table["forecast"].map("{:+.2f}".format),
        "80 % interval": [f"{low:+.2f} to {high:+.2f}" for low, high in zip(table["low"], table["high"])],
        "is best": (100 * table["p_best"]).map("{:.0f} %".format),
        "points lost": table["expected_loss"].map("{:.1f}".format), "past tasks": table["tasks"],
    })  # fmt: skip
    say(shown.to_string(index=False))
    since = ", as far as the task is known by now" if observed else ""
    legend = (
        "On a new task, in standard deviations between networks of the logits of their accuracies; 0 is an average "
        f"network of the record{since}. Is best: the chance of being the best of these, of observed networks if they "
        "were fine-tuned again; points lost: the points of accuracy expected to be missing to the best, an upper guess."
    )
    say("\n" + textwrap.fill(legend, 88))
    if not table["tasks"].any():
        say("of none of these networks anything is known")
    if len(observed) < len(table):
        say(f"next to fine-tune: {record.next(options.networks, observed=observed)}")
    return 0
