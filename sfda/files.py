"""Where files are, and tables as CSV files: read if they are whole, written whole or not at all."""

import os
import platform
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

DATA = Path(__file__).resolve().parents[1] / "data"
PUBLISHED = Path(__file__).resolve().with_name("_published")  # only where the package was installed
#: Features, images and cells, which may be deleted at any time.
CACHE = "~/.cache/sfda"
FEATURES = f"{CACHE}/features"


class NoSuchTable(FileNotFoundError, ValueError):
    """A folder has no table of that name."""


class NeedsRepository(FileNotFoundError):
    """What is asked for lies in the repository's ``data/``, which an installed package does not bring."""


def data_folder(name):
    """A folder or file of the repository's ``data/``, such as ``"pocket/weights"``.

    An installed package brings ``"published"``.

    Raises
    ------
    NeedsRepository
        This package runs from elsewhere.
    """
    if name == "published" and PUBLISHED.is_dir():
        return PUBLISHED
    if not (DATA / "pocket").is_dir():  # other packages may have brought a folder "data"
        raise NeedsRepository(f"data/{name}: this needs the repository, not the package alone; run it in a clone")
    return DATA / name


def read_table(path, columns=()):
    """A table that pandas has written.

    Parameters
    ----------
    path : path
    columns : sequence of str, optional
        That it must have.

    Returns
    -------
    pandas.DataFrame
        With ``digest``, where it is, as text.

    Raises
    ------
    ValueError
        It is no table, cut off, or lacks a column: the message names the file.
    FileNotFoundError
        It is missing.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            whole = file.read().endswith("\n")
        table = pd.read_csv(path, dtype={"digest": str})
    except ValueError as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{path}: expected a table of comma-separated values ({why})") from error
    if not whole:
        raise ValueError(f"{path}: its last line is cut off; take it away, or the file")
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"{path}: expected a column {missing[0]!r}, found {', '.join(map(str, table))[:200]}")
    return table


def table_of(folder, name, remedy=""):
    """One of the tables of a folder.

    Parameters
    ----------
    folder : path
    name : str
        Of the file, without ``.csv``.
    remedy : str, default ""
        What to do where it is missing, for the message.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    NoSuchTable
        The message lists those that are there, and says the `remedy`.
    """
    path = folder / f"{name}.csv"
    if not path.is_file():
        there = ", ".join(sorted(each.stem for each in folder.glob("*.csv"))) or "none"
        raise NoSuchTable(f"{path} is missing{remedy and ': '}{remedy}; tables that are there: {there}")
    return pd.read_csv(path)


@contextmanager
def replacing(path):
    """Name of a file beside `path`, which takes its place if nothing goes wrong and is removed otherwise."""
    # Of this process alone, on any machine that sees the folder.
    part = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.part")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def alone_in(folder):
    """One process at a time for what is read, changed and written again in a folder, where the system can tell."""
    place = None
    # Windows has no such locks on folders, nor have some networks of disks.
    with suppress(ImportError, OSError):
        import fcntl

        place = os.open(folder, os.O_RDONLY)
        fcntl.flock(place, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if place is not None:
            os.close(place)


def in_one_line(error):
    """The type of an error and what it says, in at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def say(line):
    """Print a line at once; characters that the output cannot hold become escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
