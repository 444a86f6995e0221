"""`sfda.metric.ranking`: values worked by hand, invariances, chance, bad input."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfda.metric.ranking import chance_level, kendall_tau, mean_interval, regret, ties, weighted_tau

CORRELATIONS = [weighted_tau, kendall_tau]


@st.composite
def zoos(draw):
    """Scores and accuracies of 2 to 9 networks; small integers, so ties abound."""
    n = draw(st.integers(2, 9))
    column = st.lists(st.integers(0, 6), min_size=n, max_size=n)
    return draw(column), [value + 1 for value in draw(column)]


# Of the weighted tau of three networks every pair counts 11/3 together.
@pytest.mark.parametrize(("statistic", "scores", "accuracies", "expected"), [
    (weighted_tau, [1, 2, 3], [10, 20, 30], 1.0), (weighted_tau, [1, 2, 3], [30, 20, 10], -1.0),
    # Ranks agree on everything but the two worst: weights 3/2 + 4/3 - 5/6 of 11/3.
    (weighted_tau, [3, 2, 1], [3, 1, 2], 6 / 11),
    # The two best exchanged: -3/2 + 4/3 + 5/6 of 11/3.
    (weighted_tau, [3, 2, 1], [2, 3, 1], 2 / 11),
    # The best taken for the second, the second for the last: -2/11 by the ranks of the scores, -6/11 by the others.
    (weighted_tau, [3, 2, 1], [2, 1, 3], -4 / 11),
    # Two scores tied: 17/6 / sqrt(17/6 * 11/3).
    (weighted_tau, [2, 1, 1], [3, 2, 1], math.sqrt(17 / 22)),
    (kendall_tau, [3, 2, 1], [80, 90, 70], 1 / 3), (kendall_tau, [2, 1, 1], [3, 2, 1], 2 / math.sqrt(6)),
    (kendall_tau, [1, 2, 3, 4], [4, 3, 2, 1], -1.0),
])  # fmt: skip
def test_correlations_by_hand(statistic, scores, accuracies, expected):
    assert statistic(scores, accuracies) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(("ours", "scipys"), [(weighted_tau, stats.weightedtau), (kendall_tau, stats.kendalltau)])
def test_agreement_with_scipy(ours, scipys):
    rng = np.random.default_rng(0)
    for n in (3, 11, 40):
        scores, accuracies = rng.standard_normal((2, n)).round(1)
        assert ours(scores, accuracies) == pytest.approx(scipys(scores, accuracies).statistic)


@pytest.mark.parametrize("statistic", CORRELATIONS)
@pytest.mark.parametrize(("scores", "accuracies"), [([1, 1], [1, 2]), ([1, 2], [5, 5])])
def test_nothing_ranked_is_nan(statistic, scores, accuracies):
    assert math.isnan(statistic(scores, accuracies))


@pytest.mark.parametrize("statistic", [*CORRELATIONS, regret])
@settings(deadline=None)
@given(zoo=zoos(), seed=st.integers(0, 99))
def test_only_the_order_of_scores_matters(statistic, zoo, seed):
    (scores, accuracies), order = map(np.array, zoo), np.random.default_rng(seed).permutation(len(zoo[0]))
    value = statistic(*zoo)
    same = pytest.approx(value, abs=1e-12, nan_ok=True)
    assert statistic(scores[order], accuracies[order]) == same
    assert statistic(scores**3 - 40, accuracies) == same
    if statistic is not regret:  # correlations are symmetric and bounded
        assert statistic(accuracies, scores) == same
        assert math.isnan(value) or -1 <= value <= 1


@pytest.mark.parametrize("statistic", [*CORRELATIONS, regret])
@pytest.mark.parametrize("container", [list, tuple, np.array, np.float32, pd.Series])
def test_containers_and_return_type(statistic, container):
    scores, accuracies = container([1, 2, 4]), container([60, 80, 70])
    value = statistic(scores, accuracies)
    assert type(value) is float
    assert value == statistic([1, 2, 4], [60, 80, 70])
    assert list(scores) == [1, 2, 4]
    assert list(accuracies) == [60, 80, 70]


@pytest.mark.parametrize(("scores", "k", "expected"), [
    ([4, 3, 2, 1], 1, 30), ([4, 3, 2, 1], 2, 10), ([4, 3, 2, 1], 3, 10), ([4, 3, 2, 1], 4, 0),
    ([4, 3, 3, 1], 2, 20),  # second place open between the second and third network: 10 or 30
    ([1, 1, 1, 1], 1, 20),  # one of four at random: (30 + 10 + 40 + 0) / 4
    ([4, 4, 2, 1], 2, 10),  # the tie lies inside the top 2, so nothing is open
])  # fmt: skip
def test_regret_by_hand(scores, k, expected):
    assert regret(scores, [60, 80, 50, 90], k) == pytest.approx(expected)


@settings(deadline=None)
@given(zoo=zoos(), data=st.data())
def test_regret_is_the_mean_over_all_ways_to_break_ties(zoo, data):
    scores, accuracies = zoo
    k = data.draw(st.integers(1, len(scores)))
    tops = [top for top in itertools.combinations(range(len(scores)), k) if _is_top(scores, top)]
    losses = [max(accuracies) - max(accuracies[i] for i in top) for top in tops]
    assert regret(scores, accuracies, k) == pytest.approx(np.mean(losses))
    assert k == len(scores) or regret(scores, accuracies, k + 1) <= regret(scores, accuracies, k) + 1e-12


def _is_top(scores, members):
    left_out = [score for i, score in enumerate(scores) if i not in members]
    return not left_out or min(scores[i] for i in members) >= max(left_out)


def test_large_tie_does_not_overflow():
    accuracies = np.arange(2000.0)
    # The largest of 1000 numbers drawn from 0, ..., 1999 is 1000 * 2001 / 1001 - 1 on average.
    expected = 1999 - (1000 * 2001 / 1001 - 1)
    assert regret(np.zeros(2000), accuracies, 1000) == pytest.approx(expected)


@pytest.mark.parametrize(("scores", "tolerance", "expected"), [
    ([1, 2, 3], 0, []), ([1.0, 0.5, 1.0, 0.5, 0.7], 0, [[0, 2], [1, 3]]), ([0, 5, 1, 2, 9], 1, [[0, 2, 3]]),
    ([0, 5, 1, 2, 9], 0.5, []), ([7, 7], 0, [[0, 1]]),
])  # fmt: skip
def test_ties_by_hand(scores, tolerance, expected):
    assert ties(scores, tolerance) == expected


@settings(deadline=None)
@given(zoo=zoos())
def test_tied_networks_have_equal_scores(zoo):
    scores, _ = zoo
    groups = ties(scores)
    assert all(len({scores[i] for i in group}) == 1 for group in groups)
    repeated = [i for i, score in enumerate(scores) if scores.count(score) > 1]
    assert sorted(itertools.chain(*groups)) == repeated


def test_mean_interval_approaches_the_normal_interval():
    values = np.random.default_rng(0).standard_normal(400)
    low, high = mean_interval(values, level=0.9, resamples=4000)
    half = 1.6449 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_chance_level_of_two_and_three_networks_is_exact():
    assert chance_level(2) == (0, 1, 1)
    values = np.array([1, 6 / 11, 2 / 11, -4 / 11, -4 / 11, -1])
    chance = chance_level(3, level=0.6)
    assert chance == pytest.approx((0, values.std(), 2 / 11))
    assert [type(value) for value in chance] == [float, float, float]


@pytest.mark.parametrize("n", [4, 6])
def test_enumeration_agrees_with_scipy(n):
    values = [stats.weightedtau(order, range(n)).statistic for order in itertools.permutations(range(n))]
    chance = chance_level(n, seed=1)
    assert chance == chance_level(n, seed=2)
    assert chance[:2] == pytest.approx((np.mean(values), np.std(values)))
    assert np.mean(np.array(values) > chance.quantile + 1e-9) <= 0.05
    assert np.mean(np.array(values) > chance.quantile - 1e-9) > 0.05


def test_random_orders_agree_with_scipy():
    def scipys(scores, accuracies):
        return stats.weightedtau(scores, accuracies).statistic

    fast = chance_level(11, permutations=200, seed=4)
    slow = chance_level(11, scipys, permutations=200, seed=4)
    assert fast == pytest.approx(slow, abs=1e-12)


def test_chance_level_of_eleven_networks():
    # 3 million orders gave sd 0.2783 and 95 % point 0.4711; the tolerances are
    # four standard errors of 10,000 orders.
    chance = chance_level(11)
    assert chance.mean == pytest.approx(0, abs=0.0112)
    assert chance.sd == pytest.approx(0.2783, abs=0.008)
    assert chance.quantile == pytest.approx(0.4711, abs=0.024)


def test_chance_level_of_kendall_tau_has_the_known_variance():
    n = 12
    chance = chance_level(n, kendall_tau, permutations=500)
    variance = 2 * (2 * n + 5) / (9 * n * (n - 1))
    assert chance.sd == pytest.approx(math.sqrt(variance), rel=0.1)


LENGTHS = "scores and accuracies must have the same length, one number per network, got 4 scores and 3 accuracies"
BAD_PAIRS = [
    (([1, 2, 3, 4], [1, 2, 3]), LENGTHS),
    ((pd.Series([1, 2, 3, 4], list("abca")), pd.Series([1, 2, 3], list("abc"))), LENGTHS),
    (([[1, 2]], [1, 2]), "scores must be one-dimensional, got shape (1, 2)"),
    ((3.0, [1, 2]), "scores must be one-dimensional, got shape ()"),
    (([1, 2, math.nan], [1, 2, 3]), "scores must be finite, got nan at position 2"),
    (([1, 2, 3], [-math.inf, 2, 3]), "accuracies must be finite, got -inf at position 0"),
    (
        (["a", "b"], [1, 2]),
        "scores: expected numbers, got list: dtype='numeric' is not compatible with arrays of bytes/strings."
        "Convert your data to numeric values explicitly instead.",
    ),
    (
        (pd.Series([1, 2], ["a", "b"]), pd.Series([1, 2], ["b", "a"])),
        "scores and accuracies must list the networks in the same order, got 'a' and 'b' at position 0",
    ),
    (([1], [1]), "scores must hold at least 2 numbers, got 1"),
]
BAD_ARGUMENTS = [
    (regret, ([1, 2], [1, 2], 3), {}, "k must be an integer from 1 to 2, got 3"),
    (regret, ([1, 2], [1, 2], 0), {}, "k must be an integer from 1 to 2, got 0"),
    (regret, ([1, 2], [1, 2], 1.5), {}, "k must be an integer from 1 to 2, got 1.5"),
    (ties, ([1],), {}, "scores must hold at least 2 numbers, got 1"),
    (ties, ([1, 2], -0.1), {}, "tolerance must be a finite number, 0 or more, got -0.1"),
    (ties, ([1, 2], math.nan), {}, "tolerance must be a finite number, 0 or more, got nan"),
    (mean_interval, ([0.5],), {}, "values must hold at least 2 numbers, got 1"),
    (mean_interval, ([0.5, math.nan],), {}, "values must be finite, got nan at position 1"),
    (mean_interval, ([0.5, 0.6],), {"level": 0}, "level must be between 0 and 1, both excluded, got 0"),
    (mean_interval, ([0.5, 0.6],), {"resamples": -1}, "resamples must be an integer of 1 or more, got -1"),
    (chance_level, (1,), {}, "n must be an integer of 2 or more, got 1"),
    (chance_level, (11.0,), {}, "n must be an integer of 2 or more, got 11.0"),
    (chance_level, (11,), {"level": 95}, "level must be between 0 and 1, both excluded, got 95"),
    (chance_level, (11,), {"permutations": 0}, "permutations must be an integer of 1 or more, got 0"),
]
PAIRED = [(statistic, pair, {}, message) for statistic in (*CORRELATIONS, regret) for pair, message in BAD_PAIRS]


@pytest.mark.parametrize(("function", "arguments", "options", "message"), PAIRED + BAD_ARGUMENTS)
def test_bad_input(function, arguments, options, message):
    with pytest.raises(ValueError) as error:
        function(*arguments, **options)
    assert str(error.value) == message


def test_series_with_unrelated_labels_are_taken_in_order():
    assert weighted_tau(pd.Series([1, 2], ["a", "b"]), pd.Series([1, 2])) == 1
