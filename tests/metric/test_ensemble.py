"""Selecting ensembles: the split, the greedy rule, planted cases, bad input."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_sets import gaussian_classes
from sfda import SaturationWarning, select_ensemble, sfda_score
from sfda.metric import nuclear
from sfda.metric.ensemble import METHODS, calibrated, exhaustive, greedy, least_correlated, split
from sfda.metric.nuclear import nuclear_selection
from sfda.metric.score import log_posterior

Y = np.arange(240) % 4


def network(seed, strength=(1.0, 1.0, 1.0, 1.0), d=6, y=Y):
    """Features that tell class c from the others as well as strength[c] says."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((len(y), d)) + np.pad(np.diag(strength), ((0, 0), (0, d - 4)))[y]


def zoo(k=5, y=Y):
    rng = np.random.default_rng(99)
    return {f"net {i}": network(i, rng.uniform(0.3, 2.5, 4), d=5 + i, y=y) for i in range(k)}


log_probabilities = st.integers(0, 10**6).flatmap(
    lambda seed: st.builds(
        lambda m, n, spread: spread * np.log(np.random.default_rng(seed).uniform(1e-6, 1, (m, n))),
        st.integers(1, 6), st.integers(1, 30), st.sampled_from([1e-9, 1.0, 60.0]),
    )
)  # fmt: skip


@given(log_probabilities)
def test_the_split_is_exact(log_p):
    step, scale = split(log_p), max(1.0, np.abs(log_p).max())
    averaged = np.logaddexp.reduce(log_p, axis=0) - np.log(len(log_p))
    assert step.criterion == pytest.approx(averaged.mean(), abs=1e-12 * scale)
    assert step.mean == pytest.approx(log_p.mean(), abs=1e-12 * scale)
    assert step.criterion == step.mean + step.complementarity
    # Ambiguity is never negative, and the average near the best member of each sample.
    assert step.complementarity >= 0
    best = log_p.max(0).mean()
    assert best - np.log(len(log_p)) - 1e-12 * scale <= step.criterion <= best + 1e-12 * scale
    same = np.repeat(log_p[:1], len(log_p), axis=0)
    assert split(same).complementarity == pytest.approx(0, abs=1e-12 * scale)


@pytest.mark.parametrize("bad", [np.zeros(3), np.array([[0.0, -np.inf]]), np.empty((0, 3))])
def test_the_split_refuses_what_is_no_table(bad):
    with pytest.raises(ValueError, match="log_p"):
        split(bad)


def test_calibration_finds_the_temperature():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((20_000, 4))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = (rng.random((20_000, 1)) > p.cumsum(1)).sum(1)
    for beta in (0.2, 1.0, 3.0):
        surer = beta * logits - np.logaddexp.reduce(beta * logits, axis=1)[:, None]
        assert np.exp(calibrated(surer, y)) == pytest.approx(p, abs=0.01)


@given(log_probabilities)
def test_calibration_keeps_the_order_and_never_lowers_the_likelihood(log_p):
    log_p = log_p - np.logaddexp.reduce(log_p, axis=1)[:, None]
    y = np.arange(len(log_p)) % log_p.shape[1]
    own = np.arange(len(y)), y
    found = calibrated(log_p, y)
    assert np.exp(found).sum(1) == pytest.approx(np.ones(len(y)), abs=1e-9)
    assert (np.diff(np.take_along_axis(found, log_p.argsort(1), 1), axis=1) >= -1e-9).all()
    assert found[own].mean() >= log_p[own].mean() - 1e-6


def test_calibration_of_a_posterior_that_is_always_right_or_always_wrong():
    y = np.arange(8) % 2
    right = np.log(np.where(np.eye(2)[y] > 0, 0.9, 0.1))
    assert np.isfinite(calibrated(right, y)).all() and calibrated(right, y)[0, 0] > np.log(0.99)
    assert np.exp(calibrated(right, 1 - y)) == pytest.approx(np.full((8, 2), 0.5), abs=0.01)


@given(log_probabilities, st.integers(1, 3))
def test_greedy_finds_the_best_of_one_two_and_all_and_none_better_than_all_subsets(log_p, size):
    for k in {1, min(2, len(log_p)), min(size, len(log_p)), len(log_p)}:
        chosen, steps = greedy(log_p, k)
        best = exhaustive(log_p, k)[1].criterion
        assert len(set(chosen)) == k
        assert steps[-1].criterion <= best + 1e-9 * max(1, abs(best))
        if k in (1, 2, len(log_p)):
            assert steps[-1].criterion == pytest.approx(best, rel=1e-9)


