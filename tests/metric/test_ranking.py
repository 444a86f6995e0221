"""`sfda.metric.ranking`: values worked by hand, invariances, chance, bad input."""

import itertools
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfda.evidence.ensembles import first_of
from sfda.evidence.verdict import judge
from sfda.metric.nuclear import best_of
from sfda.metric.ranking import (
    FLOAT32,
    chance_level,
    evened,
    kendall_tau,
    mean_interval,
    regret,
    ties,
    weighted_tau,
)

CORRELATIONS = [weighted_tau, kendall_tau]
STATISTICS = [*CORRELATIONS, regret]
FOUR = [60, 80, 50, 90]


def table_of(values, name):
    return pd.DataFrame({"metric": "m", "task": "t", "seed": 0, "model": [*map(str, range(len(values)))], name: values})


def judged(scores, accuracies):
    """As a table's."""
    return judge(table_of(scores, "score"), table_of(accuracies, "accuracy")).loc["m", "t"]


def ordered(scores, accuracies):
    """The order of a table's."""
    of = table_of(scores, "score")
    return first_of(of, {"all": list(of["model"])})["members"].tolist()


@st.composite
def zoos(draw):
    """Scores and accuracies of 2 to 9 networks; small integers, so ties abound."""
    n = draw(st.integers(2, 9))
    column = st.lists(st.integers(0, 6), min_size=n, max_size=n)
    return draw(column), [value + 1 for value in draw(column)]


@pytest.mark.parametrize(
    ("statistic", "arguments", "expected"),
    [
        (weighted_tau, ([1, 2, 3], [10, 20, 30]), 1.0),
        (weighted_tau, ([1, 2, 3], [30, 20, 10]), -1.0),
        # Ranks agree on everything but the two worst: weights 3/2 + 4/3 - 5/6 of 11/3.
        (weighted_tau, ([3, 2, 1], [3, 1, 2]), 6 / 11),
        # The two best exchanged: -3/2 + 4/3 + 5/6 of 11/3.
        (weighted_tau, ([3, 2, 1], [2, 3, 1]), 2 / 11),
        # The best taken for the second, that for the last: -2/11 by the ranks of the scores, -6/11 by the accuracies'.
        (weighted_tau, ([3, 2, 1], [2, 1, 3]), -4 / 11),
        # Two scores tied: 17/6 / sqrt(17/6 * 11/3).
        (weighted_tau, ([2, 1, 1], [3, 2, 1]), math.sqrt(17 / 22)),
        # Unrelated labels: taken in order.
        (weighted_tau, (pd.Series([1, 2], ["a", "b"]), pd.Series([1, 2])), 1.0),
        (kendall_tau, ([3, 2, 1], [80, 90, 70]), 1 / 3),
        (kendall_tau, ([2, 1, 1], [3, 2, 1]), 2 / math.sqrt(6)),
        (kendall_tau, ([1, 2, 3, 4], [4, 3, 2, 1]), -1.0),
        # Nothing ranked.
        *[(tau, pair, math.nan) for tau in CORRELATIONS for pair in (([1, 1], [1, 2]), ([1, 2], [5, 5]))],
        *[(regret, ([4, 3, 2, 1], FOUR, k), expected) for k, expected in ((1, 30), (2, 10), (3, 10), (4, 0))],
        # Second place open between the second and third network: 10 or 30.
        (regret, ([4, 3, 3, 1], FOUR, 2), 20),
        # One of four at random: (30 + 10 + 40 + 0) / 4.
        (regret, ([1, 1, 1, 1], FOUR, 1), 20),
        # The tie lies inside the top 2, so nothing is open.
        (regret, ([4, 4, 2, 1], FOUR, 2), 10),
        # The largest of 1000 numbers drawn from 0, ..., 1999 is 1000 * 2001 / 1001 - 1 on average; no overflow.
        (regret, (np.zeros(2000), np.arange(2000.0), 1000), 2000 - 1000 * 2001 / 1001),
    ],
)
def test_statistics_by_hand(statistic, arguments, expected):
    slack = 1e-9 if statistic is regret else 1e-15  # sums of up to 2000 terms of order 1000
    assert statistic(*arguments) == pytest.approx(expected, abs=slack, nan_ok=True)


@pytest.mark.parametrize(("ours", "scipys"), [(weighted_tau, stats.weightedtau), (kendall_tau, stats.kendalltau)])
def test_agreement_with_scipy(ours, scipys):
    rng = np.random.default_rng(0)
    for n in (3, 11, 40):
        scores, accuracies = rng.standard_normal((2, n)).round(1)
        assert ours(scores, accuracies) == pytest.approx(scipys(scores, accuracies).statistic)


