"""Copies of images: which one stays."""

from __future__ import annotations

from pathlib import Path

from components.data.decoding import Decoded
from components.data.listing.listed import Listed
from components.data.repeats import Image, once


def _image(path: str, sha256: str, label: str = "cat", part: str = "train", **answers: str) -> Image:
    return Image("target", part, Listed(Path(path), label, answers=answers), Decoded(sha256, 4, 4), 0, 0)


def _once(*images: Image) -> tuple[list[str], dict]:
    kept, problems = once(images)
    return [image.path for image in kept], {kind: groups for kind, groups in problems.items() if groups}


def test_images_are_ordered_by_content():
    assert _once(_image("a", "3"), _image("b", "1"), _image("c", "2")) == (["b", "c", "a"], {})


def test_of_copies_the_first_path_is_kept_however_they_are_listed():
    copies = [_image("b/x", "1"), _image("a/x", "1"), _image("c/x", "1")]
    for turn in range(3):
        assert _once(*copies[turn:], *copies[:turn]) == (["a/x"], {"duplicates": [["a/x", "b/x", "c/x"]]})


def test_of_copies_in_several_parts_the_one_held_out_longest_is_kept():
    copies = [_image("a", "1"), _image("b", "1", part="val"), _image("c", "1", part="test")]
    assert _once(*copies) == (["c"], {"overlaps": [["c", "b", "a"]]})
    assert _once(*copies[:2]) == (["b"], {"overlaps": [["b", "a"]]})


def test_an_unlabelled_copy_goes_and_says_nothing_against_a_label():
    copies = [_image("a", "1", label=""), _image("b", "1", part="test")]
    assert _once(*copies) == (["b"], {"duplicates": [["b", "a"]]})
    assert _once(_image("a", "1", label=""), _image("b", "1", label="")) == (["a"], {"duplicates": [["a", "b"]]})


def test_of_copies_with_different_labels_or_answers_none_is_kept():
    assert _once(_image("a", "1"), _image("b", "1", label="dog")) == ([], {"contradictions": [["a", "b"]]})
    assert _once(_image("a", "1", colour="red"), _image("b", "1", colour="blue"), _image("c", "2"))[0] == ["c"]
    assert _once(_image("a", "1", colour="red"), _image("b", "1", colour="red"))[0] == ["a"]
