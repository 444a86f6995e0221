"""`sfda.evidence.published`: shapes, ranges, and the figures known to follow from the tables."""

import re

import pytest

from sfda import files
from sfda.evidence.published import RECORDS, ZOO_GROUPS, accuracy_table, record, table
from sfda.metric.ranking import weighted_tau

# Number of rows, what one row is about (no two rows of a table share it), and ranges of its numbers.
TABLES = {
    "finetune_accuracy": (416, ["group", "model", "dataset"], {"accuracy": (50, 100)}),
    "imagenet_top1": (11, ["model"], {"imagenet_top1": (65, 80)}),
    "published_tau_w": (248, ["metric", "group", "dataset", "source"], {"tau_w": (-1, 1)}),
    "published_runtime": (7, ["metric", "group", "dataset"], {"value": (1, 1000)}),
    "tmlr_scores": (1540, ["dataset", "model", "metric"], {"test_score": (0, 1), "n_classes": (2, 397)}),
    "logme_zoo_scores": (1030, ["dataset", "model", "metric", "source"], {"finetune_accuracy": (50, 100)}),
    "parc_oracles": (196, ["architecture", "source_dataset", "target_dataset"], {"oracle_accuracy": (30, 100)}),
    "dataset_sizes": (11, ["dataset"], {"train_val": (2000, 80000), "test": (1000, 30000)}),
    "feature_dimensions": (17, ["model"], {"feature_dimension": (384, 2208)}),
    "finetune_records": (8417, ["record", "model", "task"], {"accuracy": (0, 1)}),
    "stable_transfer_scores": (855, ["metric", "model", "task"], {}),
    "timm_imagenet": (1556, ["model", "input_size"], {"imagenet_top1": (40, 91), "input_size": (100, 800), "parameters_millions": (0.2, 1300)}),
    "statements": (5, ["item"], {}),
}
SHAPES = {"supervised": (11, 11), "self_supervised": (12, 11), "vit": (10, 11), "vit_extra": (3, 11),
          "self_supervised_ncti_extra": (10, 2)}  # fmt: skip
