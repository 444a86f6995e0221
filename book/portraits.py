"""The rivals at a glance: a small picture of what each looks at, and a table of what each is moved by."""

from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.patches import Ellipse, Rectangle
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, softmax
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from sfda import FisherDiscriminant, plots
from sfda.files import data_folder
from sfda.rivals.catalogue import RIVALS
from sfda.rivals.ped import ped

CLASSES, EACH, WIDTH = 3, 20, 8  # of the toy data
WIDER = 3  # noise columns for every feature
MORE = 1e-4  # of a score: less is rounding
INK, FAINT, WRONG = "0.25", "0.75", plots.COLOURS[1]
HUES = [plots.COLOURS[i] for i in (0, 5, 2)]


def toy():
    """Samples (60, 8) of three classes, and their labels (60,); the classes differ most in the first two features."""
    rng = np.random.default_rng(3)
    y = np.repeat(np.arange(CLASSES), EACH)
    middle = np.array([[-1.1, -0.6], [1.1, -0.7], [0.2, 1.0]])
    x = 0.4 * rng.standard_normal((len(y), WIDTH)) + 0.3 * middle[y] @ rng.standard_normal((2, WIDTH))
    x[:, :2] = middle[y] + rng.standard_normal((len(y), 2)) @ [[0.8, 0.2], [0.0, 0.6]]
    return x - x.mean(0), y


def draw():
    """Sixteen pictures of the same toy data, two side by side, one for each way to look at them.

    Returns
    -------
    matplotlib.figure.Figure
    """
    x, y = toy()
    fig, axes = plt.subplots(8, 2, figsize=(4.8, 14.4))
    for ax, (title, (words, picture)) in zip(axes.flat, PICTURES.items()):
        ax.grid(False)
        picture(ax, x, y)
        ax.set_title(title, fontsize=9.5)
        ax.set(xticks=[], yticks=[], ylabel="")
        ax.set_xlabel(words, fontsize=8)
    return fig


def _means(x, y):
    return np.array([x[y == c].mean(0) for c in range(CLASSES)])


def _points(ax, x, y, **style):
    """The samples in the plane of the first two features."""
    sns.scatterplot(x=x[:, 0], y=x[:, 1], hue=y, style=y, palette=HUES, markers=plots.MARKERS[:3], legend=False, ax=ax,
                    **{"s": 16, "linewidth": 0} | style)  # fmt: skip
    ax.set(xlim=(-3.4, 3.4), ylim=(-2.7, 3.0))


def _ellipse(ax, middle, scatter, size=1.5, **style):
    """Where a Gaussian of this scatter (2, 2) is `size` standard deviations from its mean."""
    values, axes = np.linalg.eigh(scatter)
    width, height = 2 * size * np.sqrt(np.maximum(values, 1e-6))
    ax.add_patch(Ellipse(middle, width, height, angle=np.degrees(np.arctan2(axes[1, 0], axes[0, 0])), **style))


def _source(ax, x, y):
    """How often each label goes with each of four source classes."""
    theta = softmax(-2 * cdist(x[:, :2], [[-1.5, 0.5], [-0.8, -1.6], [1.6, -0.8], [0.4, 1.4]]), axis=1)
    joint = np.array([theta[y == c].sum(0) for c in range(CLASSES)])
    sns.heatmap(joint / joint.sum(0), cmap="Greys", vmin=0, vmax=1.2, cbar=False, linewidths=2, ax=ax, annot=True,
                fmt=".1f", annot_kws={"size": 8})  # fmt: skip
    for c in range(CLASSES):
        ax.plot(-0.25, c + 0.5, plots.MARKERS[c], color=HUES[c], ms=6, clip_on=False)
    ax.set_xlim(-0.5, 4)


def _mixture(ax, x, y):
    """Groups that are found without labels."""
    found = GaussianMixture(5, random_state=0).fit(x[:, :2])
    for middle, scatter in zip(found.means_, found.covariances_):
        _ellipse(ax, middle, scatter, fc="none", ec=INK, lw=1.2)
    _points(ax, x, y)


