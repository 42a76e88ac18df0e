"""Every error a person may see, as a tree. Each is one line that names the value, the choices and the key.

The exit code tells a driver whether trying again can help: what a person must change (2, 3, 4) is never retried.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GraftError(Exception):
    """Something went wrong that a message explains better than a traceback."""

    exit_code = 1


class ParamsError(GraftError):
    """`params.yaml` or a command's argument asks for something impossible."""

    exit_code = 2


class DataError(GraftError):
    """The images or labels cannot be used as they are."""

    exit_code = 2


class MachineError(GraftError):
    """This machine lacks what was asked for: a GPU, a provider, a package, a file."""

    exit_code = 3


class Unreachable(MachineError):
    """A server does not answer. It may do so later: this, and being killed, is what trying again can help with."""

    exit_code = 6


class Diverged(GraftError):
    """A training whose numbers are no longer finite. It is a finding about a recipe: other strategies go on."""

    exit_code = 2


class ParityError(GraftError):
    """An exported model does not answer like the model it was made from."""

    exit_code = 4


class StageError(GraftError):
    """A stage of the pipeline did not finish."""


def choices(given: object, known: Iterable[str]) -> str:
    """The end of an error message: what could have been meant, or all there is.

    >>> choices("gama", ["gamma", "lr"])
    "did you mean 'gamma'?"
    >>> choices("x", ["gamma", "lr"])
    'choose from: gamma, lr'
    """
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(given), names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "choose from: " + ", ".join(names) if names else "there are none"
