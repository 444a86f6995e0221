"""Pictures that readers can move: Vega-Lite charts, the same in the book, in Jupyter and in Colab.

A chart is drawn by ``_static/explorable.js``. In the book it and Vega are files of the book; elsewhere the output
itself brings it, and Vega comes from where Altair has it from. Until it is drawn, and where scripts are off, a static
picture of the same chart stands there.
"""

import html
import json
import re
from pathlib import Path

import altair as alt
import matplotlib
import numpy as np
import pandas as pd
from IPython.display import display
from scipy.linalg import orthogonal_procrustes
from scipy.stats import kendalltau

from sfda import FisherDiscriminant, plots, weighted_tau
from sfda.evidence import hindsight

VEGA_LITE = "6.1"  # its version in the static pictures and, by book/_ext/companion.py, in the book
FONT = "DejaVu Sans, sans-serif"  # comes with matplotlib: static pictures do not differ between machines
OURS, OTHER, THIRD = plots.COLOURS[:3]
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down"]
# Paper is the page's, and ink the text's: both follow the reader's theme.
CONFIG = {
    "background": "transparent", "font": FONT,
    # The whole picture has a text; of each point of it no screen reader should speak.
    "mark": {"aria": False}, "view": {"stroke": None}, "text": {"color": "currentColor", "fontSize": 12},
    "title": {"color": "currentColor", "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
    "axis": {
        "aria": False, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.12,
    } | dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor", "gridColor"), "currentColor"),
}  # fmt: skip
ELSEWHERE = """\
<script type="module" data-elsewhere>
for (const name of ["vega@6", "vega-lite@6.1", "vega-embed@7"]) {
  if (window.vegaEmbed) break;
  const script = document.createElement("script");
  script.src = `https://cdn.jsdelivr.net/npm/${name}`;
  await new Promise((done) => { script.onload = script.onerror = done; document.head.append(script); });
}
%s</script>
"""


def explorable(chart, alt):
    """Show a chart that its inputs move.

    Parameters
    ----------
    chart : altair.TopLevelMixin
        A concatenation, whose panels stand below each other on a telephone. Its parameters have names, and inputs with
        labels; a panel named readout is a text that says what the reader has chosen.
    alt : str
        What it shows, for those who cannot see it.
    """
    spec = {key: part for key, part in chart.to_dict().items() if key not in ("$schema", "config")}
    spec |= {"config": CONFIG, "description": alt}
    data = json.dumps(spec, sort_keys=True, separators=(",", ":")).replace("</", r"<\/")
    data = re.sub(r'"readout_\d+"', '"readout"', data)  # Altair 6 numbers what has a name
    draw = Path(__file__).with_name("_static").joinpath("explorable.js").read_text(encoding="utf-8")
    display({"text/plain": f"explorable: {alt}", "text/html": (
        f'<div data-explorable role="group" aria-label="{html.escape(alt)}">\n'
        f'<div class="still">{_still(spec, alt)}</div>\n'
        f'<script type="application/json">{data}</script>\n</div>\n{ELSEWHERE % draw}')}, raw=True)  # fmt: skip


def _still(spec, alt):
    """The chart as it is first seen, as SVG, narrow enough for a telephone; nothing where vl-convert is missing."""
    try:
        import vl_convert
    except ImportError:  # Colab
        return "<svg></svg>"
    vl_convert.register_font_directory(str(Path(matplotlib.get_data_path(), "fonts", "ttf")))
    svg = vl_convert.vegalite_to_svg(spec | {"columns": 1}, vl_version=VEGA_LITE)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)


