"""The guard on speed: what it compares, and when it fails."""

import pytest

from regression import compare, keyed, merge, slower

STORED = keyed([
    {"name": "plain", "seconds": "1.0", "ratio_to_product": "2.00", "ratio": ""},
    {"name": "gone", "ratio_to_product": "1.0"},
    {"metric": "SFDA", "N": "10", "D": "5", "C": "2", "ratio_to_product": "4.0"},
    {"name": "tiny", "ratio_to_product": "0.00"},
])  # fmt: skip


def rows(plain, sfda, tiny=0.0, n=10):
    return keyed([
        {"name": "plain", "seconds": "9", "ratio_to_product": plain, "ratio": ""},
        {"metric": "SFDA", "N": n, "D": 5, "C": 2, "ratio_to_product": sfda},
        {"name": "new", "ratio_to_product": 100.0},
        {"name": "tiny", "ratio_to_product": f"{tiny:.2f}"},
    ])  # fmt: skip


def test_rows_that_both_have_are_compared_by_their_ratios_the_largest_change_first():
    found = [(*name, *ratios) for name, *ratios in compare(rows(3.0, 20.0), STORED).itertuples()]
    assert found[:2] == [("SFDA 10 5 2", "ratio_to_product", 4.0, 20.0), ("plain", "ratio_to_product", 2.0, 3.0)]
    assert [name for name, _ in compare(rows(3.0, 4.5, n=20), STORED).index] == ["plain", "tiny"]


@pytest.mark.parametrize(
    ("new", "names"),
    [(rows(4.0, 8.0), []), (rows(4.1, 8.0), ["plain"]), (rows(0.1, 8.1), ["SFDA 10 5 2"]),
     (rows(1.0, 1.0, tiny=0.04), []), (rows(1.0, 1.0, tiny=0.05), ["tiny"])],
)  # fmt: skip
def test_only_more_than_twice_as_slow_fails(new, names):
    assert [name for name, _ in slower(compare(new, STORED)).index] == names


@pytest.mark.parametrize("replace", [False, True])
def test_stored_rows_stay_unless_they_are_to_be_replaced(replace):
    new = rows(3.0, 4.5)
    kept = merge(new, STORED, replace)
    assert list(kept.index) == ["plain", "SFDA 10 5 2", "new", "tiny", "gone"]
    assert kept.loc["plain", "seconds"] == ("9" if replace else "1.0")
    assert kept.loc["new", "ratio_to_product"] == "100.0" and kept.loc["gone", "ratio_to_product"] == "1.0"
