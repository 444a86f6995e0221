"""Turns the timings of a run into ratios, compares them with the stored ones and keeps them.

The tables are in data/timings/. Rows that are not yet stored are added. Stored ones stay
as they are, so that they cannot creep up run by run, unless `--store` is given; a ratio
more than twice the stored one fails the run all the same.
"""

import csv
import datetime
import os
import platform
from pathlib import Path

import regression

TABLES = Path(__file__).parents[2] / "data" / "timings"


def pytest_addoption(parser):
    parser.addoption("--store", action="store_true", help="replace the stored timings by these")


def pytest_sessionfinish(session):
    benchmarks = getattr(session.config, "_benchmarksession", None)
    timed = [b for b in benchmarks.benchmarks if b] if benchmarks else []
    if session.exitstatus:
        return
    failed = []

    def write(file, rows):
        failed.extend(keep(file, list(rows), session.config.getoption("--store")))

    seconds = {b.name.removeprefix("test_"): b.stats.min for b in timed}
    memory = {b.name.removeprefix("test_"): b.extra_info.get("peak_copies") for b in timed}
    if "product" in seconds:
        mine = {name: value for name, value in seconds.items() if "[" not in name}
        write("score.csv", (score_row(name, mine, memory) for name in mine))
    if "speed[ours-SFDA]" in seconds:
        names = [name[11:-1] for name in seconds if name.startswith("speed[ours-")]
        write("rivals.csv", (rival_row(name, seconds) for name in names))
    if "one_posterior" in seconds:
        names = [n for n in seconds if n == "one_posterior" or "_of_33" in n]
        write("ensembles.csv", (ensemble_row(name, seconds) for name in names))
    if "image_from_file" in seconds:
        write("forward.csv", (forward_row(name, seconds) for name in seconds if name.startswith("image_")))
    for file, start in (("sweep.csv", "sweep["), ("streaming.csv", "stream["), ("gpu.csv", "gpu[")):
        rows = [b for b in timed if b.name.removeprefix("test_").startswith(start)]
        if rows:
            write(file, (size_row(b, rows, seconds) for b in rows))
    if failed:
        print(f"\nslower than {regression.FACTOR} times the stored ratio:")
        print("\n".join(regression.table(failed)))
        session.exitstatus = 1


def size_row(b, rows, seconds):
    """Of a benchmark that says itself what it measured, beside the product of its size."""
    size = {key: b.extra_info[key] for key in "NDC"}
    products = [o.stats.min for o in rows
                if o.extra_info["metric"] == "product" and all(o.extra_info[k] == size[k] for k in "NDC")]  # fmt: skip
    product = products[0] if products else seconds.get("stream_product")
    more = {k: f"{v:.3g}" if isinstance(v, float) else v
            for k, v in b.extra_info.items() if k not in ("metric", *size)}  # fmt: skip
    return {
        "metric": b.extra_info["metric"], **size, "seconds": f"{b.stats.min:.5f}",
        "ratio_to_product": f"{b.stats.min / product:.3f}" if product else "", **more,
    }  # fmt: skip


def forward_row(name, seconds):
    through = name.startswith("image_through")
    one = seconds[name] / (16 if through else 1)  # a batch of images
    return {
        "name": name.removeprefix("image_through[").rstrip("]") if through else "from file",
        "milliseconds": f"{1000 * one:.2f}",
        "ratio_to_file": f"{one / seconds['image_from_file']:.2f}",
    }


def score_row(name, seconds, memory):
    return {
        "name": name,
        "seconds": f"{seconds[name]:.3f}",
        "ratio_to_product": f"{seconds[name] / seconds['product']:.2f}",
        "ratio_to_plain": f"{seconds[name] / seconds['plain']:.2f}" if "plain" in seconds else "",
        "peak_copies": f"{memory[name]:.2f}" if memory[name] else "",
    }


def ensemble_row(name, seconds):
    return {
        "name": name.replace("[", " ").rstrip("]"),
        "seconds": f"{seconds[name]:.4f}",
        "ratio_to_posterior": f"{seconds[name] / seconds['one_posterior']:.2f}",
    }


def rival_row(name, seconds):
    ours, literal = seconds[f"speed[ours-{name}]"], seconds.get(f"speed[literal-{name}]")
    return {
        "name": name,
        "seconds": f"{ours:.4f}",
        "literal_seconds": f"{literal:.4f}" if literal else "",
        "ratio": f"{ours / literal:.3f}" if literal else "",
        "ratio_to_sfda": f"{ours / seconds['speed[ours-SFDA]']:.3f}",
    }


def keep(file, rows, replace):
    """Print the rows beside the stored ones and store them; what is slower, if anything is."""
    measured = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "date": datetime.date.today().isoformat(),
    }
    rows = [row | measured for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print()
    for row in rows:
        first, *others = columns[:6]
        print(f"{row[first]:<32}" + "  ".join(f"{row.get(k, ''):>16}" for k in others))
    path = TABLES / file
    stored = []
    if path.exists():
        with path.open(newline="") as handle:
            stored = list(csv.DictReader(handle))
    compared = regression.compare(rows, stored)
    if compared:
        print(f"\n{file}: ratios, stored and now")
        print("\n".join(regression.table(compared)))
    merged = regression.merge(rows, stored, replace)
    TABLES.mkdir(exist_ok=True)
    with path.open("w", newline="") as handle:
        columns = list(dict.fromkeys(key for row in merged for key in row))
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged)
    return regression.slower(compared)