def moving_network(names, chance):
    """Weighted tau while one network is moved in a perfect order.

    Parameters
    ----------
    names : sequence of str
        The networks, the most accurate first.
    chance : float
        Below it is weighted tau in 95 % of random orders.

    Returns
    -------
    chart : altair.Chart
    taus : pandas.DataFrame
        One move a row: ``network``, its place ``by accuracy``, its place ``by score``, ``weighted tau``, ``Kendall``.
    """
    names, n = [plots.NAMES.get(name, name) for name in names], len(names)
    accuracy, rows = -np.arange(n), []
    for i in range(n):
        for k in range(n):
            score = -np.argsort(np.insert(np.delete(np.arange(n), i), k, i))
            rows.append(
                [names[i], i + 1, k + 1, weighted_tau(score, accuracy), kendalltau(score, accuracy).statistic]
            )
    taus = pd.DataFrame(rows, columns=["network", "by accuracy", "by score", "weighted tau", "Kendall"])

    network = alt.param("network", value=names[0], bind=alt.binding_select(options=names, name="Network "))
    place = alt.param("place", value=4, bind=alt.binding_range(min=1, max=n, step=1, name="Its place by the score "))
    chosen = "datum.network === network"
    ink = alt.condition(chosen, alt.value(OTHER), alt.value("currentColor"))

    # The others close ranks.
    order = pd.DataFrame({"network": names, "true": range(1, n + 1)})
    left = alt.Chart(order).transform_calculate(
        old=f"indexof({json.dumps(names)}, network) + 1",
        new="datum.true === datum.old ? place : datum.true - (datum.true > datum.old && datum.true <= place)"
            " + (datum.true < datum.old && datum.true >= place)",
        before="datum.true + '  ' + datum.network", after="datum.new + '  ' + datum.network",
    )  # fmt: skip
    x = alt.X(datum=0, type="quantitative", axis=None, scale=alt.Scale(domain=[0, 1], range=[100, 170]))
    y = alt.Y("true:Q", axis=None, scale=alt.Scale(domain=[0, n + 0.3], reverse=True))
    wide = alt.condition(chosen, alt.value(3), alt.value(1))
    parts = [left.mark_rule().encode(x=x, x2=alt.X2(datum=1), y=y, y2="new:Q", color=ink, strokeWidth=wide)]
    heading = alt.Chart(pd.DataFrame({"before": ["by accuracy"], "after": ["by the score"], "true": 0, "new": 0}))
    bold, plain, italic = {"fontWeight": "bold"}, {}, {"fontStyle": "italic"}
    mine, others = left.transform_filter(chosen), left.transform_filter(f"!({chosen})")
    for rows, style in ((mine, bold), (others, plain), (heading, italic)):
        style |= {"baseline": "middle", "fontSize": 11}
        parts += [
            rows.mark_text(align="right", dx=-6, **style).encode(x=x, y=y, text="before:N"),
            rows.mark_text(align="left", dx=6, **style).encode(
                x=alt.X(datum=1, type="quantitative", axis=None), y=alt.Y("new:Q", axis=None), text="after:N"
            ),
        ]
    slopes = alt.layer(*parts).properties(width=270, height=250)

    base = alt.Chart(taus.round(3)).encode(
        x=alt.X("by score:Q", title="its place by the score", scale=alt.Scale(domain=[1, n])).axis(tickCount=n),
        y=alt.Y("weighted tau:Q", title=None, scale=alt.Scale(domain=[0, 1])),
    )
    kendall = base.encode(y="Kendall:Q").transform_filter(chosen)
    mine, now = base.transform_filter(chosen), f"{chosen} && datum['by score'] === place"
    limit = alt.Chart(pd.DataFrame({"y": [round(chance, 3)], "label": ["95th percentile of random orders"]}))
    readout = base.transform_filter(now).transform_calculate(
        label="'\u25cf weighted tau ' + format(datum['weighted tau'], '.2f')"
        " + '   \u25c6 Kendall ' + format(datum.Kendall, '.2f')"
    )
    curves = alt.layer(
        base.mark_line(color="currentColor", opacity=0.18).encode(detail="network:N"),
        limit.mark_rule(strokeDash=[5, 4], color="currentColor").encode(y="y:Q"),
        limit.mark_text(align="left", baseline="top", dx=5, dy=4, fontSize=11).encode(
            x=alt.value(0), y="y:Q", text="label:N"
        ),
        kendall.mark_line(color=THIRD, strokeDash=[3, 3], strokeWidth=2),
        mine.mark_line(color=OTHER, strokeWidth=3),
        kendall.transform_filter(now).mark_point(shape="diamond", filled=True, size=110, color=THIRD, opacity=1),
        mine.transform_filter(now).mark_point(filled=True, size=130, color=OTHER, opacity=1),
        _readout(readout),
    )  # fmt: skip
    return alt.concat(slopes, curves.properties(width=270, height=230), columns=2).add_params(network, place), taus


