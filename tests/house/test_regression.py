"""The guard on speed: what it compares, and when it fails."""

import pytest

from regression import compare, merge, slower, table

STORED = [
    {"name": "plain", "seconds": "1.0", "ratio_to_product": "2.00", "ratio": ""},
    {"name": "gone", "ratio_to_product": "1.0"},
    {"metric": "SFDA", "N": "10", "D": "5", "C": "2", "ratio_to_product": "4.0"},
    {"name": "tiny", "ratio_to_product": "0.00"},
]


def rows(plain, sfda, tiny=0.0, n=10):
    return [
        {"name": "plain", "seconds": "9", "ratio_to_product": f"{plain}", "ratio": ""},
        {"metric": "SFDA", "N": n, "D": 5, "C": 2, "ratio_to_product": sfda},
        {"name": "new", "ratio_to_product": 100.0},
        {"name": "tiny", "ratio_to_product": f"{tiny:.2f}"},
    ]


def test_rows_that_both_have_are_compared_by_their_ratios():
    found = compare(rows(3.0, 20.0), STORED)
    assert found[:2] == [("plain", "ratio_to_product", 2.0, 3.0), ("SFDA 10 5 2", "ratio_to_product", 4.0, 20.0)]
    assert [each[0] for each in compare(rows(3.0, 4.5, n=20), STORED)] == ["plain", "tiny"]
    assert [line.split()[0] for line in table(found)[:2]] == ["SFDA", "plain"]  # the largest change first
    assert table(found)[1].split()[-2:] == ["2.000", "3.000"]


@pytest.mark.parametrize(
    ("new", "names"),
    [(rows(4.0, 8.0), []), (rows(4.1, 8.0), ["plain"]), (rows(0.1, 8.1), ["SFDA 10 5 2"]),
     (rows(1.0, 1.0, tiny=0.04), []), (rows(1.0, 1.0, tiny=0.05), ["tiny"])],
)  # fmt: skip
def test_only_more_than_twice_as_slow_fails(new, names):
    assert [each[0] for each in slower(compare(new, STORED))] == names


@pytest.mark.parametrize("replace", [False, True])
def test_stored_rows_stay_unless_they_are_to_be_replaced(replace):
    new = rows(3.0, 4.5)
    kept = {row.get("name", row.get("metric")): row for row in merge(new, STORED, replace)}
    assert list(kept) == ["plain", "SFDA", "new", "tiny", "gone"]
    assert kept["plain"] == (new if replace else STORED)[0] and kept["new"] == new[2] and kept["gone"] == STORED[1]