def test_each_later_step_of_greedy_is_the_best_one():
    log_p = np.log(np.random.default_rng(0).uniform(0.01, 1, (7, 40)))
    chosen, steps = greedy(log_p, 4)
    assert steps[0].criterion == pytest.approx(log_p[chosen[:2]].mean(1).max(), abs=1e-12)
    for i in (2, 3):
        others = [m for m in range(7) if m not in chosen[:i]]
        values = {m: split(log_p[[*chosen[:i], m]]).criterion for m in others}
        assert chosen[i] == max(values, key=values.get)
        assert steps[i].criterion == pytest.approx(max(values.values()), abs=1e-12)


def test_where_greedy_falls_short_of_all_subsets():
    # Two networks know one half each, three others a third each, and these better.
    thirds = np.where(np.kron(np.eye(3), np.ones(4)) > 0, 0.9, 0.1)
    halves = np.where(np.kron(np.eye(2), np.ones(6)) > 0, 0.6, 0.1)
    log_p = np.log(np.vstack([thirds, halves]))
    chosen, steps = greedy(log_p, 3)
    best, step = exhaustive(log_p, 3)
    assert set(chosen[:2]) == {3, 4} and best == [0, 1, 2]
    assert step.criterion == pytest.approx(np.log(1.1 / 3), abs=1e-12)
    assert steps[2].criterion == pytest.approx((np.log(1.6 / 3) + 2 * np.log(0.8 / 3)) / 3, abs=1e-12)
    assert step.criterion - steps[2].criterion > 0.08


