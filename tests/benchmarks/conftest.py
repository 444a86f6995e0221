"""Turns the timings of a run into ratios, compares them with the stored ones and keeps them.

The tables are in data/timings/. Rows that are not yet stored are added. Stored ones stay as they are, so that they
cannot creep up run by run, unless `--store` is given; a ratio more than twice the stored one fails the run all the same.
"""

import datetime
import functools
import os
import platform
import warnings
from pathlib import Path

import pandas as pd
import pytest

from regression import FACTOR, compare, keyed, merge, slower

TABLES = Path(__file__).parents[2] / "data" / "timings"


@pytest.fixture
def quietly():
    """A function as it is, without its warnings: of saturation, of fits that have not converged."""

    def wrap(function):
        @functools.wraps(function)
        def call(*arguments, **options):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return function(*arguments, **options)

        return call

    return wrap


def pytest_addoption(parser):
    parser.addoption("--store", action="store_true", help="replace the stored timings by these")
    parser.addoption("--on", metavar="DEVICE", help="of test_gpu_speed.py, which is passed over without")
    parser.addoption("--small", action="store_true", help="sizes of it that any processor can do")


def pytest_sessionfinish(session):
    benchmarks = getattr(session.config, "_benchmarksession", None)
    if session.exitstatus or not benchmarks:
        return
    timed = {b.name.removeprefix("test_"): b for b in benchmarks.benchmarks if b}
    seconds = {name: b.stats.min for name, b in timed.items()}

    def inside(start):
        """What is between the brackets of the tests that begin so, and those tests."""
        return {name.removeprefix(start).rstrip("]"): b for name, b in timed.items() if name.startswith(start)}

    tables = {}
    if products := inside("product["):
        own = {f"{name}{size}": b for name in ("product", "literal", "public") for size, b in inside(f"{name}[").items()}
        own |= inside("score[")
        seconds |= {name: b.stats.min for name, b in own.items()}
        tables["score.csv"] = [score_row(name, b, seconds, max(s for s in products if name.endswith(s)))
                               for name, b in own.items()]  # fmt: skip
    if "speed[ours-SFDA]" in timed:
        tables["rivals.csv"] = [rival_row(name, seconds) for name in inside("speed[ours-")]
    if "one_posterior" in timed:
        tables["ensembles.csv"] = [
            {"name": name.replace("[", " ").rstrip("]"), "seconds": f"{value:.4f}",
             "ratio_to_posterior": f"{value / seconds['one_posterior']:.2f}"}
            for name, value in seconds.items() if name == "one_posterior" or "_of_33" in name]  # fmt: skip
    if "image_from_file" in timed:
        each = {"from file": seconds["image_from_file"]}
        each |= {name: b.stats.min / 16 for name, b in inside("image_through[").items()}  # a batch of images
        tables["forward.csv"] = [{"name": name, "milliseconds": f"{1000 * one:.2f}",
                                  "ratio_to_file": f"{one / each['from file']:.2f}"} for name, one in each.items()]  # fmt: skip
    for start in ("sweep", "stream", "many"):
        rows = [*inside(f"{start}[").values()]
        file = {"stream": "streaming.csv"}.get(start, f"{start}.csv")
        # X'X knows no classes; the other product is one with the class means.
        tables[file] = [size_row(b, rows, seconds.get("stream_product"), of="ND" if start == "sweep" else "NDC") for b in rows]
    for file, rows in tables.items():
        if rows and len(failed := keep(file, rows, session.config.getoption("--store"))):
            print(f"\n{file}: slower than {FACTOR} times the stored ratio:", failed.to_string(), sep="\n")
            session.exitstatus = 1


def size_row(b, rows, product, of="NDC"):
    """Of a benchmark that says itself what it measured, beside the fastest product of what `of` names of its size."""
    size = {key: b.extra_info[key] for key in "NDC"}
    products = [o.stats.min for o in rows
                if o.extra_info["metric"] == "product" and all(o.extra_info[k] == size[k] for k in of)]  # fmt: skip
    product = min(products, default=product)
    more = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in b.extra_info.items() if k not in ("metric", *size)}
    return {"metric": b.extra_info["metric"], **size, "seconds": f"{b.stats.min:.5f}",
            "ratio_to_product": f"{b.stats.min / product:.3f}" if product else "", **more}  # fmt: skip


def score_row(name, b, seconds, size):
    """`size` is the end of the names of one size."""
    plain, copies, product = seconds.get(f"plain{size}"), b.extra_info.get("peak_copies"), seconds[f"product{size}"]
    return {"name": name, "seconds": f"{b.stats.min:.3f}", "ratio_to_product": f"{b.stats.min / product:.2f}",
            "ratio_to_plain": f"{b.stats.min / plain:.2f}" if plain else "",
            "peak_copies": f"{copies:.2f}" if copies else ""}  # fmt: skip


def rival_row(name, seconds):
    ours, literal = seconds[f"speed[ours-{name}]"], seconds.get(f"speed[literal-{name}]")
    return {"name": name, "seconds": f"{ours:.4f}", "literal_seconds": f"{literal:.4f}" if literal else "",
            "ratio": f"{ours / literal:.3f}" if literal else "",
            "ratio_to_sfda": f"{ours / seconds['speed[ours-SFDA]']:.3f}"}  # fmt: skip


def keep(file, rows, replace):
    """Print the rows beside the stored ones and store them; what is slower, if anything is."""
    measured = {"cores": os.cpu_count(), "machine": platform.machine(), "date": datetime.date.today().isoformat()}
    path, rows = TABLES / file, keyed([row | measured for row in rows])
    stored = keyed(pd.read_csv(path, dtype=str)) if path.exists() else rows[:0]
    print("", rows.to_string(index=False), sep="\n")
    compared = compare(rows, stored)
    if len(compared):
        print(f"\n{file}: ratios, stored and now", compared.to_string(), sep="\n")
    TABLES.mkdir(exist_ok=True)
    merge(rows, stored, replace).to_csv(path, index=False)
    return slower(compared)
