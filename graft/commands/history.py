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

    from rich.padding import Padding
    from rich.text import Text

    from components.promotion import decisions, proposals, versions

    lines = decisions.read(Path())
    if as_json:
        print(json.dumps(lines, indent=1))
        return
    out = console()
    if not lines:
        out.print("Nothing was decided yet: `graft promote` decides about the last run's bundle.")
        return
    for line in lines:
        lead = versions.leading(line)
        forced = " by force" if line.get("forced") else ""
        told = [
            f"{line['time'].replace('T', ' ').removesuffix('Z')[:16]} UTC",
            f"{line['decision']}{forced}",
            f"version {line['version']}, {line['strategy']}",
            f"by {line['by']}" if line.get("by") else "",
        ]
        if lead is not None:
            points = [f"{100 * lead[end]:+.1f}" for end in ("value", "low", "high")]
            told.append(f"lead {points[0]} points ({points[1]} to {points[2]})")
        out.print(Text("  ".join(filter(None, told)), style="bold"))
        out.print(Padding(Text(line["reason"]), (0, 0, 1, 4)))
    if (proposal := proposals.waiting(Path())) is not None:
        out.print(f"Version {proposal.version}, {proposal.strategy}, waits for approval: graft promote shows it.")
