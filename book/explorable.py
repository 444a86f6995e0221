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

from sfda import FisherDiscriminant, plots, sfda_score, weighted_tau
from sfda.evidence import hindsight, verdict
from sfda.metric import ranking
from sfda.metric.challenge import confidence_of
from sfda.metric.score import discriminant_probability

VEGA_LITE = "6.1"  # its version: in the static pictures, elsewhere, and in the book, whose companion.py reads this line
FONT = "DejaVu Sans, sans-serif"  # comes with matplotlib: static pictures do not differ between machines
OURS, OTHER, THIRD = plots.COLOURS[:3]
SCORES = ["SFDA", "left-out SFDA", "left-out probability"]
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
ELSEWHERE = f"""\
<script type="module" data-elsewhere>
for (const name of ["vega@6", "vega-lite@{VEGA_LITE}", "vega-embed@7"]) {{
  if (window.vegaEmbed) break;
  const script = document.createElement("script");
  script.src = `https://cdn.jsdelivr.net/npm/${{name}}`;
  await new Promise((done) => {{ script.onload = script.onerror = done; document.head.append(script); }});
}}
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


def aligned(features, y, held, strengths):
    """Fisher space of each network from the strongest regularisation to the weakest, turned so that the eye can follow.

    The origin is the centre of the class means of the fitted samples, and the unit their distance from it (the root of
    the mean of squares). Each space is turned to the one before: orthogonal Procrustes, of the class means.

    Parameters
    ----------
    features : dict of str to ndarray of shape (N, D)
    y : integer array of shape (N,)
    held : boolean array of shape (N,)
        Which samples are held out.
    strengths : sequence of float

    Yields
    ------
    network : str
    lam : float
    fitted : sfda.FisherDiscriminant
    Z : ndarray of shape (N, C - 1)
        All samples.
    means : ndarray of shape (C, C - 1)
        Of the fitted ones.
    """
    reference = None
    for network, X in features.items():
        for lam in sorted(strengths, reverse=True):
            fitted = FisherDiscriminant(lam).fit(X[~held], y[~held])
            Z = fitted.transform(X)
            means = np.array([Z[~held & (y == c)].mean(axis=0) for c in range(y.max() + 1)])
            centre = means.mean(axis=0)
            unit = np.sqrt(((means - centre) ** 2).sum(axis=1).mean())
            Z, means = (Z - centre) / unit, (means - centre) / unit
            if reference is None:  # an axis has no sign: its farthest class shall be right, or above
                turn = np.diag(np.sign(means[abs(means).argmax(axis=0), np.arange(Z.shape[1])]))
            else:
                turn = orthogonal_procrustes(means, reference)[0]
            reference = means @ turn
            yield network, lam, fitted, Z @ turn, reference


def fisher_space(features, y, held, names, strengths):
    """Fitted and held-out samples in Fisher space, :func:`aligned`, as regularisation grows.

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
    rows, steps, places = [], {}, {}
    for network, lam, fitted, Z, means in aligned(features, y, held, strengths):
        far = ((Z - means[y]) ** 2).sum(axis=1)
        fitted_far, held_far = (np.sqrt(far[which].mean()) for which in (~held, held))
        rows.append([network, f"{lam:g}", fitted_far, held_far, fitted.score(features[network][held], y[held])])
        steps.setdefault(network, []).insert(0, Z[shown, :2])
    for number, found in enumerate(steps.values()):
        for axis, letter in enumerate("xy"):
            places[f"{letter}{number}"] = np.array(found)[:, :, axis].T.round(2).tolist()
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


