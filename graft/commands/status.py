"""graft status: what is up to date, and what is in production."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    _show_observed(root, out)


def _show_observed(root: Path, out: Console) -> None:
    """What has come in, and what the last check made of it; nothing where nothing is observed."""
    from components import jsonfile, paths
    from components.monitoring import budget
    from components.monitoring.observations import Observations

    if not (root / paths.OBSERVATIONS).is_dir():
        return
    for entry in Observations.open(root / paths.OBSERVATIONS).summary()[-1:]:
        kept = f", {entry['images']:,} images kept" if entry["images"] else ""
        last = f", the last at {budget.stamp(entry['last'])}" if entry["last"] else ""
        out.print(f"Observed: {entry['observations']:,} answers of {entry['strategy']}{last}{kept}.", markup=False)
    last_check = root / paths.MONITOR / "last.json"
    out.print(jsonfile.read(last_check)["sentence"] if last_check.exists() else "Not compared yet: graft monitor")


def show_champion(out: Console) -> None:
    """What is in production, what was last decided about it, and what is not settled yet."""
    from components.promotion import decisions, proposals, transaction

    root = Path()
    champion, lines = decisions.champion(root), decisions.read(root)
    if (gone := decisions.gone(root)) is not None:
        out.print(f"No champion: the files of version {gone} are gone; `graft rollback {gone}` puts them back.")
    elif champion is None:
        out.print("No champion yet: `graft promote` makes one of the last run's bundle.")
    else:
        version = "" if champion["version"] is None else f" (version {champion['version']})"
        out.print(f"Champion: {champion['strategy'] or 'damaged; `graft rollback VERSION` puts one back'}{version}.")
    if lines:
        last = lines[-1]
        out.print(f"Last decision: {last['decision']} version {last['version']}, {last['reason']}.", markup=False)
    if (proposal := proposals.waiting(root)) is not None:
        out.print(f"Version {proposal.version} waits for approval: `graft promote` shows what speaks for it.")
    if (journal := transaction.interrupted(root)) is not None:
        out.print(
            f"A promotion of version {journal['to']} is under way or was interrupted: the next `graft promote`, "
            "rollback or monitor completes it or takes it back."
        )
