"""The six networks of the afternoon: what each way to choose says of them, chapter by chapter."""

import pandas as pd

from sfda import Record, plots
from sfda.evidence import verdict
from sfda.files import data_folder

SIX = ["mobilenetv1_025_r128", "mobilenetv1_050_r224", "mobilenetv1_100_r224", "mobilenetv2_100_r224",
       "mobilenetv3_large_minimal_r224", "squeezenet1_0_r227"]  # fmt: skip
METRICS = ["SFDA", "left-out SFDA", "left-out probability"]


def _tables():
    return (verdict.table(name, folder=data_folder("real")) for name in ("models", "scores", "accuracy"))


def forecast(*metrics):
    """What the four other tasks say of the six, and these metrics of the flowers: as :meth:`sfda.Record.forecast`."""
    _, scores, runs = _tables()
    past = runs.pivot_table(index="model", columns="task", values="accuracy").drop(columns="flowers")
    scores = scores.pivot(index="model", columns=["metric", "task"], values="score")
    each = {name: scores[name] for name in metrics}
    record = Record(past, {name: table[past.columns] for name, table in each.items()})
    found = record.forecast(SIX, scores={name: table["flowers"] for name, table in each.items()})
    return found.rename(index=plots.NAMES).rename_axis(None)


def known(*more):
    """What can be known of the six before any is fine-tuned on the flowers, larger is better, and then the accuracy.

    Columns: ``parameters`` (millions), ``ImageNet`` (share of a sample that is recognised), the scores of the
    training images, ``record`` (forecast from the four other tasks), ``both`` (of record and left-out probability),
    ``fine-tuned`` (accuracy on the test images, mean of two seeds). `more` metrics have columns if they are asked for.
    """
    models, scores, runs = _tables()
    models = models.set_index("model").loc[SIX]
    found = pd.DataFrame({"parameters": models["parameters"] / 1e6, "ImageNet": models["source_accuracy"]})
    for name in (*METRICS, *more):
        rows = scores[(scores["metric"] == name) & (scores["task"] == "flowers")]
        found[name] = rows.set_index("model")["score"].loc[SIX].round(3)  # further digits of a 1 mean nothing
    found = found.rename(index=plots.NAMES).rename_axis(None)
    found["record"] = forecast()["forecast"]
    found["both"] = forecast("left-out probability")["forecast"]
    tuned = runs[runs["task"] == "flowers"].groupby("model")["accuracy"].mean()
    return found.assign(**{"fine-tuned": tuned.rename(plots.NAMES)})


def so_far(*ways):
    """Places of the six by each of these columns of :func:`known`, or metrics, in the order of the last."""
    metrics = verdict.table("scores", folder=data_folder("real"))["metric"]
    found = known(*metrics[metrics.isin(ways)].unique())[list(ways)]
    least, most = (found.rank(ascending=False, method=method).astype(int) for method in ("min", "max"))
    text = least.astype(str).where(least == most, least.astype(str) + " to " + most.astype(str))
    return text.loc[least.sort_values(ways[-1], kind="stable").index]
