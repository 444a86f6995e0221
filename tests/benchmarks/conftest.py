"""Turns the timings of a run into ratios, prints them and keeps them in data/timings/."""

import csv
import datetime
import os
import platform
from pathlib import Path

TABLE = Path(__file__).parents[2] / "data" / "timings" / "score.csv"


def pytest_sessionfinish(session):
    benchmarks = getattr(session.config, "_benchmarksession", None)
    timed = [b for b in benchmarks.benchmarks if b] if benchmarks else []
    seconds = {b.name.removeprefix("test_"): b.stats.min for b in timed}
    memory = {b.name.removeprefix("test_"): b.extra_info.get("peak_copies") for b in timed}
    if "product" not in seconds or session.exitstatus:
        return
    rows = [
        {
            "name": name,
            "seconds": f"{value:.3f}",
            "ratio_to_product": f"{value / seconds['product']:.2f}",
            "ratio_to_plain": f"{value / seconds['plain']:.2f}" if "plain" in seconds else "",
            "peak_copies": f"{memory[name]:.2f}" if memory[name] else "",
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "date": datetime.date.today().isoformat(),
        }
        for name, value in seconds.items()
    ]
    TABLE.parent.mkdir(exist_ok=True)
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print()
    for row in rows:
        print("  ".join(f"{row[k]:>18}" for k in list(row)[:5]))
