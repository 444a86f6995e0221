"""The book's figures: one style, colours that colour-blind readers can tell apart."""

import matplotlib.pyplot as plt
import numpy as np

# Okabe and Ito's palette, without its yellow, which is too pale for lines on white.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"]
# Shapes say the same as the colours, for readers who see no colours at all.
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]


def use_style():
    """Set matplotlib's defaults for every figure that follows."""
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.formatter.limits": (-3, 4),
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "font.size": 10,
        }
    )


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
    """
    ax = plt.gca() if ax is None else ax
    ranks = table.rank(ascending=False)
    image = ax.imshow(ranks, cmap="cividis_r", aspect="auto")
    ax.set_xticks(range(table.shape[1]), table.columns, rotation=45, ha="right")
    ax.set_yticks(range(table.shape[0]), table.index)
    ax.grid(False)
    middle = (1 + len(table)) / 2
    for (i, j), value in np.ndenumerate(table.to_numpy()):
        if np.isfinite(value):
            # Dark cells are those of late places, where the text turns white.
            colour = "white" if ranks.iloc[i, j] > middle else "black"
            text = f"{round(value, decimals) + 0.0:.{decimals}f}"  # never -0.0
            ax.text(j, i, text, ha="center", va="center", color=colour, size=8)
    ax.figure.colorbar(image, ax=ax, label=label, pad=0.01)
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
    rows = np.arange(len(table))
    ax.hlines(rows, table.min(axis=1), table.max(axis=1), color="0.8", lw=2, zorder=1)
    for i, name in enumerate(table.columns):
        ax.scatter(
            table[name], rows, label=name, zorder=2, s=36,
            color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)],
        )  # fmt: skip
    ax.set_yticks(rows, table.index)
    ax.invert_yaxis()
    ax.set_xlabel(xlabel)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(table.columns))
    return ax


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
    rows = np.arange(len(table))
    second = table.index.isin(list(others))
    for i, chosen in enumerate((~second, second)):
        if chosen.any():
            part = table[chosen]
            ax.hlines(rows[chosen], part["low"], part["high"], color=COLOURS[i], lw=2, alpha=0.5)
            ax.scatter(part["mean"], rows[chosen], color=COLOURS[i], marker=MARKERS[i], s=36,
                       label=labels[i], zorder=2)  # fmt: skip
    ax.set_yticks(rows, table.index)
    ax.invert_yaxis()
    ax.set_xlabel(xlabel)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


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
    rows = np.arange(len(table))
    tied = table["tied"].to_numpy(bool)
    kinds = {"first": rows == 0, "within noise": tied & (rows > 0), "behind": ~tied}
    for i, (label, chosen) in enumerate(kinds.items()):
        if chosen.any():
            part = table[chosen]
            ax.hlines(rows[chosen], part["low"], part["high"], color=COLOURS[i], lw=2, alpha=0.5)
            ax.scatter(part["score"], rows[chosen], color=COLOURS[i], marker=MARKERS[i], s=36,
                       label=label, zorder=2)  # fmt: skip
    ax.set_yticks(rows, table["network"])
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlabel(xlabel)
    ax.set_title(title, loc="left")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
