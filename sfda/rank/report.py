"""What a ranking says, in words and columns."""

import math
import textwrap

import numpy as np
import pandas as pd

WIDTH = 88  # columns of the report's sentences
HOW = (
    "Record: what past results alone say; both: with the scores. In standard deviations between networks, of the "
    "logits of their accuracies; 0 is an average network of the record{}. The order is that of both. Is best: the "
    "chance of being the best of these, of observed networks if they were fine-tuned again; points lost: the points of "
    "accuracy expected to be missing to the best, an upper guess."
)
_NUMBERS = {2: "two", 3: "three"}


def report(found):
    """The text of a :class:`sfda.rank.result.Ranking`: what was scored, a table, sentences of at most 88 columns."""
    about = found.about
    of = f"{about['images']}, " if about["images"] else ""
    which = f" ({about['part']})" if about["part"] else ""
    pixels = _pixels(found.table).unique()
    side, _, own = pixels[0].partition(" ")
    at = f"at {side} pixels{own and ' ' + own}; " if len(pixels) == 1 and side else ""
    head = [f"{of}{found.n} images of {len(found.classes)} classes{which}",
            _wrapped(f"classes: {_some(found.classes)}"), "", _wrapped(f"{found.advice}."), ""]  # fmt: skip
    alone = ""
    if found.outlook:
        since = ", as far as the task is known by now" if found.outlook.table["observed"].notna().any() else ""
        by = f"; score: {found.outlook.metric}" if found.outlook.metric else ""
        head += [_wrapped(f"with {found.outlook.record}{by}"), "", _outlook(found.outlook.table), "",
                 _wrapped(HOW.format(since)), ""]  # fmt: skip
        alone = "the images alone, "
    head += [f"{alone}{at}by {found.metric}; larger is better", "", _table(found.table), ""]
    lines = [f"{'By the images alone, ' if found.outlook else ''}{found.finding}."]
    if found.tied and not found.table["saturated"].iloc[0]:
        smallest = ""
        if found.table["parameters"].notna().any():
            same = found.cheapest == found.best
            smallest = (
                "It is also the smallest of them. " if same
                else f"The smallest of them is {found.cheapest}. "
            )  # fmt: skip
        lines.append(f"{smallest}More images may tell them apart.")
    for size, members in found.ensembles.items():
        with_, alone = (found.accuracies[k] for k in (size, 1))
        better = "" if with_ > alone else ", so that averaging is not worth it"
        lines.append(
            f"To average {_NUMBERS[size]}: {' + '.join(members)}. Averaged, left-out predictions from their features "
            f"are right on {100 * with_:.1f} % of the images, from those of {found.best} alone on "
            f"{100 * alone:.1f} %{better}."
        )
    text = [*head, *map(_wrapped, lines)]
    for metric, table in found.others.items():
        text += ["", f"by {metric}; larger is better", "", _table(table, brief=True), ""]
        text.append(_wrapped(f"{finding(table)}."))
    notes = [f"{note[0].upper()}{note[1:].rstrip('.')}." for note in found.notes]
    notes += [f"Not ranked: {name} ({reason})." for name, reason in found.failures.items()]
    return "\n".join([*text, "", *map(_wrapped, notes)])


def advice(found):
    """What to do next where nothing is known but the scores, without the last full stop."""
    first = found.table["network"].iloc[0]
    if len(found.table) == 1:
        return f"{first} is the only network: nothing is to be chosen"
    if found.table["saturated"].iloc[0]:
        return "Score again before you fine-tune: these scores cannot choose; take another metric, or more images"
    tied = len(found.tied)
    others = f"; {tied} other{'s' * (tied > 1)} may be as good" if tied else ""
    return (
        f"Fine-tune {first} first{others}. How likely it is to be the best of these, the score does not say; past "
        "results of these networks would (--record)"
    )


def finding(table):
    """What a table of a :class:`sfda.rank.result.Ranking` says, in one sentence without a full stop."""
    first, others, tied = table["network"].iloc[0], len(table) - 1, int(table["tied"].sum()) - 1
    if not others:
        return f"{first} alone was scored: nothing is ranked"
    if table["low"].isna().any():
        return f"{first} is first; how sure that is, scores that compare networks do not say"
    if table["saturated"].iloc[0]:
        full = int(table["saturated"].sum())
        return f"{full} of {others + 1} scores have saturated, and their order says nothing"
    if not tied:
        return f"{first} is first, and no other is within noise of it"
    if tied < others:
        return f"{first} is first, and {tied} of the {others} others {_are(tied)} within noise of it"
    all_others = "the other" if others == 1 else f"all {others} others"
    return f"{first} is first, but {all_others} {_are(others)} within noise of it"


