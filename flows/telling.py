"""How a flow speaks: its lines on the terminal and in Prefect's log, and the name that its run has for people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prefect import get_run_logger
from prefect.runtime import flow_run
from rich.console import Console

SCHEDULED = "auto-scheduled"
"""The tag that Prefect's scheduler gives to the runs that it makes."""
console = Console(highlight=False, soft_wrap=True)


def teller(name: str) -> Callable[[str], None]:
    """Prints and logs a stage's lines with its name before them."""
    logger = get_run_logger()

    def say(line: str) -> None:
        text = line.removeprefix(f"{name.partition('@')[2] or name}: ")
        console.print(f"{name:<30} {text}", markup=False)
        logger.info("%s", text)

    return say


def run_name(what: str, why: str = "") -> str:
    """Of the flow run that is about to begin: "retrain 2026-11-22 14:05, scheduled"."""
    start = flow_run.scheduled_start_time
    when = (start or datetime.now().astimezone()).astimezone().strftime("%Y-%m-%d %H:%M")
    reason = why or ("scheduled" if SCHEDULED in (flow_run.tags or []) else "by hand")
    return f"{what} {when}, {reason}"
