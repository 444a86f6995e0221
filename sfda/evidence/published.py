"""Numbers published by others, as tidy tables.

Every function reads one file of ``data/published`` and returns a new
`pandas.DataFrame` with one observation per row and a ``source`` column that
names the repository and file, or the paper, behind it. The README beside the
files says where each table comes from and what to beware of. Nothing here was
computed by this package.
"""

import pandas as pd

from sfda.files import data_folder


def accuracies(group=None):
    """Test accuracy of pre-trained networks after fine-tuning: the ground truth.

    Parameters
    ----------
    group : str, optional
        One zoo: 'supervised' (11 ImageNet CNNs on 11 data sets),
        'self_supervised' (12 ResNet-50 on the same 11), 'vit' (10 vision
        transformers on the same 11), 'vit_extra' (3 more), or
        'self_supervised_ncti_extra' (10 of the ResNet-50 on 2 further data sets).
        By default all of them.

    Returns
    -------
    pandas.DataFrame
        Columns ``group``, ``model``, ``dataset``, ``accuracy`` (per cent),
        ``measure`` (which accuracy: it differs between data sets), ``benchmark``
        and ``source``. One run per row; no spread was published.

    Raises
    ------
    ValueError
        If there is no such group.
    FileNotFoundError
        If the table is not there.
    """
    return _select(_read("finetune_accuracy.csv"), group)


def accuracy_table(group):
    """Fine-tuned accuracies of one zoo as a table of models by data sets.

    Parameters
    ----------
    group : str
        As in `accuracies`.

    Returns
    -------
    pandas.DataFrame of shape (n_models, n_datasets)
        Accuracies in per cent; the index holds the models, the columns the data
        sets. No cell is missing.

    Raises
    ------
    ValueError, FileNotFoundError
        As in `accuracies`.
    """
    return accuracies(group).pivot(index="model", columns="dataset", values="accuracy")


def imagenet_top1():
    """ImageNet accuracy of the 'supervised' networks: the simplest yardstick.

    Returns
    -------
    pandas.DataFrame
        Columns ``model``, ``imagenet_top1`` (top-1 accuracy in per cent) and
        ``source``. 11 rows.

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    """
    return _read("imagenet_top1.csv")


def tau_w(group=None):
    """Weighted Kendall tau of transferability metrics, as their authors printed it.

    Parameters
    ----------
    group : str, optional
        One zoo and ground truth: 'supervised', 'self_supervised' (both ranked
        against `accuracies`) or 'supervised10_logme_truth' (ranked against the
        accuracies in `logme_zoo`, so not comparable with the others). By default
        all of them.

    Returns
    -------
    pandas.DataFrame
        Columns ``metric``, ``group``, ``dataset``, ``tau_w`` (-1 to 1) and
        ``source``. In 'supervised10_logme_truth' some metrics were printed by two
        sources, with different values: select one before averaging.

    Raises
    ------
    ValueError
        If there is no such group.
    FileNotFoundError
        If the table is not there.
    """
    return _select(_read("published_tau_w.csv"), group)


def runtimes():
    """Running times and speed-ups of metrics, as published.

    Returns
    -------
    pandas.DataFrame
        Columns ``metric``, ``group``, ``dataset``, ``value``, ``unit`` ('seconds'
        or 'speed-up factor') and ``source``. 7 rows, from different machines.

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    """
    return _read("published_runtime.csv")


def independent_scores():
    """Scores of 13 metrics and ImageNet accuracy, from an independent benchmark.

    Returns
    -------
    pandas.DataFrame
        Columns ``dataset``, ``n_classes``, ``model``, ``test_score`` (performance
        after fine-tuning, 0 to 1), ``metric``, ``score`` (in the metric's own unit;
        larger is better) and ``source``. 1,540 rows: 11 data sets x 14 metrics x
        10 models.

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    """
    return _read("tmlr_scores.csv")


def logme_zoo():
    """Scores and fine-tuned accuracies of the zoo of the LogME project.

    Returns
    -------
    pandas.DataFrame
        Columns ``dataset``, ``model``, ``finetune_accuracy`` (per cent),
        ``metric``, ``score`` (in the metric's own unit; larger is better) and
        ``source``. 1,030 rows: 8 data sets x 10 models. LEEP, LogME and NCE come
        from two sources that disagree: select one.

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    """
    return _read("logme_zoo_scores.csv")


def parc_oracles():
    """Transfer accuracy by architecture, source data set and target data set.

    Returns
    -------
    pandas.DataFrame
        Columns ``architecture``, ``source_dataset``, ``target_dataset``,
        ``oracle_accuracy`` (per cent) and ``source``. 196 rows: 4 architectures x
        8 sources x 7 targets, less the 28 in which source and target are the same.

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    """
    return _read("parc_oracles.csv")


def dataset_sizes():
    """Numbers of images of the 11 data sets of the SFDA paper.

    Returns
    -------
    pandas.DataFrame
        Columns ``dataset``, ``n_classes``, ``train_val`` (images for training and
        validation together), ``test`` and ``source``. The usual splits; that the
        SFDA authors' files have the same sizes is assumed. ``megabytes`` is the size of
        the files to be fetched, in millions of bytes, and ``megabytes_source`` who says so.

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    """
    return _read("dataset_sizes.csv")


def feature_dimensions():
    """Length of the feature vector that a network hands to its last layer.

    Returns
    -------
    pandas.DataFrame
        Columns ``model``, ``feature_dimension`` and ``source``: the 11 networks of
        'supervised' and the 10 of `independent_scores`, 17 in all, read off the
        definitions of the networks in torchvision and timm.

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    """
    return _read("feature_dimensions.csv")


def statements():
    """Single numbers that the SFDA paper, its code or its users state.

    Returns
    -------
    pandas.DataFrame
        Columns ``item``, ``value``, ``unit``, ``knowledge`` ('read' in the source
        itself, or 'second-hand' from reading notes) and ``source``. 5 rows.

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    """
    return _read("statements.csv")


def _read(name):
    path = data_folder("published") / name
    if not path.is_file():
        raise FileNotFoundError(
            f"no published table at {path}: the tables are in the repository, not in the "
            "installed package; clone the repository and install it with 'pip install -e .'"
        )
    return pd.read_csv(path)


def _select(table, group):
    if group is None:
        return table
    groups = table["group"].unique().tolist()
    if group not in groups:
        raise ValueError(f"group must be one of {', '.join(map(repr, groups))}, got {group!r}")
    return table[table["group"] == group].reset_index(drop=True)
