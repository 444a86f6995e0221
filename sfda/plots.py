"""The book's figures: one style, colours that colour-blind readers can tell apart."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

# Of seaborn's palette for the colour-blind: blue, vermilion, green, purple, sky blue, orange. Its others are too pale
# for lines on white, or too much like these.
COLOURS = [sns.color_palette("colorblind").as_hex()[i] for i in (0, 3, 2, 4, 9, 1)] + ["#000000"]
# Shapes say the same as the colours, for readers who see no colours at all.
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]


def use_style():
    """Set the defaults of matplotlib and seaborn for every figure that follows."""
    # The font is the one that comes with matplotlib: with another the figures would differ between machines.
    sns.set_theme("paper", "ticks", COLOURS, font="DejaVu Sans", font_scale=1.04, rc={
        "figure.figsize": (7.0, 3.6), "figure.dpi": 100, "figure.constrained_layout.use": True,
        "savefig.facecolor": "white", "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.alpha": 0.3, "axes.formatter.limits": (-3, 4), "legend.frameon": False, "lines.linewidth": 1.5,
        "lines.markersize": 6,
    })  # fmt: skip


def heatmap(table, *, ax=None, decimals=1, label="place in its column (1 = best)"):
    """Table of numbers, each cell coloured by its rank within its column.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows are networks, columns are data sets; NaN cells stay white.
    ax : matplotlib.axes.Axes, optional
    decimals : int, default 1
        Of the numbers written into the cells.
    label : str
        Of the colour bar.

    Returns
    -------
    matplotlib.axes.Axes
        Of row i and column j the cell is between i and i + 1, j and j + 1.
    """
    ranks = table.rank(ascending=False)
    ax = sns.heatmap(
        ranks, ax=ax, cmap="Blues_r", xticklabels=True, yticklabels=True,
        annot=table.round(decimals) + 0.0, fmt=f".{decimals}f", annot_kws={"size": 8},  # never -0.0
        cbar_kws={"label": label, "pad": 0.01},
    )  # fmt: skip
    # The dark cells are those of early places. Seaborn would write white on cells of middling brightness, too.
    for text, rank in zip(ax.texts, ranks.to_numpy()[ranks.notna()]):
        text.set_color("white" if rank < 1 + 0.45 * (len(table) - 1) else "black")
    ax.set(xlabel="", ylabel="")
    ax.grid(False)
    ax.set_xticklabels(ax.get_xticklabels(), rotation=45, ha="right")
    ax.tick_params(axis="y", rotation=0)
    return ax


def dots(table, *, ax=None, xlabel=""):
    """Dot plot: one line a row of the table, one colour and shape a column.

    Parameters
    ----------
    table : pandas.DataFrame
        Finite or missing numbers.
    ax : matplotlib.axes.Axes, optional
    xlabel : str
        What the numbers are, with their unit.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = plt.gca() if ax is None else ax
    rows, columns = np.indices(table.shape)
    ax.hlines(rows[:, 0], table.min(axis=1), table.max(axis=1), color="0.8", lw=2, zorder=1)
    _points(ax, table.to_numpy(dtype=float).ravel(), rows.ravel(), columns.ravel(), table.columns)
    return _listed(ax, table.index, xlabel)


def scatter_classes(z, y, names, *, ax=None, filled=True):
    """Samples in a plane, one colour and shape a class.

    Parameters
    ----------
    z : ndarray of shape (N, 2)
    y : integer array of shape (N,)
        Classes 0..C-1.
    names : sequence of str
        Names of the classes.
    ax : matplotlib.axes.Axes, optional
    filled : bool, default True
        Solid markers; outlines otherwise, for samples that were held out.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = plt.gca() if ax is None else ax
    for c, name in enumerate(names):
        colour = COLOURS[c % len(COLOURS)]
        ax.scatter(
            *z[y == c, :2].T, label=name, s=22 if filled else 30, alpha=0.8,
            marker=MARKERS[c % len(MARKERS)], edgecolors=colour,
            facecolors=colour if filled else "none", linewidths=0.5 if filled else 1.2,
        )  # fmt: skip
    return ax


def pictures(images, *, columns, titles=None, size=0.62):
    """A sheet of small images, read row by row.

    Parameters
    ----------
    images : uint8 array or tensor of shape (n, 3, H, W)
    columns : int
        How many side by side.
    titles : sequence of str, optional
        One a row, to the left of it.
    size : float, default 0.62
        Side of an image in inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    images = np.asarray(images).transpose(0, 2, 3, 1)
    rows = -(-len(images) // columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(size * columns + (1.2 if titles else 0), size * rows), squeeze=False
    )
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], frame_on=False)
    for ax, image in zip(axes.flat, images):
        ax.imshow(image, interpolation="nearest")
    for ax, title in zip(axes[:, 0], titles or []):
        ax.set_ylabel(title, rotation=0, ha="right", va="center")
    return fig


def intervals(table, *, ax=None, others=(), xlabel="", labels=("metrics", "yardsticks")):
    """Means with their intervals, one line a row.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``mean``, ``low`` and ``high``.
    ax : matplotlib.axes.Axes, optional
    others : collection of row names, optional
        Drawn in another colour and with another shape.
    xlabel : str
        What the numbers are, with their unit.
    labels : pair of str
        Of the two kinds of rows, for the legend.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = plt.gca() if ax is None else ax
    _bars(ax, table, table["mean"], table.index.isin(list(others)).astype(int), labels)
    return _listed(ax, table.index, xlabel)


def ranked(table, *, ax=None, xlabel="", title=""):
    """Networks in the order of their scores, with intervals; what is tied with the first is told apart.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``network``, ``score``, ``low``, ``high`` and ``tied``, the best first, as
        :func:`sfda.rank.run.rank` makes it.
    ax : matplotlib.axes.Axes, optional
    xlabel : str
        What the scores are.
    title : str

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = plt.gca() if ax is None else ax
    kinds = np.where(table["tied"], 1, 2)
    kinds[:1] = 0
    _bars(ax, table, table["score"], kinds, ["first", "within noise", "behind"])
    _listed(ax, table["network"], xlabel)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_title(title, loc="left")
    sns.move_legend(ax, "center left", bbox_to_anchor=(1, 0.5), ncols=1)
    return ax


def _bars(ax, table, values, kinds, names):
    """Values with their intervals, a line each; `kinds` says which of `names` every row is."""
    rows = np.arange(len(table))
    ax.hlines(rows, table["low"], table["high"], color=[COLOURS[kind] for kind in kinds], lw=2, alpha=0.5)
    _points(ax, values.to_numpy(dtype=float), rows, kinds, names)


def _points(ax, x, y, kinds, names):
    """Points whose colour and shape say which of `names` each is; the legend has those that occur."""
    names = [str(name) for name in names]
    shown = [name for i, name in enumerate(names) if i in kinds]
    each = [names[kind] for kind in kinds]
    sns.scatterplot(
        x=x, y=y, hue=each, style=each, hue_order=shown, style_order=shown, palette=dict(zip(names, cycle(COLOURS))),
        markers=dict(zip(names, cycle(MARKERS))), s=50, linewidth=0, zorder=2, ax=ax,
    )  # fmt: skip


def _listed(ax, names, xlabel):
    """Names of the rows, the first on top, and the legend above."""
    ax.set_yticks(range(len(names)), names)
    ax.yaxis.set_inverted(True)
    ax.set_xlabel(xlabel)
    sns.move_legend(ax, "lower center", bbox_to_anchor=(0.5, 1.0), ncols=5)
    return ax
