"""Scores of a grid of networks and tasks: every metric, from the training images alone."""

from pathlib import Path

from sfda.benchmark.finetune import features
from sfda.benchmark.grids import POCKET, digest_of
from sfda.benchmark.tables import digests_in, extend
from sfda.networks.device import resolve_device
from sfda.rivals.catalogue import RIVALS, timed

COLUMNS = ["metric", "model", "task", "score", "seconds", "digest"]


def score_zoo(
    names, task_names, *, metrics=None, table, images=None, weights=None, untrained=False, device="auto",
    progress=print, grid=POCKET,
):  # fmt: skip
    """Score networks on tasks and add the scores to a table, task by task.

    Metrics that compare networks (``needs == "zoo"``) are computed within each group, and only where the whole group
    is asked for, since every score depends on all the others; those of source probabilities for networks whose head
    was trained.

    Parameters
    ----------
    names, task_names : sequences of str
        Of the grid's; by default keys of :data:`sfda.networks.pocket.POCKET` and :data:`sfda.images.tasks.TASKS`.
    metrics : sequence of str, optional
        Keys of ``sfda.rivals.catalogue.RIVALS``; all by default.
    table : path
        A CSV file with the columns metric, model, task, score, seconds, digest. What it holds with the same
        :func:`sfda.benchmark.grids.digest_of` weights and training images is not computed again. The time is that of
        the metric alone; of metrics that compare networks, an equal share.
    images, weights : path, optional
        As in :func:`sfda.images.tasks.load_task` and :func:`sfda.networks.pocket.pretrained`.
    untrained : bool, default False
        Score the networks' twins; LEEP and NCE are left out then, and so is a twin whose features are the same for
        all images.
    device : str, default "auto"
        Of the forward pass. The scores are computed on the CPU.
    progress : callable, default print
        Called with one line a task.
    grid : sfda.benchmark.grids.Grid, default sfda.benchmark.grids.POCKET

    Returns
    -------
    int
        Number of scores computed now.

    Raises
    ------
    ValueError
        Unknown names; a table that is cut off; or a metric refuses the features: the message names metric, network
        and task.
    FileNotFoundError
        Weights or images are missing.
    """
    device, table = resolve_device(device), Path(table)
    for name in metrics or ():
        if name not in RIVALS:
            raise ValueError(f"metrics: expected some of {', '.join(RIVALS)}, got {name!r}")
    chosen = [RIVALS[name] for name in metrics or RIVALS]
    for name in names:
        grid.check(name, *task_names)
    groups = {grid.groups[name] for name in names}
    whole = {group: [n for n, g in grid.groups.items() if g == group] for group in groups}
    encoders = {name: grid.encoder(name, folder=weights, untrained=untrained) for name in names}
    done = digests_in(table, ["metric", "model", "task"])

    def rows_of(task_name):
        part = grid.task(task_name, images).train
        labels = part.labels.numpy()
        digests = {name: digest_of(encoders[name], [part]) for name in names}
        kept, rows = {}, []

        def of(name):
            if name not in kept:
                kept[name] = features(encoders[name], part.images, device=device)
            return kept[name]

        def blind(name):
            """The features are the same for all images."""
            x = of(name)
            return bool((x - x[0]).abs().max() <= 1e-6 * x.abs().max())

        def add(metric, name, score, seconds):
            rows.append((metric.name, name, task_name, score, round(seconds, 4), digests[name]))

        for metric in chosen:
            missing = [n for n in names if done.get((metric.name, n, task_name)) != digests[n]]
            missing = [n for n in missing if not (untrained and blind(n))]
            if metric.needs == "features":
                for name in missing:
                    add(metric, name, *timed(metric, of(name).numpy(), labels, name, task_name))
            elif metric.needs == "source probabilities" and not untrained:
                for name in missing:
                    classify = grid.classifier(name, folder=weights)
                    if classify is not None:
                        logits = features(classify, part.images, device=device)
                        theta = logits.double().softmax(1).numpy()
                        add(metric, name, *timed(metric, theta, labels, name, task_name))
            elif metric.needs == "zoo":
                for group, zoo in whole.items():
                    if not set(zoo) <= set(names) or not set(zoo) & set(missing):
                        continue
                    if not untrained or not any(map(blind, zoo)):
                        scores, seconds = timed(metric, {n: of(n).numpy() for n in zoo}, labels, group, task_name)
                        for n in zoo:
                            add(metric, n, scores[n], seconds / len(zoo))
        return rows

    return extend(table, COLUMNS, task_names, rows_of, progress=progress)
