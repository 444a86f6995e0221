"""Numbers published by others, as tidy tables: one observation a row. Nothing here was computed by this package.

The README beside the files of ``data/published`` says where each comes from and what to beware of.
"""

from sfda.files import data_folder, table_of


def table(name, group=None):
    """One of the published tables.

    Parameters
    ----------
    name : str
        A file of ``data/published`` without ``.csv``; ``source`` is always a column too, the repository and file, or
        the paper, behind a row:

        ``finetune_accuracy``
            The ground truth, one run a row: accuracies of networks after fine-tuning, with ``group``, ``model``,
            ``dataset``, ``accuracy`` (per cent), ``measure`` (which accuracy: it differs between data sets) and
            ``benchmark``. Groups: 'supervised' (11 ImageNet CNNs on 11 data sets), 'self_supervised' (12 ResNet-50
            on the same), 'vit' (10 vision transformers on the same), 'vit_extra' (3 more) and
            'self_supervised_ncti_extra' (10 of the ResNet-50 on 2 further data sets).
        ``published_tau_w``
            Weighted tau as the metrics' authors printed it: ``metric``, ``group``, ``dataset``, ``tau_w``. Groups:
            'supervised', 'self_supervised' and 'supervised10_logme_truth', which is ranked against the accuracies in
            ``logme_zoo_scores``, so not comparable, and has some metrics from two sources: select one.
        ``imagenet_top1``
            Of the 'supervised' networks: ``model``, ``imagenet_top1`` (per cent).
        ``published_runtime``
            ``metric``, ``group``, ``dataset``, ``value`` and ``unit`` ('seconds' or 'speed-up factor'), from
            different machines.
        ``tmlr_scores``
            An independent benchmark, 14 metrics of 10 networks on 11 data sets: ``dataset``, ``n_classes``,
            ``model``, ``test_score`` (after fine-tuning, 0 to 1), ``metric``, ``score`` (larger is better).
        ``logme_zoo_scores``
            The zoo of the LogME project, 10 networks on 8 data sets: ``dataset``, ``model``, ``finetune_accuracy``
            (per cent), ``metric``, ``score``. LEEP, LogME and NCE come from two sources that disagree: select one.
        ``parc_oracles``
            ``architecture``, ``source_dataset``, ``target_dataset``, ``oracle_accuracy`` (per cent).
        ``dataset_sizes``
            Of the paper's 11 data sets: ``dataset``, ``n_classes``, numbers of images ``train_val`` and ``test``, and
            ``megabytes`` to be fetched (millions of bytes), which ``megabytes_source`` states.
        ``feature_dimensions``
            What a network hands to its last layer: ``model``, ``feature_dimension``.
        ``statements``
            Single numbers: ``item``, ``value``, ``unit``, ``knowledge`` ('read' in the source itself, or
            'second-hand').
    group : str, optional
        Only the rows of one group, where a table has groups; all by default.

    Returns
    -------
    pandas.DataFrame
        No cell is missing.

    Raises
    ------
    ValueError
        There is no such table (the message lists them) or group.
    FileNotFoundError
        This package runs from elsewhere than the repository.
    """
    found = table_of(data_folder("published"), name)
    if group is None:
        return found
    groups = found["group"].unique().tolist() if "group" in found else []
    if group not in groups:
        raise ValueError(f"group must be one of {', '.join(map(repr, groups))}, got {group!r}")
    return found[found["group"] == group].reset_index(drop=True)


def accuracy_table(group):
    """Fine-tuned accuracies of one group as a table of models by data sets.

    Parameters
    ----------
    group : str
        Of ``finetune_accuracy``, as in :func:`table`.

    Returns
    -------
    pandas.DataFrame of shape (n_models, n_datasets)
        Accuracies in per cent; the index holds the models, the columns the data sets. No cell is missing.

    Raises
    ------
    ValueError, FileNotFoundError
        As in :func:`table`.
    """
    return table("finetune_accuracy", group).pivot(index="model", columns="dataset", values="accuracy")
