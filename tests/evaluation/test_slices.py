"""Slices by hand: which columns, which values, and what they are called."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from components.errors import ParamsError
from components.evaluation.slices import choose, domains, measure, worst

COLUMNS = {
    "width": ["28", "28", "32", "32"],
    "height": ["28", "28", "32", "28"],
    "label": ["a", "b", "a", "b"],
    "site": ["north", "south", "north", ""],
    "camera": ["one"] * 4,
}


def _members(groups: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {value: np.flatnonzero(mask).tolist() for value, mask in groups.items()}


def test_columns_with_several_values_are_slices_and_sides_are_one_column():
    found = choose(COLUMNS, None)
    assert list(found) == ["site", "size"]  # one camera is no slice; the classes have figures of their own
    assert _members(found["site"]) == {"north": [0, 2], "south": [1], "(none)": [3]}
    assert _members(found["size"]) == {"28 x 28": [0, 1], "32 x 28": [3], "32 x 32": [2]}


def test_those_asked_for_are_given():
    assert list(choose(COLUMNS, ("camera",))) == ["camera"]
    assert list(choose(COLUMNS, ())) == []
    assert list(choose(COLUMNS, ("size", "domain"))) == ["size"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("sight", r"evaluate\.slices: the manifest has no column 'sight'; did you mean 'site'\?"),
        ("xyz", r"no column 'xyz'; choose from: site, camera, size, domain"),
    ],
)
def test_an_unknown_column_is_refused_with_the_choices(asked, message):
    with pytest.raises(ParamsError, match=message):
        choose(COLUMNS, (asked,))


def test_a_column_of_a_text_for_every_image_is_no_slice_unless_asked_for():
    columns = {"id": [f"image {index}" for index in range(50)]}
    assert choose(columns, None) == {}
    assert len(choose(columns, ("id",))["id"]) == 50


def test_few_numbers_are_values_in_their_order():
    assert list(choose({"loops": ["10", "2", "2", "1"]}, None)["loops"]) == ["1", "2", "10"]


def test_many_numbers_are_cut_in_three():
    ink = [f"{value:.2f}" for value in np.linspace(0.1, 0.9, 9)] + [""]
    found = choose({"ink": ink}, None)["ink"]
    assert _members(found) == {
        "0.1 to 0.3": [0, 1, 2],
        "0.4 to 0.6": [3, 4, 5],
        "0.7 to 0.9": [6, 7, 8],
        "(none)": [9],
    }


def test_equal_numbers_are_not_torn_apart():
    values = ["0"] * 20 + [str(number) for number in range(1, 11)]
    found = choose({"defects": values}, None)["defects"]
    assert _members(found) == {"0 to 0": list(range(20)), "1 to 10": list(range(20, 30))}


def test_ranges_of_large_numbers_keep_their_names_apart():
    seconds = [str(1_700_000_000 + index) for index in range(30)]
    found = choose({"taken": seconds}, None)["taken"]
    assert next(iter(found)) == "1700000000 to 1700000009"
    assert [len(members) for members in _members(found).values()] == [10, 10, 10]


def test_what_is_called_none_and_what_is_empty_are_one_slice():
    found = choose({"site": ["(none)", "", "north", "(none)"]}, None)["site"]
    assert _members(found) == {"(none)": [0, 1, 3], "north": [2]}


def test_a_size_of_the_manifest_s_own_is_not_lost():
    columns = {**COLUMNS, "size": ["large", "small", "small", "large"]}
    found = choose(columns, None)
    assert _members(found["size"]) == {"large": [0, 3], "small": [1, 2]}
    assert _members(found["image size"]) == {"28 x 28": [0, 1], "32 x 28": [3], "32 x 32": [2]}


def test_a_column_that_is_no_slice_takes_no_memory():
    texts = [f"image {index}" for index in range(5000)]
    tracemalloc.start()
    assert choose({"id": texts}, None) == {}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6  # bytes; a mask for each of the texts would take 25e6


def test_many_sizes_are_cut_in_three_by_their_pixels():
    sides = [str(side) for side in range(30, 42)]
    found = choose({"width": sides, "height": ["100"] * 12}, None)["size"]
    assert {value: len(members) for value, members in _members(found).items()} == {
        "3,000 to 3,300 pixels": 4,
        "3,400 to 3,700 pixels": 4,
        "3,800 to 4,100 pixels": 4,
    }


def test_each_slice_has_its_accuracy_and_interval():
    found = measure(choose(COLUMNS, ("site",)), np.array([True, True, False, False]), 0.95)
    assert [(entry["column"], entry["value"], entry["images"], entry["accuracy"]) for entry in found] == [
        ("site", "north", 2, 0.5),
        ("site", "south", 1, 1.0),
        ("site", "(none)", 1, 0.0),
    ]
    assert found[0]["low"] == pytest.approx(0.0945, abs=1e-3)  # Wilson, 1 of 2
    assert found[0]["high"] == pytest.approx(0.9055, abs=1e-3)


def test_domains_stand_side_by_side():
    found = domains(np.array([True, False]), np.array([True, True, True]), 0.95)
    assert [(entry["column"], entry["value"], entry["images"], entry["accuracy"]) for entry in found] == [
        ("domain", "target", 2, 0.5),
        ("domain", "source", 3, 1.0),
    ]


def test_the_worst_slice_has_images_enough_and_is_the_target_s():
    def entry(column: str, value: str, images: int, accuracy: float) -> dict:
        return {"column": column, "value": value, "images": images, "accuracy": accuracy}

    found = [
        entry("site", "north", 19, 0.1),
        entry("domain", "source", 500, 0.2),
        entry("site", "south", 20, 0.6),
        entry("site", "east", 40, 0.6),
        entry("site", "west", 100, 0.9),
    ]
    assert worst(found) == found[3]  # of two that are equal the larger
    assert worst(found[:2]) is None
    assert worst([]) is None
