"""Results of fine-tuning as rows of a CSV file: what a record is read from and added to."""

import csv
import io
from os import PathLike
from pathlib import Path

import pandas as pd

from sfda.files import alone_in, replacing
from sfda.rivals.catalogue import RIVALS

#: Of one result; any further column is the score of the metric of that name.
COLUMNS = ("network", "task", "seed", "accuracy")
_ALSO = {"model": "network", "dataset": "task"}
_MISSING = ("", "-", "na", "n/a", "nan", "none", "null")  # in any case of letters, where a number could be


def read_runs(path: str | PathLike[str]) -> pd.DataFrame:
    """Results of fine-tuning from a CSV file.

    Parameters
    ----------
    path : path
        Either one row a result, with columns ``network`` (or ``model``), ``task`` (or ``dataset``) and ``accuracy``, a
        share of 1, perhaps ``seed``, and scores under the names of their metrics (keys of
        ``sfda.rivals.catalogue.RIVALS``), where other columns do not count, as in ``accuracy.csv`` of a benchmark; or
        a table, its first column the networks, every other one the accuracies on the task of that name. In UTF-8,
        separated by commas, semicolons or tabs.

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
    return _read(path)[0]


def _read(path):
    """Checked rows of a CSV file, and which of its columns are not among them."""
    if not isinstance(path, (str, PathLike)):
        raise ValueError(f"path: expected the path of a CSV file, got {type(path).__name__}")
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        cells = _cells(Path(path))
        found = _tidy(cells)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from error
    return found, [column for column in cells if "accuracy" in cells and column not in (*found, *_ALSO)]


def _cells(path):
    """The cells of a CSV file as text, for a name may look like a number, or like none."""
    if path.is_dir():
        raise ValueError("expected a CSV file, found a folder")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected text in UTF-8 ({error})") from error
    if not text.strip():
        raise ValueError("expected columns network, task and accuracy, found nothing")
    if not text.endswith("\n"):
        raise ValueError("its last line is cut off; take it away, or end it with a new line if it is whole")
    # Spreadsheets that write decimal commas separate by semicolons.
    separator = max(",;\t", key=text.partition("\n")[0].count)
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    header, *rows = ([cell.strip() for cell in row] for row in rows if any(row))
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"expected {len(header)} cells a row, as in the first, got {len(row)} after {row[0]!r}")
    return pd.DataFrame(rows, columns=header, dtype=object)


def _tidy(table):
    """Checked rows of either kind of table."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"runs: expected a DataFrame, got {type(table).__name__}")
    table = table.rename(columns={old: new for old, new in _ALSO.items() if new not in table})
    if len(again := table.columns[table.columns.duplicated()]):
        raise ValueError(f"column {again[0]!r} is there twice")
    if "accuracy" not in table:
        table = _long(table)
    for column in ("network", "task"):
        if column not in table:
            raise ValueError(f"expected a column {column!r}, found {', '.join(map(str, table))[:200]}")
        names = table[column].astype(object).where(table[column].notna(), "").astype(str).str.strip()
        if (names == "").any():
            raise ValueError(f"{column}: expected a name in every row, row {(names == '').argmax() + 1} has none")
        table = table.assign(**{column: names})
    if "seed" not in table:
        table = table.assign(seed=0)
    metrics = [column for column in table if column in RIVALS]
    table = table[[*COLUMNS, *metrics]]
    table = table.assign(**{column: _numbers(table[column], column) for column in ("accuracy", "seed", *metrics)})
    seeds = table["seed"].fillna(0)
    if (seeds % 1 != 0).any():
        raise ValueError(f"seed: expected whole numbers, got {seeds[seeds % 1 != 0].iloc[0]:g}")
    table = table.assign(seed=seeds.astype(int))
    keys = list(COLUMNS[:3])
    if (again := table.duplicated(keys)).any():
        row = table[again].iloc[0]
        raise ValueError(f"{row['network']} on {row['task']} is there twice (seed {row['seed']})")
    return table.reset_index(drop=True)


def _numbers(cells, column):
    """A column as floats: NaN where it says that there is none; decimal commas are points."""
    found = []
    for cell in cells:
        text = "" if pd.isna(cell) else str(cell).strip().replace(",", ".")
        try:
            found.append(float("nan" if text.lower() in _MISSING else text))
        except ValueError:
            raise ValueError(f"{column}: expected numbers, got {cell!r}") from None
    return pd.Series(found, cells.index, float)


def _long(table):
    """Rows of a table of networks by tasks."""
    names, *tasks = table.columns
    try:
        if not tasks:
            raise ValueError(f"{names!r} is the only column")
        table = table.assign(**{task: _numbers(table[task], task) for task in tasks})
    except ValueError as error:
        expected = "expected columns network, task and accuracy, or a table of networks by tasks"
        raise ValueError(f"{expected}; {error}") from error
    long = table.rename(columns={names: "network"}).melt("network", tasks, "task", "accuracy")
    return long.dropna(subset="accuracy")


def check_runs(path):
    """Raise what :func:`add_runs` would of this file, which is made if it is not there: better before long work."""
    add_runs(path, pd.DataFrame(columns=COLUMNS))


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
        As :func:`read_runs`; an accuracy is missing or out of [0, 1]; the file has columns that are no results, and
        would be lost. The file is left as it was.

    Notes
    -----
    Several processes may add to one file, each after the other. A table of networks by tasks becomes rows.
    """
    path, new = Path(path), _tidy(runs)
    if not (inside := new["accuracy"].between(0, 1)).all():
        row = new[~inside].iloc[0]
        per_cent = "; divide per cent by 100" if row["accuracy"] > 1 else ""
        raise ValueError(f"accuracy: expected a share of 1, got {row['accuracy']:g} of {row['network']!r}{per_cent}")
    keys = list(COLUMNS[:3])
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone_in(path.parent):
        if path.exists() and (path.is_dir() or path.stat().st_size):
            old, others = _read(path)
            if others:
                raise ValueError(f"{path}: its column {others[0]!r} would be lost; add to another file")
            new = new.set_index(keys).combine_first(old.set_index(keys)).reset_index()
        metrics = [name for name in RIVALS if name in new]
        with replacing(path) as part:
            new[[*COLUMNS, *metrics]].to_csv(part, index=False)
    return len(new)
