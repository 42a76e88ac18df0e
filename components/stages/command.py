"""A stage function as a command: `python -m components.stages.<verb> …`, which is what `dvc.yaml` runs.

The function's parameters are the command's arguments; what goes wrong is one line on standard error and an exit code
that tells whether trying again can help (see `components.errors`).
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable

from components.errors import GraftError


def main(stage: Callable[..., None]) -> None:
    """Runs the stage with the arguments of this process, then leaves it."""
    verb = getattr(stage, "__name__", "stage")
    parser = argparse.ArgumentParser(prog=f"python -m components.stages.{verb}", description=inspect.getdoc(stage))
    for name in inspect.signature(stage).parameters:
        parser.add_argument(name)
    arguments = parser.parse_args()
    try:
        stage(**vars(arguments))
    except GraftError as error:
        print(f"{verb}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except MemoryError:
        print(f"{verb}: out of memory", file=sys.stderr)
        sys.exit(1)


def say(line: str) -> None:
    """A line of progress, shown at once even through a pipe."""
    print(line, flush=True)
