"""What a record of past results says of a new task, as it grows."""

import json

import altair as alt
import numpy as np
import pandas as pd

from explorable.parts import BLUE, GREEN, ORANGE, readout, select, slider
from sfda import plots
from sfda.evidence import hindsight


def record_grows(contests, most=5):
    """What a record says of a new task as past tasks are added, with and without the scores of its images.

    Parameters
    ----------
    contests : dict of str to sfda.evidence.hindsight.Contest
        Tables without gaps, of four tasks at least, by what people call them.
    most : int, default 5
        Past tasks at most: the first of a random order, which is each new task's own.

    Returns
    -------
    chart : altair.Chart
    found : pandas.DataFrame
        One row a table, new task, way and number of past tasks: ``table``, ``task``, ``by`` ("record", "score" or
        "both"), ``past``, ``tau``, and ``lost``, the points of accuracy by which the first of the order falls short.
    """
    found, forecasts = _grown(contests, most)
    shown = {name: list(rows) for name, rows in forecasts.groupby("table", sort=False)["task"].unique().items()}
    scored = {name: bool(contest.metrics) for name, contest in contests.items()}
    chance = {name: round(hindsight.alternatives(contest)["chance"], 2) for name, contest in contests.items()}

    names = list(contests)
    table = select("table", "Table", names)
    past = slider("past", "Number of past tasks", most, value=2)
    way = select("way", "By", ["record", "record and score"])
    task = slider("task", "New task, one of three", 3, value=1)
    both = f"({json.dumps(scored)}[table] && way !== 'record')"
    ink = alt.ExprRef(f"{both} ? '{GREEN}' : '{ORANGE}'")  # of the way: with scores, or the record alone
    mark = alt.ExprRef(f"{both} ? 'triangle-up' : 'square'")

    # A list a task, in it an item a number of past tasks.
    lists = found.round(2).groupby(["table", "by", "task"], sort=False)[["tau", "lost"]].agg(list).reset_index()
    here = alt.Chart(lists).transform_filter("datum.table === table")
    mine = here.transform_filter(f"datum.by === ({both} ? 'both' : 'record')")
    each = mine.transform_calculate(n="sequence(1, length(datum.tau) + 1)").transform_flatten(["n", "tau", "lost"])
    score = here.transform_filter("datum.by === 'score'").transform_calculate(
        tau="datum.tau[0]", lost="datum.lost[0]").transform_aggregate(tau="mean(tau)", lost="mean(lost)")  # fmt: skip
    limit = alt.Chart(pd.DataFrame(chance.items(), columns=["table", "tau"])).transform_filter("datum.table === table")
    limit = limit.transform_calculate(floor="-0.6", text="'chance'").encode(y="tau:Q")
    small, panels = {"fontSize": 11, "color": "currentColor"}, []
    for value, title, below, scale, side in (
        ("tau", "weighted tau", None, alt.Scale(domain=[-0.6, 1], nice=False), "top"),
        ("lost", "points lost by its first", "past tasks", alt.Scale(), "bottom"),
    ):
        x = alt.X("n:Q", title=below, scale=alt.Scale(domain=[0.7, most + 0.3], nice=False)).axis(tickCount=most)
        y = alt.Y(f"{value}:Q", title=title, scale=scale).axis(tickCount=5)
        mean = each.transform_aggregate(groupby=["n"], **{value: f"mean({value})"}).encode(x=x, y=y)
        now = mean.transform_joinaggregate(last="max(n)").transform_filter("datum.n === min(past, datum.last)")
        panels.append([
            each.mark_point(filled=True, size=18, opacity=0.8, color=ink, clip=True).encode(x=x, y=y),
            score.mark_rule(color=BLUE, strokeDash=[5, 4], strokeWidth=2).encode(y=y),
            score.mark_text(
                text="score alone", align="right", baseline=side, dy=3 if side == "top" else -3, **small
            ).encode(x=alt.value(232), y=y),
            mean.mark_line(color=ink, strokeWidth=2.5),
            now.mark_point(filled=True, size=130, opacity=1, color=ink, shape=mark),
        ])  # fmt: skip
    panels[0] = [
        limit.mark_rect(color="#999999", opacity=0.25).encode(y2="floor:Q", x=alt.value(0), x2=alt.value(235)),
        limit.mark_text(align="left", baseline="top", dx=4, dy=3, **small).encode(x=alt.value(0), text="text:N"),
        *panels[0],
        readout(mine.transform_calculate(
            n="min(past, length(datum.tau))", t="datum.tau[datum.n - 1]", l="datum.lost[datum.n - 1]",
            own=f"datum.task === {json.dumps(shown)}[table][task - 1] ? datum.l : 0",
        ).transform_aggregate(n="max(n)", t="mean(t)", l="mean(l)", own="sum(own)").transform_calculate(
            label=f"({both} ? 'record and score, ' : way === 'record' ? 'record, ' : 'no scores here; record, ')"
                  " + datum.n + (datum.n > 1 ? ' past tasks:\\n' : ' past task:\\n') + 'mean tau '"
                  " + format(datum.t, '.2f') + ', ' + format(datum.l, '.1f') + ' points lost;\\n'"
                  f" + {json.dumps(shown)}[table][task - 1] + ': ' + format(datum.own, '.1f') + ' points lost'"),
            lines=3),
    ]  # fmt: skip
    left = alt.vconcat(*(alt.layer(*layers).properties(width=235, height=130) for layers in panels))

    rows = alt.Chart(forecasts.drop(columns="task").assign(table=forecasts["table"].map(names.index)))
    rows = rows.transform_filter(f"datum.table === indexof({json.dumps(names)}, table) && datum.k === task")
    rows = rows.transform_calculate(
        f=f"split({both} ? datum.f2 : datum.f1, ' ')", h=f"split({both} ? datum.h2 : datum.h1, ' ')",
        i="min(past, length(datum.f)) - 1", said="toNumber(datum.f[datum.i])", reach="toNumber(datum.h[datum.i])",
    ).transform_window(place="row_number()", sort=[alt.SortField("said", order="descending")]).transform_calculate(
        **{end: f"clamp(({far}) / 100, -3.3, 3.3)" for end, far in (
            ("at", "datum.said"), ("low", "datum.said - datum.reach"), ("high", "datum.said + datum.reach"),
            ("came", "datum.z"))})  # far away is at the edge
    y = alt.Y("place:O", axis=None)
    x = {"title": "standardised logit of the accuracy", "axis": alt.Axis(values=[-3, 0, 3], titleAnchor="end"),
         "scale": alt.Scale(domain=[-3.3, 3.3], range=[148, 255], nice=False)}  # fmt: skip
    key = alt.Chart(pd.DataFrame({"label": ["coloured: forecast, 80 % interval   \u25c6 what came"]}))
    right = alt.layer(
        rows.mark_rule(color=ink, strokeWidth=2, opacity=0.8).encode(
            x=alt.X("low:Q", **x), x2="high:Q", y=y),
        rows.mark_point(filled=True, size=45, color=ink, shape=mark, opacity=1).encode(
            x=alt.X("at:Q", **x), y=y),
        rows.mark_point(filled=True, size=40, shape="diamond", color="currentColor", opacity=1).encode(
            x=alt.X("came:Q", **x), y=y),
        rows.mark_text(align="left", baseline="middle", **small).encode(x=alt.value(0), y=y, text="network:N"),
        key.mark_text(align="left", **small).encode(x=alt.value(0), y=alt.value(-10), text="label:N"),
    ).properties(width=255, height=330)  # fmt: skip
    return alt.concat(left, right, columns=2).add_params(table, past, way, task), found


