"""What a ranking says, in words and columns."""

import math
import textwrap

import numpy as np
import pandas as pd

WIDTH = 88  # columns of the report's sentences


def report(found):
    about = found.about
    of = f"{about['images']}, " if about["images"] else ""
    which = f" ({about['part']})" if about["part"] else ""
    head = [f"{of}{found.n} images of {len(found.classes)} classes{which}",
            f"by {found.metric}; larger is better", "", *_rows(found), ""]  # fmt: skip
    lines = [f"{found.finding}."]
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
        with_, alone = (math.exp(found.likelihoods[k]) for k in (size, 1))
        better = "" if with_ > alone else ", so that averaging is not worth it"
        lines.append(
            f"To average {_NUMBERS[size]}: {' + '.join(members)}. They give the true class of a left-out image "
            f"a probability of {with_:.3f} (geometric mean), {found.best} alone {alone:.3f}{better}."
        )
    lines += ["", *(f"{note[0].upper()}{note[1:].rstrip('.')}." for note in found.notes)]
    lines += [f"Not ranked: {name} ({reason})." for name, reason in found.failures.items()]
    return "\n".join([*head, *(_wrapped(line) for line in lines)])


def _wrapped(line):
    # Names and paths are whole, whatever their length.
    return textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)


def _rows(found):
    table = found.table
    size = max(table["score"].abs().max(), 1e-300)
    digits = max(0, 3 - math.floor(math.log10(size)))
    cells = {
        "rank": [str(r) for r in table["rank"]],
        "network": list(map(str, table["network"])),
        "score": [f"{s:.{digits}f}" for s in table["score"]],
        "95 % interval": [f"{a:.{digits}f} to {b:.{digits}f}" for a, b in zip(table["low"], table["high"])],
        "tied with first": ["", *("yes" if tied else "no" for tied in table["tied"][1:])],
        "saturated": [""] * len(table) if not table["saturated"].any() else [
            "yes" if saturated else "no" for saturated in table["saturated"]
        ],
        "features": [str(d) for d in table["features"]],
        "parameters": ["" if pd.isna(p) else f"{p / 1e6:.2f} M" for p in table["parameters"]],
        "forward": [
            "cached" if c else "" if np.isnan(s) else f"{s:.1f} s"
            for s, c in zip(table["forward_seconds"], table["cached"])
        ],
        "scoring": [f"{s:.1f} s" for s in table["scoring_seconds"]],
    }  # fmt: skip
    lines = []
    for i in range(-1, len(table)):
        line = []
        for title, column in cells.items():
            if not any(column):  # nothing is known
                continue
            width, cell = max(len(title), *map(len, column)), title if i < 0 else column[i]
            line.append(cell.ljust(width) if title == "network" else cell.rjust(width))
        lines.append("  ".join(line).rstrip())
    return lines


_NUMBERS = {2: "two", 3: "three"}


def are(n):
    return "is" if n == 1 else "are"


def duration(seconds):
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def reason(error, n):
    words = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in words or "can't allocate" in words:
        return f"not enough memory for {n} images: score fewer with per_class (--per-class), or halve the batch"
    return one_line(error)


def one_line(error):
    text = " ".join(str(error).split())[:300]
    plain = isinstance(error, (ValueError, OSError)) and text
    return text if plain else f"{type(error).__name__}: {text}"
