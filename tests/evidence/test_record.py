"""The record: its model by dense matrices, what must not change it, and how often it is right."""

import re
import types

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit

import literal_record
from hostile import quick
from sfda import Record
from sfda.evidence import published
from sfda.evidence.record import MEASURED, REPEATED

NAMES = list("abcdef")
TAILS = 4  # degrees of freedom
REACH = np.sqrt((TAILS - 2) / TAILS) * stats.t.ppf(0.9, TAILS)  # of an 80 % interval, in standard deviations


def table(seed, n=6, k=4, missing=0.0):
    """Accuracies that agree on which network is better, more or less."""
    rng = np.random.default_rng(seed)
    y = rng.normal(1, 1, k) + rng.uniform(0.3, 1.5, k) * (rng.standard_normal((n, 1)) + 0.7 * rng.standard_normal((n, k)))
    found = pd.DataFrame(expit(y), NAMES[:n], [f"t{i}" for i in range(k)])
    return found.mask(rng.uniform(size=(n, k)) < missing)


def z_of(accuracies):
    y = accuracies.clip(1e-3, 1 - 1e-3).apply(logit)
    return (y - y.mean()) / y.std(ddof=0)


@st.composite
def tables(draw, missing=True):
    """Any record of two networks at least, and a task that knows two."""
    n, k = draw(st.integers(2, 6)), draw(st.integers(1, 4))
    share = st.integers(0, 1000).map(lambda x: x / 1000)
    cell = st.one_of(st.just(np.nan), share) if missing else share
    values = np.array(draw(st.lists(st.lists(cell, min_size=k, max_size=k), min_size=n, max_size=n)))
    values[:2, 0] = [draw(share), draw(share)]
    return pd.DataFrame(values, NAMES[:n], [f"t{i}" for i in range(k)])


# --- the model ----------------------------------------------------------------


@quick(60)
@given(tables(), st.integers(0, 2), st.integers(0, 3), st.integers(0, 2**16))
def test_forecasts_are_those_of_the_model_by_dense_matrices(accuracies, metrics, observed, seed):
    rng = np.random.default_rng(seed)
    names = [*accuracies.index, "unknown"]
    # Scores of whole numbers have ties. The first metric is known from past tasks, the second from none.
    scores = pd.DataFrame(rng.integers(0, 5, accuracies.shape), accuracies.index, accuracies.columns).astype(float)
    scores = scores.mask(rng.uniform(size=scores.shape) < 0.2)
    past = {"m": scores} if (scores.notna() & accuracies.notna()).any(axis=None) else {}
    new = {metric: dict(zip(names[j:], rng.integers(0, 5, len(names)).tolist())) for j, metric in enumerate("mq"[:metrics])}
    seen = {names[i]: rng.integers(0, 11) / 10 for i in rng.permutation(len(names))[:observed]}
    record = Record(accuracies, past)
    found = record.forecast(names, scores=new, observed=seen).loc[sorted(names)]
    mean, variance = literal_record.forecast(record, names, new, seen)
    # Matrices of at most a dozen rows, ratios of variances below 1,000.
    assert found["forecast"].to_numpy() == pytest.approx(mean, abs=1e-9)
    for end, sign in (("low", -1), ("high", 1)):
        assert found[end].to_numpy() == pytest.approx(mean + sign * REACH * np.sqrt(variance), abs=1e-8)
    assert found["tasks"].tolist() == [*accuracies.notna().sum(axis=1), 0]


@pytest.mark.parametrize("seed", range(3))
def test_chances_and_losses_are_those_of_other_draws_from_the_model(seed):
    record = Record(table(seed, missing=0.2))
    mean, covariance, levels, spreads = literal_record.fit(record, NAMES, {})
    rng, n = np.random.default_rng(seed), 40_000
    task = rng.integers(0, len(levels), n)
    z = rng.multivariate_normal(np.zeros(6), covariance, n)
    z = mean + z * np.sqrt((TAILS - 2) / TAILS) / np.sqrt(rng.chisquare(TAILS, (n, 6)) / TAILS)
    a = expit(levels.to_numpy()[task, None] + rng.standard_normal((n, 1)) + spreads.to_numpy()[task, None] * z)
    found = record.forecast().loc[NAMES]
    # Five standard deviations of a mean over 4,000 draws; those of the 40,000 are included with room.
    chance, loss = np.bincount(a.argmax(1), minlength=6) / n, 100 * (a.max(1, keepdims=True) - a)
    assert np.abs(found["p_best"] - chance).max() < 5 * 0.5 / np.sqrt(4000) * 1.1
    assert (np.abs(found["expected_loss"] - loss.mean(0)) < 5 * loss.std(0) / np.sqrt(4000) * 1.1).all()


