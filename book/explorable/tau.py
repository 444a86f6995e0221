"""Weighted tau while one network is moved in a perfect order."""

import json

import altair as alt
import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from explorable.parts import GREEN, ORANGE, level, readout, select, slider
from sfda import plots, weighted_tau


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

    network = select("network", "Network", names)
    place = slider("place", "Its place by the score", n, value=4)
    chosen = "datum.network === network"
    ink = alt.condition(chosen, alt.value(ORANGE), alt.value("currentColor"))

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
    said = base.transform_filter(now).transform_calculate(
        label="'\u25cf weighted tau ' + format(datum['weighted tau'], '.2f')"
        " + '   \u25c6 Kendall ' + format(datum.Kendall, '.2f')"
    )
    curves = alt.layer(
        base.mark_line(color="currentColor", opacity=0.18).encode(detail="network:N"),
        *level("y", chance, "95th percentile of random orders", baseline="top", dy=4, fontSize=11),
        kendall.mark_line(color=GREEN, strokeDash=[3, 3], strokeWidth=2),
        mine.mark_line(color=ORANGE, strokeWidth=3),
        kendall.transform_filter(now).mark_point(shape="diamond", filled=True, size=110, color=GREEN, opacity=1),
        mine.transform_filter(now).mark_point(filled=True, size=130, color=ORANGE, opacity=1),
        readout(said),
    )  # fmt: skip
    return alt.concat(slopes, curves.properties(width=270, height=230), columns=2).add_params(network, place), taus
