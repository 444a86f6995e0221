"""Ratios of a benchmark run beside those that are stored: what has become slower."""

KEYS = ("name", "metric", "N", "D", "C", "dtype", "device")
FACTOR = 2  # less than that, another machine or a busy one may do
LEAST = 0.02  # smaller ratios are mostly noise


def compare(rows, stored):
    """The stored and the new ratio of every row that both have.

    Parameters
    ----------
    rows, stored : lists of dict
        As they are written to, and read from, a table: columns of KEYS tell the rows
        apart, those that start with "ratio" are compared.

    Returns
    -------
    list of tuple
        Row, column, stored ratio, new ratio.
    """
    known = {key(row): row for row in stored}
    found = []
    for row in rows:
        old = known.get(key(row), {})
        for column in row:
            if column.startswith("ratio") and row[column] and old.get(column):
                found.append((" ".join(key(row)), column, float(old[column]), float(row[column])))
    return found


def slower(compared):
    """Those that have become slower than FACTOR allows."""
    return [each for each in compared if each[3] > FACTOR * max(each[2], LEAST)]


def merge(rows, stored, replace=False):
    """What is stored next: the stored rows and the new ones, which replace them if asked to."""
    new = {key(row): row for row in rows}
    old = {key(row): row for row in stored}
    together = (old | new if replace else new | old).values()
    return sorted(together, key=lambda row: [*new, *old].index(key(row)))


def table(compared):
    """Lines to print, the largest change first."""
    order = sorted(compared, key=lambda each: -each[3] / max(each[2], 1e-9))
    return [f"{name:<44} {column:<20} {old:>9.3f} {new:>9.3f}" for name, column, old, new in order]


def key(row):
    """What tells a row apart from the others."""
    return tuple(str(row[k]) for k in KEYS if row.get(k) not in (None, ""))
