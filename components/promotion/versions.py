"""A bundle as a version of the registered model, with all that someone who finds it there has to know: the card, the
decision's figures as tags, and what it takes to build it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components import jsonfile, lineage, machine, paths
from components.data import prepared
from components.deployment import bundle
from components.params import FILE, Params
from components.promotion.rule import Decision

LOCK_FILE = "dvc.lock"
ORIGIN = "origin.json"
SHORT = 250
"""Characters of a reason in a tag; the description and the decision log have all of it."""
DIRTY = "+changes"
"""How `lineage.git_commit` marks a commit that the code differed from."""


def register(
    root: Path,
    source: Path,
    params: Params,
    facts: Mapping[str, Any],
    decision: Decision,
    evidence: Mapping[str, Any] | None,
) -> str:
    """Makes the bundle of `source` a version in the registry of `root`, once, and the challenger; returns the version.

    `params`: those of `root`; `facts`: bundle.json; `decision`, `evidence`: what its card tells.
    """
    from components.tracking import registry, store, sync

    name, identity = params.promote.registered_model, bundle.identity(dict(facts))
    with store.reached(root, "nothing was decided; the next graft promote decides"):
        told = sync.sync(root, name, jsonfile.read(source / paths.TRACKING)["params"], source=source)
        client, experiment_id = store.connect(root, name)
        run_id = sync.find_run(client, experiment_id, told["strategies"][facts["strategy"]])
        assert run_id is not None  # sync has just made it
        if registry.find_version(client, name, identity) is None:
            registry.keep(client, run_id, identity, origin(root, source, facts))
        version = registry.register(client, name, run_id, source / paths.BUNDLE, _example(source))
        text = card(source, name, version, decision.reason, [check.to_dict() for check in decision.checks], evidence)
        registry.tell(client, name, version, {}, text)
        registry.point(client, name, registry.CHALLENGER, version)
    return version


def card(
    source: Path,
    name: str,
    version: str,
    reason: str,
    checks: Sequence[Mapping[str, Any]],
    evidence: Mapping[str, Any] | None,
) -> str:
    """The description of a version that was made in the workspace `source`. `reason`, `checks`, `evidence`: of the
    decision about it, as the log has them."""
    from components.tracking import model_card

    facts = jsonfile.read(source / paths.BUNDLE / bundle.FILE)
    benchmark = jsonfile.read(source / paths.BENCHMARK) if (source / paths.BENCHMARK).exists() else None
    return model_card.card(
        facts,
        jsonfile.read(source / paths.EVALUATION),
        jsonfile.read(source / paths.MODELS / facts["strategy"] / "model.json"),
        benchmark if benchmark is not None and benchmark.get("bundle") == bundle.identity(facts) else None,
        name=name,
        version=version,
        decision=reason,
        checks=checks,
        evidence=evidence,
    )


def tags(line: Mapping[str, Any]) -> dict[str, str]:
    """A decision's line as tags of its version: what MLflow's table of versions can show and search."""
    found = {"decision": line["decision"], "reason": _short(line["reason"]), "by": line["by"], "time": line["time"]}
    if lead := leading(line):
        found |= {"lead": f"{lead['value']:.4f}", "lead_low": f"{lead['low']:.4f}", "lead_high": f"{lead['high']:.4f}"}
    if line["checks"]:
        failed = [check["name"] for check in line["checks"] if not check["passed"]]
        found |= {"checks_passed": str(len(line["checks"]) - len(failed)), "checks_failed": ", ".join(failed) or "none"}
    if line["forced"]:
        found["forced"] = "true"
    return {f"graft.{key}": value for key, value in found.items()}


def leading(line: Mapping[str, Any]) -> Mapping[str, float] | None:
    """The lead that a decision rests on, {value, low, high}: on the recent images where the challenger was adapted to
    some, else on the test images; None where there was nobody to lead over."""
    evidence = line.get("evidence")
    if not evidence:
        return None
    recent = evidence.get("recent")
    return recent["lead"] if recent and recent["votes_from"] == "run" else evidence.get("lead")


def _short(reason: str) -> str:
    return reason if len(reason) <= SHORT else reason[: SHORT - 2].rstrip() + " …"


def _example(source: Path) -> np.ndarray:
    """uint8 [1, S, S, 3], as callers send them."""
    target = prepared.read(source / paths.PREPARED).target
    return np.asarray(target.pixels[target.rows("val", labelled=True)[:1]])


def origin(root: Path, source: Path, facts: Mapping[str, Any]) -> dict[str, str]:
    """What `rebuild` needs: params, DVC's hashes, and where code and data came from. `commit` is of the moment of the
    export; `changed` names the files of today that differ from it, where some did then."""
    commit = facts["lineage"].get("git_commit") or ""
    known = {
        "commit": commit.removesuffix(DIRTY) or None,
        "changed": lineage.changed_files(root) if commit.endswith(DIRTY) else [],
        "data_sha256": facts["lineage"].get("data_sha256"),
        "workspace": None if source.resolve() == root.resolve() else source.name,
        "machine": machine.describe(),
        "versions": facts["lineage"].get("versions", {}),
    }
    texts = {
        name: (source / name).read_text(encoding="utf-8") for name in (FILE, LOCK_FILE) if (source / name).exists()
    }
    return {**texts, ORIGIN: jsonfile.dumps(known)}
