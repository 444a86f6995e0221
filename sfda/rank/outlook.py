"""What past results of the networks add to their scores: how well each will do, and which to fine-tune next."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sfda.evidence.past import key_of, published_for
from sfda.evidence.published import RECORDS
from sfda.evidence.record import MEASURED, Record, as_shares, some
from sfda.files import NeedsRepository

ENOUGH = 0.1  # chance that another network is the best, below which it is not worth looking for


@dataclass(frozen=True, eq=False)
class Outlook:
    """Networks in the order of what scores and past results say together.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a network, the best first: ``network``; ``score``, by the first metric, missing of those that have
        none; ``record``, the forecast from past results alone, and ``both``, with the scores, as
        :meth:`sfda.Record.forecast` makes them, with its ``low``, ``high``, ``p_best``, ``expected_loss`` and
        ``tasks``; ``observed``, the accuracy after fine-tuning on these images, missing where there is none.
    advice : str
        What to do next, and how sure that is, in one sentence without a full stop.
    recommended : str
        The network that it is about: to be fine-tuned next, or to be taken.
    record : str
        Whose past results, and how many.
    metric : str
        Of the scores in the table; "" where there are none.
    """

    table: pd.DataFrame
    advice: str
    recommended: str
    record: str
    metric: str


def find_record(record, named):
    """The record to use, and how it calls each of the networks.

    Parameters
    ----------
    record : Record, path, "published", the name of one published record, "none" or None
    named : dict of str to str
        By the name that the table has, the name in full, with its weights.

    Returns
    -------
    record : Record or None
    keys : dict of str to str
        By the name that the table has; of networks that the record does not know, that name.
    words : str
        Whose results they are; why there are none.

    Raises
    ------
    ValueError
        A file that is no record, or a record that was asked for and knows none of the networks.
    FileNotFoundError
        The file is missing.
    """
    if record is None or (isinstance(record, str) and record == "none"):
        return None, {}, ""
    if isinstance(record, str) and record == "published":
        try:
            found = published_for(named.values())
        except NeedsRepository:
            return None, {}, "published results of networks need the repository, not the package alone"
        index = () if found is None else found.accuracies.index
        keys, known = _keys({name: [key_of(full), full] for name, full in named.items()}, index)
        if not known:
            return None, {}, "no published results are known of these networks"
        return found, keys, f"past results of {_of(known, len(named))}"
    if not isinstance(record, (Record, str, PathLike)):
        raise ValueError(f"record: expected a Record, a path, 'published' or 'none', got {type(record).__name__}")
    if isinstance(record, Record):
        found, what = record, "the record"
    elif record in (*RECORDS, *MEASURED) and not Path(record).exists():
        found, what = Record.published(record), f"the record {record!r}"
    else:
        found, what = Record.read(record), Path(record).name
    index = found.accuracies.index
    candidates = {name: [full, name, key_of(full), *full.split(":")[1:]] for name, full in named.items()}
    keys, known = _keys(candidates, index)
    if not known:
        there = ", ".join(map(str, index[:5])) + (", ..." if len(index) > 5 else "")
        raise ValueError(f"record: {what} knows none of {', '.join(named)}; it knows {there}")
    return found, keys, f"results in {what} of {_of(known, len(named))}"


class Past(NamedTuple):
    """What :func:`find_record` returns of networks, and by the same names accuracies on these images."""

    record: Record | None
    keys: dict[str, str]
    words: str
    observed: dict[str, float]

    def without(self, images):
        """The same less the tasks that are called as the images are, and notes on what is missing."""
        if self.record is None:
            return self, [self.words] if self.words else []
        known = self.record.accuracies
        left = [task for task in known if images and f" {task}".endswith(f" {images}")]
        if not left:
            return self, []
        rest, names = known.drop(columns=left), ", ".join(map(str, left))
        note = f"left out of the past results, for they may be of these images: {names}"
        if not (rest.notna().sum() > 1).any():
            return self._replace(record=None), [f"{note}; no others are known, so that what was observed did not count"]
        scores = {metric: each.drop(columns=left) for metric, each in self.record.scores.items()}
        scores = {metric: each for metric, each in scores.items() if (each.notna() & rest.notna()).any(axis=None)}
        note += "; what was measured on these goes into observed (--observed)"
        return self._replace(record=Record(rest, scores)), [note]


def past_of(record, observed, named):
    """:class:`Past` of networks by the names of the table, with their names in full; ValueError of bad arguments."""
    observed = as_shares(observed)
    past = Past(*find_record(record, named), observed)
    if others := [name for name in observed if name not in named]:
        raise ValueError(f"observed: expected some of {some(named)}, got {others[0]!r}")
    if observed and past.record is None:
        raise ValueError(f"observed: this needs past results of the networks; {past.words or 'name a record'}")
    return past


def _keys(candidates, index):
    """The first of its candidates that a record knows, by name; how many are known."""
    keys = {}
    for name, candidate in candidates.items():
        key = next((key for key in candidate if key in index), name)
        while key in keys.values():  # of two names of one network the second is as good as unknown
            key += ", again"
        keys[name] = key
    return keys, sum(key in index for key in keys.values())


def _of(known, every):
    whole = {1: "the network", 2: "both"}.get(every, f"all {every}")
    return whole if known == every else f"{known} of {every} networks"


def outlook(past, networks, scores):
    """What past results and scores say together.

    Parameters
    ----------
    past : Past
        With a record.
    networks : sequence of str
        By the names that the table has.
    scores : dict of str to dict of str to float
        By metric, the first one first, of networks by the same names.

    Returns
    -------
    Outlook
    """
    record, keys = past.record, {name: past.keys[name] for name in networks}
    names = {key: name for name, key in keys.items()}
    observed = {keys[name]: accuracy for name, accuracy in past.observed.items()}
    given = {metric: pd.Series(each).rename(index=keys) for metric, each in scores.items() if each}
    alone = record.forecast(list(names), observed=observed)
    both = record.forecast(list(names), observed=observed, scores=given)
    table = both.rename(columns={"forecast": "both"}).reset_index()
    first = next(iter(given.values()), pd.Series(dtype=float))
    table.insert(1, "score", table["network"].map(first).astype(float))
    table.insert(2, "record", table["network"].map(alone["forecast"]))
    table["observed"] = table["network"].map(observed).astype(float)
    gains = record.gains(list(names), observed=observed, scores=given) if observed else None
    tasks = list(map(str, record.accuracies))
    shown = ", ".join(tasks[:3]) + (", ..." if len(tasks) > 3 else "")
    words = f"{past.words} on {len(tasks)} past task{'s' * (len(tasks) != 1)} ({shown})"
    table["network"] = table["network"].map(names)
    return Outlook(table, *_advice(table, gains, names), words, next(iter(given), ""))


def _advice(table, gains, names):
    """The sentence, and the network that it recommends, from the table and what further fine-tunings may gain."""
    by_name = table.set_index("network")
    if gains is None:
        first, *others = table["network"]
        if not others:
            return f"{first} is the only network: nothing is to be chosen", first
        chance, loss = by_name.loc[first, ["p_best", "expected_loss"]]
        return (
            f"Fine-tune {first} first: the chance that it is the best of these is {100 * chance:.0f} %, and it "
            f"should fall at most about {loss:.1f} points of accuracy short of the best"
        ), first
    best = by_name["observed"].idxmax()
    so_far = f"{best}, the best so far with {by_name.loc[best, 'observed']:.3f}"
    if gains.empty:
        return f"All are fine-tuned; take {so_far}", best
    elsewhere = by_name.loc[by_name["observed"].isna(), "p_best"].sum()
    if elsewhere < ENOUGH:
        return f"Stop, and take {so_far}: the chance that one of the others is better is {100 * elsewhere:.0f} %", best
    following, chance = names[gains.index[0]], gains["chance"].iloc[0]
    return (
        f"Fine-tune {following} next: the chance that it beats {so_far}, is {100 * chance:.0f} %, and that any of the "
        f"others is the best {100 * elsewhere:.0f} %"
    ), following
