"""Sphinx extension: what the package says of itself, as pages of the reference.

- ``command-help``, the help of every command, as it is printed;
- ``metric-table``, the catalogue of metrics, a row each.
"""

import argparse
import os
from unittest import mock

from docutils import nodes
from docutils.parsers.rst import Directive

WIDTH = 79


def commands(parser):
    """A parser and all that are below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands(each)


class CommandHelp(Directive):
    def run(self):
        from sfda.__main__ import build_parser

        sections = []
        with mock.patch.dict(os.environ, COLUMNS=str(WIDTH), PYTHON_COLORS="0"):
            for parser in commands(build_parser()):
                name = parser.prog.partition("sfda")[2].strip()
                section = nodes.section(ids=[nodes.make_id(f"command {name}")], names=[f"command {name}"])
                section += nodes.title(text=name or "All commands")
                section += nodes.literal_block(text=parser.format_help(), language="text")
                sections.append(section)
        return sections


class MetricTable(Directive):
    def run(self):
        from sfda.rivals.catalogue import RIVALS

        heads = ["metric", "values", "operations"]
        rows = []
        for m in RIVALS.values():
            takes = {"features": "", "zoo": "; takes the features of all networks"}.get(m.needs, f"; takes {m.needs}")
            rows.append([[m.name, f"{m.paper} {m.year}{takes}"], [_values(*m.bounds)], [m.cost]])
        group = nodes.tgroup(cols=len(heads))
        group += [nodes.colspec(colwidth=1) for _ in heads]
        for part, lines in ((nodes.thead(), [[[head] for head in heads]]), (nodes.tbody(), rows)):
            for line in lines:
                row = nodes.row()
                row += [nodes.entry("", *(nodes.paragraph(text=text) for text in texts)) for texts in line]
                part += row
            group += part
        return [nodes.table("", group)]


def _values(least, most):
    """The interval between two bounds, in words."""
    if None not in (least, most):
        return f"{_short(least)} to {_short(most)}"
    if least is not None:
        return f"from {_short(least)}"
    return "any" if most is None else f"up to {_short(most)}"


def _short(bound):
    return bound if isinstance(bound, str) else f"{bound:g}".replace("e+0", "e")


def setup(app):
    app.add_directive("command-help", CommandHelp)
    app.add_directive("metric-table", MetricTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
