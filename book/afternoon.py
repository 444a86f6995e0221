"""The six networks of the afternoon: what each way to choose says of them, chapter by chapter."""

import pandas as pd

from sfda import Record, plots
from sfda.evidence import verdict
from sfda.files import data_folder

SIX = ["mobilenetv1_025_r128", "mobilenetv1_050_r224", "mobilenetv1_100_r224", "mobilenetv2_100_r224",
       "mobilenetv3_large_minimal_r224", "squeezenet1_0_r227"]  # fmt: skip
METRICS = ["SFDA", "left-out SFDA", "left-out probability"]


def known(*more):
    """What can be known of the six before any is fine-tuned on the flowers, larger is better, and then the accuracy.

    Columns: ``parameters`` (millions), ``ImageNet`` (share of a sample that is recognised), the scores of the
    training images, ``record`` (forecast from the four other tasks), ``both`` (of record and left-out probability),
    ``fine-tuned`` (accuracy on the test images, mean of two seeds). `more` metrics have columns if they are asked for.
    """
    folder = data_folder("real")
    models = verdict.table("models", folder=folder).set_index("model").loc[SIX]
    scores, runs = (verdict.table(name, folder=folder) for name in ("scores", "accuracy"))
    found = pd.DataFrame({"parameters": models["parameters"] / 1e6, "ImageNet": models["source_accuracy"]})
    for name in (*METRICS, *more):
        rows = scores[(scores["metric"] == name) & (scores["task"] == "flowers")]
        found[name] = rows.set_index("model")["score"].loc[SIX].round(3)  # further digits of a 1 mean nothing
    accuracies = runs.pivot_table(index="model", columns="task", values="accuracy")
    held = scores[scores["metric"] == "left-out probability"].pivot(index="model", columns="task", values="score")
    past = accuracies.drop(columns="flowers")
    record = Record(past, {"left-out probability": held[past.columns]})
    found["record"] = record.forecast(SIX)["forecast"]
    found["both"] = record.forecast(SIX, scores={"left-out probability": held["flowers"]})["forecast"]
    found["fine-tuned"] = accuracies.loc[SIX, "flowers"]
    return found.rename(index=plots.NAMES).rename_axis(None)


def so_far(*ways):
    """Places of the six by each of these columns of :func:`known`, or metrics, in the order of the last."""
    metrics = verdict.table("scores", folder=data_folder("real"))["metric"]
    found = known(*metrics[metrics.isin(ways)].unique())[list(ways)]
    least, most = (found.rank(ascending=False, method=method).astype(int) for method in ("min", "max"))
    text = least.astype(str).where(least == most, least.astype(str) + " to " + most.astype(str))
    return text.loc[least.sort_values(ways[-1], kind="stable").index]