@pytest.mark.parametrize("statistic", STATISTICS)
@settings(deadline=None)
@given(zoo=zoos(), seed=st.integers(0, 99))
def test_only_the_order_of_scores_matters_and_that_of_networks_does_not(statistic, zoo, seed):
    scores, accuracies = zoo
    value = statistic(scores, accuracies)
    expected = pytest.approx(value, abs=1e-12, nan_ok=True)
    order = np.random.default_rng(seed).permutation(len(scores))
    assert statistic(*np.array(zoo)[:, order]) == expected
    assert statistic([score**3 - 40 for score in scores], accuracies) == expected
    if statistic in CORRELATIONS:  # which are symmetric and bounded
        assert statistic(accuracies, scores) == expected
        assert math.isnan(value) or -1 <= value <= 1


@pytest.mark.parametrize("statistic", [*STATISTICS, ties, lambda s, a: best_of(np.array(s), []), judged, ordered])
@settings(deadline=None)
@given(zoo=zoos(), seed=st.integers(0, 99))
def test_rounding_ranks_nothing(statistic, zoo, seed):
    """Scores of any unit and their neighbours by noise of 1e-13, of accuracies too."""
    rng = np.random.default_rng(seed)
    noise = 1 + rng.uniform(-1e-13, 1e-13, (2, len(zoo[0])))
    scores, accuracies = 10.0 ** rng.integers(-200, 200) * (np.array(zoo[0]) - 3), np.array(zoo[1], dtype=float)
    arguments = () if statistic is ties else (accuracies,)
    value, noisy = statistic(scores, *arguments), statistic(scores * noise[0], *arguments)
    assert noisy == (pytest.approx(value, nan_ok=True, rel=1e-9) if isinstance(value, float) else value)
    if statistic in CORRELATIONS:
        assert statistic(scores, accuracies) == pytest.approx(statistic(scores, accuracies * noise[1]), nan_ok=True)


def test_h_scores_that_differ_by_rounding_are_no_order():
    scores, accuracies = [9.0, 9 + 1e-15, 9 - 1e-15, 4.0], [50, 60, 70, 80]
    assert weighted_tau(scores, accuracies) == weighted_tau([9, 9, 9, 4], accuracies)
    assert regret(scores, accuracies) == pytest.approx(20) and ties(scores) == [[0, 1, 2]]
    # They chain, whatever the order; what is further apart is not touched, nor what is small but has its own digits.
    assert evened([3 + 4e-12, 3 - 4e-12, 3, 1]).tolist() == [3 - 4e-12] * 3 + [1]
    assert evened([3 + 1e-10, 3, -1e-50, 0, 2e-50]).tolist() == [3 + 1e-10, 3, -1e-50, 0, 2e-50]
    assert evened([[1, 1 + 1e-7], [5, 5 + 1e-15]], FLOAT32).tolist() == [[1, 1], [5, 5]]
    # One that is far off hides nothing of the others.
    assert evened([-1e-3, -5e-4, -9900], FLOAT32).tolist() == [-1e-3, -5e-4, -9900] and evened([]).size == 0


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("container", [list, tuple, np.array, np.float32, pd.Series])
def test_containers_and_return_type(statistic, container):
    scores, accuracies = container([1, 2, 4]), container([60, 80, 70])
    value = statistic(scores, accuracies)
    assert type(value) is float and value == statistic([1, 2, 4], [60, 80, 70])
    assert list(scores) == [1, 2, 4] and list(accuracies) == [60, 80, 70]


@settings(deadline=None)
@given(zoo=zoos())
def test_regret_is_the_mean_over_all_ways_to_break_ties_and_falls_to_zero_as_k_grows(zoo):
    scores, accuracies = zoo
    networks = range(len(scores))
    losses = [regret(scores, accuracies, k + 1) for k in networks]
    for k in networks:
        largest = sum(sorted(scores, reverse=True)[: k + 1])
        tops = [top for top in itertools.combinations(networks, k + 1) if sum(scores[i] for i in top) == largest]
        assert losses[k] == pytest.approx(np.mean([max(accuracies) - max(accuracies[i] for i in top) for top in tops]))
    assert losses[-1] == 0 and losses[0] == regret(scores, accuracies)
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(losses))


@pytest.mark.parametrize(
    ("scores", "tolerance", "expected"),
    [
        ([1, 2, 3], 0, []),
        ([1.0, 0.5, 1.0, 0.5, 0.7], 0, [[0, 2], [1, 3]]),
        ([0, 5, 1, 2, 9], 1, [[0, 2, 3]]),
        ([0, 5, 1, 2, 9], 0.5, []),
        ([7, 7], 0, [[0, 1]]),
    ],
)
def test_ties_by_hand(scores, tolerance, expected):
    assert ties(scores, tolerance) == expected


@settings(deadline=None)
@given(zoo=zoos())
def test_ties_are_all_groups_of_equal_scores_the_highest_first(zoo):
    scores, _ = zoo
    groups = [[i for i, score in enumerate(scores) if score == value] for value in sorted(set(scores), reverse=True)]
    assert ties(scores) == [group for group in groups if len(group) > 1]