@pytest.mark.parametrize("n_tasks", [1, 2, 7])
def test_a_complete_table_alone_gives_the_order_of_the_mean_z(n_tasks):
    for seed in range(20):
        accuracies = table(seed, k=n_tasks)
        expected = z_of(accuracies).mean(axis=1).sort_values(ascending=False)
        assert list(Record(accuracies).forecast().index) == list(expected.index)


def test_what_a_network_is_worth_is_shrunk_by_how_few_tasks_know_it():
    accuracies = table(0, k=8)
    once = accuracies.copy()
    once.loc["a", accuracies.columns[1:]] = np.nan
    wide, narrow = (Record(each).forecast().loc["a"] for each in (once, accuracies))
    assert wide["tasks"] == 1 and narrow["tasks"] == 8
    assert wide["high"] - wide["low"] > 1.2 * (narrow["high"] - narrow["low"])


# --- what must not matter -------------------------------------------------------


@quick(40)
@given(tables(), st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_networks_and_tasks_does_not_matter(accuracies, random, observed):
    rows, columns = list(accuracies.index), list(accuracies)
    random.shuffle(rows)
    random.shuffle(columns)
    scores = {"m": {name: float(i) for i, name in enumerate(accuracies.index)}}
    options = {"scores": scores, "observed": {"a": 0.5} if observed else None}
    found = Record(accuracies).forecast(**options)
    assert found.equals(Record(accuracies.loc[rows]).forecast(rows, **options))
    other = Record(accuracies.loc[rows, columns]).forecast(**options).loc[found.index]
    # Of other sums only the rounding; draws go by tasks, so that chances are other draws.
    assert np.abs(found[["forecast", "low", "high"]] - other[["forecast", "low", "high"]]).max(axis=None) < 1e-8
    assert np.abs(found["p_best"] - other["p_best"]).max() < (0.2 if observed else 0.06)  # of few draws, once weighted


@quick(40)
@given(tables(), st.integers(0, 3))
def test_chances_sum_to_one_and_nothing_is_gained_by_the_best(accuracies, observed):
    seen = dict.fromkeys(accuracies.index[:observed], 0.6)
    found = Record(accuracies).forecast(observed=seen)
    assert found["p_best"].sum() == pytest.approx(1, abs=1e-9) and (found["p_best"] >= 0).all()
    assert (found["expected_loss"] >= 0).all() and (found["expected_loss"] <= 100).all()
    assert (found["low"] < found["forecast"]).all() and (found["forecast"] < found["high"]).all()
    assert (found["forecast"].diff().dropna() <= 1e-9).all() and np.isfinite(found).all(axis=None)


@quick(30)
@given(st.integers(0, 2**16), st.floats(0.2, 1.5), st.floats(-1, 1))
def test_the_scale_of_a_tasks_logits_does_not_matter(seed, factor, shift):
    accuracies = table(seed, missing=0.2).clip(0.02, 0.98)  # where no accuracy is clipped
    other = accuracies.assign(t1=expit(factor * logit(accuracies["t1"]) + shift))
    one, two = (Record(each).forecast().loc[NAMES, ["forecast", "low", "high"]] for each in (accuracies, other))
    assert np.abs(one - two).max(axis=None) < 1e-9


@quick(30)
@given(tables(missing=False))
def test_a_network_that_was_never_worse_is_not_forecast_worse(accuracies):
    best = accuracies.max(axis=1).idxmax()
    accuracies.loc[best] = accuracies.max()
    found = Record(accuracies).forecast()["forecast"]
    assert found[best] == pytest.approx(found.max(), abs=1e-9)


def test_a_task_that_says_the_same_changes_no_order():
    for seed in range(20):
        accuracies = table(seed)
        same = accuracies.assign(same=expit(z_of(accuracies).mean(axis=1)))
        assert list(Record(accuracies).forecast().index) == list(Record(same).forecast().index)


def test_networks_that_are_not_asked_for_do_not_change_the_forecast():
    record = Record(table(3, missing=0.2))
    whole, part = record.forecast(), record.forecast(["b", "e"])
    assert np.abs(part["forecast"] - whole.loc[part.index, "forecast"]).max() < 1e-12
    assert part["p_best"].sum() == pytest.approx(1, abs=1e-12) and list(part.index) == [n for n in whole.index if n in "be"]


def test_a_task_that_knows_good_networks_only_does_not_punish_them():
    rng = np.random.default_rng(0)
    u = np.array([1.5, 1.0, 0.5, -0.5, -1.0, -1.5])
    accuracies = pd.DataFrame(expit(u[:, None] + 0.1 * rng.standard_normal((6, 3)) + 1), NAMES, ["x", "y", "z"])
    hard = accuracies.assign(hard=pd.Series(expit(u - 3), NAMES)[["a", "b", "c"]])
    before, after = (Record(each).forecast() for each in (accuracies, hard))
    assert list(after.index) == NAMES
    # By its plain mean z "c", the worst of the three, would fall towards "d".
    assert after.loc["c", "forecast"] - after.loc["d", "forecast"] > 0.5 * (before.loc["c", "forecast"] - before.loc["d", "forecast"])


# --- unknown networks, and those that were observed -------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_an_unknown_network_is_an_average_one_with_a_wide_interval(seed):
    found = Record(table(seed)).forecast([*NAMES, "unknown"])
    width = found["high"] - found["low"]
    assert found["forecast"].iloc[0] > found.loc["unknown", "forecast"] > found["forecast"].iloc[-1]
    assert found.loc["unknown", "forecast"] == pytest.approx(0, abs=1e-12) and found.loc["unknown", "tasks"] == 0
    assert width["unknown"] > width[NAMES].median() and not found.isna().any(axis=None)
    two = Record(table(seed)).forecast(["new", "newer"])
    assert two["forecast"].abs().max() == 0 and list(two.index) == ["new", "newer"]


@pytest.mark.parametrize("accuracy", [0, 0.3, 0.8, 1])
def test_an_observed_network_is_as_sure_as_fine_tuning_it_again(accuracy):
    record = Record(table(1))
    before, after = record.forecast(), record.forecast(observed={"c": accuracy})
    width = after["high"] - after["low"]
    assert width["c"] < (before["high"] - before["low"])["c"]
    # Its interval is that of the noise: a little less, for the record says something too, or a little more, as far as
    # past tasks of other spreads and levels explain the accuracy as well.
    assert 0.6 < width["c"] / (2 * REACH * np.sqrt(REPEATED)) < 1.05
    assert width["c"] == width.min()
    better = record.forecast(observed={"c": 0.95}).loc["c", "p_best"]
    assert better > record.forecast(observed={"c": 0.05}).loc["c", "p_best"]


@pytest.mark.parametrize("seed", range(4))
def test_what_was_observed_is_what_was_lost(seed):
    accuracies = table(seed)
    accuracies.loc["b"] = accuracies.loc["a"]  # so that the record itself says nothing of which is better
    found = Record(accuracies).forecast(["a", "b"], observed={"a": 0.9, "b": 0.6})
    # 30 points lie between them; as far as that may be the noise of a repetition the record shrinks it.
    assert 20 < found.loc["b", "expected_loss"] - found.loc["a", "expected_loss"] < 30


def test_the_level_of_a_task_alone_changes_no_order():
    # Without residuals, z says the same on each task; nothing that is observed can say that of another network. Both
    # tasks have one spread, so that nothing is to be learned of it.
    u = np.array([1.2, 0.7, 0.1, -0.3, -0.6, -1.1])
    record = Record(pd.DataFrame({"x": expit(u), "y": expit(u + 1)}, NAMES))
    for accuracy in (0.02, 0.4, 0.97):
        found = record.forecast(observed={"c": accuracy})
        assert [name for name in found.index if name != "c"] == ["a", "b", "d", "e", "f"]
    # All fall short by as much: the order, and the gaps, stay.
    usual = record.forecast()["forecast"] * u.std() - 2
    assert list(record.forecast(observed=expit(usual[list("abcd")])).index) == NAMES


def test_what_happened_to_one_network_happens_to_its_sibling():
    rng = np.random.default_rng(0)
    e = rng.standard_normal((6, 40))
    e[1] = e[0] + 0.1 * rng.standard_normal(40)  # b goes with a
    record = Record(pd.DataFrame(expit(e), NAMES, range(40)))
    usual = record.forecast(observed={"a": 0.5})["forecast"]
    found = record.forecast(observed={"a": 0.95})["forecast"] - usual
    assert found["a"] > found["b"] > 0.3 + found[["c", "d", "e", "f"]].max()


# --- scores -----------------------------------------------------------------------


def test_weights_of_scores_are_learned_from_the_past():
    accuracies = table(0, k=30)
    rng = np.random.default_rng(0)
    perfect = accuracies.rank()
    useless = accuracies.apply(lambda column: rng.permutation(len(column))).astype(float)
    new = dict(zip(NAMES, [3.0, 5.0, 1.0, 6.0, 2.0, 4.0]))
    alone = Record(accuracies).forecast()["forecast"]
    by_perfect = Record(accuracies, {"m": perfect}).forecast(scores={"m": new})["forecast"]
    by_useless = Record(accuracies, {"m": useless}).forecast(scores={"m": new})["forecast"]
    by_default = Record(accuracies).forecast(scores={"m": new})["forecast"]
    tau = {name: stats.kendalltau(each[NAMES], [new[n] for n in NAMES])[0]
           for name, each in (("alone", alone), ("perfect", by_perfect), ("useless", by_useless), ("default", by_default))}  # fmt: skip
    assert tau["perfect"] >= tau["default"] + 0.2 and tau["default"] >= tau["useless"]
    # How far a forecast moves for a score, by metric.
    moved = {name: each[NAMES].sub(alone[NAMES]).abs().mean() for name, each in (("useless", by_useless), ("default", by_default), ("perfect", by_perfect))}
    assert moved["useless"] < 0.6 * moved["default"] < moved["default"] < moved["perfect"]


@quick(20)
@given(st.integers(0, 2**16))
def test_only_the_ranks_of_scores_count(seed):
    accuracies, rng = table(seed), np.random.default_rng(seed)
    past = pd.DataFrame(rng.standard_normal(accuracies.shape), accuracies.index, accuracies.columns)
    new = pd.Series(rng.standard_normal(6), NAMES)
    one = Record(accuracies, {"m": past}).forecast(scores={"m": new})
    two = Record(accuracies, {"m": 100 * past - 7}).forecast(scores={"m": np.exp(new)})
    assert one.equals(two)
    # A metric of the record that has no scores here is not used; equal scores say nothing.
    assert Record(accuracies, {"m": past}).forecast().equals(Record(accuracies).forecast())
    alone, equal = Record(accuracies).forecast(), Record(accuracies).forecast(scores={"q": dict.fromkeys(NAMES, 3.0)})
    assert np.abs(alone["forecast"] - equal.loc[alone.index, "forecast"]).max() < 1e-9


def test_every_form_of_scores_and_observations_is_the_same():
    record = Record(table(2))
    plain = record.forecast(scores={"m": {"a": 1.0, "b": 2.0}}, observed={"c": 0.75})
    for scores in (pd.Series({"a": 1, "b": 2}), types.MappingProxyType({"a": 1, "b": np.float32(2), "c": None}),
                   pd.Series({"a": 1, "b": 2}, dtype="Int64"), pd.Series({"a": 1.0, "b": 2.0, "d": np.nan})):  # fmt: skip
        assert record.forecast(scores={"m": scores}, observed=pd.Series({"c": 0.75})).equals(plain)
    assert record.forecast(scores=pd.DataFrame({"m": {"a": 1, "b": 2}}), observed={"c": np.float64(0.75)}).equals(plain)
    assert record.forecast(iter(NAMES), scores={}, observed={}).equals(record.forecast())


def test_every_form_of_a_table_is_the_same():
    accuracies = table(4).round(2)
    plain = Record(accuracies).forecast()
    for other in (accuracies.convert_dtypes(), accuracies.astype(str), accuracies.astype(object),
                  accuracies.astype(pd.SparseDtype(float)), accuracies.set_axis(pd.CategoricalIndex(NAMES)),
                  accuracies.set_axis(pd.CategoricalIndex(accuracies.columns), axis=1), accuracies.T.reset_index(drop=True).T):  # fmt: skip
        before = other.copy()
        assert np.array_equal(Record(other).forecast(observed={})[plain.columns], plain)
        pd.testing.assert_frame_equal(other, before)
    numbered = Record(accuracies.reset_index(drop=True)).forecast()
    assert [NAMES[i] for i in numbered.index] == list(plain.index)
    alone = Record(accuracies["t0"])
    assert alone.forecast().equals(Record(accuracies[["t0"]]).forecast())


# --- what to fine-tune next ---------------------------------------------------------


def test_next():
    record = Record(table(5))
    assert record.next() == record.forecast().index[0] == record.next(observed={})
    first = record.next()
    found = record.gains(observed={first: 0.6})
    gains = found["gain"]
    assert first not in gains.index and len(gains) == 5 and (gains >= 0).all() and gains.is_monotonic_decreasing
    assert found["chance"].between(0, 1).all() and (found["chance"] > 0)[gains > 0].all()
    assert record.next(observed={first: 0.6}) == gains.index[0] == record.next(observed=pd.Series({first: 0.6}))
    # The better the best so far, the less there is to gain; beyond 1 nothing is.
    assert record.gains(observed={first: 0.9})["gain"].sum() < gains.sum()
    assert record.gains(observed={first: 1.0})["gain"].max() < 0.5
    assert record.next(["a", "b"], observed={"a": 0.7}) == "b"
    everything = dict.fromkeys(NAMES, 0.7)
    assert record.gains(observed=everything).empty
    with pytest.raises(ValueError, match="^observed: expected a network that has not been fine-tuned, found none$"):
        record.next(observed=everything)
    expected = record.gains()  # all exceed nothing, for certain: weights of draws that sum to 1 but for rounding
    assert (expected["chance"] > 1 - 1e-9).all() and expected["gain"].between(0, 100).all() and len(expected) == 6


# --- how often it is right ------------------------------------------------------------


def simulated(rng, n, k, missing):
    """Accuracies on k past tasks and a new one, drawn from the model with r = 1.5."""
    u = rng.normal(0, np.sqrt(0.6), (n, 1))
    e = rng.standard_t(TAILS, (n, k + 1)) * np.sqrt((TAILS - 2) / TAILS * 0.4)
    a = expit(rng.normal(1.5, 1, k + 1) + 0.6 * (u + e))
    names = [f"n{i:02d}" for i in range(n)]
    return pd.DataFrame(a[:, :k], names).mask(rng.uniform(size=(n, k)) < missing), pd.Series(a[:, k], names)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_intervals_and_chances_hold_what_they_say(missing):
    rng = np.random.default_rng(0)
    inside, chances, best = [], [], []
    for _ in range(120):
        past, new = simulated(rng, 12, 8, missing)
        found = Record(past).forecast().loc[new.index]
        z = z_of(new.to_frame())[0]
        inside.append(((found["low"] <= z) & (z <= found["high"])).mean())
        chances += found["p_best"].tolist()
        best += (new == new.max()).tolist()
    # Tasks are independent, networks of one task are not: 120 means, whose standard error is about .011.
    assert 0.75 < np.mean(inside) < 0.85, np.mean(inside)
    chances, best = np.array(chances), np.array(best)
    for low, high in ((0, 0.03), (0.03, 0.1), (0.1, 0.3), (0.3, 1)):
        these = (low <= chances) & (chances < high)
        expected = chances[these].mean()
        assert abs(best[these].mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / these.sum()), (low, high)


def test_intervals_hold_on_published_tasks_that_were_left_out():
    inside = []
    for name in ("supervised", "self-supervised", "transformers", "stable-transfer", "vtab"):
        accuracies = published.record(name)[0]
        for task in accuracies:
            z = z_of(accuracies[[task]].dropna())[task]
            found = Record(accuracies.drop(columns=task)).forecast(z.index).loc[z.index]
            inside.append(((found["low"] <= z) & (z <= found["high"])).mean())
    assert 0.75 < np.mean(inside) < 0.85, np.mean(inside)  # 63 tasks


# --- what is refused --------------------------------------------------------------------

A = table(0)
BAD_TABLES = [
    ({}, "accuracies: expected a DataFrame, networks x tasks, got dict"), (A.to_numpy(), "got numpy.ndarray"),
    (None, "got NoneType"), (100 * A, r"expected shares of 1, got [\d.]+ for 'a' on 't0'; divide per cent by 100"),
    (-A, "expected shares of 1, got -"), (A.replace(A.loc["b", "t1"], np.inf), "expected finite numbers or NaN, got infinity"),
    (A.astype(str) + "x", "expected numbers"), (A.astype(complex), "expected numbers"), (A.iloc[:1], "expected two networks at least, got 1"),
    (pd.DataFrame(), "expected two networks at least, got 0"), (pd.concat([A, A]), "network 'a' is there twice"),
    (pd.concat([A, A], axis=1), "task 't0' is there twice"), (A * np.nan, "expected a task that knows two networks at least, found none"),
    (A.mask(np.arange(24).reshape(6, 4) > 3), "expected a task that knows two"), (A.set_axis(["a", None, *"cdef"]), "the name of a network is missing"),
    (A.set_axis(pd.MultiIndex.from_product([[0, 1], [0, 1, 2]])), "expected one name a network, got an index of 2 levels"),
    (A.set_axis(pd.MultiIndex.from_product([[0, 1], [0, 1]]), axis=1), "expected one name a task, got an index of 2 levels"),
]  # fmt: skip


@pytest.mark.parametrize(("accuracies", "message"), BAD_TABLES)
def test_tables_that_are_no_record(accuracies, message):
    with pytest.raises(ValueError, match=f"^accuracies: .*{message.removeprefix('accuracies: ')}") as error:
        Record(accuracies)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("scores", "message"), [
    ([A], "^scores: expected a mapping of metric to DataFrame, got list$"), ("SFDA", "^scores: .* got str$"),
    (A, r"^scores\['t0'\]: expected a DataFrame, networks x tasks, got pandas.Series$"), ({"m": None}, r"^scores\['m'\]: .*got NoneType$"),
    ({"m": A.add_prefix("x")}, r"^scores\['m'\]: expected networks and tasks of accuracies, found none of them$"),
    ({"m": A * np.inf}, r"^scores\['m'\]: expected finite numbers"), ({"m": A * np.nan}, r"^scores\['m'\]: expected networks"),
])  # fmt: skip
def test_scores_that_are_none(scores, message):
    with pytest.raises(ValueError, match=message):
        Record(A, scores)