def specialists(n=480, n_classes=12):
    """Two networks that tell all classes, seeing the same; and two that tell one half each."""
    rng, y = np.random.default_rng(0), np.arange(n) % n_classes
    half = np.repeat([6.0, 0.0], n_classes // 2)
    even = rng.standard_normal((n, n_classes)) + 2.4 * np.eye(n_classes)[y]
    return {
        "best": even,
        "its double": even + 0.2 * rng.standard_normal(even.shape),
        "low": rng.standard_normal(even.shape) + np.diag(half)[y],
        "high": rng.standard_normal(even.shape) + np.diag(half[::-1])[y],
    }, y


def test_two_mediocre_networks_that_complement_each_other():
    zoo_, y = specialists()
    own = np.arange(len(y)), y
    log_p = {name: calibrated(log_posterior(x, y, challenge=False), y)[own] for name, x in zoo_.items()}
    for measure in (np.array, np.exp):
        best, double, low, high = (measure(p).mean() for p in log_p.values())
        assert min(best, double) > max(low, high)
    assert set(select_ensemble(zoo_, y, 2, method="top").members) == {"best", "its double"}
    found = select_ensemble(zoo_, y, 2, method="held-out")
    assert set(found.members) == {"low", "high"}
    two_best = split(np.stack([log_p["best"], log_p["its double"]]))
    assert found.scores[1].criterion > two_best.criterion + 0.05
    assert found.scores[1].complementarity > 10 * two_best.complementarity


@pytest.mark.parametrize("method", METHODS)
def test_a_network_given_twice_is_chosen_once(method):
    zoo_ = zoo(3)
    first = next(iter(zoo_))
    again = {
        "the same": zoo_[first].copy(), "half precision": zoo_[first].astype(np.float16),
        "a tensor": torch.from_numpy(zoo_[first]),
        "bfloat16": torch.from_numpy(zoo_[first]).bfloat16(),
    }  # fmt: skip
    found = select_ensemble({**zoo_, **again}, Y, 3, method=method)
    assert sorted(found.members) == sorted(zoo_)
    with pytest.raises(ValueError, match="from 1 to 3.*'the same'"):
        select_ensemble({**zoo_, **again}, Y, 4, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_networks_that_are_much_alike_are_two(method):
    x, other = network(0), network(1)
    giant = 1000 * np.random.default_rng(0).standard_normal((len(Y), 1))
    pairs = [
        (x, x[:, ::-1].copy()),  # samples of the same length
        (1000 + x, 1000 + x + 0.1 * other),  # little difference beside the mean
        (np.hstack([giant, x]), np.hstack([giant, other])),  # a dominant feature in common
    ]
    for one, two in pairs:
        assert set(select_ensemble({"one": one, "two": two}, Y, 2, method=method).members) == {"one", "two"}


def test_errors_that_go_together_are_left():
    rng = np.random.default_rng(0)
    base = rng.random(400) < 0.2
    other = rng.random(400) < 0.3
    wrong = np.stack([base, base ^ (rng.random(400) < 0.02), other, ~base])
    chosen, steps = least_correlated(wrong, 3)
    assert chosen[0] == 0 and chosen[1] == 3  # errs where the first does not
    assert steps[1].complementarity == pytest.approx(1)
    assert steps[0] == (0, 0, 0)
    # Always right: correlated with nobody, and no division by zero.
    assert least_correlated(np.stack([base, np.zeros(400, bool)]), 2)[0] == [1, 0]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_returns_members_and_steps(method):
    zoo_ = zoo()
    before = {name: x.copy() for name, x in zoo_.items()}
    found = select_ensemble(zoo_, Y, 3, method=method)
    assert len(set(found.members)) == 3 and set(found.members) <= set(zoo_)
    assert all(np.array_equal(zoo_[name], x) for name, x in before.items())
    for step in found.scores:
        assert all(isinstance(value, float) for value in step)
        assert step.criterion == pytest.approx(step.mean + step.complementarity, abs=1e-12)
    # Smaller ensembles are its beginnings.
    smaller = select_ensemble(zoo_, Y, 2, method=method)
    assert smaller.members == found.members[:2]
    np.testing.assert_allclose(smaller.scores, found.scores[:2], atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_order_rotation_scale_and_names_of_labels_do_not_matter(method):
    zoo_ = zoo()
    order = np.random.default_rng(1).permutation(len(Y))
    same = [
        (dict(reversed(zoo_.items())), Y), (zoo_, np.array(["d", "a", "c", "b"])[Y]),
        ({name: x[order] for name, x in zoo_.items()}, Y[order]),
    ]  # fmt: skip
    if method in ("held-out", "diverse", "top"):
        turn = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
        same.append(({**zoo_, "net 0": 1e3 * zoo_["net 0"] @ turn}, Y))
    expected = select_ensemble(zoo_, Y, 3, method=method).members
    for other, labels in same:
        assert select_ensemble(other, labels, 3, method=method).members == expected


def test_what_the_criteria_are():
    zoo_ = zoo()
    own = np.arange(len(Y)), Y
    for challenge in (True, False):
        found = select_ensemble(zoo_, Y, 3, challenge=challenge)
        log_p = np.stack([calibrated(log_posterior(zoo_[m], Y, challenge=challenge), Y)[own] for m in found.members])
        np.testing.assert_allclose(found.scores[-1], split(log_p), atol=1e-12)
    found = select_ensemble(zoo_, Y, 2, method="top", challenge=True)
    singles = sorted((sfda_score(x, Y, posterior="leave-one-out") for x in zoo_.values()), reverse=True)
    assert found.scores[1].criterion == pytest.approx(np.mean(singles[:2]), abs=1e-12)


@pytest.mark.parametrize("posterior", ["resubstitution", "leave-one-out"])
def test_the_score_is_the_mean_of_the_posterior(posterior):
    x = network(3)
    log_p = log_posterior(x, Y, posterior=posterior)
    assert np.exp(log_p).sum(1) == pytest.approx(np.ones(len(Y)), abs=1e-12)
    mean = np.exp(log_p[np.arange(len(Y)), Y]).mean()
    assert mean == pytest.approx(sfda_score(x, Y, posterior=posterior), abs=1e-15)


def test_given_scores_are_what_top_ranks_by():
    zoo_ = zoo()
    scores = {name: i for i, name in enumerate(zoo_)}
    assert select_ensemble(zoo_, Y, 2, method="top", scores=scores).members == ["net 4", "net 3"]
    tiny = {name: (i + 1) * 1e-13 for i, name in enumerate(zoo_)}
    assert select_ensemble(zoo_, Y, 2, method="top", scores=tiny).members == ["net 4", "net 3"]
    for equal in (0.0, 0.1 + 0.2):
        same = dict.fromkeys(zoo_, equal)
        assert select_ensemble(zoo_, Y, 2, method="top", scores=same).members == ["net 0", "net 1"]


def test_samples_few_beside_the_features():
    y = np.arange(40) % 4
    zoo_ = {f"net {i}": gaussian_classes(i, y, 90 + 10 * i, separation=0.6) for i in range(4)}
    for method in METHODS:
        with np.errstate(divide="raise", invalid="raise", over="raise"), warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)
            assert len(select_ensemble(zoo_, y, 4, method=method).members) == 4
    with pytest.warns(SaturationWarning, match="'net 0', .*N = 40"):
        select_ensemble(zoo_, y, 2, method="nuclear")
    # Mended: no warning, and no network that is longer than the others.
    select_ensemble(zoo_, y, 2, method="nuclear", shrinkage="leave-one-out")
    for method in ("held-out", "top", "diverse"):
        with pytest.raises(ValueError, match="shrinkage: 'leave-one-out' is for method 'nuclear'"):
            select_ensemble(zoo_, y, 2, method=method, shrinkage="leave-one-out")
    # N - C features separate any labels.
    noise = {"noise": np.random.default_rng(0).standard_normal((40, 36)), "few": zoo_["net 0"][:, :5]}
    with pytest.warns(SaturationWarning, match="'noise' can"):
        select_ensemble(noise, y, 1, method="nuclear")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_an_accelerator():
    zoo_ = zoo()
    there = {name: torch.from_numpy(x).cuda() for name, x in zoo_.items()}
    for method in METHODS:
        assert select_ensemble(there, Y, 3, method=method).members == (
            select_ensemble(zoo_, Y, 3, method=method).members
        )


def literal_norm(features, labels, level):
    """Mean nuclear norm of the stacks, one matrix after the other."""
    if level == "class":
        features = [np.stack([f[labels == c].mean(0) for c in np.unique(labels)]) for f in features]
    width = max((f.shape[1] for f in features), default=1)
    stacks = [[np.pad(f[n], (0, width - f.shape[1])) for f in features] for n in range(len(features[0]))]
    return np.mean([np.linalg.norm(np.array(stack), "nuc") for stack in stacks])


def literal_nuclear(scores, features, labels, size, level, rule, scale):
    """Eqs. 8 and 9 as they are known."""

    def on_scale(values):
        return np.array(values) if scale == "raw" else (values - np.mean(values)) / (np.std(values) or 1)

    everyone, chosen = list(range(len(scores))), []
    alone = on_scale(np.array(scores, float))
    while len(chosen) < size:
        left = [m for m in everyone if m not in chosen]
        if rule == "once":
            whole = literal_norm(features, labels, level)
            gained = on_scale([
                whole - literal_norm([f for k, f in enumerate(features) if k != m], labels, level)
                for m in everyone
            ])  # fmt: skip
        else:
            before = literal_norm([features[k] for k in chosen], labels, level) if chosen else 0
            values = [literal_norm([features[k] for k in [*chosen, m]], labels, level) - before for m in left]
            gained = np.full(len(scores), -np.inf)
            gained[left] = on_scale(values)
        total = np.where(np.isin(everyone, left), 0.5 * alone + 0.5 * gained, -np.inf)
        chosen.append(int(total.argmax()))
    return chosen


READINGS = list(itertools.product(("class", "sample"), ("greedy", "once"), ("raw", "standard")))


@pytest.mark.parametrize("reading", READINGS, ids=" ".join)
@pytest.mark.parametrize("giant", [False, True])
def test_the_nuclear_norm_is_that_of_the_equations(reading, giant):
    y = np.arange(40) % 4
    zoo_ = zoo(4, y=y)
    if giant:  # whose rows are longer than all others' by many orders of magnitude
        zoo_["giant"] = 10 * gaussian_classes(3, y, 60)
    z = [nuclear.fisher_features(x, y) for x in zoo_.values()]
    lengths = [np.linalg.norm(f) for f in z]
    assert (max(lengths) > 1e4 * sorted(lengths)[-2]) == giant
    scores = [0.5, 0.4, 0.7, 0.6, 0.1][: len(z)]
    options = dict(zip(("level", "rule", "scale"), reading))
    chosen, steps = nuclear_selection(scores, z, y, 3, **options)
    assert chosen == literal_nuclear(scores, z, y, 3, *reading)
    if reading[2] == "raw":  # taking a row away never makes the norm larger
        assert min(step.complementarity for step in steps) > 0


def test_the_defaults_are_those_of_the_method():
    zoo_ = zoo(4)
    z = [nuclear.fisher_features(x, Y) for x in zoo_.values()]
    plain = [sfda_score(x, Y) for x in zoo_.values()]
    found = select_ensemble(zoo_, Y, 3, method="nuclear")
    expected = nuclear_selection(plain, z, Y, 3)
    assert found.members == [list(zoo_)[i] for i in expected[0]]
    np.testing.assert_allclose(found.scores, expected[1], atol=1e-9)


def test_the_frame_of_the_classes_keeps_lengths_and_knows_no_signs():
    x = network(0)
    axes, classes = (nuclear.fisher_features(x, Y, frame=frame) for frame in ("axes", "classes"))
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), np.linalg.norm(classes, axis=1), atol=1e-9)
    np.testing.assert_allclose(nuclear.fisher_features(x[:, ::-1], Y), classes, atol=1e-9)
    means = np.stack([classes[Y == c].mean(0) for c in range(4)])
    assert (means.argmax(1) == np.arange(4)).all()


