"""What a training shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable

from components.stages.command import say

EVERY_S = 5.0


def reporter(name: str, steps: int) -> Callable[[dict[str, float]], None]:
    """A `log` for `fit`: loss terms in the bar, or, without a terminal, as a line every few seconds; evaluations always
    as a line."""
    bar = None
    told = time.monotonic()
    if sys.stderr.isatty():
        from rich.progress import Progress

        bar = Progress(transient=True)
        task = bar.add_task(name, total=steps)
        bar.start()
        atexit.register(bar.stop)  # a training that fails must give the cursor back

    def log(record: dict[str, float]) -> None:
        nonlocal told
        done = int(record["step"])
        values = "  ".join(f"{key} {value:.4g}" for key, value in record.items() if key not in ("step", "resumed"))
        if bar is not None:
            bar.update(task, completed=done, description=f"{name}  {values}")
            if done >= steps:
                bar.stop()
        if "resumed" in record:
            say(f"{name}: resumed at step {done} of {steps}")
        elif "val_accuracy" in record or (bar is None and time.monotonic() - told > EVERY_S):
            told = time.monotonic()
            say(f"{name}: step {done}/{steps}  {values}")

    return log
