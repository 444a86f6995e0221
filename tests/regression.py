"""Ratios of a benchmark run beside those that are stored: what has become slower.

Tables are data frames of text, as CSV files have them: columns of KEYS tell rows apart, those that start with "ratio"
are compared.
"""

import pandas as pd

KEYS = ("name", "metric", "N", "D", "C", "dtype", "device")
FACTOR = 2  # less than that, another machine or a busy one may do
LEAST = 0.02  # smaller ratios are mostly noise


def keyed(rows):
    """Rows as text, in a table indexed by what tells them apart."""
    table = pd.DataFrame(rows, dtype=object).fillna("").astype(str)
    return table.set_index(table[[k for k in KEYS if k in table]].agg(lambda row: " ".join(filter(None, row)), axis=1))


def compare(rows, stored):
    """The stored and the new ratio of every row and column that both have, the largest change first."""
    ratios = [table.filter(regex="^ratio").replace("", None).stack().dropna().astype(float) for table in (stored, rows)]
    both = pd.concat(ratios, axis=1, keys=["stored", "now"]).dropna()
    return both.loc[(both["now"] / both["stored"].clip(lower=1e-9)).sort_values(ascending=False).index]


def slower(compared):
    """Those that have become slower than FACTOR allows."""
    return compared[compared["now"] > FACTOR * compared["stored"].clip(lower=LEAST)]


def merge(rows, stored, replace=False):
    """What is stored next: the stored rows and the new ones, which replace them if asked to."""
    first, second = (rows, stored) if replace else (stored, rows)
    together = pd.concat([first, second[~second.index.isin(first.index)]]).fillna("")
    return together.loc[rows.index.union(stored.index, sort=False)]
