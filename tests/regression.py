"""Ratios of a benchmark run beside those that are stored: what has become slower.

Rows are dictionaries as tables are written and read: columns of KEYS tell them apart, those that start with "ratio"
are compared. What is compared is a list of row, column, stored ratio, new ratio.
"""

KEYS = ("name", "metric", "N", "D", "C", "dtype", "device")
FACTOR = 2  # less than that, another machine or a busy one may do
LEAST = 0.02  # smaller ratios are mostly noise


def key(row):
    return tuple(str(row[k]) for k in KEYS if row.get(k) not in (None, ""))


def compare(rows, stored):
    """The stored and the new ratio of every row that both have."""
    known = {key(row): row for row in stored}
    return [(" ".join(key(row)), column, float(known[key(row)][column]), float(row[column]))
            for row in rows if key(row) in known for column in row
            if column.startswith("ratio") and row[column] and known[key(row)].get(column)]  # fmt: skip


def slower(compared):
    """Those that have become slower than FACTOR allows."""
    return [each for each in compared if each[3] > FACTOR * max(each[2], LEAST)]


def merge(rows, stored, replace=False):
    """What is stored next: the stored rows and the new ones, which replace them if asked to."""
    new, old = {key(row): row for row in rows}, {key(row): row for row in stored}
    together = old | new if replace else new | old
    return [together[each] for each in dict.fromkeys([*new, *old])]


def table(compared):
    """Lines to print, the largest change first."""
    order = sorted(compared, key=lambda each: -each[3] / max(each[2], 1e-9))
    return [f"{name:<44} {column:<20} {old:>9.3f} {new:>9.3f}" for name, column, old, new in order]
