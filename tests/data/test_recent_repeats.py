"""What comes in gives way to what is there, whichever part either is in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.data.decoding import Decoded
from components.data.listing.listed import Listed
from components.data.near_duplicates import thumbnails
from components.data.repeats import Image, Repeat, find


def _images(*rows: tuple[str, str, str]) -> list[Image]:
    """Domain, part and sha256 of each; its thumbnail is its own number."""
    return [
        Image(domain, part, Listed(Path(f"{number}.png"), ""), Decoded(sha256, 4, 4), number, number)
        for number, (domain, part, sha256) in enumerate(rows)
    ]


def _thumbnails(*pictures: int) -> np.ndarray:
    """Of noise; the same number is nearly the same picture."""
    noise = [np.random.default_rng(picture).integers(0, 256, (32, 32, 3)) for picture in pictures]
    pixels = [(own + number % 3).clip(0, 255) for number, own in enumerate(noise)]
    return thumbnails(np.stack(pixels).astype(np.uint8))


@pytest.mark.parametrize("part", ["train", "val"])
def test_of_a_copy_the_recent_one_goes_even_where_it_is_held_out_and_the_other_is_not(part):
    images = _images(("target", "train", "x"), ("source", "train", "y"), ("recent", part, "x"), ("recent", part, "y"))
    found = find(images, _thumbnails(1, 2, 1, 2), 0.99, dropping=True)
    assert found == [Repeat(0, 2, 1.0), Repeat(1, 3, 1.0)]


@pytest.mark.parametrize(
    ("there", "come_in"),
    [("test", "train"), ("test", "val"), ("val", "train"), ("val", "val"), ("train", "val")],
)
def test_of_near_duplicates_the_recent_one_goes(there, come_in):
    images = _images(("target", there, "a"), ("recent", come_in, "b"))
    found = find(images, _thumbnails(5, 5), 0.99, dropping=True)
    assert [(repeat.kept, repeat.other) for repeat in found] == [(0, 1)]


def test_both_may_be_trained_on():
    images = _images(("target", "train", "a"), ("recent", "train", "b"))
    assert find(images, _thumbnails(5, 5), 0.99, dropping=True) == []


def test_among_recent_ones_what_is_held_out_stays_unless_it_goes_itself():
    images = _images(("recent", "train", "a"), ("recent", "val", "b"), ("target", "train", "c"))
    apart, together = _thumbnails(5, 5, 6), _thumbnails(5, 5, 5)
    assert [(r.kept, r.other) for r in find(images, apart, 0.99, dropping=True)] == [(1, 0)]
    # The held-out one is like a target's image that is trained on: it goes, and nothing speaks against the other.
    assert [(r.kept, r.other) for r in find(images, together, 0.99, dropping=True)] == [(2, 1)]
    assert {(r.kept, r.other) for r in find(images, together, 0.99, dropping=False)} == {(2, 1), (1, 0)}


def test_whatever_comes_in_the_others_are_compared_as_without_it():
    there = (("target", "test", "a"), ("target", "train", "b"), ("source", "train", "c"), ("source", "val", "d"))
    pictures = (1, 1, 2, 2)
    alone = find(_images(*there), _thumbnails(*pictures), 0.99, dropping=True)
    assert [(repeat.kept, repeat.other) for repeat in alone] == [(0, 1), (3, 2)]
    more = _images(*there, ("recent", "val", "b"), ("recent", "val", "e"), ("recent", "train", "f"))
    found = find(more, _thumbnails(*pictures, 1, 2, 3), 0.99, dropping=True)
    assert found[:2] == alone
    assert {repeat.other for repeat in found[2:]} == {4, 5}