def fisher_space(features, y, held, names, strengths):
    """Fitted and held-out samples in Fisher space as regularisation grows, aligned so that the eye can follow.

    Parameters
    ----------
    features : dict of str to ndarray of shape (N, D)
        Of two networks, by what people call them.
    y : integer array of shape (N,)
    held : boolean array of shape (N,)
        Which samples are held out.
    names : sequence of str
        The classes.
    strengths : sequence of float
        The strengths of regularisation.

    Returns
    -------
    chart : altair.Chart
    spread : pandas.DataFrame
        One network and strength a row: ``network``, ``step``, ``lam``, how far ``fitted`` and ``held out`` samples are
        from the mean of their class, and the held-out ``accuracy``. The unit is the distance of a class mean from their
        centre (the root of the mean of squares).
    """
    names, shown = list(map(str, names)), held | (np.cumsum(~held) % 2 == 0)  # every second fitted one
    rows, places, reference = [], {}, None
    for number, (network, X) in enumerate(features.items()):
        steps = []
        for lam in sorted(
            strengths, reverse=True
        ):  # from the far end, where all is calm, each is turned to the one before
            fitted = FisherDiscriminant(lam).fit(X[~held], y[~held])
            Z = fitted.transform(X)
            means = np.array([Z[~held & (y == c)].mean(axis=0) for c in range(len(names))])
            centre = means.mean(axis=0)
            unit = np.sqrt(((means - centre) ** 2).sum(axis=1).mean())
            Z, means = (Z - centre) / unit, (means - centre) / unit
            turn = np.eye(Z.shape[1]) if reference is None else orthogonal_procrustes(means, reference)[0]
            reference = means @ turn
            far = np.sqrt(((Z - means[y]) ** 2).sum(axis=1))
            fitted_far, held_far = (np.sqrt((far[which] ** 2).mean()) for which in (~held, held))
            rows.append([network, f"{lam:g}", fitted_far, held_far, fitted.score(X[held], y[held])])
            steps.append((Z @ turn)[shown, :2])
        for axis, letter in enumerate("xy"):
            places[f"{letter}{number}"] = np.array(steps)[::-1, :, axis].T.round(2).tolist()
    spread = pd.DataFrame(rows, columns=["network", "lam", "fitted", "held out", "accuracy"])
    spread["step"] = spread.groupby("network").cumcount(ascending=False) + 1

    network = alt.param(
        "network", value=next(iter(features)), bind=alt.binding_select(options=list(features), name="Network ")
    )
    step = alt.param("step", value=3, bind=alt.binding_range(
        min=1, max=len(strengths), step=1, name="Step from the weakest to the strongest regularisation "))  # fmt: skip
    one = f"network === {json.dumps(next(iter(features)))}"
    # Far away is at the edge.
    at = {f: f"clamp(({one} ? datum.{f}0 : datum.{f}1)[step - 1], -2, 2)" for f in "xy"}
    table = pd.DataFrame({"class": np.array(names)[y[shown]], "held": held[shown]} | places)
    plain = (
        alt.Chart(table)
        .transform_calculate(**at)
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-2, 2])),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-2, 2])),
        )
    )
    samples = plain.encode(
        color=alt.Color("class:N", legend=None, scale=alt.Scale(domain=names, range=plots.COLOURS[: len(names)])),
        shape=alt.Shape("class:N", legend=None, scale=alt.Scale(domain=names, range=SHAPES[: len(names)])),
    )  # fmt: skip
    centres = plain.transform_filter("!datum.held").transform_aggregate(x="mean(x)", y="mean(y)", groupby=["class"])
    space = alt.layer(
        samples.transform_filter("datum.held").mark_point(size=45, strokeWidth=1.5, opacity=0.9, filled=False),
        samples.transform_filter("!datum.held").mark_point(filled=True, size=26, opacity=0.7),
        centres.mark_text(fontWeight="bold", dy=-16).encode(text="class:N"),
    ).properties(width=270, height=270)  # fmt: skip

    now = alt.Chart(spread.round(4)).transform_filter("datum.network === network")
    long = now.transform_fold(["fitted", "held out"], as_=["which", "far"]).encode(
        x=alt.X("step:O", title="regularisation", axis=alt.Axis(labelAngle=-60, labelExpr=(
            f"{json.dumps([f'{lam:g}' for lam in sorted(strengths)])}[datum.value - 1]"))),
        y=alt.Y("far:Q", title=None, scale=alt.Scale(domain=[0, 2])),
        color=alt.Color("which:N", legend=None, scale=alt.Scale(domain=["fitted", "held out"], range=[OURS, OTHER])),
    )  # fmt: skip
    curves = alt.layer(
        long.mark_line(strokeWidth=2.5),
        long.transform_filter("datum.step === step").mark_point(filled=True, size=110, opacity=1),
        long.transform_filter(f"datum.step === {len(strengths) // 2}").mark_text(dy=-12, align="left").encode(
            text="which:N", color=alt.value("currentColor")),
        _readout(now.transform_filter("datum.step === step").transform_calculate(
            label="'\u03bb = ' + datum.lam + ',  held-out accuracy ' + format(datum.accuracy, '.2f')")),
    ).properties(width=240, height=190)  # fmt: skip
    chart = alt.concat(space, curves, columns=2).resolve_scale(color="independent").add_params(network, step)
    return chart, spread


