"""From a bundle to a decision: what speaks for it is gathered, the rule decides, and where params ask for that, a
person is asked before anything changes.

`.graft/proposal.json` is there exactly as long as an answer is waited for.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from components import jsonfile, paths
from components import params as parameters
from components.deployment import bundle
from components.errors import DataError, GraftError, ParamsError, choices
from components.params import Params
from components.promotion import decisions, references, transaction, verification, versions
from components.promotion.decisions import RULE
from components.promotion.evidence import gather, shipped
from components.promotion.rule import Decision, decide
from components.speed.shipping import Shipping
from components.tracking import sync

Answer = Literal["approve", "reject", "timeout"]
ANSWERS: tuple[Answer, ...] = ("approve", "reject", "timeout")


@dataclass(frozen=True)
class Proposal:
    """A registered version, and what was decided about it.

    `id`, `time`, `version`, `strategy`, `bundle`, `data`, `source`, `evidence`, `limits`, `shipped`: as in the decision
    log; `model`: its name in the registry; `champion`: {version, bundle, strategy} of the one that it was compared
    with, None where there was none; `decision`: the rule's; `line`: what the log says of it, None as long as an answer
    is waited for; `note`: what else a person should know.
    """

    id: str
    time: str
    model: str
    version: str
    strategy: str
    bundle: str
    data: str | None
    source: str | None
    champion: Mapping[str, Any] | None
    evidence: Mapping[str, Any] | None
    decision: Decision
    limits: Mapping[str, Any]
    shipped: Mapping[str, Any]
    line: Mapping[str, Any] | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"decision": self.decision.to_dict()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Proposal:
        fields: dict[str, Any] = {**content, "decision": Decision.from_dict(content["decision"])}
        return cls(**fields)

    def place(self, root: Path) -> Path:
        """The workspace that it came from."""
        return root if self.source is None else root / self.source


def propose(root: Path, source: Path, params: Params) -> Proposal:
    """Decides about the bundle of the workspace `source` for the one in `root`, by the rule, and carries the decision
    out; with `promote.approval: manual`, a promotion waits for `settle`. What is decided already, or waits, is given
    as it stands. `params`: those of `root`."""
    with transaction.exclusive(root) as note:
        known = _known(root, source, params)
        if known is None:
            return _propose(root, source, params, note or "")
        if sync.owed(source):  # it was decided while MLflow was away, or nothing but the report has changed
            shown = jsonfile.read(source / paths.TRACKING)["params"]
            sync.sync(root, params.promote.registered_model, shown, source=source)
        return replace(known, note=note or "")


def settle(root: Path, params: Params, answer: Answer, *, by: str, reason: str = "", asked: str = "") -> Proposal:
    """Carries out what a person has answered to the proposal that waits, or that nobody did in time. `asked`: its id,
    where another one must not be meant.

    Where the champion or the bundle is no longer the one of the proposal, an approval promotes nothing: it is proposed
    anew, and `note` says so. Raises ParamsError when no proposal waits.
    """
    if answer not in ANSWERS:
        raise ParamsError(f"{answer!r} is no answer to a proposal; {choices(answer, ANSWERS)}")
    with transaction.exclusive(root):
        proposal = waiting(root)
        if proposal is None or asked not in ("", proposal.id):
            raise ParamsError("no proposal waits for an answer: graft promote makes one where the rule is for it")
        if answer != "approve":
            told = f": {reason}" if reason else ""
            kept = f"timed out: nobody approved in time{told}" if answer == "timeout" else f"rejected by {by}{told}"
            verdict = decisions.TIMED_OUT if answer == "timeout" else decisions.REJECTED
            return _keep(root, proposal, verdict, f"{kept}. The rule: {proposal.decision.reason}", by)
        if why := outdated(root, proposal):
            (root / paths.PROPOSAL).unlink()
            return _propose(root, proposal.place(root), params, f"{why}, so it was decided anew")
        told = f"{proposal.decision.reason}; approved by {by}" + (f": {reason}" if reason else "")
        return _promote(root, proposal, params, told, by)


def force(root: Path, source: Path, params: Params, *, by: str, reason: str) -> Proposal:
    """Promotes the bundle of `source` whatever the rule says of it. It has to verify all the same.

    Raises ParamsError without a reason.
    """
    if not reason.strip():
        raise ParamsError("--force needs --reason TEXT: it stands in the log, and with the version, for good")
    with transaction.exclusive(root) as note:
        proposal = _registered(root, source, params, note or "", forced=True)
        told = f"forced by {by}: {reason.strip()}. The rule: {proposal.decision.reason}"
        return _promote(root, proposal, params, told, by, forced=True)


def waiting(root: Path) -> Proposal | None:
    """The proposal that an answer is waited for."""
    path = root / paths.PROPOSAL
    if not path.exists():
        return None
    proposal = Proposal.from_dict(jsonfile.read(path))
    settled = any(line.get("id") == proposal.id for line in decisions.read(root))
    return None if settled else proposal


def outdated(root: Path, proposal: Proposal) -> str | None:
    """Why it can no longer be approved; None where it can."""
    champion = decisions.champion(root)
    if (champion or {}).get("bundle") != (proposal.champion or {}).get("bundle"):
        return "the champion is another one than that it was compared with"
    if _identity(proposal.place(root)) != proposal.bundle:
        return f"the bundle of {proposal.place(root)} is another one than that it was about"
    return None


def pending(root: Path, source: Path, params: Params) -> bool:
    """Whether there is something to decide about the bundle of `source`, or to tell MLflow. Imports no mlflow: a driver
    asks before it starts."""
    if transaction.interrupted(root) is not None or sync.owed(source):
        return True
    return _known(root, source, params) is None


def _known(root: Path, source: Path, params: Params) -> Proposal | None:
    """What stands about the bundle of `source`: a proposal that waits, or the decision that holds."""
    facts = jsonfile.read(source / paths.BUNDLE / bundle.FILE)
    proposal = waiting(root)
    if proposal is not None and proposal.bundle == bundle.identity(facts) and outdated(root, proposal) is None:
        return proposal
    line = decisions.made(root, facts, params.promote)
    return None if line is None else _of_line(line, params)


def _of_line(line: Mapping[str, Any], params: Params) -> Proposal:
    """As it was when it was settled; lines of earlier versions of Graft tell less."""
    names = ("id", "time", "version", "strategy", "bundle", "data", "source", "evidence", "limits", "shipped")
    promoted, checks = line["decision"] in decisions.REIGNS, line.get("checks", ())
    kept: dict[str, Any] = {name: line.get(name) for name in names}
    return Proposal(
        **kept,
        model=params.promote.registered_model,
        champion=line.get("champion_before"),
        decision=Decision.from_dict({"promoted": promoted, "reason": line["reason"], "checks": checks}),
        line=line,
    )


def _propose(root: Path, source: Path, params: Params, note: str) -> Proposal:
    proposal = _registered(root, source, params, note)
    if not proposal.decision.promoted:
        return _keep(root, proposal, decisions.KEPT, proposal.decision.reason, RULE)
    if params.promote.approval == "manual":
        earlier = waiting(root)
        if earlier is not None and earlier.bundle != proposal.bundle:  # there is place for one
            told = f"timed out: version {proposal.version} was proposed before anybody had answered"
            _keep(root, earlier, decisions.TIMED_OUT, f"{told}. The rule: {earlier.decision.reason}", RULE)
        jsonfile.write(root / paths.PROPOSAL, proposal.to_dict())
        return proposal
    return _promote(root, proposal, params, proposal.decision.reason, RULE)


def _registered(root: Path, source: Path, params: Params, note: str, *, forced: bool = False) -> Proposal:
    """The bundle as a version of the registered model, and what the rule says of it."""
    facts = bundle.read(source / paths.BUNDLE)
    found: dict[str, Any] | None
    try:
        evidence = gather(root, source, parameters.load(source))
    except GraftError as error:
        if not forced:
            raise
        found, decision = None, Decision(False, f"it could not be asked, because {error}")
    else:
        found, decision = evidence.to_dict(), decide(evidence, params.promote)
    version = versions.register(root, source, params, facts, decision, found)
    return Proposal(
        id=uuid.uuid4().hex,
        time=decisions.now(),
        model=params.promote.registered_model,
        version=version,
        **decisions.about(facts),
        source=None if source.resolve() == root.resolve() else _relative(source, root),
        champion=decisions.champion(root),
        evidence=found,
        decision=decision,
        limits=decisions.thresholds(params.promote),
        shipped=shipped(source).to_dict(),
        note=note,
    )


def _promote(root: Path, proposal: Proposal, params: Params, reason: str, by: str, *, forced: bool = False) -> Proposal:
    from components.tracking import store

    source = proposal.place(root)
    line = _line(proposal, decisions.PROMOTED, reason, by, forced=forced)
    client, _ = store.connect(root, proposal.model)
    transaction.carry_out(
        root,
        client,
        transaction.Change(proposal.model, proposal.version, line, versions.tags(line), _card(source, proposal, line)),
        source / paths.BUNDLE,
        Shipping.from_dict(proposal.shipped),
        verification.samples(source),
        lambda staged: references.keep(root, source, staged, params),
    )
    references.prune(root)
    _answered(root, proposal)
    return replace(proposal, line=line)


def _keep(root: Path, proposal: Proposal, decision: str, reason: str, by: str) -> Proposal:
    """Writes down that the champion stays."""
    from components.tracking import registry, store

    line = _line(proposal, decision, reason, by)
    client, _ = store.connect(root, proposal.model)
    with store.reached(root, "nothing was decided; the next graft promote decides"):
        text = _card(proposal.place(root), proposal, line)
        registry.tell(client, proposal.model, proposal.version, versions.tags(line), text)
    decisions.append(root, line)
    _answered(root, proposal)
    return replace(proposal, line=line)


def _answered(root: Path, proposal: Proposal) -> None:
    """No answer is waited for any more about this bundle; about another one it still is."""
    path = root / paths.PROPOSAL
    if path.exists() and jsonfile.read(path)["bundle"] == proposal.bundle:
        path.unlink()


def _card(source: Path, proposal: Proposal, line: Mapping[str, Any]) -> str | None:
    """The version's description; None where its workspace has another bundle by now, or is gone."""
    if _identity(source) != proposal.bundle:
        return None
    return versions.card(source, proposal.model, proposal.version, line["reason"], line["checks"], line["evidence"])


def _line(proposal: Proposal, decision: str, reason: str, by: str, *, forced: bool = False) -> dict[str, Any]:
    return decisions.entry(
        decision,
        proposal.version,
        {"strategy": proposal.strategy, "bundle": proposal.bundle, "data": proposal.data},
        reason=reason,
        by=by,
        id=proposal.id,
        forced=forced,
        source=proposal.source,
        evidence=proposal.evidence,
        checks=[check.to_dict() for check in proposal.decision.checks],
        limits=dict(proposal.limits),
        shipped=proposal.shipped,
        champion_before=proposal.champion,
    )


def _identity(source: Path) -> str | None:
    try:
        return bundle.identity(bundle.read(source / paths.BUNDLE))
    except DataError:
        return None


def _relative(source: Path, root: Path) -> str:
    """From the workspace where it is below it, so that the log holds wherever the workspace is moved to."""
    inside = source.resolve()
    return str(inside.relative_to(root.resolve()) if inside.is_relative_to(root.resolve()) else inside)
