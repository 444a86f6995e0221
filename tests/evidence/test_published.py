"""`sfda.evidence.published`: shapes, ranges, and the figures known to follow from the tables."""

import re

import pytest

from sfda.evidence import published
from sfda.metric.ranking import weighted_tau

ROWS = {
    published.accuracies: 416,
    published.imagenet_top1: 11,
    published.tau_w: 248,
    published.runtimes: 7,
    published.independent_scores: 1540,
    published.logme_zoo: 1030,
    published.parc_oracles: 196,
    published.dataset_sizes: 11,
    published.feature_dimensions: 17,
    published.statements: 5,
}
# What one row is about; no two rows of a table share it.
KEYS = {
    published.accuracies: ["group", "model", "dataset"],
    published.imagenet_top1: ["model"],
    published.tau_w: ["metric", "group", "dataset", "source"],
    published.runtimes: ["metric", "group", "dataset"],
    published.independent_scores: ["dataset", "model", "metric"],
    published.logme_zoo: ["dataset", "model", "metric", "source"],
    published.parc_oracles: ["architecture", "source_dataset", "target_dataset"],
    published.dataset_sizes: ["dataset"],
    published.feature_dimensions: ["model"],
    published.statements: ["item"],
}
RANGES = [
    (published.accuracies, "accuracy", 50, 100),
    (published.imagenet_top1, "imagenet_top1", 65, 80),
    (published.tau_w, "tau_w", -1, 1),
    (published.runtimes, "value", 1, 1000),
    (published.independent_scores, "test_score", 0, 1),
    (published.independent_scores, "n_classes", 2, 397),
    (published.logme_zoo, "finetune_accuracy", 50, 100),
    (published.parc_oracles, "oracle_accuracy", 30, 100),
    (published.dataset_sizes, "train_val", 2000, 80000),
    (published.dataset_sizes, "test", 1000, 30000),
    (published.feature_dimensions, "feature_dimension", 384, 2208),
]
SHAPES = {
    "supervised": (11, 11),
    "self_supervised": (12, 11),
    "self_supervised_ncti_extra": (10, 2),
    "vit": (10, 11),
    "vit_extra": (3, 11),
}


@pytest.mark.parametrize("read", ROWS)
def test_rows_are_complete_and_unique(read):
    table = read()
    assert len(table) == ROWS[read]
    assert not table.isna().any(axis=None)
    assert not table.duplicated(KEYS[read]).any()
    assert table["source"].str.len().min() > 10


@pytest.mark.parametrize(("read", "column", "low", "high"), RANGES)
def test_units(read, column, low, high):
    assert read()[column].between(low, high).all()


@pytest.mark.parametrize(("group", "shape"), SHAPES.items())
def test_accuracy_table(group, shape):
    table = published.accuracy_table(group)
    rows = published.accuracies(group)
    assert table.shape == shape
    assert not table.isna().any(axis=None)
    first = rows.iloc[0]
    assert table.loc[first["model"], first["dataset"]] == first["accuracy"]


@pytest.mark.parametrize("read", [published.accuracies, published.tau_w])
def test_groups_partition_the_table(read):
    everything = read()
    parts = [read(group) for group in everything["group"].unique()]
    assert sum(map(len, parts)) == len(everything)
    assert all(part["group"].nunique() == 1 for part in parts)
    assert all(part.index[0] == 0 for part in parts)


def test_every_call_returns_its_own_table():
    table = published.imagenet_top1()
    table.loc[0, "imagenet_top1"] = 0.0
    assert published.imagenet_top1()["imagenet_top1"].min() > 0


@pytest.mark.parametrize(("metric", "mean"), [("SFDA", 0.710), ("NLEEP", 0.611)])
def test_supervised_table_of_the_paper(metric, mean):
    table = published.tau_w("supervised")
    values = table.loc[table["metric"] == metric, "tau_w"]
    assert len(values) == 11
    assert values.mean() == pytest.approx(mean, abs=0.0005)


def test_imagenet_yardstick():
    table = published.accuracy_table("supervised")
    top1 = published.imagenet_top1().set_index("model")["imagenet_top1"]
    taus = [weighted_tau(top1[table.index], table[dataset]) for dataset in table]
    assert sum(taus) / len(taus) == pytest.approx(0.598, abs=0.0005)


