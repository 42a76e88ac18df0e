"""The console script: from a command's name to its code, and from an error to a line and an exit code.

`graft predict` goes its own way, since whole scripts call it for one image: typer, with the pydantic and the rich that
come with it, takes as long to import as numpy, Pillow and onnxruntime together.
"""

from __future__ import annotations

import os
import sys

from components.errors import GraftError, MachineError

SIGPIPE = 128 + 13
"""Exit code of what that signal ends, as shells give it."""


def main() -> None:
    """One line for an error that a message explains, a traceback for one that it does not."""
    try:
        if sys.argv[1:2] == ["predict"]:
            from graft.commands.predict import predict

            sys.exit(predict(sys.argv[2:]))
        from graft.cli import app

        app()
    except GraftError as error:
        if os.environ.get("GRAFT_DEBUG"):
            raise
        print(f"graft: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        # `pip install graft` brings what `graft predict` needs; the other commands want the rest of it.
        if os.environ.get("GRAFT_DEBUG") or (error.name or "").partition(".")[0] in ("components", "flows", "graft"):
            raise
        print(f"graft: this needs the package {error.name!r}: install graft[pipeline]", file=sys.stderr)
        sys.exit(MachineError.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is written at exit
        sys.exit(SIGPIPE)


if __name__ == "__main__":
    main()
