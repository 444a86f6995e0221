"""Selecting ensembles: what an average is worth, the greedy rule, planted cases, bad input."""

import functools
import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from data_sets import alike, gaussian_classes
from planted import EXPERTS, OTHERS, draw, reached
from sfda import SaturationWarning, select_ensemble, sfda_score
from sfda.metric.ensemble import METHODS, calibrated, greedy, least_correlated, soft_accuracy, split
from sfda.metric.nuclear import fisher_features, nuclear_selection
from sfda.metric.score import log_posterior

Y = np.arange(240) % 4
OWN = np.arange(240), Y
by_each_method = pytest.mark.parametrize("method", METHODS)


def network(seed, strength=(1.0, 1.0, 1.0, 1.0), d=6, y=Y):
    """Features that tell class c from the others as well as strength[c] says."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((len(y), d)) + np.pad(np.diag(strength), ((0, 0), (0, d - 4)))[y]


def zoo(k=5, y=Y):
    rng = np.random.default_rng(99)
    return {f"net {i}": network(i, rng.uniform(0.3, 2.5, 4), d=5 + i, y=y) for i in range(k)}


log_probabilities = st.builds(
    lambda seed, m, n, spread: spread * np.log(np.random.default_rng(seed).uniform(1e-6, 1, (m, n))),
    st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 30), st.sampled_from([1e-9, 1.0, 60.0]),
)  # fmt: skip


def log_likelihood(p):
    """Of an average, by the probabilities of the true classes."""
    return float(np.log(p).mean())


def exhaustive(p, size, worth):
    """The best of all subsets, literally: its places and what it is worth."""
    values = {rows: worth(np.mean([p[m] for m in rows], axis=0)) for rows in itertools.combinations(range(len(p)), size)}
    best = max(values, key=values.get)
    return list(best), values[best]


@settings(deadline=None)
@given(log_probabilities)
def test_the_split_is_exact_without_negative_ambiguity_and_the_average_near_the_best_member(log_p):
    step, slack = split(log_p), 1e-12 * max(1.0, np.abs(log_p).max())
    averaged = np.logaddexp.reduce(log_p, axis=0) - np.log(len(log_p))
    assert step.criterion == pytest.approx(averaged.mean(), abs=slack)
    assert step.mean == pytest.approx(log_p.mean(), abs=slack)
    assert step.criterion == step.mean + step.complementarity and step.complementarity >= 0
    best = log_p.max(0).mean()  # of each sample
    assert best - np.log(len(log_p)) - slack <= step.criterion <= best + slack
    same = np.repeat(log_p[:1], len(log_p), axis=0)
    assert split(same).complementarity == pytest.approx(0, abs=slack)


def test_calibration_finds_the_temperature_within_bounds():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((20_000, 4))
    p = softmax(logits, axis=1)
    y = (rng.random((20_000, 1)) > p.cumsum(1)).sum(1)
    for beta in (0.2, 1.0, 3.0):
        alike(np.exp(calibrated(log_softmax(beta * logits, axis=1), y)), p, atol=0.01)
    y = np.arange(8) % 2
    always_right = np.log(np.where(np.eye(2)[y] > 0, 0.9, 0.1))
    found = calibrated(always_right, y)
    assert np.isfinite(found).all() and found[0, 0] > np.log(0.99)
    assert np.exp(calibrated(always_right, 1 - y)) == pytest.approx(np.full((8, 2), 0.5), abs=0.01)


@settings(deadline=None)
@given(log_probabilities)
def test_calibration_keeps_the_order_and_never_lowers_the_likelihood(log_p):
    log_p = log_p - np.logaddexp.reduce(log_p, axis=1)[:, None]
    y = np.arange(len(log_p)) % log_p.shape[1]
    own = np.arange(len(y)), y
    found = calibrated(log_p, y)
    assert np.exp(found).sum(1) == pytest.approx(np.ones(len(y)), abs=1e-9)
    assert (np.diff(np.take_along_axis(found, log_p.argsort(1), 1), axis=1) >= -1e-9).all()
    assert found[own].mean() >= log_p[own].mean() - 1e-6


def test_soft_accuracy_by_hand():
    p, y = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]]), np.array([0, 0, 2])
    own, others = np.array([625, 1, 16]), np.array([81 + 16, 4096 + 1, 1 + 1])  # fourth powers, on any scale
    expected = np.mean(own / (own + others))
    assert soft_accuracy(p, y) == pytest.approx(expected, abs=1e-15)
    assert soft_accuracy(7 * p, y) == pytest.approx(expected, abs=1e-15)
    assert soft_accuracy(np.eye(3), np.arange(3)) == 1 and soft_accuracy(np.eye(2), np.array([1, 0])) == 0
    assert soft_accuracy(np.full((2, 8), 1 / 8), np.array([0, 7])) == 1 / 8  # powers of two are exact
    # An expert and one that is honestly unsure, averaged, are nearly as good as the expert; their likelihood is not.
    expert, unsure = np.array([[0.95, *[0.01] * 5]]), np.full((1, 6), 1 / 6)
    both = (expert + unsure) / 2
    assert soft_accuracy(both, np.array([0])) > 0.995 and both[0, 0] < 0.6


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(2, 9), st.sampled_from([1e-3, 1.0, 30.0]))
def test_soft_accuracy_lies_beside_the_accuracy_and_knows_no_order(seed, n, c, spread):
    rng = np.random.default_rng(seed)
    p, y = softmax(spread * rng.standard_normal((n, c)), axis=1), rng.integers(c, size=n)
    found, right = soft_accuracy(p, y), p.argmax(1) == y
    # A sample that is wrong counts at most 1/2, one that is right at least 1/C; slack of n roundings of 1e-16.
    assert right.mean() / c - 1e-12 <= found <= right.mean() + (1 - right.mean()) / 2 + 1e-12
    rows, classes = rng.permutation(n), rng.permutation(c)
    again = soft_accuracy(p[rows][:, classes], classes.argsort()[y[rows]])
    assert again == pytest.approx(found, abs=1e-12)


@settings(deadline=None)
@given(log_probabilities)
def test_greedy_finds_the_best_of_one_two_and_all_and_is_never_better_than_all_subsets(log_p):
    p = np.exp(log_p.clip(min=-600))  # none is 0
    slack = 1e-11 * max(1, np.abs(log_p).max())  # criteria that differ by less than ranking.TIE of their size are equal
    for size in range(1, len(p) + 1):
        chosen, steps = greedy(p, size, log_likelihood)
        best = exhaustive(p, size, log_likelihood)[1]
        assert len(set(chosen)) == size and steps[-1].criterion <= best + 1e-9 * max(1, abs(best))
        for k, step in enumerate(steps, 1):
            assert step == pytest.approx(split(np.log(p[chosen[:k]])), abs=slack)
        if size in (1, 2, len(p)):
            assert steps[-1].criterion == pytest.approx(best, rel=1e-9, abs=slack)
        if size == 2:  # the better one comes first
            assert steps[0].criterion == pytest.approx(max(map(log_likelihood, p[chosen])), abs=slack)
        if size > 2:  # each later step is the best one
            others = [m for m in range(len(p)) if m not in chosen[:-1]]
            next_best = max(log_likelihood(p[[*chosen[:-1], m]].mean(0)) for m in others)
            assert steps[-1].criterion == pytest.approx(next_best, abs=slack)


def test_where_greedy_equals_all_subsets_and_where_it_falls_short():
    p, worth = [np.exp(log_posterior(x, Y)) for x in zoo(8).values()], functools.partial(soft_accuracy, y=Y)
    before = np.copy(p)
    for size in (2, 3, 4):
        gap = exhaustive(p, size, worth)[1] - greedy(p, size, worth)[1][-1].criterion
        # Between the best and the worst pair lies more than 0.1. Where both choose the same networks, in another
        # order, sums of numbers of order 1 differ by a few 1e-16.
        assert -1e-14 <= gap < 0.02
    assert np.array_equal(p, before)
    # Networks that differ by a constant: there is no ambiguity to speak of, and the best are the best singles.
    base = np.log(np.random.default_rng(1).uniform(0.2, 0.6, 50))
    p = np.exp([base - 0.01 * m for m in (3, 0, 4, 1, 2)])
    for size in range(1, 6):
        assert sorted(greedy(p, size, log_likelihood)[0]) == exhaustive(p, size, log_likelihood)[0]
    assert greedy(p, 5, log_likelihood)[0] == [1, 3, 4, 0, 2]
    # And where it falls short: two networks know one half each, three others a third each, and these better.
    thirds = np.where(np.kron(np.eye(3), np.ones(4)) > 0, 0.9, 0.1)
    halves = np.where(np.kron(np.eye(2), np.ones(6)) > 0, 0.6, 0.1)
    p = np.vstack([thirds, halves])
    chosen, steps = greedy(p, 3, log_likelihood)
    best, value = exhaustive(p, 3, log_likelihood)
    assert set(chosen[:2]) == {3, 4} and best == [0, 1, 2]
    assert value == pytest.approx(np.log(1.1 / 3), abs=1e-12)
    assert steps[2].criterion == pytest.approx((np.log(1.6 / 3) + 2 * np.log(0.8 / 3)) / 3, abs=1e-12)


def by_posteriors(log_p, y, size, worth=soft_accuracy):
    """Names of what is chosen by given log-posteriors, in place of those of discriminants."""
    p = [np.exp(calibrated(each, y)) for each in log_p.values()]
    return frozenset(np.array(list(log_p))[greedy(p, size, functools.partial(worth, y=y))[0]].tolist())


def likelihood(p, y):
    return log_likelihood(p[np.arange(len(y)), y])


@pytest.mark.parametrize("n", [240, 480])
@pytest.mark.parametrize("case", EXPERTS)
def test_experts_are_found_where_the_likelihood_prefers_twins(case, n):
    zoo_, size = EXPERTS[case]
    accuracy = reached(zoo_, size)
    experts = {names for names in accuracy if {"low", "high"} <= names}
    assert min(accuracy[names] for names in experts) > 0.995
    assert max(accuracy[names] for names in set(accuracy) - experts) < 0.96
    for seed in range(2):
        y, features, log_p = draw(zoo_, n, np.random.default_rng([seed, n]))
        assert by_posteriors(log_p, y, size) in experts
        for order in (features, dict(reversed(features.items()))):
            found = select_ensemble(order, y, size)
            assert frozenset(found.members) in experts
        assert found.scores[1].complementarity > 0
        # Neither calibration nor scale is of account, and a copy changes nothing.
        other = {name: (0.5 if name == "low" else 2.0) * each for name, each in log_p.items()}
        assert by_posteriors(other, y, size) in experts
        scaled = {name: (100 if name == "low" else 1) * each for name, each in features.items()}
        again = select_ensemble({**scaled, "low again": features["low"].copy() * 100}, y, size)
        assert set(again.members) == set(found.members)
        if case == "two twins":
            assert accuracy[by_posteriors(log_p, y, size, likelihood)] < 0.91


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_chosen_loses_little_beside_all_choices(case):
    zoo_, size = OTHERS[case]
    accuracy = reached(zoo_, size)
    best = max(accuracy.values())
    assert best - min(accuracy.values()) > 0.04
    for seed in range(2):
        y, features, log_p = draw(zoo_, 480, np.random.default_rng([seed, 480]))
        # Accuracies near 0.95 of 480 samples have a standard deviation of 0.01.
        assert accuracy[by_posteriors(log_p, y, size)] > best - 0.015
        assert accuracy[frozenset(select_ensemble(features, y, size).members)] > best - 0.015


def test_single_networks_in_order_pass_experts_by():
    zoo_, size = EXPERTS["two twins"]
    y, features, log_p = draw(zoo_, 480, np.random.default_rng(0))
    alone = {name: soft_accuracy(np.exp(calibrated(each, y)), y) for name, each in log_p.items()}
    assert min(alone["twin 0"], alone["twin 1"]) > max(alone["low"], alone["high"]) + 0.1
    assert set(select_ensemble(features, y, size, method="top").members) == {"twin 0", "twin 1"}


@by_each_method
def test_a_network_given_twice_is_chosen_once_and_two_alike_are_two(method):
    zoo_ = zoo(3)
    first, tensor = zoo_["net 0"], torch.from_numpy(zoo_["net 0"])
    again = {"the same": first.copy(), "half": first.astype(np.float16), "tensor": tensor, "brain": tensor.bfloat16()}
    found = select_ensemble({**zoo_, **again}, Y, 3, method=method)
    assert sorted(found.members) == sorted(zoo_)
    with pytest.raises(ValueError, match="from 1 to 3.*'the same'"):
        select_ensemble({**zoo_, **again}, Y, 4, method=method)
    # Networks that are only alike are two.
    x, giant = network(0), 1000 * np.random.default_rng(0).standard_normal((len(Y), 1))
    # Equal criteria, so the first comes first; nuclear norms add up singular values, whose rounding exceeds what counts as equal.
    orders = [["one", "two"], ["two", "one"]][: 1 + (method == "nuclear")]
    assert select_ensemble({"one": x, "two": x[:, ::-1].copy()}, Y, 2, method=method).members in orders
    beside_their_mean = 1000 + x, 1000 + x + 0.1 * network(1)
    beside_a_dominant_feature = np.hstack([giant, network(1)]), np.hstack([giant, network(2)])
    for one, two in (beside_their_mean, beside_a_dominant_feature):
        assert set(select_ensemble({"one": one, "two": two}, Y, 2, method=method).members) == {"one", "two"}


def test_errors_that_go_together_are_left():
    rng = np.random.default_rng(0)
    base, other = rng.random(400) < 0.2, rng.random(400) < 0.3
    wrong = np.stack([base, base ^ (rng.random(400) < 0.02), other, ~base])
    chosen, steps = least_correlated(wrong, 3)
    assert chosen[:2] == [0, 3]  # errs where the first does not
    assert steps[0] == (0, 0, 0) and steps[1].complementarity == pytest.approx(1)
    # Always right: correlated with nobody, and no division by zero.
    assert least_correlated(np.stack([base, np.zeros(400, bool)]), 2)[0] == [1, 0]


@by_each_method
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
    # Order, names of labels, rotation and scale do not matter.
    order = np.random.default_rng(1).permutation(len(Y))
    same = [
        (dict(reversed(zoo_.items())), Y),
        (zoo_, np.array(["d", "a", "c", "b"])[Y]),
        ({name: x[order] for name, x in zoo_.items()}, Y[order]),
    ]
    if method != "nuclear":
        turn = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
        same.append(({**zoo_, "net 0": 1e3 * zoo_["net 0"] @ turn}, Y))
    assert [select_ensemble(*each, 3, method=method).members for each in same] == [found.members] * len(same)


def test_what_the_criteria_are():
    zoo_ = zoo()
    for options in ({}, {"challenge": True}):
        found = select_ensemble(zoo_, Y, 3, **options)
        left_out = [log_posterior(zoo_[m], Y, challenge=bool(options)) for m in found.members]
        p = [np.exp(calibrated(each, Y)) for each in left_out]
        together, mean = soft_accuracy(np.mean(p, axis=0), Y), np.mean([soft_accuracy(each, Y) for each in p])
        np.testing.assert_allclose(found.scores[-1], (together, mean, together - mean), atol=1e-12)
    found = select_ensemble(zoo_, Y, 2, method="top", challenge=True)
    singles = sorted((sfda_score(x, Y, posterior="leave-one-out") for x in zoo_.values()), reverse=True)
    assert found.scores[1].criterion == pytest.approx(np.mean(singles[:2]), abs=1e-12)
    for values in (range(5), 1e-13 * np.arange(1, 6), [0.0] * 5, [0.1 + 0.2] * 5):
        expected = ["net 0", "net 1"] if len(set(values)) == 1 else ["net 4", "net 3"]
        assert select_ensemble(zoo_, Y, 2, method="top", scores=dict(zip(zoo_, values))).members == expected
    for posterior in ("resubstitution", "leave-one-out"):
        p = np.exp(log_posterior(network(3), Y, posterior=posterior))
        assert p.sum(1) == pytest.approx(np.ones(len(Y)), abs=1e-12)
        assert p[OWN].mean() == pytest.approx(sfda_score(network(3), Y, posterior=posterior), abs=1e-15)
    # The defaults of "nuclear".
    found = select_ensemble(zoo_, Y, 3, method="nuclear")
    plain = [sfda_score(x, Y) for x in zoo_.values()]
    chosen, steps = nuclear_selection(plain, [fisher_features(x, Y) for x in zoo_.values()], Y, 3)
    assert found.members == [list(zoo_)[i] for i in chosen]
    np.testing.assert_allclose(found.scores, steps, atol=1e-9)


def test_samples_few_beside_the_features():
    y = np.arange(40) % 4
    zoo_ = {f"net {i}": gaussian_classes(i, y, 90 + 10 * i, separation=0.6) for i in range(4)}
    for method in METHODS:
        with np.errstate(divide="raise", invalid="raise", over="raise"), warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)
            assert len(select_ensemble(zoo_, y, 4, method=method).members) == 4
        if method != "nuclear":
            with pytest.raises(ValueError, match="shrinkage: 'leave-one-out' is for method 'nuclear'"):
                select_ensemble(zoo_, y, 2, method=method, shrinkage="leave-one-out")
    with pytest.warns(SaturationWarning, match="'net 0', .*N = 40"):
        select_ensemble(zoo_, y, 2, method="nuclear")
    # Mended: no warning, and no network that is longer than the others.
    select_ensemble(zoo_, y, 2, method="nuclear", shrinkage="leave-one-out")
    # N - C features separate any labels.
    noise = {"noise": np.random.default_rng(0).standard_normal((40, 36)), "few": zoo_["net 0"][:, :5]}
    with pytest.warns(SaturationWarning, match="'noise' can"):
        select_ensemble(noise, y, 1, method="nuclear")


@pytest.mark.cuda
@by_each_method
def test_on_an_accelerator(method):
    there = {name: torch.from_numpy(x).cuda() for name, x in zoo().items()}
    found, expected = (select_ensemble(each, Y, 3, method=method).members for each in (there, zoo()))
    assert found == expected


def literal_nuclear(scores, features, labels, size, level, rule, scale):
    """Eqs. 8 and 9 as they are known, one matrix after the other."""
    if level == "class":
        features = [np.stack([f[labels == c].mean(0) for c in np.unique(labels)]) for f in features]
    width = max(f.shape[1] for f in features)
    stacks = np.stack([np.pad(f, ((0, 0), (0, width - f.shape[1]))) for f in features], axis=1)

    def norm(rows):
        return np.mean([np.linalg.norm(stack[rows], "nuc") for stack in stacks]) if rows else 0

    def on_scale(values):
        return np.array(values) if scale == "raw" else (values - np.mean(values)) / (np.std(values) or 1)

    everyone, chosen = list(range(len(scores))), []
    alone = on_scale(np.array(scores, float))
    while len(chosen) < size:
        left = [m for m in everyone if m not in chosen]
        if rule == "once":
            values = on_scale([norm(everyone) - norm([k for k in everyone if k != m]) for m in everyone])[left]
        else:
            values = on_scale([norm([*chosen, m]) - norm(chosen) for m in left])
        chosen.append(left[(0.5 * alone[left] + 0.5 * values).argmax()])
    return chosen


@pytest.mark.parametrize("level", ["class", "sample"])
@pytest.mark.parametrize("rule", ["greedy", "once"])
@pytest.mark.parametrize("scale", ["raw", "standard"])
@pytest.mark.parametrize("giant", [False, True])
def test_the_nuclear_norm_is_that_of_the_equations(level, rule, scale, giant):
    y = np.arange(40) % 4
    zoo_ = zoo(4, y=y)
    if giant:  # whose rows are longer than all others' by many orders of magnitude
        zoo_["giant"] = 10 * gaussian_classes(3, y, 60)
    z = [fisher_features(x, y) for x in zoo_.values()]
    lengths = [np.linalg.norm(f) for f in z]
    assert (max(lengths) > 1e4 * sorted(lengths)[-2]) == giant
    scores = [0.5, 0.4, 0.7, 0.6, 0.1][: len(z)]
    options = {"level": level, "rule": rule, "scale": scale}
    chosen, steps = nuclear_selection(scores, z, y, 3, **options)
    assert chosen == literal_nuclear(scores, z, y, 3, **options)
    if scale == "raw":  # taking a row away never makes the norm larger
        assert min(step.complementarity for step in steps) > 0
    assert sorted(nuclear_selection(scores, z, y, len(z), **options)[0]) == list(range(len(z)))
    assert nuclear_selection(scores, z, y, 2, weight=1.0, **options)[0] == [2, 3]


def test_the_frame_of_the_classes_keeps_lengths_and_knows_no_signs():
    x = network(0)
    axes, classes = (fisher_features(x, Y, frame=frame) for frame in ("axes", "classes"))
    assert classes.shape == (len(Y), 4) and classes.mean(0) == pytest.approx(np.zeros(4), abs=1e-9)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), np.linalg.norm(classes, axis=1), atol=1e-9)
    np.testing.assert_allclose(fisher_features(x[:, ::-1], Y), classes, atol=1e-9)
    means = np.stack([classes[Y == c].mean(0) for c in range(4)])
    assert (means.argmax(1) == np.arange(4)).all()
    # The axes' signs change the nuclear norm: the paper's criterion, as it is known, depends on the eigensolver.
    z = [fisher_features(x, Y, frame="axes") for x in zoo(4).values()]
    flipped = [z[0] * [1, -1, 1], *z[1:]]
    value, other = (nuclear_selection(np.zeros(4), each, Y, 1, rule="once")[1][0].criterion for each in (z, flipped))
    assert abs(value - other) > 1e-3


CHOICE = {"features_by_model": zoo(3), "labels": Y, "size": 2}
ONE = {"scores": [1.0], "features": [np.ones((4, 1))], "labels": np.array([0, 0, 1, 1]), "size": 1}
BAD_CHOICES = [
    ({"features_by_model": [network(0)]}, "features_by_model: expected a mapping"),
    ({"features_by_model": {}}, "features_by_model: expected at least one"),
    ({"features_by_model": {"a": network(0), "b": network(1)[:-1]}}, r"\['b'\]: expected the 240 samples"),
    ({"features_by_model": {"a": np.full((240, 3), np.nan)}}, r"\['a'\]: expected finite numbers"),
    ({"features_by_model": {"flat": np.zeros((240, 3))}, "size": 1}, r"\['flat'\]: features: expected variation"),
    ({"labels": Y[:-1]}, "labels"),
    ({"labels": np.zeros(240)}, "labels: expected at least 2 classes"),
    ({"labels": np.r_[9, Y[1:]]}, "leave-one-out needs at least 2 samples"),
    *[({"size": size}, "size: expected an integer from 1 to 3") for size in (0, 4, 1.0, True)],
    *[({"method": method}, "method: expected one of held-out") for method in ("best", None)],
    ({"method": "top", "scores": {"net 0": 1.0}}, r"scores\['net 1'\]: expected a finite number"),
    ({"method": "top", "scores": [1, 2, 3]}, "scores: expected a mapping"),
    ({"method": "top", "scores": {"net 9": 1.0}}, "scores: expected names of features_by_model, got 'net 9'"),
    ({"method": "held-out", "scores": {"net 0": 1.0}}, "scores: expected None for method 'held-out'"),
    ({"shrinkage": 2}, "shrinkage"),
    ({"challenge": "no"}, "challenge: expected True or False"),
]


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        *[(select_ensemble, CHOICE | change, message) for change, message in BAD_CHOICES],
        *[(split, {"log_p": bad}, "log_p") for bad in (np.zeros(3), np.array([[0.0, -np.inf]]), np.empty((0, 3)))],
        *[(nuclear_selection, ONE | {option: "none"}, option) for option in ("level", "rule", "scale")],
        (fisher_features, {"features": network(0), "labels": Y, "frame": "none"}, "frame"),
    ],
)
def test_bad_input_is_named(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(**arguments)


@pytest.mark.filterwarnings("ignore::sfda.SaturationWarning")
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(METHODS), st.integers(2, 5), st.integers(12, 40))
def test_any_zoo_gets_an_answer(seed, method, k, n):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    zoo_ = {i: rng.standard_normal((n, int(rng.integers(1, 60)))) * 10.0 ** rng.integers(-3, 4) for i in range(k)}
    found = select_ensemble(zoo_, y, k, method=method)
    assert sorted(found.members) == sorted(zoo_)
    assert np.isfinite(found.scores).all()
