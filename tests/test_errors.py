"""The end of an error message, and exit codes that say whether trying again can help."""

from __future__ import annotations

import pytest

from components import errors


def test_a_near_miss_gets_a_suggestion_and_anything_else_the_list():
    assert errors.choices("gama", ["gamma", "lr"]) == "did you mean 'gamma'?"
    assert errors.choices("x", ["gamma", "lr"]) == "choose from: gamma, lr"
    assert errors.choices("x", []) == "there are none"
    assert errors.choices(7, ["gamma"]) == "choose from: gamma"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("GraftError", 1),
        ("StageError", 1),
        ("ParamsError", 2),
        ("DataError", 2),
        ("MachineError", 3),
        ("ParityError", 4),
    ],
)
def test_exit_codes(kind, code):
    error = getattr(errors, kind)
    assert issubclass(error, errors.GraftError)
    assert error.exit_code == code
