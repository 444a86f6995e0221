"""Rankings with past results of the networks: both in one order, what to do next, and which names are the same."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from test_result import ZOO, Y
from test_run import broken, small, write_images, write_manifest

from sfda import Record
from sfda.__main__ import main
from sfda.rank import rank
from sfda.rank.outlook import ENOUGH, find_record
from sfda.rank.report import WIDTH
from sfda.rank.result import rank_features

PAST = pd.DataFrame({"birds": [0.9, 0.8, 0.6, 0.5], "cars": [0.8, 0.75, 0.7, 0.4]}, ["weak", "good", "wide", "other"])
RECORD = Record(PAST)


def rows(path, names, task="birds"):
    pd.DataFrame({"network": names, "task": task, "accuracy": np.linspace(0.9, 0.5, len(names))}).to_csv(path, index=False)
    return path


# --- features ---------------------------------------------------------------------


def test_the_outlook_is_the_records_forecast():
    found = rank_features(ZOO, Y, metric=["left-out probability", "LogME"], record=RECORD, observed={"good": 0.7})
    scores = {metric: table.set_index("network")["score"] for metric, table in [(found.metric, found.table), *found.others.items()]}
    both = RECORD.forecast(list(ZOO), scores=scores, observed={"good": 0.7})
    alone = RECORD.forecast(list(ZOO), observed={"good": 0.7})
    table = found.outlook.table.set_index("network")
    assert list(table.index) == list(both.index)
    pd.testing.assert_frame_equal(table[["both", *both.columns[1:]]], both.rename(columns={"forecast": "both"}), rtol=1e-12)
    assert table["record"].equals(alone["forecast"][table.index].rename("record"))
    assert table["score"].to_dict() == scores[found.metric].to_dict()
    assert table["observed"].dropna().to_dict() == {"good": 0.7} and found.outlook.record == "results in the record of all 3 on 2 past tasks (birds, cars)"
    # What the scores say is as without a record.
    without = rank_features(ZOO, Y, metric=["left-out probability", "LogME"])
    drop = ["scoring_seconds"]
    assert found.table.drop(columns=drop).equals(without.table.drop(columns=drop)) and found.finding == without.finding
    assert without.outlook is None and "past results of these networks would (--record)" in without.advice


def test_the_report_says_what_the_record_adds():
    found = rank_features(ZOO, Y, record=RECORD)
    text = str(found)
    assert "with results in the record of all 3 on 2 past tasks (birds, cars); score: left-out\nprobability\n" in text and "past tasks" in text
    assert re.search(r"^rank  network +score +record +both +80 % interval +is best +points lost +past tasks$", text, flags=re.M)
    first = found.outlook.table.iloc[0]
    assert found.advice == (
        f"Fine-tune {first['network']} first: the chance that it is the best of these is {100 * first['p_best']:.0f} %, and it should fall at most "
        f"about {first['expected_loss']:.1f} points of accuracy short of the best"
    )  # fmt: skip
    # The sentence may be broken anywhere, but for a table no line is longer than the rest of the report.
    assert " ".join(found.advice.split()) in " ".join(text.split())
    prose = [line for line in text.splitlines() if not re.match(r"(rank| +\d)  ", line)]
    assert max(map(len, prose)) <= WIDTH
    assert " observed" in str(rank_features(ZOO, Y, record=RECORD, observed={"weak": 0.5}))


def test_everything_is_json():
    found = rank_features(ZOO | {"unknown": ZOO["weak"][:, ::-1]}, Y, record=RECORD, observed={"good": 0.7})
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again["record"]["of"] == found.outlook.record == "results in the record of 3 of 4 networks on 2 past tasks (birds, cars)"
    table = {row["network"]: row for row in again["record"]["table"]}
    assert list(table) == list(found.outlook.table["network"]) and table["unknown"]["tasks"] == 0
    assert table["good"]["observed"] == 0.7 and table["weak"]["observed"] is None and again["advice"] == found.advice
    assert rank_features(ZOO, Y).to_dict()["record"] is None


def test_advice_by_what_was_observed():
    def advice(observed, zoo=ZOO):
        return rank_features(zoo, Y, record=RECORD, observed=observed).advice

    found = rank_features(ZOO, Y, record=RECORD, observed={"weak": 0.6}).outlook
    said = re.fullmatch(
        r"Fine-tune (good|wide) next: the chance that it beats weak, the best so far with 0.600, is (\d+) %, and that any of "
        r"the others is the best (\d+) %", found.advice,
    )  # fmt: skip
    elsewhere = found.table.set_index("network")["p_best"].drop("weak").sum()
    assert said[1] == found.recommended and int(said[3]) == round(100 * elsewhere) > 100 * ENOUGH
    stop = rank_features(ZOO, Y, record=RECORD, observed={"weak": 0.999}).outlook
    assert re.fullmatch(r"Stop, and take weak, the best so far with 0.999: the chance that one of the others is better is \d %", stop.advice)
    assert stop.recommended == "weak"
    assert advice({"weak": 0.6, "good": 0.7, "wide": 0.65}) == "All are fine-tuned; take good, the best so far with 0.700"
    assert advice(None, {"weak": ZOO["weak"]}) == "weak is the only network: nothing is to be chosen"
    alone = rank_features({"weak": ZOO["weak"]}, Y, record=RECORD)
    assert alone.outlook is None and not any("results in the record" in note for note in alone.notes)


def test_scores_that_say_nothing_do_not_count():
    # As many features as samples: whatever the labels, the published score is 1.
    wide = {name: np.random.default_rng(i).standard_normal((90, 120)) for i, name in enumerate(ZOO)}
    found = rank_features(wide, Y, metric=["SFDA", "LogME"], record=RECORD)
    assert found.table["saturated"].all() and any(note.startswith("SFDA did not count beside") for note in found.notes)
    scores = {"LogME": found.others["LogME"].set_index("network")["score"]}
    expected = RECORD.forecast(list(ZOO), scores=scores)["forecast"]
    assert found.outlook.table.set_index("network")["both"].to_dict() == expected.to_dict()
    alone = rank_features(wide, Y, metric="SFDA", record=RECORD).outlook.table
    assert alone["both"].equals(alone["record"].rename("both")) and alone["score"].isna().all()
    assert "did not count" in str(rank_features(wide, Y, metric="SFDA", record=RECORD))


def test_images_that_the_record_knows_are_left_out(tmp_path):
    images = write_images(tmp_path / "birds")
    networks = [small(name, seed) for seed, name in enumerate(ZOO)]
    found = rank(networks, images, record=RECORD, cache=None)
    assert found.outlook.record.endswith("on 1 past task (cars)") and (found.outlook.table["tasks"] == 1).all()
    assert any("they may be of these images: birds; what was" in note for note in found.notes)
    # Nothing else is known: then the scores are alone.
    nothing = rank(networks, images, record=Record(PAST[["birds"]]), cache=None)
    assert nothing.outlook is None and any("they may be of these images: birds; no others" in note for note in nothing.notes)
    assert not any(note.startswith("results in the record") for note in nothing.notes)  # which did not count


def test_networks_that_the_record_does_not_know(tmp_path):
    zoo = {"new": ZOO["weak"], "good": ZOO["good"]}
    found = rank_features(zoo, Y, record=RECORD)
    table = found.outlook.table.set_index("network")
    assert table["tasks"].to_dict() == {"good": 2, "new": 0} and "of 1 of 2 networks on 2 past tasks" in found.outlook.record
    path = rows(tmp_path / "mine.csv", ["x", "y", "z", "u", "v", "w"])
    with pytest.raises(ValueError, match="^record: mine.csv knows none of new, good; it knows u, v, w, x, y, ...$|it knows x, y, z, u, v, ...$"):
        rank_features(zoo, Y, record=path)
    with pytest.raises(ValueError, match="^record: the record knows none of new, good; it knows "):
        rank_features(zoo, Y, record=Record(PAST.rename(index=str.upper)))
    # Of published results it need not be asked for: there may be none.
    none = rank_features(zoo, Y, record="published")
    assert none.outlook is None and "no published results are known of these networks" in none.notes
    assert "No published results are known of these networks." in str(none)
    assert rank_features(zoo, Y, record="none").outlook is None


@pytest.mark.parametrize(("options", "message"), [
    ({"record": RECORD, "observed": {"strong": 0.7}}, "observed: expected some of 'weak', 'good', 'wide', got 'strong'"),
    ({"record": RECORD, "observed": {"other": 0.7}}, "observed: expected some of 'weak', 'good', 'wide', got 'other'"),
    ({"record": RECORD, "observed": {"good": 70}}, r"observed\['good'\]: expected a share of 1, got 70; divide per cent by 100"),
    ({"record": RECORD, "observed": {"good": np.nan}}, r"observed\['good'\]: expected a share of 1, got nan"),
    ({"record": RECORD, "observed": ["good"]}, "observed: expected a mapping of network to accuracy, got list"),
    ({"observed": {"good": 0.7}}, "observed: this needs past results of the networks; name a record"),
    ({"record": "published", "observed": {"good": 0.7}}, "observed: this needs past results of the networks; no published results are known of these networks"),
    ({"record": 3}, "record: expected a Record, a path, 'published' or 'none', got int"), ({"record": PAST}, "record: expected a Record, .* got DataFrame"),
])  # fmt: skip
def test_what_is_refused_before_any_score(options, message, monkeypatch):
    monkeypatch.setattr("sfda.rank.result.Judge", None)
    with pytest.raises(ValueError, match=f"^{message}$"):
        rank_features(ZOO, Y, **options)


def test_records_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.csv: there is no such file$"):
        rank_features(ZOO, Y, record=tmp_path / "none.csv")
    (tmp_path / "cut.csv").write_text("network,task,accuracy\nweak,t,0.")
    with pytest.raises(ValueError, match=r"cut.csv: its last line is cut off"):
        rank_features(ZOO, Y, record=str(tmp_path / "cut.csv"))


# --- names ----------------------------------------------------------------------------


def test_names_of_a_record_may_be_short_or_full():
    record = Record(pd.DataFrame({"t": [0.9, 0.8, 0.7, 0.6]}, ["timm:resnet18.a1_in1k", "byol", "mine", "torchvision:resnet50:IMAGENET1K_V1"]))
    named = {"timm:resnet18": "timm:resnet18.a1_in1k", "self-supervised:byol": "self-supervised:byol", "mine": "w/manifest.json:mine",
             "timm:resnet50.tv_in1k": "timm:resnet50.tv_in1k", "timm:vit": "timm:vit.x"}  # fmt: skip
    found, keys, words = find_record(record, named)
    assert found is record and words == "results in the record of 4 of 5 networks"
    assert keys == {"timm:resnet18": "timm:resnet18.a1_in1k", "self-supervised:byol": "byol", "mine": "mine",
                    "timm:resnet50.tv_in1k": "torchvision:resnet50:IMAGENET1K_V1", "timm:vit": "timm:vit"}  # fmt: skip
    # Of two names of one network the second is as good as unknown: the record has one row of it.
    twice = {name: name for name in ("timm:resnet50.tv_in1k", "torchvision:resnet50:IMAGENET1K_V1")}
    for each in (record, "published"):
        found, keys, words = find_record(each, twice)
        assert [key in found.accuracies.index for key in keys.values()] == [True, False] and words.endswith(" of 1 of 2 networks")
        assert len(found.forecast(list(keys.values()))) == 2


def test_published_results_by_name():
    found, keys, words = find_record("published", {"pocket:byol": "pocket:byol", "mine": "mine"})
    assert words == "past results of 1 of 2 networks" and keys == {"pocket:byol": "pocket:byol", "mine": "mine"}
    assert found.accuracies.shape == (33, 11)
    found, keys, words = find_record("published", {name: name for name in ("timm:resnet18.tv_in1k", "timm:resnet50.tv_in1k")})
    assert keys["timm:resnet50.tv_in1k"] == "torchvision:resnet50:IMAGENET1K_V1" and keys["timm:resnet18.tv_in1k"] == "timm:resnet18.tv_in1k"
    assert words == "past results of both" and found.accuracies.loc[list(keys.values()), "imagenet_top1"].notna().all()
    for nothing in (None, "none"):
        assert find_record(nothing, {"pocket:byol": "pocket:byol"}) == (None, {}, "")


def test_without_the_repository_nothing_is_published(monkeypatch, tmp_path):
    monkeypatch.setattr("sfda.files.DATA", tmp_path)
    assert find_record("published", {"pocket:byol": "pocket:byol"}) == (None, {}, "published results of networks need the repository, not the package alone")


# --- images ---------------------------------------------------------------------------


def test_networks_and_what_was_observed_of_one_that_fails(tmp_path):
    images = write_images(tmp_path / "images")
    record = Record(PAST.set_axis(["a", "b", "broken", "c"]))
    found = rank([small("a"), broken(), small("b", 1)], images, cache=None, record=record, observed={"broken": 0.9})
    table = found.outlook.table.set_index("network")
    assert list(found.failures) == ["broken"] and sorted(table.index) == ["a", "b", "broken"]
    assert np.isnan(table.loc["broken", "score"]) and table.loc["broken", "observed"] == 0.9
    json.dumps(found.to_dict(), allow_nan=False)
    # One that fails and of which nothing was observed is no choice.
    assert len(rank([small("a"), broken(), small("b", 1)], images, cache=None, record=record).outlook.table) == 2


def test_the_command(tmp_path, capsys):
    images, manifest = write_images(tmp_path / "images"), write_manifest(tmp_path / "weights", "abc")
    record = rows(tmp_path / "mine.csv", ["a", "b", "d"])
    command = ["rank", str(images), "--no-cache", "--models", str(manifest), "--record", str(record)]
    out = [tmp_path / "out.csv", tmp_path / "out.json"]
    assert main([*command, "--observed", "b=0.75", "--observed", f"{manifest}:a=0.5", "--csv", str(out[0]), "--json", str(out[1])]) == 0
    text, written = capsys.readouterr().out, json.loads(out[1].read_text(encoding="utf-8"))
    assert "with results in mine.csv of 2 of 3 networks on 1 past task (birds); score: left-out\nprobability\n" in text and written["record"]["of"] in text
    table = pd.read_csv(out[0]).set_index("network")
    assert table["observed"].dropna().to_dict() == {"a": 0.5, "b": 0.75} and table["tasks"].to_dict() == {"a": 1, "b": 1, "c": 0}
    assert {"score", "low", "high", "record", "both", "both_low", "both_high", "p_best", "expected_loss"} <= set(table)
    assert (table["both_low"] < table["both"]).all() and len(table) == 3
    for options, message in (
        (["--observed", "d=0.5"], "observed: expected some of 'a', 'b', 'c', got 'd'"), (["--observed", "a=50"], "observed['a']: expected a share of 1, got 50.0; divide"),
        (["--record", str(tmp_path / "none.csv")], "none.csv: there is no such file"), (["--record", "none", "--observed", "a=0.5"], "name a record"),
        (["--observed", "a=0.5", "--observed", "a=0.5"], "--observed: a is there twice"),
        (["--observed", "a=0.5", "--observed", f"{manifest}:a=0.5"], "observed: one network is there by two names, found a, "),
    ):  # fmt: skip
        assert main([*command, *options]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    with pytest.raises(SystemExit, match="^2$"):
        main([*command, "--observed", "a"])
    assert "expected NAME=ACCURACY, a number from 0 to 1, got a" in capsys.readouterr().err
