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

# What people call the networks and the tasks of the pocket benchmark, the supervised networks of the paper, the real
# networks, and those of the records that chapter 10 draws: fractions are widths, pixels the side of the images that one
# was trained on, where two differ by it.
NAMES = {
    "resnet_10": "ResNet-10", "resnet_18": "ResNet-18", "resnet_26": "ResNet-26", "resnet_34": "ResNet-34",
    "densenet_26": "DenseNet-26", "densenet_26_wide": "DenseNet-26, wide", "densenet_42": "DenseNet-42",
    "mobilenet_v2": "MobileNetV2", "mnasnet": "MNASNet", "googlenet": "GoogLeNet", "googlenet_wide": "GoogLeNet, wide",
    "simclr": "SimCLR", "moco_v1": "MoCo v1", "moco_v2": "MoCo v2", "byol": "BYOL", "swav": "SwAV",
    "deepcluster": "DeepCluster", "simsiam": "SimSiam", "barlow_twins": "Barlow Twins", "vicreg": "VICReg",
    "rotation": "rotation", "instance_discrimination": "instance discr.", "infomin": "InfoMin",
    "vit_tiny": "ViT-tiny", "vit_small": "ViT-small", "vit_small_patch4": "ViT-small/4", "deit_tiny": "DeiT-tiny",
    "deit_small": "DeiT-small", "dino_small": "DINO", "moco_v3_small": "MoCo v3", "pvt_small": "PVT",
    "pvt_v2": "PVT v2", "swin_tiny": "Swin",
    "digits": "digits", "mnist": "MNIST", "usps": "USPS", "kmnist": "KMNIST", "omniglot": "Omniglot",
    "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "flowers": "flowers", "fractals": "fractals",
    "textures": "textures", "counting": "counting",
    "caltech101": "Caltech 101", "dtd": "DTD", "sun397": "SUN397", "voc2007": "VOC 2007", "cars": "cars",
    "aircraft": "aircraft", "food": "food", "pets": "pets",
    "resnet152": "ResNet-152", "densenet201": "DenseNet-201", "resnet101": "ResNet-101", "densenet169": "DenseNet-169",
    "resnet50": "ResNet-50", "densenet121": "DenseNet-121", "resnet34": "ResNet-34", "inception_v3": "Inception v3",
    "mnasnet1_0": "MNASNet",
    "mobilenetv1_025_r128": "MobileNet V1 ¼", "mobilenetv1_025_r224_keras": "MobileNet V1 ¼, 224 px",
    "mobilenetv1_025_r96_person": "MobileNet V1 ¼, persons", "mobilenetv1_050_r160": "MobileNet V1 ½, 160 px",
    "mobilenetv1_050_r224": "MobileNet V1 ½", "mobilenetv1_075_r192": "MobileNet V1 ¾",
    "mobilenetv1_100_r224": "MobileNet V1", "mobilenetv2_050_r96": "MobileNet V2 ½, 96 px",
    "mobilenetv2_050_r224": "MobileNet V2 ½", "mobilenetv2_075_r160": "MobileNet V2 ¾",
    "mobilenetv2_100_r224": "MobileNet V2", "mobilenetv2_100_r160_dogs": "MobileNet V2, dogs",
    "mobilenetv2_100_r224_inat_bird": "MobileNet V2, birds", "mobilenetv3_large_minimal_r224": "MobileNet V3",
    "squeezenet1_0_r227": "SqueezeNet", "efficientnet_lite0_r224": "EfficientNet-Lite0",
    "efficientnet_lite1_r240": "EfficientNet-Lite1", "efficientnet_lite2_r260": "EfficientNet-Lite2",
    "resnet18": "ResNet-18", "densenet161": "DenseNet-161", "efficientnet_b0": "EfficientNet-B0",
    "mobilenetv2_050": "MobileNetV2 ½", "mobilenetv2_100": "MobileNetV2", "vit_small_patch16_224": "ViT-small",
    "efficientnetb0": "EfficientNet-B0", "efficientnetb1": "EfficientNet-B1", "efficientnetb2": "EfficientNet-B2",
    "efficientnetb3": "EfficientNet-B3", "mobilenet": "MobileNet", "mobilenetv2": "MobileNetV2",
    "mobilenetv3": "MobileNetV3", "nasnetmobile": "NASNet-Mobile", "resnet50v2": "ResNet-50 v2",
    "resnet101v2": "ResNet-101 v2", "resnet152v2": "ResNet-152 v2", "vgg16": "VGG-16", "vgg19": "VGG-19",
    "xception": "Xception",
}  # fmt: skip


