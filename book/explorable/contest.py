"""A metric on a task: its scores beside the accuracies, and what its choice costs."""

import json

import altair as alt

from explorable.parts import BLUE, ORANGE, readout, select
from sfda import plots
from sfda.evidence import verdict
from sfda.metric import ranking


def results(contests, tasks, metrics, start):
    """A metric on a task: its scores against the accuracies, what its choice costs, and how it does on the other tasks.

    Parameters
    ----------
    contests : dict of str to (scores, accuracies)
        Of each group of networks, as :func:`sfda.evidence.verdict.judge` takes them.
    tasks : sequence of str
        In the order of the picture.
    metrics : sequence of str
        Each has all scores of all groups.
    start : str
        The task that is seen first.

    Returns
    -------
    altair.Chart
    """
    tasks, metrics = list(tasks), list(metrics)
    called = [plots.NAMES[task] for task in tasks]
    networks, each, levels = [], [], []
    for group, (scores, runs) in contests.items():
        truth = (100 * runs.pivot_table(index="model", columns="task", values="accuracy", sort=False)[tasks]).round(9)
        levels.append({"group": group, "level": round(ranking.chance_level(len(truth)).quantile, 3)})
        given = {m: rows.pivot(index="model", columns="task", values="score") for m, rows in scores.groupby("metric")}
        tables = {m: given[m].loc[truth.index, tasks].apply(ranking.evened, raw=True, tie=ranking.FLOAT32)
                  for m in metrics}  # fmt: skip
        # One row a network, with all of its numbers: by task, and by metric and task.
        networks += [
            {"group": group, "network": plots.NAMES[name], "truth": truth.loc[name].round(1).tolist(),
             "best": (truth == truth.max()).loc[name].astype(int).tolist(),
             "score": [[float(f"{v:.4g}") for v in t.loc[name]] for t in tables.values()],
             "first": [(t == t.max()).loc[name].astype(int).tolist() for t in tables.values()],
             "side": [(t > (t.max() + t.min()) / 2).loc[name].astype(int).tolist() for t in tables.values()]}
            for name in truth.index]  # fmt: skip
        taus = verdict.judge(scores, runs)[tasks].fillna(0).loc[metrics]
        lost = 100 * verdict.judge(scores, runs, ranking.regret)[tasks].loc[metrics]
        each += [{"group": group, "metric": m, "task": called, "tau": taus.loc[m].round(3).tolist(),
                  "lost": lost.loc[m].round(3).tolist()} for m in metrics]  # fmt: skip

    inputs = (
        select("group", "Networks", list(contests)),
        select("metric", "Metric", metrics),
        select("task", "Task", called, plots.NAMES[start]),
    )

    now = "datum.task === task"
    of_tasks = alt.Chart(alt.NamedData("each")).transform_filter(
        "datum.group === group && datum.metric === metric").transform_flatten(["task", "tau", "lost"])  # fmt: skip
    said = of_tasks.transform_filter(now).transform_calculate(
        label="'weighted tau ' + format(datum.tau, '.2f') + ', ' + format(datum.lost, '.1f') + ' points lost'"
    )
    m, t = f"indexof({json.dumps(metrics)}, metric)", f"indexof({json.dumps(called)}, task)"
    one = alt.Chart(alt.NamedData("networks")).transform_filter("datum.group === group").transform_calculate(
        x=f"datum.score[{m}][{t}]", y=f"datum.truth[{t}]", chosen=f"datum.first[{m}][{t}]",
        top=f"datum.best[{t}]", right=f"datum.side[{m}][{t}]",
    ).encode(
        x=alt.X("x:Q", title="score", scale=alt.Scale(zero=False, nice=False, padding=14)).axis(tickCount=4),
        y=alt.Y("y:Q", title="accuracy (%)", scale=alt.Scale(zero=False, padding=22)).axis(tickCount=5),
        tooltip=[alt.Tooltip("network:N"), alt.Tooltip("x:Q", title="score"), alt.Tooltip("y:Q", title="accuracy")],
    )  # fmt: skip
    first, best = one.transform_filter("datum.chosen && !datum.top"), one.transform_filter("datum.top")
    counted, names = one.transform_joinaggregate(firsts="sum(chosen)"), []
    for where, text, dy in (
        ("datum.top", "(datum.chosen && datum.firsts === 1 ? 'chosen, and best: ' : 'best: ') + datum.network", -13),
        ("datum.chosen && !datum.top && datum.firsts === 1", "'chosen: ' + datum.network", 14),
    ):
        rows = counted.transform_filter(where).transform_calculate(label=text).encode(text="label:N")
        for align, side, dx in (("left", "!datum.right", -6), ("right", "datum.right", 6)):
            names.append(rows.transform_filter(side).mark_text(align=align, dy=dy, dx=dx, fontWeight="bold"))
    tied = one.transform_aggregate(firsts="sum(chosen)").transform_filter("datum.firsts > 1").transform_calculate(
        label="datum.firsts + ' networks share the first place'").encode(
        x=alt.value(4), y=alt.value(264), text="label:N", tooltip=alt.value(None))  # fmt: skip
    scatter = alt.layer(
        one.mark_circle(size=55, color="currentColor", opacity=0.45),
        first.mark_point(shape="square", filled=True, size=95, color=ORANGE, opacity=1),
        best.mark_point(filled=True, size=110, color=BLUE, opacity=1), *names,
        tied.mark_text(align="left", fontStyle="italic"), readout(said),
    ).properties(width=255, height=270)  # fmt: skip

    base = of_tasks.encode(
        x=alt.X("tau:Q", title="weighted tau on every task", scale=alt.Scale(domain=[-1, 1])).axis(values=[-1, 0, 1]),
        y=alt.Y("task:N", title=None, sort=called).axis(domain=False, ticks=False),
    )  # fmt: skip
    band = alt.Chart(alt.NamedData("levels")).transform_filter("datum.group === group")
    points = alt.condition(now, alt.value(ORANGE), alt.value("currentColor"))
    lost = base.transform_calculate(label="format(datum.lost, '.1f')").encode(
        x=alt.value(212), text="label:N")  # fmt: skip
    heading = alt.Chart(alt.Data(values=[{}])).encode(x=alt.value(212), y=alt.value(-4), text=alt.value("lost"))
    overview = alt.layer(
        band.transform_calculate(low="-datum.level").mark_rect(color="currentColor", opacity=0.1).encode(
            x="low:Q", x2="level:Q"),
        base.mark_circle(size=60, opacity=0.9).encode(color=points),
        base.transform_filter(now).mark_circle(size=130, color=ORANGE, opacity=1),
        lost.mark_text(align="right"), heading.mark_text(align="right", baseline="bottom"),
    ).properties(width=175, height=240)  # fmt: skip
    data = {"networks": networks, "each": each, "levels": levels}
    return alt.concat(scatter, overview, columns=2, datasets=data).add_params(*inputs)
