"""What ConfMix does to one sample."""

import json

import altair as alt
import numpy as np
import pandas as pd

from explorable.parts import DASHED, by_class, level, readout, select, slider
from sfda import FisherDiscriminant, plots, sfda_score
from sfda.metric.challenge import confidence_of
from sfda.metric.score import discriminant_probability

SCORES = ["SFDA", "left-out SFDA", "left-out probability"]


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

    sample = slider("sample", "Sample, from the most doubted to the surest", len(X), value=len(X) // 10)
    number, label = select("features", "Features", list(features)), select("labels", "Labels", list(labels))
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
    look = by_class(names)
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
        every.mark_point(filled=True, size=28, opacity=0.9).encode(**here, **look),
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
            share.mark_bar().encode(color=by_class(names, "whose")["color"], opacity=own),
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
        guess.mark_rule(**DASHED).encode(x="value:Q"),
        guess.mark_text(baseline="top", dy=5, fontSize=11).encode(x="value:Q", y=alt.value(75), text="label:N"),
    ).properties(width=270, height=75, title="the scores of all samples")  # fmt: skip

    plain = scores.loc[scores["score"] == SCORES[0], "value"].round(3).tolist()  # one a way
    share = shares.encode(
        x=alt.X("p:Q", title="posterior of its class", scale=alt.Scale(domain=[0, 1])).axis(tickCount=5),
        y=alt.Y("k:Q", title=None, scale=alt.Scale(domain=[1.05 * (1 - np.e) / (len(names) - 1), 1])).axis(tickCount=5),
    )
    curve = alt.layer(
        share.mark_point(filled=True, size=22, opacity=0.9).encode(**look),
        *level("k", 1 - np.exp(-1), "a certain one: 1 \u2212 1/e", baseline="bottom", dy=-3),
        share.transform_filter(now).mark_point(**large).encode(**look),
        readout(one.transform_calculate(plain=f"{json.dumps(plain)}[{way}]").transform_calculate(
            label="'k = ' + format(datum.k, '.2f') + ';  ' + labels + ' labels: SFDA ' + format(datum.plain, '.2f')")),
    ).properties(width=262, height=165)  # fmt: skip
    left, right = alt.vconcat(plane, judged), alt.vconcat(alt.hconcat(*bars).resolve_scale(color="shared"), curve)
    return alt.concat(left, right, columns=2).add_params(sample, number, label), scores, samples