# Networks and tasks of a record, how many accuracies are known, and with how many metrics' scores.
OF_RECORDS = {
    "supervised": (11, 11, 121, 0), "self-supervised": (12, 13, 152, 0), "transformers": (13, 11, 143, 0), "tmlr": (10, 11, 110, 14), "logme": (10, 8, 80, 9),
    "stable-transfer": (19, 9, 171, 5), "stable-transfer frozen": (19, 9, 171, 0), "vtab": (16, 19, 304, 0), "vtab 1000": (16, 19, 304, 0),
    "transfergraph": (180, 13, 2253, 0), "shift": (291, 19, 5214, 0), "parc": (32, 7, 196, 0), "imagenet": (1266, 1, 1266, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_complete_and_unique(name):
    found, (rows, keys, ranges) = table(name), TABLES[name]
    assert len(found) == rows and not found.isna().any(axis=None) and not found.duplicated(keys).any()
    assert found["source"].str.len().min() > 10
    assert name != "parc_oracles" or found.query("source_dataset == target_dataset").empty
    for column, (low, high) in ranges.items():
        assert found[column].between(low, high).all(), column
    assert f"``{name}``" in table.__doc__
    assert all(f"``{column}``" in table.__doc__ for column in found), "the docstring says what a table has"


@pytest.mark.parametrize(("group", "shape"), SHAPES.items())
def test_accuracy_table(group, shape):
    found, first = accuracy_table(group), table("finetune_accuracy", group).iloc[0]
    assert found.shape == shape and not found.isna().any(axis=None)
    assert found.loc[first["model"], first["dataset"]] == first["accuracy"]


def test_zoos_have_the_commands_names_too():
    for name, group in ZOO_GROUPS.items():
        assert accuracy_table(name).equals(accuracy_table(group)) and accuracy_table(name).index.isin(record(name)[0].index).all()


@pytest.mark.parametrize("name", ["finetune_accuracy", "published_tau_w"])
def test_groups_partition_the_table(name):
    everything = table(name)
    groups = everything["group"].unique().tolist()
    parts = [table(name, group) for group in groups]
    assert sum(map(len, parts)) == len(everything)
    assert all(part["group"].nunique() == 1 and part.index[0] == 0 for part in parts)
    names = {group: name for name, group in ZOO_GROUPS.items()}
    message = f"group must be one of {', '.join(repr(names.get(group, group)) for group in groups)}, got 'cnn'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        table(name, "cnn")


@pytest.mark.parametrize("name", RECORDS)
def test_records(name):
    accuracies, scores = record(name)
    networks, tasks, known, metrics = OF_RECORDS[name]
    assert accuracies.shape == (networks, tasks) and accuracies.notna().sum(axis=None) == known and len(scores) == metrics
    assert accuracies.min(axis=None) >= 0 and accuracies.max(axis=None) <= 1 and (accuracies.notna().sum() > 1).all()
    assert accuracies.notna().any(axis=1).all() and accuracies.index.is_unique and accuracies.columns.is_unique
    assert all(each.shape == (networks, tasks) and each.notna().all(axis=None) for each in scores.values())


def test_records_are_the_tables():
    assert list(OF_RECORDS) == list(RECORDS) and set(table("finetune_records")["record"]) <= set(RECORDS)
    found = record("supervised")[0]
    assert (100 * found - accuracy_table("supervised")).abs().max(axis=None) < 1e-12
    assert set(record("transformers")[0].index) == {*accuracy_table("vit").index, *accuracy_table("vit_extra").index}
    assert record("stable-transfer")[0].loc["densenet121", "dtd"] == 0.678191
    assert record("stable-transfer")[1]["GBC"].loc["densenet121", "dtd"] == -20.1043
    # Each network at its best size; of two origins that of Transfer-Learning-Library.
    sizes = table("timm_imagenet").query("model == 'xcit_tiny_24_p8_384.fb_dist_in1k'")
    assert record("imagenet")[0].loc["xcit_tiny_24_p8_384.fb_dist_in1k", "imagenet_top1"] == sizes["imagenet_top1"].max() / 100
    rows = table("logme_zoo_scores").query("metric == 'LEEP' and dataset == 'pets' and model == 'resnet50'").set_index("source")["score"]
    (own,) = rows[rows.index.str.startswith("thuml/Transfer-Learning-Library")]
    assert len(rows) == 2 and record("logme")[1]["LEEP"].loc["resnet50", "pets"] == own
    for name in ("best", None):
        with pytest.raises(ValueError, match=f"^name must be one of 'supervised', .*'imagenet', got {name!r}$"):
            record(name)


def test_names_of_models_tell_no_accounts():
    found = table("finetune_records").query("record in ('transfergraph', 'shift')")
    assert found["model"].str.fullmatch(r"[a-z0-9-]+(_[a-z0-9]+)*_\d+").all()


def test_what_is_not_there(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=rf"top5\.csv is missing; tables that are there: {', '.join(sorted(TABLES))}$"):
        table("top5")
    with pytest.raises(ValueError, match="^group must be one of , got 'vit'$"):
        table("statements", "vit")
    monkeypatch.setattr(files, "DATA", tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="^data/published: this needs the repository"):
        table("statements")


def test_figures_that_follow_from_the_tables():
    means = table("published_tau_w", "supervised").query("metric in ('SFDA', 'NLEEP')").groupby("metric")["tau_w"]
    assert means.size().tolist() == [11, 11] and means.mean().tolist() == pytest.approx([0.611, 0.710], abs=0.0005)
    # Scores of the independent benchmark are saturated.
    scores = table("tmlr_scores").query("metric == 'sfda' and dataset == 'flowers102'")["score"]
    assert len(scores) == 10 and (scores == 1).sum() == 7
    found = table("statements").set_index("item")
    assert set(found["knowledge"]) == {"read", "second-hand"}
    assert found.loc["gain of SFDA over NLEEP", "value"] == 59.1
    assert found.loc["a in the public code", "value"] != found.loc["a in Algorithm 1", "value"]


def test_imagenet_yardstick_and_a_second_ground_truth_that_agrees_only_in_part():
    truth, top1 = accuracy_table("supervised"), table("imagenet_top1").set_index("model")["imagenet_top1"]
    zoo = table("logme_zoo_scores").groupby(["dataset", "model"])["finetune_accuracy"]
    assert (zoo.nunique() == 1).all() and len(zoo) == 80
    second = zoo.first().unstack("dataset")
    yardstick = [weighted_tau(top1[truth.index], truth[dataset]) for dataset in truth]
    agreement = [weighted_tau(truth.loc[second.index, dataset], second[dataset]) for dataset in second]
    for taus, mean in ((yardstick, 0.598), (agreement, 0.541)):
        assert sum(taus) / len(taus) == pytest.approx(mean, abs=0.0005)
    # The networks of the two files are in different order.
    dtd = table("finetune_accuracy", "supervised").query("dataset == 'dtd'").set_index("model")["accuracy"]
    with pytest.raises(ValueError, match="same order"):
        weighted_tau(top1, dtd)


def test_sizes_and_dimensions_cover_the_tables_they_explain():
    supervised, sizes = accuracy_table("supervised"), table("dataset_sizes").set_index("dataset")
    assert set(sizes.index) == set(supervised)
    assert set(table("feature_dimensions")["model"]) == set(supervised.index) | set(table("tmlr_scores")["model"])
    counts = table("tmlr_scores").groupby("dataset")["n_classes"].first()
    counts = counts.rename({"flowers102": "flowers", "oxfordpets": "pets", "stanfordcars": "cars"})
    common = counts[counts.index.isin(sizes.index)]
    assert len(common) == 8 and (sizes["n_classes"][common.index] == common).all()
    units = {"MiB": 2**20, "GiB": 2**30, "GB": 1e9}
    for row in sizes.itertuples():
        number, unit = row.megabytes_source.split()[-2:]
        assert row.megabytes == round(float(number) * units[unit] / 1e6), row.Index


def test_feature_dimensions_are_those_of_torchvision():
    models, torch = pytest.importorskip("torchvision").models, pytest.importorskip("torch")
    dimension = table("feature_dimensions").set_index("model")["feature_dimension"]
    for name in ("resnet34", "resnet50", "densenet161", "mobilenet_v2"):
        with torch.device("meta"):
            network = models.get_model(name, weights=None)
        last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
        assert last.in_features == dimension[name]