def _evidence(ax, x, y):
    """Evidence of linear models of one class, as the strength of the prior grows, for real and for shuffled labels."""
    s, axes = np.linalg.eigh(x @ x.T)
    alpha, shuffled = np.logspace(-2, 4, 80), np.random.default_rng(0).permutation(y)
    for labels, colour, word in ((y, plots.COLOURS[0], "labels"), (shuffled, "0.55", "shuffled")):
        found = []
        for a in alpha:  # beta = 6: noise of standard deviation .4
            variances = 1 / 6 + s.clip(0) / a
            z = axes.T @ np.eye(CLASSES)[labels][:, 2]
            found.append(-(np.log(variances) + z**2 / variances).sum())
        best = int(np.argmax(found))
        sns.lineplot(x=np.log(alpha), y=found, color=colour, ax=ax)
        ax.plot(np.log(alpha[best]), found[best], "o", color=colour)
        ax.annotate(word, (np.log(alpha[best]), found[best]), (0, 6 if labels is y else -14), color=colour, size=8,
                    ha="center", textcoords="offset points")  # fmt: skip
    ax.margins(x=0.1, y=0.25)


def _whitened(ax, x, y):
    """Between-class variance, in units of the total one."""
    scatter = np.cov(x[:, :2].T, bias=True)
    z = x[:, :2] @ np.linalg.inv(np.linalg.cholesky(scatter)).T
    _points(ax, z, y, alpha=0.35)
    _ellipse(ax, (0, 0), np.eye(2), fc="none", ec=INK, lw=1.2)
    _ellipse(ax, (0, 0), np.cov(_means(z, y)[y].T, bias=True), fc=plots.COLOURS[4], alpha=0.6)
    ax.set_aspect("equal")
    ax.set(xlim=(-2.6, 2.6), ylim=(-2.2, 2.2))


def _pairs(ax, x, y):
    """Dissimilarity of features below the diagonal, of labels above it."""
    image = (1 - np.corrcoef(StandardScaler().fit_transform(x))) / 2
    upper = np.triu_indices(len(y))
    image[upper] = (y[:, None] != y)[upper]
    sns.heatmap(image, cmap="Greys", vmin=0, vmax=1.2, cbar=False, square=True, ax=ax)
    ax.text(42, 18, "labels", ha="center", va="center", size=8, bbox={"fc": "white", "ec": "none", "pad": 1})
    ax.text(18, 42, "features", ha="center", va="center", size=8, bbox={"fc": "white", "ec": "none", "pad": 1})


def _overlap(ax, x, y):
    """A Gaussian at each class, with no correlations."""
    for c, middle in enumerate(_means(x, y)):
        for size in (0.8, 1.6, 2.4):
            _ellipse(ax, middle[:2], np.diag(x[y == c, :2].var(0)), size=size, fc=HUES[c], alpha=0.25)
    ax.set(xlim=(-3.4, 3.4), ylim=(-2.7, 3.0))


def _along(ax, x, y):
    """Spread of two classes along the line that joins their means."""
    (a, b, _), two = _means(x, y)[:, :2], x[y < 2, :2]
    line = (b - a) / np.linalg.norm(b - a)
    feet = a + np.outer((two - a) @ line, line)
    for start, end, c in zip(two, feet, y[y < 2]):
        ax.plot(*np.stack([start, end]).T, color=HUES[c], lw=0.6, alpha=0.6)
    ax.plot(*np.stack([a - 2 * line, b + 2 * line]).T, color=INK, lw=1)
    _points(ax, np.vstack([two, [[9, 9]]]), np.append(y[y < 2], 2), alpha=0.3)
    ax.plot(*np.stack([a, b]).T, "|", color=INK, ms=14, mew=2)


def _volumes(ax, x, y):
    """Volume of all samples, and of each class."""
    _ellipse(ax, (0, 0), np.cov(x[:, :2].T), size=2, fc="0.85", ec=INK)
    for c, middle in enumerate(_means(x, y)):
        _ellipse(ax, middle[:2], np.cov(x[y == c, :2].T), size=1.5, fc=HUES[c], alpha=0.6)
    ax.set(xlim=(-3.8, 3.8), ylim=(-2.9, 3.1))


def _energies(ax, x, y):
    """Energies of the samples from low to high."""
    energy = np.sort(logsumexp(x, axis=1))
    sns.scatterplot(x=np.arange(len(x)), y=energy, color=FAINT, s=12, linewidth=0, ax=ax)
    ax.plot(0, energy[0], "o", color=WRONG, ms=7)
    ax.text(3, energy[0], "lowest", va="center", size=8, color=WRONG)


