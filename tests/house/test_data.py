"""What data/README.md says of the feature files, and the limits set for the speed, computed again."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tree import ROOT

README = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]*) ?\|$", README, flags=re.M)
PROBED = [(data, network, float(stated)) for network, *probes in ROWS for data, stated in zip(("flowers", "cifar10"), probes) if stated]


def features(name):
    return np.load(ROOT / "data" / "features" / f"{name}.npz")


@pytest.mark.parametrize(("name", "network", "stated"), PROBED)
def test_linear_probe(name, network, stated):
    data = features(name)
    X, y, test = data[network].astype("float32"), data["labels"], data["split"] == 1
    probe = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        {"logisticregression__C": [0.0001, 0.001, 0.01, 0.1, 1]},
    ).fit(X[~test], y[~test])
    # One image more or fewer may fall on the other side on another machine.
    assert probe.score(X[test], y[test]) == pytest.approx(stated, abs=1.5 / test.sum())


def test_sizes():
    assert len(PROBED) == 10
    for name, images in (("flowers", (300, 100)), ("cifar10", (600, 200))):
        assert tuple(np.bincount(features(name)["split"])) == images
    networks = pd.read_csv(ROOT / "data" / "networks.csv", index_col="name")
    for network, row in networks.iterrows():
        assert features("flowers")[network].shape == (400, row["feature_dimension"])


def test_dead_features():
    data = features("flowers")
    X = data["mobilenetv3_large_minimal_r224"]
    stated = re.search(r"(\d+) % of those of `mobilenetv3.*?where (\d+) of the ([\d,]+)", README, re.S)
    share, dead, columns = (int(number.replace(",", "")) for number in stated.groups())
    assert round(100 * (X == 0).mean()) == share and (np.ptp(X[data["split"] == 0], axis=0) == 0).sum() == dead and X.shape[1] == columns
    assert all((data[k] >= 0).all() for k in data.files if data[k].dtype == np.float16)


# The limits that the module was built to; `make benchmark` measures and writes the tables.
LIMITS = [("plain", "ratio_to_product", 2.5), ("plain_1000_samples", "ratio_to_product", 0.6), ("plain_397_classes", "ratio_to_product", 2.5),
          ("left_out_probability", "ratio_to_product", 4), ("left_out_probability_397_classes", "ratio_to_product", 10),
          ("leave_one_out_given_shrinkage", "ratio_to_plain", 3), ("leave_one_out", "ratio_to_plain", 8)]  # fmt: skip
COPIES = ["plain", "plain_float32", "plain_1000_samples", "leave_one_out_given_shrinkage", "leave_one_out"]


def test_measured_speed_keeps_its_limits():
    score, ensembles = (pd.read_csv(ROOT / "data" / "timings" / f"{name}.csv", index_col="name") for name in ("score", "ensembles"))
    for name, column, limit in LIMITS:
        assert score.loc[name, column] <= limit, (name, column)
    assert (score.loc[COPIES, "peak_copies"] <= 3).all()
    # Five of 33 networks, 2,000 samples, 100 classes, after one posterior a network.
    assert ensembles["seconds"][["calibration_of_33", "held_out_5_of_33"]].sum() < 1
