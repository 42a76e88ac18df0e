"""graft promote and graft rollback: which bundle is in production."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graft.console import console, grid

if TYPE_CHECKING:
    from rich.console import Console

    from components.promotion.proposals import Proposal


def promote(
    source: Annotated[
        Path, typer.Option("--from", help="The workspace whose bundle is decided about.", show_default=False)
    ] = Path(),
    approve: Annotated[bool, typer.Option("--approve", help="Answer the proposal that waits: promote it.")] = False,
    reject: Annotated[
        bool, typer.Option("--reject", help="Answer the proposal that waits: keep the champion.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the rule says; needs a reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log and with the version.")] = "",
) -> None:
    """Decide about the last run's bundle, and put it into production if it is better."""
    from components import params
    from components.errors import ParamsError
    from components.promotion import proposals
    from components.stages import promote as stage

    if approve + reject + force > 1:
        raise ParamsError("--approve, --reject and --force exclude one another")
    root, out, by = Path(), console(), _somebody()
    loaded = params.load(root)
    if approve or reject:
        found = proposals.settle(root, loaded, "approve" if approve else "reject", by=by, reason=reason)
    elif force:
        found = proposals.force(root, source, loaded, by=by, reason=reason)
    elif stage.pending(root, source, loaded):
        found = proposals.propose(root, source, loaded)
    else:
        waiting = proposals.waiting(root)
        if waiting is None:
            out.print(stage.standing(root, source, loaded) + ".", markup=False)
            return
        found = waiting
    _show(found, out)


def rollback(
    version: Annotated[str | None, typer.Argument(help="By default the champion before this one.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log and with the version.")] = "",
) -> None:
    """Put an earlier version back into production."""
    from components.stages import promote as stage

    restored = stage.rollback(Path(), version, by=_somebody(), reason=reason)
    console().print(f"Version {restored} is champion again.")


def _show(proposal: Proposal, out: Console) -> None:
    """What speaks for and against a bundle, and what became of it."""
    from components.promotion import decisions
    from components.stages.promote import described

    answered = proposal.line is not None and proposal.line["by"] != decisions.RULE and not proposal.line["forced"]
    if proposal.decision.checks and not answered:  # who answers has seen them
        table = grid("What was looked at", "check", "", "finding", folded=("finding",))
        for check in proposal.decision.checks:
            verdict = "ok" if check.passed else "failed" if check.decides else "noted"
            table.add_row(check.name, verdict, check.sentence)
        out.print(table)
    out.print(described(proposal) + ".", markup=False)
    if proposal.line is None:
        out.print("To answer: graft promote --approve --reason TEXT, or graft promote --reject --reason TEXT")


def _somebody() -> str:
    """Who answers: the user of this process."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container whose user has no name
        import os

        return f"user {os.getuid()}"