@pytest.mark.parametrize(("options", "message"), [
    ({"networks": []}, "networks: expected at least one, got none"), ({"networks": ["a", "b", "a"]}, "networks: 'a' is there twice"),
    ({"networks": 3}, "networks: expected names, got 3"), ({"networks": [["a"]]}, r"networks: expected names, got \[\['a'\]\]"),
    ({"networks": ["a", None]}, "networks: expected names, one is missing"),
    ({"scores": [1, 2]}, "scores: expected a mapping of metric to the scores of networks, got list"), ({"scores": "m"}, "scores: .* got str"),
    ({"scores": pd.Series({"a": 1.0})}, r"scores\['a'\]: expected a Series or mapping of network to score, got numpy.float64"),
    ({"scores": {"m": [1, 2]}}, r"scores\['m'\]: expected a Series or mapping of network to score, got list"),
    ({"scores": {"m": {"a": "x"}}}, r"scores\['m'\]: expected numbers \(could not convert string to float: 'x'\)"),
    ({"scores": {"m": {"a": np.inf}}}, r"scores\['m'\]: expected finite numbers, got infinity"),
    ({"scores": {"m": pd.Series([1, 2], ["a", "a"])}}, r"scores\['m'\]: 'a' is there twice"),
    ({"scores": {"m": {"a": np.nan}}}, r"scores\['m'\]: expected scores of 'a', 'b', 'c', ..., found none"),
    ({"networks": ["a", "b"], "scores": {"m": {"z": 1.0}}}, r"scores\['m'\]: expected scores of 'a', 'b', found none"),
    ({"observed": ["a"]}, "observed: expected a mapping of network to accuracy, got list"), ({"observed": "a"}, "observed: .* got str"),
    ({"observed": {"a": 70}}, r"observed\['a'\]: expected a share of 1, got 70; divide per cent by 100"),
    ({"observed": {"a": np.nan}}, r"observed\['a'\]: expected a share of 1, got nan"), ({"observed": {"a": None}}, "got None"),
    ({"observed": {"a": pd.NA}}, "got <NA>"), ({"observed": {"a": "good"}}, "got 'good'"), ({"observed": {"a": [0.5, 0.6]}}, r"got \[0.5, 0.6\]"),
    ({"observed": {"a": -0.1}}, "got -0.1"), ({"observed": {"a": 0.5 + 0j}}, "observed"),
    ({"observed": pd.Series([0.5, 0.6], ["a", "a"])}, "observed: expected every name once, one is there twice"),
    ({"networks": ["a", "b"], "observed": {"c": 0.5}}, "observed: expected some of the networks 'a', 'b', got 'c'"),
])  # fmt: skip
def test_new_tasks_that_are_none(options, message):
    for method in (Record.forecast, Record.gains, Record.next):
        with pytest.raises(ValueError, match=message) as error:
            method(Record(A), **options)
        assert str(error.value).startswith(list(options)[-1]) and "\n" not in str(error.value)