def test_networks_of_the_two_files_in_different_order_are_refused():
    supervised = published.accuracies("supervised").query("dataset == 'dtd'").set_index("model")
    top1 = published.imagenet_top1().set_index("model")
    with pytest.raises(ValueError, match="same order"):
        weighted_tau(top1["imagenet_top1"], supervised["accuracy"])


def test_saturated_scores_of_the_independent_benchmark():
    scores = published.independent_scores()
    sfda = scores[(scores["metric"] == "sfda") & (scores["dataset"] == "flowers102")]
    assert len(sfda) == 10
    assert (sfda["score"] == 1).sum() == 7


def test_logme_zoo_has_one_accuracy_per_network_and_data_set():
    zoo = published.logme_zoo()
    assert (zoo.groupby(["dataset", "model"])["finetune_accuracy"].nunique() == 1).all()
    assert zoo[["dataset", "model"]].drop_duplicates().shape[0] == 80


def test_sizes_and_dimensions_cover_the_tables_they_explain():
    supervised = published.accuracy_table("supervised")
    sizes = published.dataset_sizes()
    assert set(sizes["dataset"]) == set(supervised.columns)
    networks = set(published.feature_dimensions()["model"])
    assert networks == set(supervised.index) | set(published.independent_scores()["model"])


def test_megabytes_are_those_that_their_source_prints():
    units = {"MiB": 2**20, "GiB": 2**30, "GB": 1e9}
    for row in published.dataset_sizes().itertuples():
        number, unit = row.megabytes_source.split()[-2:]
        assert row.megabytes == round(float(number) * units[unit] / 1e6), row.dataset


def test_sizes_agree_with_the_class_counts_of_the_independent_benchmark():
    counts = published.independent_scores().groupby("dataset")["n_classes"].first()
    sizes = published.dataset_sizes().set_index("dataset")["n_classes"]
    names = {"flowers102": "flowers", "oxfordpets": "pets", "stanfordcars": "cars"}
    common = counts.rename(index=names).loc[lambda c: c.index.isin(sizes.index)]
    assert len(common) == 8
    assert (sizes[common.index] == common).all()


def test_feature_dimensions_are_those_of_torchvision():
    models = pytest.importorskip("torchvision").models
    torch = pytest.importorskip("torch")
    dimension = published.feature_dimensions().set_index("model")["feature_dimension"]
    for name in ("resnet34", "resnet50", "densenet161", "mobilenet_v2"):
        with torch.device("meta"):
            network = models.get_model(name, weights=None)
        last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
        assert last.in_features == dimension[name]


def test_second_ground_truth_agrees_only_in_part():
    zoo = published.logme_zoo().drop_duplicates(["dataset", "model"])
    second = zoo.pivot(index="model", columns="dataset", values="finetune_accuracy")
    first = published.accuracy_table("supervised").loc[second.index]
    taus = [weighted_tau(first[dataset], second[dataset]) for dataset in second]
    assert sum(taus) / len(taus) == pytest.approx(0.541, abs=0.0005)


def test_statements_of_the_paper():
    table = published.statements().set_index("item")
    assert set(table["knowledge"]) == {"read", "second-hand"}
    assert table.loc["gain of SFDA over NLEEP", "value"] == 59.1
    assert table.loc["a in the public code", "value"] != table.loc["a in Algorithm 1", "value"]


def test_parc_oracles_leave_out_the_source_as_target():
    table = published.parc_oracles()
    assert (table["source_dataset"] != table["target_dataset"]).all()


@pytest.mark.parametrize(
    ("read", "groups"),
    [
        (
            published.accuracies,
            "'supervised', 'self_supervised', 'vit', 'vit_extra', 'self_supervised_ncti_extra'",
        ),
        (
            published.accuracy_table,
            "'supervised', 'self_supervised', 'vit', 'vit_extra', 'self_supervised_ncti_extra'",
        ),
        (published.tau_w, "'supervised', 'self_supervised', 'supervised10_logme_truth'"),
    ],
)
def test_unknown_group(read, groups):
    message = f"group must be one of {groups}, got 'cnn'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read("cnn")


def test_missing_files(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    message = (
        f"no published table at {tmp_path / 'imagenet_top1.csv'}: the tables are in the "
        "repository, not in the installed package; clone the repository and install it with "
        "'pip install -e .'"
    )
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        published.imagenet_top1()
