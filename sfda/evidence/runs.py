"""Results of fine-tuning as rows of a CSV file: what a record is read from and added to."""

from os import PathLike
from pathlib import Path

import pandas as pd

from sfda.files import read_table, replacing
from sfda.rivals.catalogue import RIVALS

#: Of one result; any further column is the score of the metric of that name.
COLUMNS = ("network", "task", "seed", "accuracy")
_ALSO = {"model": "network", "dataset": "task"}


def read_runs(path: str | PathLike[str]) -> pd.DataFrame:
    """Results of fine-tuning from a CSV file.

    Parameters
    ----------
    path : path
        Either one row a result, with columns ``network`` (or ``model``), ``task`` (or ``dataset``) and ``accuracy``, a
        share of 1, perhaps ``seed``, and scores under the names of their metrics (keys of
        ``sfda.rivals.catalogue.RIVALS``), where other columns do not count, as in ``accuracy.csv`` of a benchmark; or
        a table, its first column the networks, every other one the accuracies on the task of that name.

    Returns
    -------
    pandas.DataFrame
        One row a result: ``network``, ``task``, ``seed``, ``accuracy``, and the metrics.

    Raises
    ------
    ValueError
        It is neither, is cut off, or has a result twice: the message names the file.
    FileNotFoundError
        It is missing.
    """
    found = read_table(path)
    try:
        return _tidy(found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _tidy(table):
    """Checked rows of either kind of table."""
    table = table.rename(columns={old: new for old, new in _ALSO.items() if new not in table})
    if "accuracy" not in table:
        table = _long(table)
    for column in ("network", "task"):
        if column not in table:
            raise ValueError(f"expected a column {column!r}, found {', '.join(map(str, table))[:200]}")
        if table[column].isna().any():
            raise ValueError(f"{column}: line {table[column].isna().argmax() + 2} has none")
    if "seed" not in table:
        table["seed"] = 0
    metrics = [column for column in table if column in RIVALS]
    table = table[[*COLUMNS, *metrics]].astype({"network": str, "task": str})
    for column in ("accuracy", *metrics):
        table[column] = pd.to_numeric(table[column])
    keys = list(COLUMNS[:3])
    if (again := table.duplicated(keys)).any():
        row = table[again].iloc[0]
        raise ValueError(f"{row['network']} on {row['task']} is there twice (seed {row['seed']})")
    return table.reset_index(drop=True)


def _long(table):
    """Rows of a table of networks by tasks."""
    names, *tasks = table.columns
    wrong = [task for task in tasks if not pd.api.types.is_numeric_dtype(table[task])]
    if not tasks or wrong:
        what = f"column {wrong[0]!r} has text" if wrong else "there is one column"
        raise ValueError(f"expected columns network, task and accuracy, or a table of networks by tasks; {what}")
    long = table.rename(columns={names: "network"}).melt("network", tasks, "task", "accuracy")
    return long.dropna(subset="accuracy")


def add_runs(path: str | PathLike[str], runs: pd.DataFrame) -> int:
    """Add results to a CSV file, which is made if it is not there.

    Parameters
    ----------
    path : path
    runs : pandas.DataFrame
        As :func:`read_runs` returns them, or with the columns that it takes. A result of the same network, task and
        seed replaces the one in the file, but for scores that it does not have.

    Returns
    -------
    int
        How many results the file has now.

    Raises
    ------
    ValueError
        As :func:`read_runs`; an accuracy is missing or out of [0, 1]. The file is left as it was.
    """
    path, new = Path(path), _tidy(runs)
    if not (inside := new["accuracy"].between(0, 1)).all():
        row = new[~inside].iloc[0]
        raise ValueError(f"accuracy: expected a share of 1, got {row['accuracy']:g} of {row['network']}")
    keys = list(COLUMNS[:3])
    if path.exists():
        new = new.set_index(keys).combine_first(read_runs(path).set_index(keys)).reset_index()
    metrics = [name for name in RIVALS if name in new]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        new[[*COLUMNS, *metrics]].to_csv(part, index=False)
    return len(new)