# --- where records come from ----------------------------------------------------------------


@pytest.mark.parametrize("name", [*published.RECORDS, *MEASURED])
def test_published_records_can_be_used(name):
    record = Record.published(name)
    assert record.accuracies.index.is_unique and set(record.scores) == set(Record.published(name).scores)
    assert name in MEASURED or f"``{name.removeprefix('stable-transfer ')}``" in published.record.__doc__
    if len(record.accuracies) < 100:  # of more it takes seconds
        found = record.forecast(observed={record.accuracies.index[0]: 0.7})
        assert np.isfinite(found).all(axis=None) and len(found) == len(record.accuracies)


def test_a_record_that_is_not_published():
    names = re.escape(", ".join(map(repr, (*published.RECORDS, *MEASURED))))
    for name in ("best", None, ["pocket"]):
        with pytest.raises(ValueError, match=f"^name: expected one of {names}, got {re.escape(repr(name))}$"):
            Record.published(name)


def test_single_results_are_averaged():
    runs = pd.DataFrame({
        "network": ["a", "a", "b", "b"], "task": ["t", "t", "t", "s"], "seed": [0, 1, 0, 0], "accuracy": [0.5, 0.75, 0.25, 0.125],
        "my own": [1.0, 1.0, 2.0, np.nan], "empty": [np.nan] * 4,
    })  # fmt: skip
    record = Record.of(runs)
    assert record.accuracies.loc["a", "t"] == 0.625 and np.isnan(record.accuracies.loc["a", "s"]) and record.accuracies.loc["b", "s"] == 0.125
    assert list(record.scores) == ["my own"] and record.scores["my own"]["t"].tolist() == [1, 2]
    for wrong, message in (
        (runs.drop(columns="task"), "runs: expected a column 'task', found network, seed, accuracy, my own, empty"), ([1], "runs: expected a DataFrame, got list"),
        (runs.assign(note="x"), "runs: expected numbers .*note"), (runs.assign(network=["a", None, "b", "b"]), "runs: expected a network and a task in every row"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{message}"):
            Record.of(wrong)
