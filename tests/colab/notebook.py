"""One notebook, run as Colab would and compared with what is stored in it: prints JSON.

    python notebook.py CHAPTER.ipynb nbval_sanitize.cfg

Runs in the working directory. Needs nbclient and ipykernel.
"""

import configparser
import difflib
import json
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

# Colab lists its working directory by name on sys.path, not as "".
COLAB = """\
import os, sys, types
sys.modules["google.colab"] = types.ModuleType("colab")
sys.path[:] = [os.getcwd(), *filter(None, sys.path)]"""
LINES = 8  # of each difference are shown


def patterns(path):
    """The regular expressions of nbval's file and what replaces them."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path, encoding="utf-8")
    return [(section["regex"], section["replace"]) for section in map(parser.__getitem__, parser.sections())]


def printed(cell, sanitise):
    """What a cell printed, by stream or media type; pictures are left out, as nbval leaves them."""
    found = {}
    for output in cell.outputs:
        if output.output_type == "stream":
            parts = {output.name: output.text}
        elif output.output_type == "error":
            parts = {"error": f"{output.ename}: {output.evalue}\n"}
        else:
            parts = {kind: f"{text}\n" for kind, text in output.data.items() if not kind.startswith("image/")}
        for kind, text in parts.items():
            for regex, replacement in sanitise:
                text = re.sub(regex, replacement, text)
            found[kind] = found.get(kind, "") + text
    return found


def differences(stored, ran, sanitise):
    """Where the code cells of two runs of a notebook printed different texts, in words."""
    found = []
    pairs = zip(stored.cells, ran.cells, strict=True)
    for number, (before, after) in enumerate((pair for pair in pairs if pair[0].cell_type == "code"), start=1):
        if "nbval-ignore-output" in before.metadata.get("tags", []):
            continue
        old, new = printed(before, sanitise), printed(after, sanitise)
        for kind in sorted(old | new):
            a, b = (texts.get(kind, "").splitlines() for texts in (old, new))
            if a != b:
                lines = [line for line in difflib.unified_diff(a, b, n=0, lineterm="") if not re.match(r"---|\+\+\+|@@", line)]
                more = [f"... {len(lines) - LINES} lines more"] if len(lines) > LINES else []
                found.append("\n".join([f"cell {number}, {kind}:", *(line[:200] for line in lines[:LINES]), *more]))
    return found


def run(path, sanitise):
    """Seconds, error and differences of a notebook that is run in the working directory."""
    stored = nbformat.read(path, as_version=4)
    ran = nbformat.read(path, as_version=4)
    for cell in ran.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    ran.cells.insert(0, nbformat.v4.new_code_cell(COLAB))
    client = NotebookClient(ran, kernel_name="python3", timeout=600, coalesce_streams=True)
    start, error = time.perf_counter(), None
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as failed:
        error = re.sub(r"\x1b\[[\d;]*m", "", str(failed)).strip()
    seconds = time.perf_counter() - start
    del ran.cells[0]
    return {"seconds": seconds, "error": error, "differences": [] if error else differences(stored, ran, sanitise)}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), patterns(sys.argv[2]))))