def _grown(contests, most):
    """The table of :func:`record_grows`; and, of three new tasks a contest, forecasts by network, in hundredths.

    The second has texts of numbers, one for each number of past tasks: ``f1`` and ``h1``, forecast and half of its
    interval by the record, ``f2`` and ``h2`` by both; and ``z``, what came.
    """
    rows, networks = [], []
    for table, contest in contests.items():
        rng = np.random.default_rng(0)
        shown = [contest.tasks[i] for i in np.linspace(0, len(contest.tasks) - 1, 3).astype(int)]
        for task in contest.tasks:
            called = plots.NAMES.get(task, task)
            past = list(rng.permutation([name for name in contest.record.accuracies if name != task]))
            one, numbers = contest._replace(tasks=[task]), range(1, min(most, len(past)) + 1)
            said = {n: hindsight.forecasts(one, past[:n]) for n in numbers}
            for n, each in said.items():
                tau = hindsight.taus(each)[task]
                for by, own in each.groupby("by", sort=False):
                    lost = 100 * (own["accuracy"].max() - own.loc[own["forecast"].idxmax(), "accuracy"])
                    rows.append([table, called, by, n, tau[by], lost])
            if task not in shown:
                continue
            every = pd.concat(said).assign(h=lambda each: (each["high"] - each["low"]) / 2)
            for network, own in every.groupby("network", sort=False):
                lists = [" ".join(f"{100 * value:.0f}" for value in own.loc[own["by"] == by, column])
                         for by in ("record", "both") for column in ("forecast", "h")]  # fmt: skip
                z = int(np.rint(100 * own["z"].iloc[0]))
                networks.append([table, called, shown.index(task) + 1, plots.NAMES.get(network, network), z, *lists])
    return (
        pd.DataFrame(rows, columns=["table", "task", "by", "past", "tau", "lost"]),
        pd.DataFrame(networks, columns=["table", "task", "k", "network", "z", "f1", "h1", "f2", "h2"]),
    )