@given(values=st.lists(st.floats(-1, 1), min_size=2, max_size=12), level=st.floats(0.1, 0.99))
def test_mean_interval_is_scipys(values, level):
    found = mean_interval(values, level=level)
    sem = float(stats.sem(values))
    expected = stats.t.interval(level, len(values) - 1, np.mean(values), sem) if sem > 0 else [np.mean(values)] * 2
    assert found == pytest.approx(tuple(expected), abs=1e-12)
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_mean_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).standard_normal((4000, 5))
    held = np.mean([low <= 0 <= high for low, high in map(mean_interval, draws)])
    assert held == pytest.approx(0.95, abs=0.014)  # four standard errors


def scipys_tau(scores, accuracies):
    return stats.weightedtau(scores, accuracies).statistic


def test_chance_level_of_few_networks_is_exact():
    assert chance_level(2) == (0, 1, 1)
    chance = chance_level(3, level=0.6)
    assert chance == pytest.approx((0, np.std([1, 6 / 11, 2 / 11, -4 / 11, -4 / 11, -1]), 2 / 11))
    assert [type(value) for value in chance] == [float, float, float]
    for n in (4, 6):
        values = np.array([scipys_tau(order, range(n)) for order in itertools.permutations(range(n))])
        chance = chance_level(n, seed=1)
        assert chance == chance_level(n, seed=2)
        assert chance[:2] == pytest.approx((np.mean(values), np.std(values)))
        assert np.mean(values > chance.quantile + 1e-9) <= 0.05 < np.mean(values > chance.quantile - 1e-9)


def test_random_orders_agree_with_scipy_and_with_known_values():
    fast = chance_level(11, permutations=200, seed=4)
    assert fast == pytest.approx(chance_level(11, scipys_tau, permutations=200, seed=4), abs=1e-12)
    # 3 million orders gave sd 0.2783 and 95 % point 0.4711; the tolerances are four standard errors of 10,000 orders.
    chance = chance_level(11)
    assert chance.mean == pytest.approx(0, abs=0.0112)
    assert chance.sd == pytest.approx(0.2783, abs=0.008)
    assert chance.quantile == pytest.approx(0.4711, abs=0.024)
    sd = math.sqrt(2 * (2 * 12 + 5) / (9 * 12 * 11))  # of tau, for n = 12
    assert chance_level(12, kendall_tau, permutations=500).sd == pytest.approx(sd, rel=0.1)


UNEQUAL = "scores and accuracies must have the same length, one number per network, got 4 scores and 3 accuracies"
BAD_PAIRS = [
    ([1], [1], "scores must hold at least 2 numbers, got 1"),
    ([1, 2, 3, 4], [1, 2, 3], UNEQUAL),
    (pd.Series([1, 2, 3, 4], list("abca")), pd.Series([1, 2, 3], list("abc")), UNEQUAL),
    (pd.Series([1, 2], ["a", "b"]), pd.Series([1, 2], ["b", "a"]), "scores and accuracies must list the networks in the same order, got 'a' and 'b' at position 0"),
    ([[1, 2]], [1, 2], "scores must be one-dimensional, got shape (1, 2)"),
    (3.0, [1, 2], "scores must be one-dimensional, got shape ()"),
    ([1, 2, math.nan], [1, 2, 3], "scores must be finite, got nan at position 2"),
    ([1, 2, 3], [-math.inf, 2, 3], "accuracies must be finite, got -inf at position 0"),
    (["a", "b"], [1, 2], "scores: expected numbers, got list: dtype='numeric' is not compatible with arrays of bytes/strings.Convert your data to numeric values explicitly instead."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *[(partial(statistic, *pair), message) for statistic in STATISTICS for *pair, message in BAD_PAIRS],
        *[(partial(regret, [1, 2], [1, 2], k), f"k must be an integer from 1 to 2, got {k}") for k in (3, 0, 1.5)],
        (lambda: ties([1]), "scores must hold at least 2 numbers, got 1"),
        (lambda: ties([1, 2], -0.1), "tolerance must be a finite number, 0 or more, got -0.1"),
        (lambda: ties([1, 2], math.nan), "tolerance must be a finite number, 0 or more, got nan"),
        (lambda: mean_interval([0.5]), "values must hold at least 2 numbers, got 1"),
        (lambda: mean_interval([0.5, math.nan]), "values must be finite, got nan at position 1"),
        (lambda: mean_interval([0.5, 0.6], level=0), "level must be between 0 and 1, both excluded, got 0"),
        (lambda: chance_level(1), "n must be an integer of 2 or more, got 1"),
        (lambda: chance_level(11.0), "n must be an integer of 2 or more, got 11.0"),
        (lambda: chance_level(11, level=95), "level must be between 0 and 1, both excluded, got 95"),
        (lambda: chance_level(11, permutations=0), "permutations must be an integer of 1 or more, got 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