def one_sample(features, labels, names):
    """What ConfMix does to one sample in a plane, from the one that is doubted most to the surest; and the scores.

    Parameters
    ----------
    features : dict of str to ndarray of shape (N, D)
        Of the same samples, by what people call them. The plane is that of the first two columns, which they share.
    labels : dict of str to integer array of shape (N,)
        By what people call them.
    names : sequence of str
        The classes.

    Returns
    -------
    chart : altair.Chart
    scores : pandas.DataFrame
        One score a row: ``features``, ``labels``, ``score``, ``value``.
    samples : dict of (str, str) to pandas.DataFrame
        Of features and labels: the ``posterior`` of each sample's class, and the share ``k`` of its offset left.
    """
    names, ways = list(names), [(f, kind) for f in features for kind in labels]
    rows, aims, samples, columns = [], [], {}, {"r": []} | {f"p{c}": [] for c in range(len(names))}
    for f, kind in ways:
        X, y = features[f], labels[kind]
        p = FisherDiscriminant().fit(X, y).predict_proba(X)
        s, own = confidence_of(p, y), p[np.arange(len(y)), y]
        samples[f, kind] = pd.DataFrame({"posterior": own, "k": 1 - (1 - s) / (s * (len(names) - 1))})
        means = np.array([X[y == c, :2].mean(axis=0) for c in range(len(names))])
        aims.append(((means.sum(axis=0) - means) / (len(names) - 1)).round(3).tolist())
        columns["r"].append(np.argsort(np.argsort(own.round(4), kind="stable")) + 1)
        for c in range(len(names)):
            columns[f"p{c}"].append(p[:, c].round(3))
        values = sfda_score(X, y), *(
            score(X, y, posterior="leave-one-out") for score in (sfda_score, discriminant_probability)
        )
        rows += [(f, kind, name, value) for name, value in zip(SCORES, values)]
    scores = pd.DataFrame(rows, columns=["features", "labels", "score", "value"])
    X = next(iter(features.values()))[:, :2]
    table = pd.DataFrame({"x": X[:, 0].round(2), "y": X[:, 1].round(2), "c": np.transpose([*labels.values()]).tolist()}
                         | {name: np.transpose(column).tolist() for name, column in columns.items()})  # fmt: skip

    sample = alt.param("sample", value=len(X) // 10, bind=alt.binding_range(
        min=1, max=len(X), step=1, name="Sample, from the most doubted to the surest "))  # fmt: skip
    number, label = (
        alt.param(name, value=next(iter(kinds)), bind=alt.binding_select(options=list(kinds), name=f"{title} "))
        for name, kinds, title in (("features", features, "Features"), ("labels", labels, "Labels"))
    )
    kind = f"indexof({json.dumps(list(labels))}, labels)"
    way = f"indexof({json.dumps(list(features))}, features) * {len(labels)} + {kind}"
    posterior = [f"datum.p{c}[{way}]" for c in range(len(names))]
    total = "(" + " + ".join(f"exp({each})" for each in posterior) + ")"
    of = {"p": f"[{', '.join(posterior)}][datum.which]", "s": f"exp(datum.p) / {total}",
          "k": f"1 - (1 - datum.s) / (datum.s * {len(names) - 1})"}  # fmt: skip
    to = {"ox": f"{json.dumps(aims)}[{way}][datum.which][0]", "oy": f"{json.dumps(aims)}[{way}][datum.which][1]"}
    mix = {f"m{x}": f"datum.s * datum.{x} + (1 - datum.s) * datum.o{x}" for x in "xy"}
    every = alt.Chart(table).transform_calculate(which=f"datum.c[{kind}]", rank=f"datum.r[{way}]").transform_calculate(
        **{"class": f"{json.dumps(names)}[datum.which]"}, p=of["p"])  # fmt: skip
    shares = every.transform_calculate(s=of["s"]).transform_calculate(k=of["k"])
    now = "datum.rank === sample"
    one = shares.transform_filter(now).transform_calculate(**to).transform_calculate(**mix)

    middle, half = (X.max(axis=0) + X.min(axis=0)) / 2, 0.53 * np.ptp(X, axis=0).max()
    x_scale, y_scale = (alt.Scale(domain=[round(m - half, 2), round(m + half, 2)], nice=False) for m in middle)
    here, there, aim = (
        {"x": alt.X(f"{at}x:Q", axis=None, scale=x_scale), "y": alt.Y(f"{at}y:Q", axis=None, scale=y_scale)}
        for at in ("", "m", "o")
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
    text = {"fontSize": 12, "baseline": "middle"}
    texts = [one.transform_filter(f"!({steep})").mark_text(text="mix", dy=-16, **text).encode(**there)]
    near = {"<": f"datum.x < {middle[0] - 0.6 * half:.2f}", ">=": f"datum.x > {middle[0] + 0.6 * half:.2f}"}  # an edge
    for align, dx, test in (("right", -11, "<"), ("left", 11, ">=")):
        inward = one.transform_filter(near[test]).mark_text(
            text="sample", align="left" if align == "right" else "right", dx=dx, dy=-16, **text)  # fmt: skip
        texts.append(inward.encode(**here))
        for said, where, place in (
            ("sample", f"datum.x {test} datum.ox && !({near[test]})", here),
            ("other classes", f"datum.ox {test} datum.x", aim),
            ("mix", f"{steep} && datum.x {test} datum.ox", there),
        ):
            texts.append(one.transform_filter(where).mark_text(text=said, align=align, dx=dx, **text).encode(**place))
    plane = alt.layer(
        every.mark_point(filled=True, size=28, opacity=0.6).encode(**here, **look),
        one.mark_rule(strokeDash=[3, 3], color="currentColor").encode(**here, x2="ox:Q", y2="oy:Q"),
        one.mark_rule(strokeWidth=3, color="currentColor").encode(**here, x2="mx:Q", y2="my:Q"),
        one.mark_point(shape="cross", angle=45, filled=True, size=110, color="currentColor", opacity=1).encode(**aim),
        one.mark_point(**large).encode(**here, **look),
        one.mark_point(size=110, strokeWidth=3, opacity=1).encode(**there, **look),
        *texts,
    ).properties(width=270, height=270)  # fmt: skip

    bars = []
    for name, values in {"posterior": posterior, "second softmax": [f"exp({p}) / {total}" for p in posterior]}.items():
        folded = one.transform_calculate(**{f"v{c}": value for c, value in enumerate(values)}).transform_fold(
            [f"v{c}" for c in range(len(names))], as_=["key", "share"]
        ).transform_calculate(
            whose=f"{json.dumps(names)}[toNumber(slice(datum.key, 1))]", number="format(datum.share, '.2f')"
        )  # fmt: skip
        share = folded.encode(
            x=alt.X("share:Q", axis=None, scale=alt.Scale(domain=[0, 1.2])),
            y=alt.Y("whose:N", title=None, sort=names).axis(domain=False, ticks=False),
        )
        own = alt.condition("datum.whose === datum.class", alt.value(1), alt.value(0.6))
        bars.append(alt.layer(
            share.mark_bar().encode(color=alt.Color("whose:N", scale=colours, legend=None), opacity=own),
            share.mark_text(align="left", dx=4).encode(text="number:N"),
        ).properties(width=105, height=75, title=name))  # fmt: skip

    found = alt.Chart(scores.round(3)).transform_filter("datum.features === features").encode(
        x=alt.X("value:Q", axis=None, scale=alt.Scale(domain=[-1.1, 1.2])),
        y=alt.Y("score:N", axis=None, sort=SCORES),
    )  # fmt: skip
    chosen = found.transform_filter("datum.labels === labels")
    guess = alt.Chart(pd.DataFrame({"value": [round(1 / len(names), 3)], "label": ["guessing"]}))
    judged = alt.layer(
        chosen.mark_bar(color=plots.COLOURS[3]),
        chosen.mark_text(align="left").encode(x=alt.value(0), text="score:N"),
        chosen.mark_text(align="left", dx=4).encode(text=alt.Text("value:Q", format=".2f")),
        guess.mark_rule(strokeDash=[5, 4], color="currentColor").encode(x="value:Q"),
        guess.mark_text(baseline="top", dy=5, fontSize=11).encode(x="value:Q", y=alt.value(75), text="label:N"),
    ).properties(width=270, height=75, title="the scores of all samples")  # fmt: skip

    plain = scores.loc[scores["score"] == SCORES[0], "value"].round(3).tolist()  # one a way
    share = shares.encode(
        x=alt.X("p:Q", title="posterior of its class", scale=alt.Scale(domain=[0, 1])).axis(tickCount=5),
        y=alt.Y("k:Q", title=None, scale=alt.Scale(domain=[1.05 * (1 - np.e) / (len(names) - 1), 1])).axis(tickCount=5),
    )
    limit = alt.Chart(pd.DataFrame({"k": [round(1 - np.exp(-1), 3)], "label": ["a sure one: 1 \u2212 1/e"]}))
    curve = alt.layer(
        share.mark_point(filled=True, size=22, opacity=0.6).encode(**look),
        limit.mark_rule(strokeDash=[5, 4], color="currentColor").encode(y="k:Q"),
        limit.mark_text(align="left", baseline="bottom", dx=5, dy=-3).encode(x=alt.value(0), y="k:Q", text="label:N"),
        share.transform_filter(now).mark_point(**large).encode(**look),
        _readout(one.transform_calculate(plain=f"{json.dumps(plain)}[{way}]").transform_calculate(
            label="'k = ' + format(datum.k, '.2f') + ';  ' + labels + ' labels: SFDA ' + format(datum.plain, '.2f')")),
    ).properties(width=262, height=165)  # fmt: skip
    left, right = alt.vconcat(plane, judged), alt.vconcat(alt.hconcat(*bars).resolve_scale(color="shared"), curve)
    return alt.concat(left, right, columns=2).add_params(sample, number, label), scores, samples


def _readout(rows, lines=1):
    """Their label, of so many lines, above the panel, which explorable.js also lets screen readers say."""
    text = rows.mark_text(align="left", fontSize=12, fontWeight="bold", lineBreak="\n", lineHeight=15)
    return text.encode(x=alt.value(0), y=alt.value(-1 - 15 * lines), text="label:N").properties(name="readout")


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

    choices = {"group": list(contests), "metric": metrics, "task": called}
    values = {"group": next(iter(contests)), "metric": metrics[0], "task": plots.NAMES[start]}
    labels = {"group": "Networks ", "metric": "Metric ", "task": "Task "}
    params = [alt.param(name, value=values[name], bind=alt.binding_select(options=options, name=labels[name]))
              for name, options in choices.items()]  # fmt: skip

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
        first.mark_point(shape="square", filled=True, size=95, color=OTHER, opacity=1),
        best.mark_point(filled=True, size=110, color=OURS, opacity=1), *names,
        tied.mark_text(align="left", fontStyle="italic"), _readout(said),
    ).properties(width=255, height=270)  # fmt: skip

    base = of_tasks.encode(
        x=alt.X("tau:Q", title="weighted tau on every task", scale=alt.Scale(domain=[-1, 1])).axis(values=[-1, 0, 1]),
        y=alt.Y("task:N", title=None, sort=called).axis(domain=False, ticks=False),
    )  # fmt: skip
    band = alt.Chart(alt.NamedData("levels")).transform_filter("datum.group === group")
    points = alt.condition(now, alt.value(OTHER), alt.value("currentColor"))
    lost = base.transform_calculate(label="format(datum.lost, '.1f')").encode(
        x=alt.value(212), text="label:N")  # fmt: skip
    heading = alt.Chart(alt.Data(values=[{}])).encode(x=alt.value(212), y=alt.value(-4), text=alt.value("lost"))
    overview = alt.layer(
        band.transform_calculate(low="-datum.level").mark_rect(color="currentColor", opacity=0.1).encode(
            x="low:Q", x2="level:Q"),
        base.mark_circle(size=60, opacity=0.9).encode(color=points),
        base.transform_filter(now).mark_circle(size=130, color=OTHER, opacity=1),
        lost.mark_text(align="right"), heading.mark_text(align="right", baseline="bottom"),
    ).properties(width=175, height=240)  # fmt: skip
    data = {"networks": networks, "each": each, "levels": levels}
    return alt.concat(scatter, overview, columns=2, datasets=data).add_params(*params)


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