def _some(names, n=10):
    """The first names, and how many more there are."""
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join([" ".join(name.split()) for name in list(names)[:n]]) + more


def _wrapped(line):
    # Names and paths are whole, whatever their length.
    return textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)


def _pixels(table):
    """The height of the images that each network saw, and that of its own, as text."""
    differ = table["own_side"].notna() & (table["own_side"] != table["side"])
    side = table["side"].astype(object).where(table["side"].notna(), "").astype(str)
    return side + (" (own " + table["own_side"].astype(str) + ")").where(differ, "")


def _table(table, *, brief=False):
    """The table as text; columns of which nothing is known are left out, and when brief all but those of scores."""
    digits = _digits(table["score"])
    names = table["network"].astype(str)
    width, words = max(len("network"), names.str.len().max()), {True: "yes", False: "no"}
    shown = pd.DataFrame({
        "rank": table["rank"].astype(str),
        "network".ljust(width): names.str.ljust(width),
        "score": table["score"].map(f"{{:.{digits}f}}".format),
        "95 % interval": [f"{a:.{digits}f} to {b:.{digits}f}" if a <= b else ""
                          for a, b in zip(table["low"], table["high"])],
        "tied with first": table["tied"].map(words).where((table.index > 0) & table["low"].notna(), ""),
        "saturated": table["saturated"].map(words) if table["saturated"].any() else "",
        "pixels": _pixels(table) if _pixels(table).nunique() > 1 else "",
        "features": table["features"].astype(str),
        "parameters": ["" if pd.isna(p) else f"{p / 1e6:.2f} M" for p in table["parameters"]],
        "forward": ["cached" if c else "" if np.isnan(s) else f"{s:.1f} s"
                    for s, c in zip(table["forward_seconds"], table["cached"])],
        "scoring": table["scoring_seconds"].map("{:.1f} s".format),
    })  # fmt: skip
    return _spaced(shown.iloc[:, : 6 if brief else None])


def _outlook(table):
    """Scores and past results as text; columns of which nothing is known are left out."""
    names = table["network"].astype(str)
    width = max(len("network"), names.str.len().max())
    digits = _digits(table["score"])
    shown = pd.DataFrame({
        "rank": [str(place) for place in range(1, len(table) + 1)],
        "network".ljust(width): names.str.ljust(width),
        "score": ["" if pd.isna(value) else f"{value:.{digits}f}" for value in table["score"]],
        "record": table["record"].map("{:+.2f}".format),
        "both": table["both"].map("{:+.2f}".format),
        "80 % interval": [f"{a:+.2f} to {b:+.2f}" for a, b in zip(table["low"], table["high"])],
        "is best": (100 * table["p_best"]).map("{:.0f} %".format),
        "points lost": table["expected_loss"].map("{:.1f}".format),
        "past tasks": table["tasks"].astype(str),
        "observed": ["" if pd.isna(value) else f"{value:.3f}" for value in table["observed"]],
    })  # fmt: skip
    return _spaced(shown)


def _digits(scores):
    """How many decimals show four digits of the largest."""
    largest = scores.abs().max()
    return max(0, 3 - math.floor(math.log10(max(largest, 1e-300)))) if largest == largest else 0


def _spaced(shown):
    """A table as text, with two spaces between columns, without those that are empty."""
    shown = shown.loc[:, (shown != "").any()]
    others = {f" {name}": " " + shown[name] for name in shown.columns[1:]}
    return pd.DataFrame({"rank": shown["rank"]} | others).to_string(index=False)


def _are(n):
    """The verb of so many."""
    return "is" if n == 1 else "are"


def duration(seconds):
    """A duration in words of one unit: seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def reason(error, n):
    """Why a network could not be ranked by `n` images, in one line."""
    if isinstance(error, MemoryError):
        return f"not enough memory for {n} images: score fewer with per_class (--per-class), or halve the batch"
    return one_line(error)


def one_line(error):
    """The message of an error in at most 300 characters, with its type where that is not said by the context."""
    text = " ".join(str(error).split())[:300]
    plain = isinstance(error, (ValueError, OSError)) and text
    return text if plain else f"{type(error).__name__}: {text}"
