"""graft status: what is up to date, and what is in production."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from components import jsonfile, paths
from graft.console import console

if TYPE_CHECKING:
    from rich.console import Console


def status() -> None:
    """Show which stages are up to date, and what is in production."""
    from rich.table import Table

    from components import params
    from flows import driver, graph

    root, out = Path(), console()
    params.load(root)
    waiting = set(driver.to_do(root))
    table = Table("stage", "state")
    for stage in graph.read(root):  # each comes after those it needs
        if waiting.intersection(stage.needs):
            waiting.add(stage.address)
        table.add_row(stage.address, "to run" if stage.address in waiting else "up to date")
    table.add_row("promote", "to run" if waiting else "up to date")
    out.print(table)
    show_champion(out)


def show_champion(out: Console) -> None:
    """What is in production, and what was last decided about it."""
    decisions = jsonfile.read_lines(paths.DECISIONS)
    if not decisions:
        out.print("No champion yet: `graft promote` makes one of the last run's bundle.")
        return
    last = decisions[-1]
    strategy = jsonfile.read(paths.CHAMPION / "bundle.json")["strategy"]
    out.print(f"Champion: {strategy}. Last decision: {last['decision']} version {last['version']}, {last['reason']}.")