@pytest.mark.parametrize("reading", READINGS, ids=" ".join)
def test_the_nuclear_norm_may_weigh_nothing(reading):
    z = [nuclear.fisher_features(x, Y) for x in zoo(4).values()]
    assert z[0].shape == (len(Y), 4) and z[0].mean(0) == pytest.approx(np.zeros(4), abs=1e-9)
    options = dict(zip(("level", "rule", "scale"), reading))
    assert nuclear_selection([1.0, 2, 3, 4], z, Y, 2, weight=1.0, **options)[0] == [3, 2]


@pytest.mark.parametrize("option", ["level", "rule", "scale", "frame"])
def test_nuclear_options_are_checked(option):
    with pytest.raises(ValueError, match=option):
        if option == "frame":
            nuclear.fisher_features(network(0), Y, frame="none")
        nuclear_selection([1.0], [np.ones((4, 1))], np.array([0, 0, 1, 1]), 1, **{option: "none"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features_by_model": [network(0)]}, "features_by_model: expected a mapping"),
        ({"features_by_model": {}}, "features_by_model: expected at least one"),
        ({"features_by_model": {"a": network(0), "b": network(1)[:-1]}}, r"\['b'\]: expected the 240 samples"),
        ({"features_by_model": {"a": np.full((240, 3), np.nan)}}, r"\['a'\]: expected finite numbers"),
        ({"labels": Y[:-1]}, "labels"),
        ({"labels": np.zeros(240)}, "labels: expected at least 2 classes"),
        ({"size": 0}, "size: expected an integer from 1 to 3"),
        ({"size": 4}, "size: expected an integer from 1 to 3"),
        ({"size": 1.0}, "size"),
        ({"size": True}, "size"),
        ({"method": "best"}, "method: expected one of held-out"),
        ({"method": None}, "method"),
        ({"method": "top", "scores": {"net 0": 1.0}}, r"scores\['net 1'\]: expected a finite number"),
        ({"method": "top", "scores": [1, 2, 3]}, "scores: expected a mapping"),
        ({"method": "top", "scores": {"net 9": 1.0}}, "scores: expected names of features_by_model, got 'net 9'"),
        ({"method": "held-out", "scores": {"net 0": 1.0}}, "scores: expected None for method 'held-out'"),
        ({"features_by_model": {"flat": np.zeros((240, 3))}, "size": 1}, r"\['flat'\]: features: expected variation"),
        ({"labels": np.r_[9, Y[1:]]}, "leave-one-out needs at least 2 samples"),
        ({"shrinkage": 2}, "shrinkage"),
        ({"challenge": "no"}, "challenge: expected True or False"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change, message):
    given = {"features_by_model": zoo(3), "labels": Y, "size": 2, **change}
    method = {k: given.pop(k) for k in ("method", "scores", "shrinkage", "challenge") if k in given}
    with pytest.raises(ValueError, match=message):
        select_ensemble(given["features_by_model"], given["labels"], given["size"], **method)
