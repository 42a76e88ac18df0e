"""graft promote and graft rollback: which bundle is in production."""

from __future__ import annotations

from typing import Annotated

import typer

from graft.console import console


def promote() -> None:
    """Decide about the last run's bundle, and put it into production if it is better."""
    from components.stages import promote as stage

    stage.promote()


def rollback(
    version: Annotated[str | None, typer.Argument(help="By default the champion before this one.")] = None,
) -> None:
    """Put an earlier version back into production."""
    from components.stages import promote as stage

    restored = stage.rollback(version)
    console().print(f"Version {restored} is champion again.")