def use_style():
    """Set the defaults of matplotlib and seaborn for every figure that follows.

    A figure of up to 4.8 inches, of 100 pixels each, can be read on a telephone, which shows it at two thirds.
    """
    # The font is the one that comes with matplotlib: with another the figures would differ between machines.
    sns.set_theme("paper", "ticks", COLOURS, font="DejaVu Sans", font_scale=1.04, rc={
        "figure.figsize": (4.8, 3.2), "figure.dpi": 100, "figure.constrained_layout.use": True,
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
    ax.set_xticklabels(_named(table.columns), rotation=45, ha="right")
    ax.set_yticklabels(_named(table.index), rotation=0)
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
    fig.patch.set_alpha(0)  # no paper: the page's own, light or dark, and titles that are read on both
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], frame_on=False)
    for ax, image in zip(axes.flat, images):
        ax.imshow(image, interpolation="nearest")
    for ax, title in zip(axes[:, 0], titles or []):
        ax.set_ylabel(title, rotation=0, ha="right", va="center", color="0.5")
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


def tau_map(table, *, chance, ax=None):
    """Agreement of many orders with many others, in hundredths: blue where it is positive, red where it is negative.

    Parameters
    ----------
    table : pandas.DataFrame
        Between -1 and 1; NaN cells stay white.
    chance : float
        Cells that are no further from 0 are pale.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Of row i and column j the cell is between i and i + 1, j and j + 1.
    """
    clear = table.abs() > chance
    ax = sns.heatmap(
        table.where(clear, 0.3 * table), ax=ax, cmap="vlag_r", vmin=-1, vmax=1, xticklabels=True, yticklabels=True,
        annot=(100 * table).round() + 0.0, fmt=".0f", annot_kws={"size": 8}, cbar=False, linewidths=1,
    )  # fmt: skip
    for text, value, far in zip(ax.texts, table.to_numpy()[table.notna()], clear.to_numpy()[table.notna()]):
        text.set_color("0.35" if not far else "white" if abs(value) > 0.6 else "black")
    ax.set(xlabel="", ylabel="")
    ax.grid(False)
    ax.tick_params(length=0)
    return ax


def means(table, *, others=(), ours=(), hollow=(), band=None, ends=None, ax=None, xlabel="", decimals=2):
    """Every value of a row as a small dot, their mean as a large one, which also stands to the right as a number.

    Parameters
    ----------
    table : pandas.DataFrame
        One line a row; of its values those that are missing are left out.
    others : collection of row names, optional
        Drawn in another colour, their means as squares: yardsticks.
    ours : collection of row names, optional
        The same with a third colour, and triangles: what is not published elsewhere.
    hollow : collection of row names, optional
        The mean of these is an outline: what was chosen after the values had been seen.
    band : pair of float, optional
        What chance reaches, shaded.
    ends : pandas.DataFrame, optional
        The same rows with the ends ``low`` and ``high`` of the means' intervals: lines, thick where they do not contain
        0, which gets a line, too.
    ax : matplotlib.axes.Axes, optional
    xlabel : str
        What the numbers are.
    decimals : int, default 2
        Of the means that are written.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = plt.gca() if ax is None else ax
    if band is not None:
        ax.axvspan(*band, color="0.9", zorder=0)
    kinds = np.where(table.index.isin(list(ours)), 2, table.index.isin(list(others)))
    long = table.rename_axis("row").rename_axis("column", axis=1).stack().rename("value").reset_index()
    sns.stripplot(long, x="value", y="row", hue="row", order=table.index, hue_order=table.index, jitter=False, size=4,
                  alpha=0.55, palette=[COLOURS[kind] for kind in kinds], legend=False, ax=ax)  # fmt: skip
    for row, (kind, mean) in enumerate(zip(kinds, table.mean(axis=1))):
        outline = table.index[row] in hollow
        ax.plot(mean, row, MARKERS[kind], color="white" if outline else COLOURS[kind], ms=8, zorder=4,
                mec=COLOURS[kind] if outline else "white", mew=1.5 if outline else 0.8)  # fmt: skip
        ax.text(1.02, row, f"{mean:.{decimals}f}", transform=ax.get_yaxis_transform(), va="center", size="small")
    if ends is not None:
        for row, (low, high) in enumerate(ends.loc[table.index, ["low", "high"]].to_numpy()):
            ax.plot([low, high], [row, row], "|-", color="black", ms=7, lw=1 if low < 0 < high else 2.5, zorder=3)
        ax.axvline(0, color="0.3", lw=1, ls=":", zorder=1)
    ax.set(xlabel=xlabel, ylabel="", ylim=(len(table) - 0.5, -0.5))
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


def _named(codes):
    """Names that people give to networks and tasks; what has none keeps its own."""
    return [NAMES.get(code, str(code)) for code in codes]


def _listed(ax, names, xlabel):
    """Names of the rows, the first on top, and the legend above."""
    ax.set_yticks(range(len(names)), _named(names))
    ax.yaxis.set_inverted(True)
    ax.set_xlabel(xlabel)
    sns.move_legend(ax, "lower center", bbox_to_anchor=(0.5, 1.0), ncols=5)
    return ax