def one_sample(X, y, posteriors, mixed, soft, kept, names):
    """What ConfMix does to one sample in a plane, from the one that is doubted most to the surest.

    Parameters
    ----------
    X, mixed : ndarray of shape (N, 2)
        The samples, and after ConfMix.
    y : integer array of shape (N,)
    posteriors, soft : ndarray of shape (N, C)
        After the first and after the second softmax.
    kept : ndarray of shape (N,)
        The share of the class offset that is left, relative to the noise.
    names : sequence of str
        The classes.

    Returns
    -------
    altair.Chart
    """
    own, names = (np.arange(len(y)), y), list(names)
    means = np.array([X[y == c].mean(axis=0) for c in range(len(names))])
    others = (means.sum(axis=0) - means) / (len(names) - 1)
    table = pd.DataFrame(
        {
            "sample": np.argsort(np.argsort(posteriors[own], kind="stable")) + 1,
            "class": np.array(names)[y],
            "x": X[:, 0],
            "y": X[:, 1],
            "mx": mixed[:, 0],
            "my": mixed[:, 1],
            "ox": others[y, 0],
            "oy": others[y, 1],
            "p": posteriors[own],
            "k": kept,
        }
        | {f"p{c}": column for c, column in enumerate(posteriors.T)}
        | {f"s{c}": column for c, column in enumerate(soft.T)}
    )
    sample = alt.param("sample", value=len(y) // 10, bind=alt.binding_range(
        min=1, max=len(y), step=1, name="Sample, from the most doubted to the surest "))  # fmt: skip

    every, now = alt.Chart(table.round(3)), "datum.sample === sample"
    one = every.transform_filter(now)
    middle, half = (X.max(axis=0) + X.min(axis=0)) / 2, 0.53 * np.ptp(X, axis=0).max()
    x_scale, y_scale = (alt.Scale(domain=[round(m - half, 2), round(m + half, 2)], nice=False) for m in middle)
    here, there, aim = (
        {"x": alt.X(f"{kind}x:Q", axis=None, scale=x_scale), "y": alt.Y(f"{kind}y:Q", axis=None, scale=y_scale)}
        for kind in ("", "m", "o")
    )
    colours = alt.Scale(domain=names, range=plots.COLOURS[: len(names)])
    shapes = alt.Scale(domain=names, range=SHAPES[: len(names)])
    look = {
        "color": alt.Color("class:N", scale=colours, legend=None),
        "shape": alt.Shape("class:N", scale=shapes, legend=None),
    }
    # Names stand outside, the sample's and that of the mean it moves to; that of the mix where the arrow is not.
    large = {"filled": True, "size": 150, "opacity": 1, "stroke": "currentColor", "strokeWidth": 1.5}
    steep = "abs(datum.x - datum.ox) < abs(datum.y - datum.oy)"
    label = {"fontSize": 12, "baseline": "middle"}
    texts = [one.transform_filter(f"!({steep})").mark_text(text="mix", dy=-16, **label).encode(**there)]
    for align, dx, test in (("right", -11, "<"), ("left", 11, ">=")):
        for text, where, place in (
            ("sample", f"datum.x {test} datum.ox", here),
            ("other classes", f"datum.ox {test} datum.x", aim),
            ("mix", f"{steep} && datum.x {test} datum.ox", there),
        ):
            texts.append(
                one.transform_filter(where).mark_text(text=text, align=align, dx=dx, **label).encode(**place)
            )
    plane = alt.layer(
        every.mark_point(filled=True, size=28, opacity=0.6).encode(**here, **look),
        one.mark_rule(strokeDash=[3, 3], color="currentColor").encode(**here, x2="ox:Q", y2="oy:Q"),
        one.mark_rule(strokeWidth=3, color="currentColor").encode(**here, x2="mx:Q", y2="my:Q"),
        one.mark_point(shape="cross", angle=45, filled=True, size=110, color="currentColor", opacity=1).encode(**aim),
        one.mark_point(**large).encode(**here, **look),
        one.mark_point(size=110, strokeWidth=3, opacity=1).encode(**there, **look),
        *texts,
    ).properties(width=270, height=270)  # fmt: skip

    softmaxes = {"posterior": "p", "second softmax": "s"}
    bars = []
    for name, letter in softmaxes.items():
        folded = one.transform_fold(
            [f"{letter}{c}" for c in range(len(names))], as_=["key", "share"]
        ).transform_calculate(
            whose=f"{json.dumps(names)}[toNumber(slice(datum.key, 1))]", number="format(datum.share, '.2f')"
        )
        share = folded.encode(
            x=alt.X("share:Q", axis=None, scale=alt.Scale(domain=[0, 1.2])),
            y=alt.Y("whose:N", title=None, sort=names).axis(domain=False, ticks=False),
        )
        own = alt.condition("datum.whose === datum.class", alt.value(1), alt.value(0.6))
        bars.append(alt.layer(
            share.mark_bar().encode(color=alt.Color("whose:N", scale=colours, legend=None), opacity=own),
            share.mark_text(align="left", dx=4).encode(text="number:N"),
        ).properties(width=105, height=75, title=name))  # fmt: skip

    share = every.encode(
        x=alt.X("p:Q", title="posterior of its class", scale=alt.Scale(domain=[0, 1])).axis(tickCount=5),
        y=alt.Y("k:Q", title=None).axis(tickCount=5),
    )
    limit = alt.Chart(pd.DataFrame({"k": [round(1 - np.exp(-1), 3)], "label": ["a sure one: 1 \u2212 1/e"]}))
    curve = alt.layer(
        share.mark_point(filled=True, size=22, opacity=0.6).encode(**look),
        limit.mark_rule(strokeDash=[5, 4], color="currentColor").encode(y="k:Q"),
        limit.mark_text(align="left", baseline="bottom", dx=5, dy=-3).encode(x=alt.value(0), y="k:Q", text="label:N"),
        share.transform_filter(now).mark_point(**large).encode(**look),
        _readout(one.transform_calculate(label="'k = ' + format(datum.k, '.2f') + ' of its class offset is left'")),
    ).properties(width=262, height=125)  # fmt: skip
    right = alt.vconcat(alt.hconcat(*bars).resolve_scale(color="shared"), curve)
    return alt.concat(plane, right, columns=2).add_params(sample)


