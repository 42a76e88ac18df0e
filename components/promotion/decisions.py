"""The decision log: every decision about a bundle with all that it rests on, one line each, never changed afterwards.

A line of `.graft/decisions.jsonl`:

    id              of the decision: what carries it out twice writes it once
    time            UTC
    decision        "promoted", "kept", "rolled back", "rejected" or "timed out"
    version         in the registry
    strategy        what it was trained by
    bundle          its identity
    data            sha256 of the prepared data that it was judged on
    reason, by      why, in a sentence, and who decided: "rule", or a person
    forced          whether it was promoted whatever the rule said
    source          the workspace that it came from, where that was not this one
    evidence        the figures; null for a rollback
    checks, limits  what the rule made of the figures, and by which thresholds
    shipped         which files went into production and how they are run; null where none did
    champion_before {version, bundle, strategy} of the champion at that time; null where there was none
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from components import durable, jsonfile, paths
from components.deployment import bundle
from components.deployment.bundle import RELEASE
from components.errors import DataError, GraftError
from components.params import PromoteParams
from components.speed.shipping import Shipping

PROMOTED, KEPT, ROLLED_BACK = "promoted", "kept", "rolled back"
REJECTED, TIMED_OUT = "rejected", "timed out"
REIGNS = (PROMOTED, ROLLED_BACK)
"""Decisions after which a version was champion."""
RULE = "rule"
"""Who decides when nobody is asked."""
NO_THRESHOLDS = ("registered_model", "approval", "approval_timeout_h")
"""Keys of `promote` that do not change what the rule says."""


def read(root: Path) -> list[dict[str, Any]]:
    """All decisions, oldest first."""
    return jsonfile.read_lines(root / paths.DECISIONS)


def entry(decision: str, version: str, about: Mapping[str, Any], *, reason: str, by: str, **more: Any) -> dict:
    """A line that is still to be written. `about`: strategy, bundle and data, as `about` tells them; `more`: of the
    keys above, those that are not null."""
    line = {
        "id": uuid.uuid4().hex,
        "time": now(),
        "decision": decision,
        "version": version,
        **about,
        "reason": reason,
        "by": by,
    }
    empty = {"forced": False, "source": None, "evidence": None, "checks": [], "limits": None, "shipped": None,
             "champion_before": None}  # fmt: skip
    unknown = set(more) - {*empty, "id"}
    assert not unknown, f"a decision has no {sorted(unknown)}"
    return {**line, **empty, **more}


def about(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts`: bundle.json."""
    lineage = facts["lineage"]
    return {"strategy": facts["strategy"], "bundle": bundle.identity(dict(facts)), "data": lineage.get("data_sha256")}


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def append(root: Path, line: dict[str, Any]) -> None:
    """Writes it, unless it stands there already; it is on disk when this returns."""
    log = root / paths.DECISIONS
    if all(known.get("id") != line["id"] for known in read(root)):
        jsonfile.append_line(log, line)
        durable.flush([log, log.parent])


def thresholds(limits: PromoteParams) -> dict[str, Any]:
    """What the rule decides by: every key of `promote` but those that have no part in it."""
    names = [field.name for field in fields(limits)]
    return {name: value for name, value in asdict(limits).items() if name in names and name not in NO_THRESHOLDS}


def made(root: Path, facts: Mapping[str, Any], limits: PromoteParams) -> dict[str, Any] | None:
    """The last decision about the bundle of these `facts` that still holds: on the same data, by today's thresholds,
    against today's champion; None when there is none. What is champion already needs no other, and what once was does
    not return by itself: somebody may have rolled it back."""
    identity, reigning = bundle.identity(dict(facts)), champion(root)
    if reigning is None or reigning["bundle"] is None:
        return None
    own = [line for line in read(root) if line["bundle"] == identity]
    if reigning["bundle"] != identity:
        own = [
            line
            for line in own
            if line.get("data") == facts["lineage"].get("data_sha256")
            and line.get("limits") == thresholds(limits)
            and (line["decision"] in REIGNS or (line.get("champion_before") or {}).get("bundle") == reigning["bundle"])
        ]
    return own[-1] if own else None


def champion(root: Path) -> dict[str, Any] | None:
    """{version, bundle, strategy} of what is in production, by its own files; None where nothing is. Each is None where
    the files do not say: they may be damaged, or have been put there by hand."""
    folder = root / paths.CHAMPION
    if not installed(root):
        return None
    found: dict[str, Any] = {"version": None, "bundle": None, "strategy": None}
    try:
        facts = jsonfile.read(folder / bundle.FILE)
        found |= {"bundle": bundle.identity(facts), "strategy": facts["strategy"]}
    except (DataError, KeyError, TypeError, AttributeError):
        return found
    crowned = [line["version"] for line in reigns(root) if line["bundle"] == found["bundle"]]
    return found | {"version": release(folder).get("version") or (crowned[-1] if crowned else None)}


def release(folder: Path) -> dict[str, Any]:
    """What release.json says of the champion in `folder`; nothing where it is not there or damaged."""
    try:
        found = jsonfile.read(folder / RELEASE)
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}


def reigns(root: Path) -> list[dict[str, Any]]:
    """The decisions after which a version was champion, oldest first."""
    return [line for line in read(root) if line["decision"] in REIGNS]


def installed(root: Path) -> bool:
    """Whether there are files in the champion's place."""
    folder = root / paths.CHAMPION
    return folder.is_dir() and any(folder.iterdir())


def gone(root: Path) -> str | None:
    """The version that is champion by the log, where no files are in its place; None where there are some, or there
    never was a champion."""
    known = reigns(root)
    return known[-1]["version"] if known and not installed(root) else None


def previous(root: Path) -> str:
    """The version that was champion before the present one. Raises GraftError when there was none."""
    versions = [line["version"] for line in reigns(root)]
    earlier = [version for version in versions if version != versions[-1]]
    if not earlier:
        raise GraftError("there is no earlier champion to roll back to; graft rollback VERSION takes any in MLflow")
    return earlier[-1]


def shipped(root: Path, version: str) -> Shipping:
    """As when the version was promoted; all of it, run by the defaults, where nothing is known of that here."""
    known = [line["shipped"] for line in read(root) if line["version"] == version and line.get("shipped")]
    return Shipping.from_dict(known[-1]) if known else Shipping()
