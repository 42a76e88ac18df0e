"""graft monitor: whether the images that come in are still such as the champion was tested with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.errors import ParityError
from graft.console import console

if TYPE_CHECKING:
    from rich.table import Table

DRIFT = ParityError.exit_code
"""Exit code of a gate that says no."""


def monitor(
    until: Annotated[
        str | None, typer.Option(help="The last images before this time, such as 2026-11-22T10:00:00Z; else, now.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Even if exactly these images were compared before.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what .graft/monitor/last.json holds.")] = False,
) -> None:
    """Compare the last images that were observed with those the champion was tested with: exit code 4 means drift."""
    from components.stages import monitor as stage
    from components.stages import monitor_words

    found = stage.watch(Path(), until, again=again)
    if as_json:
        print(json.dumps(found, indent=1))
        raise typer.Exit(DRIFT if found["drift"] else 0)
    out = console()
    verdict, *more = monitor_words.told(found)
    out.print(verdict, markup=False)
    if found["tests"]:
        out.print(_table(found["tests"]))
    for line in more:
        out.print(line, markup=False)
    if found["page"]:
        out.print(f"Page: {found['page']}", markup=False)
    raise typer.Exit(DRIFT if found["drift"] else 0)


def _table(tests: Sequence[Mapping[str, Any]]) -> Table:
    from components.reporting.page import p_value
    from graft.console import grid

    table = grid("Tests of the last images", "test", "images", "effect", "p", "adjusted p", "verdict")
    for test in tests:
        verdict = "drift" if test["drifted"] else "no drift"
        numbers = f"{test['effect']:.3f}", p_value(test["p"]), p_value(test["p_adjusted"])
        table.add_row(test["name"], str(test["window"]), *numbers, verdict)
    return table