def _regions(ax, x, y):
    """Posterior of a discriminant of two features: colour where one class is likely."""
    grid = np.stack(np.meshgrid(np.linspace(-3.4, 3.4, 69), np.linspace(-2.7, 3.0, 58)), -1)
    p = FisherDiscriminant(shrinkage=1e-3).fit(x[:, :2], y).predict_proba(grid.reshape(-1, 2)).reshape(58, 69, 3)
    for c in range(CLASSES):
        ax.contourf(*np.moveaxis(grid, -1, 0), p[..., c], levels=[0.5, 0.7, 0.9, 1.01], colors=HUES[c], alpha=0.16)
        ax.contourf(*np.moveaxis(grid, -1, 0), p[..., c], levels=[0.9, 1.01], colors=HUES[c], alpha=0.16)
    _points(ax, x, y)


def _collapse(ax, x, y):
    """How far the samples are from their means."""
    z = FisherDiscriminant(shrinkage=1e-3).fit(x, y).transform(x)[:, :2]
    middle = _means(z, y)
    for point, c in zip(z, y):
        ax.plot(*np.stack([point, middle[c]]).T, color=HUES[c], lw=0.7, alpha=0.7)
    sns.scatterplot(x=middle[:, 0], y=middle[:, 1], color=INK, s=45, marker="X", zorder=3, ax=ax)


def _pushed(ax, x, y):
    """Balls at the classes, and where they are pushed."""
    plane, nsigma = x[:, :2] / x[:, :2].std(0), 1.2
    before, after = _means(plane, y), _means(ped(plane, y, nsigma=nsigma, max_steps=1), y)
    for c in range(CLASSES):
        diameter = 2 * nsigma * np.sqrt(plane[y == c].var(0).sum())
        ax.add_patch(Ellipse(before[c], diameter, diameter, fc=HUES[c], alpha=0.35))
        push = (after[c] - before[c]) / np.linalg.norm(after[c] - before[c])
        ax.annotate("", before[c] + push, before[c], arrowprops={"arrowstyle": "->", "lw": 1.8, "color": INK})
    ax.set_aspect("equal")
    ax.set(xlim=(-3, 3), ylim=(-2.3, 2.7))


def _nearest(ax, x, y):
    """Every sample and the one next to it."""
    near = (cdist(x[:, :2], x[:, :2]) + 1e9 * np.eye(len(x))).argmin(1)
    for i, j in enumerate(near):
        wrong = y[i] != y[j]
        ax.plot(*x[[i, j], :2].T, color=WRONG if wrong else INK, lw=1.8 if wrong else 0.8, zorder=0)
    _points(ax, x, y)


def _lines(ax, x, y):
    """Borders of a linear classifier, and the samples on the wrong side."""
    model = LogisticRegression().fit(x[:, :2], y)
    grid = np.stack(np.meshgrid(np.linspace(-3.4, 3.4, 200), np.linspace(-2.7, 3.0, 200)), -1)
    label = model.predict(grid.reshape(-1, 2)).reshape(200, 200)
    ax.contour(*np.moveaxis(grid, -1, 0), label, levels=[0.5, 1.5], colors=INK, linewidths=1)
    _points(ax, x, y)
    wrong = model.predict(x[:, :2]) != y
    ax.scatter(*x[wrong, :2].T, s=70, fc="none", ec=WRONG, lw=1.5)


def _left_out(ax, x, y):
    """Probability of each label by a discriminant that has seen the sample, and by one that has not."""
    own, wide = (np.arange(len(y)), y), np.hstack([x, np.random.default_rng(1).standard_normal((len(y), 30))])
    seen = FisherDiscriminant().fit(wide, y).predict_proba(wide)[own]
    unseen = FisherDiscriminant("leave-one-out").leave_one_out_proba(wide, y)[own]
    order = np.argsort(unseen)
    sns.scatterplot(x=np.arange(len(y)), y=seen[order], color=FAINT, s=10, linewidth=0, ax=ax)
    sns.scatterplot(x=np.arange(len(y)), y=unseen[order], color=plots.COLOURS[0], s=12, linewidth=0, ax=ax)
    ax.text(2, 0.93, "seen", color="0.45", size=8, va="top")
    ax.text(38, 0.3, "left out", color=plots.COLOURS[0], size=8)


def _spectrum(ax, x, y):
    """Singular values, without the labels."""
    values = np.linalg.svd(x, compute_uv=False)
    sns.barplot(x=np.arange(len(values)), y=values, color=FAINT, ax=ax)


