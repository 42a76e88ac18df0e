"""A stage function as a command: `python -m components.stages.<verb> …`, which is what `dvc.yaml` runs.

The function's parameters are the command's arguments, and those with a default its options; what goes wrong is one
line on standard error and an exit code that tells whether trying again can help (see `components.errors`).
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable

from components.errors import GraftError


def main(stage: Callable[..., object]) -> None:
    """Runs the stage with the arguments of this process, then leaves it."""
    verb = getattr(stage, "__name__", "stage")
    parser = argparse.ArgumentParser(prog=f"python -m components.stages.{verb}", description=inspect.getdoc(stage))
    for name, parameter in inspect.signature(stage).parameters.items():
        option = f"--{name.rstrip('_').replace('_', '-')}"  # `from_` stands for --from, which is a keyword
        if parameter.default is parameter.empty:
            parser.add_argument(name)
        elif isinstance(parameter.default, bool):
            parser.add_argument(option, dest=name, action="store_true", default=parameter.default)
        else:
            parser.add_argument(option, dest=name, default=parameter.default)
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
