"""The six networks of the afternoon: what each way to choose says of them, chapter by chapter."""

import pandas as pd

from sfda import Record
from sfda.evidence import verdict
from sfda.files import data_folder

NAMES = {
    "mobilenetv1_025_r128": "MobileNet V1, a quarter", "mobilenetv1_050_r224": "MobileNet V1, half",
    "mobilenetv1_100_r224": "MobileNet V1", "mobilenetv2_100_r224": "MobileNet V2",
    "mobilenetv3_large_minimal_r224": "MobileNet V3", "squeezenet1_0_r227": "SqueezeNet",
}  # fmt: skip
METRICS = {"SFDA": "SFDA", "left-out SFDA": "SFDA leave-one-out", "left-out probability": "left-out probability"}


def known():
    """What can be known of the six before any is fine-tuned on the flowers, larger is better, and then the accuracy.

    Columns: ``parameters`` (millions), ``ImageNet`` (share of a sample that is recognised), the scores of the
    training images, ``record`` (forecast from the four other tasks), ``both`` (of record and left-out probability),
    ``fine-tuned`` (accuracy on the test images, mean of two seeds).
    """
    folder, six = data_folder("real"), [*NAMES]
    models = verdict.table("models", folder=folder).set_index("model").loc[six]
    scores, runs = (verdict.table(name, folder=folder) for name in ("scores", "accuracy"))
    found = pd.DataFrame({"parameters": models["parameters"] / 1e6, "ImageNet": models["source_accuracy"]})
    for name, metric in METRICS.items():
        rows = scores[(scores["metric"] == metric) & (scores["task"] == "flowers")]
        found[name] = rows.set_index("model")["score"].loc[six].round(3)  # further digits of a 1 mean nothing
    accuracies = runs.pivot_table(index="model", columns="task", values="accuracy")
    held = scores[scores["metric"] == "left-out probability"].pivot(index="model", columns="task", values="score")
    past = accuracies.drop(columns="flowers")
    record = Record(past, {"left-out probability": held[past.columns]})
    found["record"] = record.forecast(six)["forecast"]
    found["both"] = record.forecast(six, scores={"left-out probability": held["flowers"]})["forecast"]
    found["fine-tuned"] = accuracies.loc[six, "flowers"]
    return found.rename(index=NAMES).rename_axis(None)


def so_far(*ways):
    """Places of the six by each of these columns of :func:`known`, in the order of the last."""
    found = known()[list(ways)]
    least, most = (found.rank(ascending=False, method=method).astype(int) for method in ("min", "max"))
    text = least.astype(str).where(least == most, least.astype(str) + " to " + most.astype(str))
    return text.loc[least.sort_values(ways[-1], kind="stable").index]
