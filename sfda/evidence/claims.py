"""What the paper and others state of SFDA, and what our numbers say of it."""

import pandas as pd

from sfda.files import data_folder

VERDICTS = ("reproduced", "holds", "recomputed from their table", "not shown", "contradicted", "not reproduced",
            "cannot be tested here")  # fmt: skip


def claims(path=None):
    """The table of statements.

    Parameters
    ----------
    path : path, optional
        Default: ``data/claims.csv`` of the repository.

    Returns
    -------
    pandas.DataFrame
        One row a statement; texts, and "" where there is nothing. ``statement``; ``who`` states it; ``source``,
        and ``knowledge`` of it, "read" or "second-hand"; ``page``, the chapter that tests it; ``basis`` of our
        numbers, "run" where something was run for them, "table" where they are arithmetic on printed numbers; names
        of numbers of that chapter: ``ours`` and the ends ``low`` and ``high`` of its interval where it has one;
        ``published``, the number stated, and the ``tolerance``; the ``rule`` that judges it, "within", "above",
        "below" or "none"; ``note``.

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    """
    return pd.read_csv(path or data_folder("claims.csv"), dtype=str, keep_default_na=False)


def verdict_of(claim, numbers):
    """What our numbers say of a statement.

    Parameters
    ----------
    claim : mapping
        A row of :func:`claims`.
    numbers : mapping
        The chapter's numbers by name.

    Returns
    -------
    str
        Of the rule "within": "reproduced", or "not reproduced" where ours differs from the published number by
        more than the tolerance. Of "above" (or "below"): "holds" where the whole interval is above (below) 0,
        "contradicted" where it is below (above), "not shown" where it contains 0. What is reproduced or holds on the
        basis of a table is "recomputed from their table". Of "none": "cannot be tested here".

    Raises
    ------
    KeyError
        A number that the chapter does not have.
    ValueError
        Another rule.
    """
    rule = claim["rule"]
    if rule == "none":
        return "cannot be tested here"
    ours, recomputed = numbers[claim["ours"]], claim["basis"] == "table" and "recomputed from their table"
    if rule == "within":
        near = abs(ours - float(claim["published"])) <= float(claim["tolerance"])
        return recomputed or "reproduced" if near else "not reproduced"
    if rule not in ("above", "below"):
        raise ValueError(f"rule: expected within, above, below or none, got {rule!r}")
    low, high = numbers[claim["low"]], numbers[claim["high"]]
    if rule == "below":
        low, high = -high, -low
    return recomputed or "holds" if low > 0 else "contradicted" if high < 0 else "not shown"