#: Of each rival: what it looks at, in words, and the picture.
PICTURES = {
    "LEEP, NCE": ("which label goes with which guess", _source),
    "NLEEP": ("labels in groups found without them", _mixture),
    "LogME": ("the top of the evidence", _evidence),
    "H-score": ("between (filled) within total (line)", _whitened),
    "PARC": ("do like features have like labels?", _pairs),
    "GBC": ("how far Gaussians overlap", _overlap),
    "directional CDNV": ("spread along the line of two means", _along),
    "TransRate": ("volume of all, volume of each", _volumes),
    "ETran, energy": ("the least response of all", _energies),
    "SFDA, ETran discriminant": ("certainty where it was fitted", _regions),
    "NCTI": ("how near each class is to a point", _collapse),
    "PED": ("classes that overlap are pushed apart", _pushed),
    "nearest neighbour": ("is my neighbour of my class?", _nearest),
    "ridge, linear probe": ("who is on the wrong side of a line?", _lines),
    "left-out probability": ("certainty where it was not fitted", _left_out),
    "effective rank, α-ReQ": ("how fast the variance falls off", _spectrum),
}


def noisy(x):
    """Features (N, D), and beside them three columns of noise for each, as wide as the features: (N, 4 D)."""
    noise = np.random.default_rng(0).standard_normal((len(x), WIDER * x.shape[1]))
    return np.hstack([x, x.mean() + noise * np.tile(x.std(0), WIDER)])


def moved_by(x, wide, zoo, y):
    """What moves each metric, found by trial, not from its formula.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        Features of a narrow network, D < N.
    wide : ndarray of shape (N, more than N)
        Those of a wide one.
    zoo : mapping of str to ndarrays of N rows
        Networks among which the metrics that compare networks see the changed features.
    y : integer array of shape (N,)

    Returns
    -------
    table : pandas.DataFrame
        A row a metric; 1 yes, 0 no, NaN no answer. Columns: ``rises with noise``, with columns of noise, of which what
        has the largest value there is without them says nothing; ``shuffled
        labels``, `wide` with these is given as much as `x` with the real ones; ``saturates``, and even the largest
        value there is; ``reads the unit``, the factor ten moves it by more than 1 %; ``reads the axes``, a rotation
        moves it; ``sees no labels``, shuffling them does not; ``needs more``, source classifier or other networks.
    reduced : list of str
        Those that noise raises even where only the first 64 principal components are seen.
    """
    rng = np.random.default_rng(1)
    shuffled, turn = rng.permutation(y), np.linalg.qr(rng.standard_normal((x.shape[1], x.shape[1])))[0]
    few = [PCA(64, svd_solver="full").fit_transform(z) for z in (x, noisy(x))]
    rows, reduced = {}, []
    for name, metric in RIVALS.items():
        if name in ("committee", "PARC 32 components as published"):
            continue
        rows[name] = {"needs more": metric.needs != "features"}
        if metric.needs == "source probabilities":
            continue
        plain, filled, large, small, turned, narrow, clean = _scores(
            metric, zoo, y, x, noisy(x), 10 * x, x / 10, x @ turn, few[0], few[1]
        )
        rows[name] |= {
            "rises with noise": filled - plain > MORE * abs(plain),
            "reads the unit": max(abs(large - plain), abs(small - plain)) > 0.01 * abs(plain),
            "reads the axes": abs(turned - plain) > MORE * abs(plain),
            "sees no labels": _scores(metric, zoo, shuffled, few[0]) == [narrow],
        }
        if rows[name]["rises with noise"] and clean > narrow:
            reduced.append(name)
        if metric.needs == "features":  # of a zoo nothing is compared across two sets of labels
            fooled, most = metric(wide, shuffled), metric.bounds[1]
            most = eval(most, {"C": y.max() + 1, "N": len(y)}) if isinstance(most, str) else most
            if most is not None and most - plain < 1e-6 and not rows[name]["rises with noise"]:
                rows[name]["rises with noise"] = np.nan
            rows[name] |= {"shuffled labels": plain - fooled < MORE * abs(plain),
                           "saturates": most is not None and most - fooled < 1e-6}  # fmt: skip
    columns = ["rises with noise", "shuffled labels", "saturates", "reads the unit", "reads the axes", "sees no labels",
               "needs more"]  # fmt: skip
    return pd.DataFrame(rows).T[columns].astype(float), reduced


def _scores(metric, zoo, y, *variants):
    """What a metric gives each of these features, those of a zoo beside its other networks."""
    if metric.needs == "features":
        return [metric(z, y) for z in variants]
    found = metric(zoo | {f"variant {i}": z for i, z in enumerate(variants)}, y)
    return [found[f"variant {i}"] for i in range(len(variants))]


