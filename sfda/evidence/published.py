"""Numbers published by others, as tidy tables: one observation a row. Nothing here was computed by this package.

The README beside the files of ``data/published`` says where each comes from and what to beware of.
"""

from sfda.files import data_folder, table_of

#: The paper's three zoos, and the groups by which the files know them.
ZOO_GROUPS = {"supervised": "supervised", "self-supervised": "self_supervised", "transformers": "vit"}


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
            ``benchmark``. Groups: 'supervised' (11 ImageNet CNNs on 11 data sets), 'self-supervised' (12 ResNet-50
            on the same), 'transformers' (10 vision transformers on the same), 'vit_extra' (3 more) and
            'self_supervised_ncti_extra' (10 of the ResNet-50 on 2 further data sets).
        ``published_tau_w``
            Weighted tau as the metrics' authors printed it: ``metric``, ``group``, ``dataset``, ``tau_w``. Groups:
            'supervised', 'self-supervised' and 'supervised10_logme_truth', which is ranked against the accuracies in
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
        ``finetune_records``
            Of several projects, the ``record``: ``model``, ``task``, ``accuracy`` (test, a share of 1, after
            fine-tuning). :func:`record` reads it.
        ``stable_transfer_scores``
            Of the networks and tasks of the record 'stable-transfer': ``metric``, ``model``, ``task``, ``score``.
        ``timm_imagenet``
            Of timm's networks: ``model``, ``input_size`` (pixels; some have rows for several),
            ``parameters_millions``, ``imagenet_top1`` (per cent).
        ``dataset_sizes``
            Of the paper's 11 data sets: ``dataset``, ``n_classes``, numbers of images ``train_val`` and ``test``, and
            ``megabytes`` to be fetched (millions of bytes), which ``megabytes_source`` states.
        ``feature_dimensions``
            What a network hands to its last layer: ``model``, ``feature_dimension``.
        ``statements``
            Single numbers: ``item``, ``value``, ``unit``, ``knowledge`` ('read' in the source itself, or
            'second-hand').
    group : str, optional
        Only the rows of one group, where a table has groups; all by default. The files, and so the column ``group``,
        call two of them 'self_supervised' and 'vit'; these names are taken, too.

    Returns
    -------
    pandas.DataFrame
        No cell is missing.

    Raises
    ------
    ValueError
        There is no such table (the message lists them) or group.
    FileNotFoundError
        This package runs from elsewhere than the repository, and was not installed either.
    """
    found = table_of(data_folder("published"), name)
    if group is None:
        return found
    groups = found["group"].unique().tolist() if "group" in found else []
    if (in_file := ZOO_GROUPS.get(group, group)) not in groups:
        names = {each: name for name, each in ZOO_GROUPS.items()}
        known = ", ".join(repr(names.get(each, each)) for each in groups)
        raise ValueError(f"group must be one of {known}, got {group!r}")
    return found[found["group"] == in_file].reset_index(drop=True)


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


#: The names that :func:`record` takes.
RECORDS = (
    "supervised", "self-supervised", "transformers", "tmlr", "logme", "stable-transfer", "stable-transfer frozen",
    "vtab", "vtab 1000", "transfergraph", "shift", "parc", "imagenet",
)  # fmt: skip


def record(name):
    """Past fine-tunings of many networks, with the scores that were published beside them.

    Parameters
    ----------
    name : str
        ``supervised`` (11 ImageNet CNNs on 11 tasks), ``self-supervised`` (12 ResNet-50 on 13, of which 2 lack two
        networks), ``transformers`` (13 on 11): the accuracies behind the paper's tables, ``finetune_accuracy``.
        ``tmlr`` (10 on 11, with the scores of 14 metrics) and ``logme`` (10 on 8, with those of 9; of metrics from two
        sources those of Transfer-Learning-Library). ``stable-transfer`` (19 on 9, with 5 metrics), and ``frozen``
        backbones. ``vtab`` (16 methods of representation learning on 19 tasks; ``vtab 1000`` with 1,000 examples
        each). ``transfergraph`` (180 on 13) and ``shift`` (291 on 19), whose networks have numbers for names. ``parc``
        (4 architectures trained on 8 sources, on 7 tasks). ``imagenet``: one task, the column ``imagenet_top1`` of
        ``timm_imagenet``, each network at the size at which it is most accurate.

    Returns
    -------
    accuracies : pandas.DataFrame of shape (networks, tasks)
        Shares of 1, NaN where unknown.
    scores : dict of str to pandas.DataFrame
        By metric, of the same networks and tasks; mostly empty.

    Raises
    ------
    ValueError, FileNotFoundError
        As in :func:`table`.
    """
    if name not in RECORDS:
        raise ValueError(f"name must be one of {', '.join(map(repr, RECORDS))}, got {name!r}")
    scores = {}
    if name in ZOO_GROUPS:
        rows = table("finetune_accuracy")
        rows = rows[rows["group"].str.startswith(ZOO_GROUPS[name])].rename(columns={"dataset": "task"})
        rows["accuracy"] /= 100
    elif name == "tmlr":
        rows = table("tmlr_scores").rename(columns={"dataset": "task", "test_score": "accuracy"})
        scores = _by_metric(rows)
    elif name == "logme":
        rows = table("logme_zoo_scores").rename(columns={"dataset": "task", "finetune_accuracy": "accuracy"})
        rows["accuracy"] /= 100
        rows["metric"] = rows["metric"].replace("HScore", "H-Score")
        rows = rows.sort_values("source", key=lambda column: ~column.str.contains("Transfer-Learning"), kind="stable")
        scores = _by_metric(rows.drop_duplicates(["metric", "model", "task"]))
    elif name == "parc":
        rows = table("parc_oracles").rename(columns={"target_dataset": "task", "oracle_accuracy": "accuracy"})
        rows["accuracy"] /= 100
        rows["model"] = rows["architecture"] + " of " + rows["source_dataset"]
    elif name == "imagenet":
        rows = table("timm_imagenet").sort_values("imagenet_top1", ascending=False, kind="stable")
        rows = rows.assign(task="imagenet_top1", accuracy=rows["imagenet_top1"] / 100)
    else:
        rows = table("finetune_records")
        rows = rows[rows["record"] == name]
        if name == "stable-transfer":
            scores = _by_metric(table("stable_transfer_scores"))
    rows = rows.drop_duplicates(["model", "task"])
    accuracies = rows.pivot(index="model", columns="task", values="accuracy")
    return accuracies, scores


def _by_metric(rows):
    return {
        metric: each.pivot(index="model", columns="task", values="score")
        for metric, each in rows.groupby("metric", sort=False)
    }
