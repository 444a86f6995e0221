"""Which settings are tried, and which is taken: by hand."""

import pytest

from sfda.benchmark.finetune import PAPER
from sfda.benchmark.search import Search


def test_rates_first_and_then_the_decays_at_the_best_of_them():
    search, tried = Search((0.01, 0.03, 0.1), (1e-4, 1e-2, 1.0)), {}
    assert search.size == 5 and search.left(tried) == [(0.01, 1e-4), (0.03, 1e-4), (0.1, 1e-4)]
    tried[0.03, 1e-4] = (0.5, -1.0)
    assert search.left(tried) == [(0.01, 1e-4), (0.1, 1e-4)]  # in whatever order they end
    tried |= {(0.1, 1e-4): None, (0.01, 1e-4): (0.5, -2.0)}  # one diverged, the other has the larger loss
    assert search.left(tried) == [(0.03, 1e-2), (0.03, 1.0)]
    tried |= {(0.03, 1e-2): (0.5, -1.0), (0.03, 1.0): None}
    assert search.left(tried) == [] and search.best(tried) == (0.03, 1e-4)  # of equals the first
    tried[0.03, 1e-2] = (0.6, -9.0)
    assert search.best(tried) == (0.03, 1e-2)


def test_every_pair_as_the_paper_has_it():
    search = Search(PAPER["rates"], PAPER["decays"], PAPER["every_pair"])
    settings = search.left({})
    assert search.size == len(settings) == 20
    assert settings == [(rate, decay / rate) for rate in PAPER["rates"] for decay in PAPER["decays"]]
    tried = {setting: (number % 7, 0.0) for number, setting in enumerate(settings)}
    backwards = dict(reversed(tried.items()))
    assert search.left(tried) == [] and search.best(tried) == search.best(backwards) == settings[6]


def test_where_all_diverge_nothing_is_best():
    search = Search((0.1, 1.0), (0.0, 1.0))
    for use in (search.left, search.best):
        with pytest.raises(FloatingPointError, match=r"^fine-tuning diverged at every learning rate of \(0.1, 1.0\)$"):
            use(dict.fromkeys([(0.1, 0.0), (1.0, 0.0)]))
