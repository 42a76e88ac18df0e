"""What a training shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable

from components.stages.command import say


def reporter(name: str, steps: int) -> Callable[[dict[str, float]], None]:
    """A `log` for `fit`: loss terms in the bar (or, without a terminal, left out), evaluations as a line each."""
    bar = None
    if sys.stderr.isatty():
        from rich.progress import Progress

        bar = Progress(transient=True)
        task = bar.add_task(name, total=steps)
        bar.start()

    def log(record: dict[str, float]) -> None:
        done = int(record["step"])
        values = "  ".join(f"{key} {value:.4g}" for key, value in record.items() if key not in ("step", "resumed"))
        if bar is not None:
            bar.update(task, completed=done, description=f"{name}  {values}")
            if done >= steps:
                bar.stop()
        if "resumed" in record:
            say(f"{name}: resumed at step {done} of {steps}")
        elif "val_accuracy" in record:
            say(f"{name}: step {done}/{steps}  {values}")

    return log
