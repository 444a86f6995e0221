"""Numbers from a chapter's cells into its sentences, and into the page of claims."""

import ast
import json
from pathlib import Path

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import display


def glue(name, value):
    """Store `value` under `name`, for ``{glue:text}`` in the text of the same chapter.

    The same as ``myst_nb.glue`` without its display, for places that have no
    MyST-NB, such as Colab. Round first: the value is compared to its last
    digit when the chapter is tested.
    """
    if hasattr(value, "item"):  # NumPy's own numbers print as np.float64(...)
        value = value.item()
    mime = "application/papermill.record/"
    display(
        {f"{mime}text/plain": repr(value)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": mime}},
    )


def card(name, fig):
    """Store a figure under `name`, for ``{glue:figure}`` in the card that opens the same chapter."""
    # Unlike a number it is shown as well: Colab has no other place for it. A book's page has it in its card only.
    data, metadata = get_ipython().display_formatter.format(fig)
    display(data, raw=True, metadata=metadata | {"scrapbook": {"name": name, "mime_prefix": ""}})
    plt.close(fig)


def gluer(prefix, decimals=4):
    """A function that glues its keyword arguments as ``prefix_name``, floats rounded to so many decimals."""

    def put(**numbers):
        for name, value in numbers.items():
            value = value.item() if hasattr(value, "item") else value
            glue(f"{prefix}_{name}", round(value, decimals) if isinstance(value, float) else value)

    return put


def glued(chapter):
    """The numbers that a chapter's notebook holds, by name.

    `chapter` is a name such as "05_published_numbers", of this folder.
    """
    path = Path(__file__).parent / f"{chapter}.ipynb"
    outputs = [output for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
               for output in cell.get("outputs", [])]  # fmt: skip
    found = {}
    for output in outputs:
        about = output.get("metadata", {}).get("scrapbook")
        if about and about["mime_prefix"]:  # a card's picture has none
            found[about["name"]] = ast.literal_eval("".join(*output["data"].values()))
    return found