def _readout(rows, lines=1):
    """Their label, of so many lines, above the panel, which explorable.js also lets screen readers say."""
    text = rows.mark_text(align="left", fontSize=12, fontWeight="bold", lineBreak="\n", lineHeight=15)
    return text.encode(x=alt.value(0), y=alt.value(-1 - 15 * lines), text="label:N").properties(name="readout")


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
    table = alt.param("table", value=names[0], bind=alt.binding_select(options=names, name="Table "))
    past = alt.param("past", value=2, bind=alt.binding_range(min=1, max=most, step=1, name="Number of past tasks "))
    way = alt.param("way", value="record", bind=alt.binding_select(options=["record", "record and score"], name="By "))
    task = alt.param("task", value=1, bind=alt.binding_range(min=1, max=3, step=1, name="New task, one of three "))
    both = f"({json.dumps(scored)}[table] && way !== 'record')"

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
            each.mark_point(filled=True, size=18, opacity=0.55, color=OURS, clip=True).encode(x=x, y=y),
            score.mark_rule(color=OTHER, strokeDash=[5, 4], strokeWidth=2).encode(y=y),
            score.mark_text(
                text="score alone", align="right", baseline=side, dy=3 if side == "top" else -3, **small
            ).encode(x=alt.value(232), y=y),
            mean.mark_line(color=OURS, strokeWidth=2.5),
            now.mark_point(filled=True, size=130, opacity=1, color=OURS),
        ])  # fmt: skip
    panels[0] = [
        limit.mark_rect(color="#999999", opacity=0.25).encode(y2="floor:Q", x=alt.value(0), x2=alt.value(235)),
        limit.mark_text(align="left", baseline="top", dx=4, dy=3, **small).encode(x=alt.value(0), text="text:N"),
        *panels[0],
        _readout(mine.transform_calculate(
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
    key = alt.Chart(pd.DataFrame({"label": ["\u25cf forecast, 80 % interval   \u25c6 what came"]}))
    right = alt.layer(
        rows.mark_rule(color=OURS, strokeWidth=2, opacity=0.8).encode(
            x=alt.X("low:Q", **x), x2="high:Q", y=y),
        rows.mark_point(filled=True, size=45, color=OURS, opacity=1).encode(
            x=alt.X("at:Q", **x), y=y),
        rows.mark_point(filled=True, size=50, shape="diamond", color=OTHER, opacity=1).encode(
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
            past = list(rng.permutation([name for name in contest.record.accuracies if name != task]))
            one, numbers = contest._replace(tasks=[task]), range(1, min(most, len(past)) + 1)
            said = {n: hindsight.forecasts(one, past[:n]) for n in numbers}
            for n, each in said.items():
                tau = hindsight.taus(each)[task]
                for by, own in each.groupby("by", sort=False):
                    lost = 100 * (own["accuracy"].max() - own.loc[own["forecast"].idxmax(), "accuracy"])
                    rows.append([table, task, by, n, tau[by], lost])
            if task not in shown:
                continue
            every = pd.concat(said).assign(h=lambda each: (each["high"] - each["low"]) / 2)
            for network, own in every.groupby("network", sort=False):
                lists = [" ".join(f"{100 * value:.0f}" for value in own.loc[own["by"] == by, column])
                         for by in ("record", "both") for column in ("forecast", "h")]  # fmt: skip
                z = int(np.rint(100 * own["z"].iloc[0]))
                networks.append([table, task, shown.index(task) + 1, plots.NAMES.get(network, network), z, *lists])
    return (
        pd.DataFrame(rows, columns=["table", "task", "by", "past", "tau", "lost"]),
        pd.DataFrame(networks, columns=["table", "task", "k", "network", "z", "f1", "h1", "f2", "h2"]),
    )
