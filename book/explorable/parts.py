"""What the charts share: colours and shapes, inputs, a level, and the words above a panel."""

import altair as alt
import pandas as pd

from sfda import plots

BLUE, ORANGE, GREEN = plots.COLOURS[:3]
DASHED = {"strokeDash": [5, 4], "color": "currentColor"}
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down"]


def select(name, title, options, value=None):
    """A parameter that is chosen from a list, at first the first of it."""
    value = options[0] if value is None else value
    return alt.param(name, value=value, bind=alt.binding_select(options=options, name=f"{title} "))


def slider(name, title, most, value):
    """A parameter that is a whole number from 1."""
    return alt.param(name, value=value, bind=alt.binding_range(min=1, max=most, step=1, name=f"{title} "))


def by_class(names, field="class"):
    """Encodings: a colour and a shape for each class, without a legend."""
    colours, shapes = (alt.Scale(domain=names, range=found[: len(names)]) for found in (plots.COLOURS, SHAPES))
    return {"color": alt.Color(f"{field}:N", scale=colours, legend=None),
            "shape": alt.Shape(f"{field}:N", scale=shapes, legend=None)}  # fmt: skip


def level(field, value, label, **style):
    """A dashed line at a value of the vertical axis, and what it is."""
    rows = alt.Chart(pd.DataFrame({field: [round(value, 3)], "label": [label]})).encode(y=f"{field}:Q")
    text = rows.mark_text(align="left", dx=5, **style).encode(x=alt.value(0), text="label:N")
    return rows.mark_rule(**DASHED), text


def readout(rows, lines=1):
    """Their label, of so many lines, above the panel, which explorable.js also lets screen readers say."""
    text = rows.mark_text(align="left", fontSize=12, fontWeight="bold", lineBreak="\n", lineHeight=15)
    return text.encode(x=alt.value(0), y=alt.value(-1 - 15 * lines), text="label:N").properties(name="readout")
