"""Samples in Fisher space as regularisation grows."""

import json

import altair as alt
import numpy as np
import pandas as pd
from scipy.linalg import orthogonal_procrustes

from explorable.parts import BLUE, ORANGE, by_class, readout, select, slider
from sfda import FisherDiscriminant


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

    network = select("network", "Network", list(features))
    step = slider("step", "Step from the weakest to the strongest regularisation", len(strengths), value=3)
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
    samples = plain.encode(**by_class(names))
    centres = plain.transform_filter("!datum.held").transform_aggregate(x="mean(x)", y="mean(y)", groupby=["class"])
    space = alt.layer(
        samples.transform_filter("datum.held").mark_point(size=45, strokeWidth=1.5, opacity=0.9, filled=False),
        samples.transform_filter("!datum.held").mark_point(filled=True, size=26, opacity=0.9),
        centres.mark_text(fontWeight="bold", dy=-16).encode(text="class:N"),
    ).properties(width=270, height=270)  # fmt: skip

    now = alt.Chart(spread.round(4)).transform_filter("datum.network === network")
    long = now.transform_fold(["fitted", "held out"], as_=["which", "far"]).encode(
        x=alt.X("step:O", title="regularisation", axis=alt.Axis(labelAngle=-60, labelExpr=(
            f"{json.dumps([f'{lam:g}' for lam in sorted(strengths)])}[datum.value - 1]"))),
        y=alt.Y("far:Q", title="distance from its class mean", scale=alt.Scale(domain=[0, 2])),
        color=alt.Color("which:N", legend=None, scale=alt.Scale(domain=["fitted", "held out"], range=[BLUE, ORANGE])),
    )  # fmt: skip
    curves = alt.layer(
        long.mark_line(strokeWidth=2.5),
        long.transform_filter("datum.step === step").mark_point(filled=True, size=110, opacity=1),
        long.transform_filter(f"datum.step === {len(strengths) // 2}").mark_text(dy=-12, align="left").encode(
            text="which:N", color=alt.value("currentColor")),
        readout(now.transform_filter("datum.step === step").transform_calculate(
            label="'\u03bb = ' + datum.lam + ',  held-out accuracy ' + format(datum.accuracy, '.2f')")),
    ).properties(width=240, height=190)  # fmt: skip
    chart = alt.concat(space, curves, columns=2).resolve_scale(color="independent").add_params(network, step)
    return chart, spread