def matrix(table, *, ax=None):
    """Heat map of what moves each metric, and of what it costs, the least moved and cheapest on top.

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`moved_by` makes it; the seconds are added from ``data/timings/rivals.csv``.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    seconds = pd.read_csv(data_folder("timings") / "rivals.csv", index_col="name")["seconds"]
    seconds["NCTI"] = seconds["NCTI terms"]
    for form in ("", " as published"):
        seconds["ETran" + form] = seconds["ETran energy"] + seconds["ETran discriminant" + form]
    cost = (seconds / seconds["SFDA"]).reindex(table.index)
    order = pd.DataFrame({"marks": table.drop(columns="needs more").sum(axis=1), "cost": cost})
    order["marks"] += 9 * (table.notna().sum(axis=1) == 1)  # what takes no features is last
    table = table.loc[order.sort_values(["marks", "cost"], kind="stable").index]
    cost = cost[table.index]
    shades = 0.62 * table.assign(**{"cost, SFDA = 1": 0.0})
    words = table.map(lambda value: "●" if value == 1 else "")
    words["cost, SFDA = 1"] = [f"{value:.0f}" if value >= 9.5 else f"{value:.1f}" for value in cost]
    ax = plt.subplots(figsize=(4.8, 0.2 * len(table) + 0.9))[1] if ax is None else ax
    sns.heatmap(shades, annot=words, fmt="", cmap=sns.light_palette(plots.COLOURS[1], as_cmap=True), vmin=0, vmax=1,
                cbar=False, linewidths=1, annot_kws={"size": 8, "color": "0.1"}, ax=ax)  # fmt: skip
    names = [name.replace("as published", "(publ.)").replace("standardised", "(std.)") for name in table.index]
    ax.set_yticks(np.arange(len(table)) + 0.5, names, rotation=0, size=8)
    heads = [head.replace(" = ", " =\N{NO-BREAK SPACE}").replace(" ", "\n") for head in shades]
    heads = [head.replace("saturates", "satu-\nrates") for head in heads]
    ax.set_xticks(np.arange(shades.shape[1]) + 0.5, heads, size=8)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    ax.set(xlabel="", ylabel="")
    return ax


def frame(blocks, ax):
    """A line round every block of a square map's diagonal.

    Parameters
    ----------
    blocks : pandas.Series
        Of each row, in the order of the map, the number of its block; one that stands alone gets no line.
    ax : matplotlib.axes.Axes
    """
    start = 0
    for _, run in groupby(blocks):
        size = len(list(run))
        if size > 1:
            ax.add_patch(Rectangle((start, start), size, size, fc="none", ec="black", lw=1.8, clip_on=False))
        start += size


def everything(agreement, blocks, moved):
    """The agreement of all scores, in blocks, above the matrix of what moves them.

    Parameters
    ----------
    agreement : pandas.DataFrame
        Square, in the order of a clustering.
    blocks : pandas.Series
        As :func:`frame` takes them.
    moved : pandas.DataFrame
        As :func:`moved_by` makes it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fig, axes = plt.subplots(2, 1, figsize=(4.8, 14.4), height_ratios=[len(agreement), 1.3 * len(moved)])
    sns.heatmap(agreement, cmap="vlag_r", vmin=-1, vmax=1, cbar=False, xticklabels=True, yticklabels=True, ax=axes[0])
    axes[0].tick_params(length=0, labelsize=7.5)
    axes[0].grid(False)
    frame(blocks, axes[0])
    matrix(moved, ax=axes[1])
    return fig


def climb(places):
    """An arrow for every score, from the place of a network without noise to that with it, the best place on the right.

    Parameters
    ----------
    places : mapping of str to pair of int
        Among six networks.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fig, ax = plt.subplots(figsize=(4, 0.28 * len(places) + 0.9))
    for row, (before, after) in enumerate(places.values()):
        colour = WRONG if after < before else plots.COLOURS[0]
        ax.plot(before, row, "o", color=FAINT, ms=8)
        ax.annotate("", (after, row), (before, row), arrowprops={"arrowstyle": "-|>", "lw": 2.2, "color": colour})
    ax.set_yticks(range(len(places)), places)
    ax.set_xticks(range(6, 0, -1), ["last", *"5432", "first"])
    before, after = next(iter(places.values()))
    ax.text(before + 0.15, -0.3, "without noise", va="bottom", size="small")
    ax.text(after, -0.3, "with noise", ha="center", va="bottom", size="small")
    ax.set(xlim=(6.6, 0.6), ylim=(len(places) - 0.5, -1))
    ax.set_xlabel("place of the smallest network:\nnoise should not lift it")
    return fig
