"""graft rebuild: is a registered version what its commit, data and params make?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graft.console import console, grid


def rebuild(
    version: Annotated[str, typer.Argument(help="Of the registered model.")],
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show what the stages print.")] = False,
) -> None:
    """Build a registered version again, from its commit, data and params, and compare every file."""
    from components import params
    from components.errors import ParityError
    from components.promotion.rebuild import rebuild as run

    root, out = Path(), console()
    found = run(root, params.load(root), version, lambda line: None if quiet else out.print(line, markup=False))
    table = grid(f"Version {version}, commit {found.commit[:12]}", "", "registered", "rebuilt", "equal")
    for entry in found.compared:
        table.add_row(entry.what, _short(entry.registered), _short(entry.rebuilt), "yes" if entry.equal else "no")
    out.print(table)
    for line in found.differences:
        out.print(f"Other conditions: {line}", markup=False)
    if not found.equal:
        differing = ", ".join(entry.what for entry in found.compared if not entry.equal)
        raise ParityError(f"version {version}, built again, differs in {differing}")
    out.print(f"Version {version} is what its commit, data and params make, byte for byte.")


def _short(digest: str | None) -> str:
    return "missing" if digest is None else digest[:16]
