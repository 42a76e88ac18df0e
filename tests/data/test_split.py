"""Parts follow from content: fractions hold, nothing moves, and the label budget is kept."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from components.data import split

HASHES = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(4000)]


def _parts(hashes, seed=0):
    return [split.part(sha256, val_fraction=0.2, test_fraction=0.4, seed=seed) for sha256 in hashes]


def test_fractions_hold():
    counts = Counter(_parts(HASHES))
    assert counts["test"] / len(HASHES) == pytest.approx(0.4, abs=0.03)
    assert counts["val"] / len(HASHES) == pytest.approx(0.2, abs=0.03)
    assert counts["train"] / len(HASHES) == pytest.approx(0.4, abs=0.03)
    assert set(counts) == set(split.SPLITS)


def test_adding_images_never_moves_an_earlier_one():
    assert _parts(HASHES)[:100] == _parts(HASHES[:100])


def test_a_smaller_test_share_takes_no_image_from_training():
    """Only images that were in test change their part when the test share shrinks by what val grows."""
    wide = [split.part(sha256, val_fraction=0.2, test_fraction=0.4, seed=0) for sha256 in HASHES]
    slim = [split.part(sha256, val_fraction=0.3, test_fraction=0.3, seed=0) for sha256 in HASHES]
    assert {(a, b) for a, b in zip(wide, slim, strict=True) if a != b} == {("test", "val")}


def test_another_seed_cuts_otherwise():
    assert _parts(HASHES, seed=0) != _parts(HASHES, seed=1)


def test_position_lies_in_the_unit_interval_and_is_spread_evenly():
    positions = [split.position(sha256, 0) for sha256 in HASHES]
    assert 0 <= min(positions) < max(positions) < 1
    assert sum(positions) / len(positions) == pytest.approx(0.5, abs=0.02)


def test_no_share_for_test_leaves_no_test_image():
    parts = {split.part(sha256, val_fraction=0.05, test_fraction=0.0, seed=0) for sha256 in HASHES}
    assert parts == {"train", "val"}


def test_labels_are_kept_for_the_lowest_positions_of_each_class():
    positions = [0.5, 0.1, 0.3, 0.2, 0.9, 0.4]
    labels = ["cat", "cat", "cat", "dog", "dog", "dog"]
    assert split.labelled(positions, labels, 2) == [False, True, True, True, False, True]


def test_all_labels_are_kept_without_a_budget_and_where_it_is_not_reached():
    assert split.labelled([0.2, 0.1], ["a", "b"], None) == [True, True]
    assert split.labelled([0.2, 0.1], ["a", "b"], 5) == [True, True]


def test_a_larger_budget_keeps_every_label_of_a_smaller_one():
    positions = [split.position(sha256, 0) for sha256 in HASHES[:100]]
    labels = [str(number % 3) for number in range(100)]
    small, large = split.labelled(positions, labels, 4), split.labelled(positions, labels, 9)
    assert sum(small) == 12
    assert sum(large) == 27
    assert all(not a or b for a, b in zip(small, large, strict=True))


def _within(given, present, content=HASHES[0], **fractions):
    fractions = {"val_fraction": 0.2, "test_fraction": 0.4, **fractions}
    return split.within(given, present, content, **fractions, seed=0)


def test_what_the_data_divides_stays_divided():
    for given in ("val", "test"):
        assert {_within(given, {"train", given}, content) for content in HASHES[:200]} == {given}
    everything = {"train", "val", "test"}
    assert {_within("train", everything, content) for content in HASHES[:200]} == {"train"}


@pytest.mark.parametrize(
    ("present", "cut", "share"),
    [({"train", "test"}, "val", 0.2), ({"train", "val"}, "test", 0.4)],
)
def test_a_part_that_the_data_lacks_is_cut_from_train(present, cut, share):
    counts = Counter(_within("train", present, content) for content in HASHES)
    assert set(counts) == {"train", cut}
    assert counts[cut] / len(HASHES) == pytest.approx(share, abs=0.03)


def test_an_image_that_the_data_puts_nowhere_goes_where_its_content_says():
    assert [_within(None, {"train", "test"}, content) for content in HASHES] == _parts(HASHES)


def test_a_group_has_the_part_of_its_name():
    digest = split.group_digest("patient 17")
    assert digest == hashlib.sha256(b"patient 17").hexdigest()
    assert _within(None, set(), digest) == _parts([digest])[0]
