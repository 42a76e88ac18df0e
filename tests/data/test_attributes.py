"""The table of what is known of the classes, and what is wrong with one."""

from __future__ import annotations

import pytest

from components.data.datasets.digits import ATTRIBUTES
from components.data.listing import attributes
from components.errors import DataError

GOOD = "class,legs,flies,sound\nowl,2,1.0,hoot\ncat,4,0,meow\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "attributes.csv"

    def write(text: str):
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_rows_come_in_the_order_of_the_classes_whatever_the_file_s(table):
    path = table(GOOD)
    found = attributes.read(path, ["cat", "owl"])
    assert list(found) == ["cat", "owl"]
    assert attributes.descriptions(found, ["sound"], path) == ((4.0, 0.0), (2.0, 1.0))
    assert attributes.questions(found, ["sound", "legs"], path) == {"sound": ("hoot", "meow"), "legs": ("2", "4")}


@pytest.mark.parametrize(
    ("text", "classes", "parts"),
    [
        (GOOD, ["cat", "ow"], ["no row for the class 'ow'", "'owl'"]),
        (GOOD + "owl,2,1,hoot\n", ["cat"], ["two rows", "'owl'"]),
        ("class,legs\ncat\n", ["cat"], ["'cat' has 1 fields", "header 2"]),
        ('class,legs\n"cat,4\n', ["cat"], ["is no table"]),
        ("", ["cat"], ["is no table"]),
    ],
)
def test_a_table_that_does_not_fit_is_refused(text, classes, parts, table):
    with pytest.raises(DataError) as caught:
        attributes.read(table(text), classes)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_no_file_is_refused_by_its_key(tmp_path):
    with pytest.raises(DataError, match=r"data\.attributes: there is no file .*nowhere\.csv"):
        attributes.read(tmp_path / "nowhere.csv", ["a"])


def test_words_are_no_description_and_one_answer_is_no_question(table):
    path = table(GOOD)
    found = attributes.read(path, ["cat", "owl"])
    with pytest.raises(DataError, match="sound of the class 'cat' is 'meow', but must be a number"):
        attributes.descriptions(found, [], path)
    with pytest.raises(DataError, match="no column 'sounds'; did you mean 'sound'"):
        attributes.questions(found, ["sounds"], path)
    with pytest.raises(DataError, match="same answer to 'sound'"):
        attributes.questions(attributes.read(path, ["cat"]), ["sound"], path)
    for text in ("nan", "inf"):
        path = table(GOOD.replace("1.0", text))
        with pytest.raises(DataError, match=f"'{text}'"):
            attributes.descriptions(attributes.read(path, ["owl"]), ["sound"], path)


def test_every_digit_has_a_description_of_its_own(table):
    path = table(ATTRIBUTES)
    found = attributes.read(path, [str(digit) for digit in range(10)])
    vectors = attributes.descriptions(found, ["loops", "strokes"], path)
    assert len(set(vectors)) == 10
    # The seven segments: 49 lit in all, as on every display.
    assert sum(sum(vector[:7]) for vector in vectors) == 49
    assert attributes.questions(found, ["loops"], path) == {"loops": ("none", "one", "two")}
