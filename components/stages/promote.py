"""promote and rollback: which bundle is in production.

No stages of `dvc.yaml`, because they act on the registry: what they do depends on what is champion now. Every
decision is a line of `.graft/decisions.jsonl`, with its numbers; how a decision is made and carried out stands in
`components.promotion`.
"""

from __future__ import annotations

from pathlib import Path

from components import jsonfile, paths
from components import params as parameters
from components.deployment import bundle
from components.errors import GraftError, ParamsError
from components.params import Params
from components.promotion import decisions, proposals
from components.promotion.proposals import ANSWERS, Proposal
from components.promotion.rollback import roll_back
from components.stages.command import main, say

PREVIOUS = "previous"


def promote(
    from_: str = "",
    propose: bool = False,
    settle: str = "",
    proposal: str = "",
    by: str = "",
    reason: str = "",
    force: bool = False,
    rollback: str = "",
) -> None:
    """Decides about the bundle of the last run, registers it, and puts it into production if it is better.

    --from: another workspace whose bundle is decided about; --propose: leave what `promote.approval: manual` asks a
    person for to --settle approve, reject or timeout, with --by who answers and why (--reason), and the id of the
    --proposal where none but that one is meant; --force: promote whatever the rule says, which needs a --reason;
    --rollback: to this version instead, or to the "previous" champion.
    """
    root, source = Path(), Path(from_)
    params = parameters.load(root)
    if sum((propose, bool(settle), force, bool(rollback))) > 1:
        raise ParamsError("--propose, --settle, --force and --rollback exclude one another")
    answer = next((known for known in ANSWERS if known == settle), None)
    if settle and answer is None:
        raise ParamsError(f"--settle is {settle!r}; choose from: {', '.join(ANSWERS)}")
    if answer is not None:
        who = by or "somebody"
        say(described(proposals.settle(root, params, answer, by=who, reason=reason, asked=proposal)))
    elif force:
        say(described(proposals.force(root, source, params, by=by or "somebody", reason=reason)))
    elif rollback:
        version = None if rollback == PREVIOUS else rollback
        restored = roll_back(root, params, version, by=by or "somebody", reason=reason)
        say(f"version {restored} is champion again")
    elif pending(root, source, params):
        say(described(proposals.propose(root, source, params)))
    else:
        say(standing(root, source, params))


def rollback(root: Path, version: str | None = None, *, by: str, reason: str = "") -> str:
    """Puts an earlier version back into production, by default the champion before this one; returns the version.

    Raises GraftError when there is no such version, ParityError when it does not answer as it should, MachineError when
    MLflow does not answer.
    """
    return roll_back(root, parameters.load(root), version, by=by, reason=reason)


def pending(root: Path, source: Path, params: Params) -> bool:
    """Whether there is something to decide about the bundle of `source`, or to tell MLflow. Imports no mlflow: a driver
    asks before it starts."""
    return proposals.pending(root, source, params)


def described(proposal: Proposal) -> str:
    """What became of a bundle, in a line."""
    about = f"{proposal.strategy} (version {proposal.version})"
    note = f"{proposal.note}; " if proposal.note else ""
    if proposal.line is None:
        return f"{note}{about} waits for approval: {proposal.decision.reason}"
    verdict, reason = proposal.line["decision"], proposal.line["reason"]
    return f"{note}{about}{'' if reason.startswith(verdict) else f' {verdict}'}: {reason}"


def standing(root: Path, source: Path, params: Params) -> str:
    """What was decided about the bundle of `source` before, or waits to be."""
    if (proposal := proposals.waiting(root)) is not None:
        return described(proposal)
    facts = jsonfile.read(source / paths.BUNDLE / bundle.FILE)
    line = decisions.made(root, facts, params.promote)
    if line is None:
        raise GraftError(f"nothing was decided about the bundle of {source} yet")
    return f"{line['strategy']} (version {line['version']}): already decided; {line['reason']}"


if __name__ == "__main__":
    main(promote)
