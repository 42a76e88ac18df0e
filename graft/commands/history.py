"""graft history: every decision about what is in production."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graft.console import console


def history(
    as_json: Annotated[bool, typer.Option("--json", help="Every line of the log, with all its numbers.")] = False,
) -> None:
    """Show what was decided, when, by whom and why."""
    import json

    from rich import box
    from rich.table import Table

    from components.promotion import decisions, versions

    lines = decisions.read(Path())
    if as_json:
        print(json.dumps(lines, indent=1))
        return
    out = console()
    if not lines:
        out.print("Nothing was decided yet: `graft promote` decides about the last run's bundle.")
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("time", "decision", "version", "strategy", "lead, points", "by"):
        table.add_column(heading, no_wrap=heading not in ("strategy", "by"), overflow="fold")
    table.add_column("reason", overflow="fold", ratio=1)
    for line in lines:
        lead = versions.leading(line)
        table.add_row(
            line["time"].replace("T", " ").removesuffix("Z")[:16],
            line["decision"] + (" (forced)" if line.get("forced") else ""),
            line["version"],
            line["strategy"],
            ""
            if lead is None
            else f"{100 * lead['value']:+.1f} ({100 * lead['low']:+.1f} to {100 * lead['high']:+.1f})",
            line.get("by", ""),
            line["reason"],
        )
    out.print(table)
