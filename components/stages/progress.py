"""What a stage shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from components.stages.command import say

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY_S = 5.0


def reporter(name: str, steps: int) -> Callable[[dict[str, float]], None]:
    """A `log` for `fit`: loss terms in the bar, or, without a terminal, as a line every few seconds; evaluations always
    as a line."""
    bar = _bar()
    told = time.monotonic()
    task = None if bar is None else bar.add_task(name, total=steps)

    def log(record: dict[str, float]) -> None:
        nonlocal told
        done = int(record["step"])
        values = "  ".join(f"{key} {value:.4g}" for key, value in record.items() if key not in ("step", "resumed"))
        if bar is not None and task is not None:
            bar.update(task, completed=done, description=f"{name}  {values}")
            if done >= steps:
                bar.stop()
        if "resumed" in record:
            say(f"{name}: resumed at step {done} of {steps}")
        elif "val_accuracy" in record or (bar is None and time.monotonic() - told > EVERY_S):
            told = time.monotonic()
            say(f"{name}: step {done}/{steps}  {values}")

    return log


def counter(name: str, total: int, unit: str) -> Callable[[int], None]:
    """Takes how many of `total` things, called `unit`, are done. Nothing is shown before the first call, and no line
    where all is done within seconds."""
    bar, task = None, None
    began = told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal bar, task, told
        now = time.monotonic()
        if task is None and (bar := _bar()) is not None:
            task = bar.add_task(name, total=total)
        if bar is not None and task is not None:
            bar.update(task, completed=done)
            if done >= total:
                bar.stop()
        elif now - told > EVERY_S:
            told = now
            left = (total - done) * (now - began) / done
            say(f"{name}: {done:,} of {total:,} {unit}, {done / (now - began):,.0f} a second, {left:.0f} s left")

    return tell


def _bar() -> Progress | None:
    """A bar that runs, on a terminal."""
    if not sys.stderr.isatty():
        return None
    from rich.progress import Progress

    bar = Progress(transient=True)
    bar.start()
    atexit.register(bar.stop)  # what fails must give the cursor back
    return bar
