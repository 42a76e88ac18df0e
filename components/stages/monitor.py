"""monitor: whether the images that come in are still such as the champion was tested with.

Not a stage of `dvc.yaml`, because it depends on what was served meanwhile. Every check is a line of
`.graft/monitor/history.jsonl`; the last one that was no look back is `.graft/monitor/last.json` too, for whoever acts
on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from components import jsonfile, lineage, paths, tensorfile
from components import params as parameters
from components.deployment import bundle
from components.errors import DataError, ParamsError, Unreachable
from components.filelock import locked
from components.monitoring import budget, drift, reference
from components.monitoring.budget import Moment
from components.monitoring.drift import Sample
from components.monitoring.observations import Observations, Window
from components.monitoring.reference import Reference
from components.params import Params
from components.promotion import decisions, transaction
from components.reporting import drift_page
from components.reporting.drift_page import Answers, Moved
from components.stages import monitor_words
from components.stages.command import main, say

LAST = paths.MONITOR / "last.json"
LOCK = paths.MONITOR / "monitor.lock"
DRIFTED = paths.MONITOR / "drift.html"
"""The page of the last check that found drift: MLflow is given it, perhaps later."""


def monitor(until: str | None = None, again: bool = False) -> None:
    """Compares the last images that were observed with those that the champion was tested with.

    `until`: the last ones before this time, such as 2026-11-22T10:00:00Z, instead of before now. `again`: even if
    exactly these were compared before.
    """
    found = watch(Path(), until, again=again)
    for line in monitor_words.told(found):
        say(line)


def watch(root: Path, until: str | None = None, *, again: bool = False) -> dict[str, Any]:
    """`check`, then MLflow is told what it does not know; what cannot be told now waits for the next time.

    Returns the check with `waiting`: how many of them MLflow does not know, and `away`: why.
    """
    found = check(root, until, again=again)
    return {**found, **_tell(root, parameters.load(root))}


def check(root: Path, until: str | None = None, *, again: bool = False) -> dict[str, Any]:
    """Makes one check of a workspace and returns it: the page, the line of the log, and last.json, which a look back
    leaves alone; `repeated`: exactly these images had been compared before, and what was found then still holds.

    Raises DataError where there is no champion or nothing is known of the images that it was tested with, ParamsError
    for a time that is none.
    """
    params = parameters.load(root)
    _recover(root)
    with locked(root / LOCK):
        found = _check(root, params, _moment(until), again=again)
        if until is None:
            jsonfile.write(root / LAST, found)
    return found


def _moment(until: str | None) -> float | None:
    try:
        return None if until is None else budget.seconds(until)
    except ValueError:
        raise ParamsError(f"--until is {until!r}, but must be a time such as 2026-11-22T10:00:00Z") from None


def _recover(root: Path) -> None:
    """Completes or takes back a promotion that was interrupted, if MLflow answers: it matters who is champion."""
    if transaction.interrupted(root):
        with contextlib.suppress(Unreachable), transaction.exclusive(root) as done:
            if done:
                say(done)


def _check(root: Path, params: Params, until: float | None, *, again: bool) -> dict[str, Any]:
    limits, now = params.monitor, budget.present()
    champion = root / paths.CHAMPION
    if not (champion / bundle.FILE).exists():
        raise DataError(f"there is no champion at {champion}: graft promote makes one of the last run's bundle")
    facts = jsonfile.read(champion / bundle.FILE)
    identity = bundle.identity(facts)
    observed, most = Observations.open(root / paths.OBSERVATIONS), max(limits.windows)
    window = observed.recent(most, identity, until)
    sizes = [size for size in sorted(limits.windows) if size <= len(window)]
    window = _last(window, max(sizes, default=most))
    route = reference.usual(window.route)
    known = reference.as_observed(reference.read(root, identity), champion, route)
    drawn = reference.chosen(len(known.images), limits.reference, params.seed)
    before = Sample(*(values[drawn] for values in known.sample))
    windows = {size: _sample(_last(window, size)) for size in sizes}
    observations = lineage.digest(
        [identity, until, list(limits.windows), limits.alpha, limits.permutations, params.seed, _digest(before),
         _digest(_sample(window))]
    )  # fmt: skip
    history = budget.history(root)
    checks = [line for line in history if line.get("kind") == budget.CHECK]
    same = [check for check in checks if check["observations"] == observations]
    if same and not again:
        return {**same[-1], "retrain": _retrain(same[-1], history, now, params), "repeated": True}

    verdict = None
    if windows:
        verdict = drift.compare(before, windows, alpha=limits.alpha, permutations=limits.permutations, seed=params.seed)
    found: dict[str, Any] = {
        "kind": budget.CHECK,
        "number": 1 + max((check["number"] for check in checks), default=0),
        **now.to_dict(),
        "until": None if until is None else budget.stamp(until),
        "bundle": identity,
        "strategy": facts["strategy"],
        "version": (decisions.champion(root) or {}).get("version"),
        "observations": observations,
        "images": len(window),
        "last": window.place[-1].tolist() if len(window) else None,
        "routes": {"reference": known.route, "window": route},
        "checked": verdict is not None,
        "drift": verdict is not None and verdict.drift,
        "windows": list(windows),
        "tests": [asdict(test) for test in verdict.tests] if verdict else [],
        "page": _page(until).as_posix() if verdict or until is None else None,
    }
    shown: list[Moved] = []
    if verdict:
        found |= {
            "confidence": {"reference": float(before.confidence.mean()), "window": float(window.confidence.mean())},
            "answers": {
                "reference": _counts(before.label, known.classes),
                "window": _counts(window.label, known.classes),
            },
        }
        shown = monitor_words.moved(root, window, verdict, known, facts, limits.shown)
    found["moved"] = [
        {name: getattr(entry, name) for name in ("path", "time", "class_name", "confidence", "score")}
        for entry in shown
    ]
    found["sentence"] = monitor_words.sentence(found, len(before.label), min(limits.windows))
    found["retrain"] = _retrain(found, history, now, params)
    reign = [check for check in checks if check["bundle"] == identity and _when(check) <= _when(found)]
    text = _render(found, sorted(reign, key=_when), known, before, window, shown, params)
    if found["page"]:
        jsonfile.write_text(root / found["page"], text)
    if found["drift"]:
        jsonfile.write_text(root / DRIFTED, text)
    budget.append(root, found)
    return {**found, "repeated": False}


def _render(
    found: Mapping, earlier: Sequence[Mapping], known: Reference, before: Sample, window: Window,
    shown: Sequence[Moved], params: Params,
) -> str:  # fmt: skip
    return drift_page.render(
        found,
        [*earlier, found],
        tests=drift.TESTS,
        alpha=params.monitor.alpha,
        windows=params.monitor.windows,
        classes=known.classes,
        reference=Answers(before.label, before.confidence),
        recent=Answers(window.label, window.confidence),
        moved=shown,
        facts=monitor_words.facts(found, known, window, len(before.label), params),
    )


def _when(check: Mapping) -> float:
    return budget.seconds(check["until"] or check["time"])


def _page(until: float | None) -> Path:
    """A look back does not take the present's place, and has a page only where there was something to see."""
    if until is None:
        return paths.DRIFT_REPORT
    return paths.DRIFT_REPORT.with_name(f"{budget.stamp(until).replace(':', '')}.html")


def _last(window: Window, count: int) -> Window:
    start = max(0, len(window) - count)
    return Window(*(getattr(window, field.name)[start:] for field in fields(window)))


def _sample(window: Window) -> Sample:
    return Sample(window.features, window.label, window.confidence)


def _digest(sample: Sample) -> str:
    return tensorfile.digest({name: np.asarray(values) for name, values in sample._asdict().items()})


def _counts(label: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Images by the class that they were answered as."""
    return dict(zip(classes, np.bincount(label, minlength=len(classes)).tolist(), strict=True))


def _retrain(check: Mapping, history: Sequence[Mapping], now: Moment, params: Params) -> dict[str, Any]:
    """Whether this check may start a retraining, and why."""
    if not check["drift"]:
        return {"allowed": False, "reason": "there is no drift" if check["checked"] else "nothing was compared"}
    if check["until"]:
        return {"allowed": False, "reason": "a look back starts none"}
    started = [line for line in history if line.get("kind") == budget.RETRAIN]
    if any(line["observations"] == check["observations"] for line in started):
        return {"allowed": False, "reason": "these very images have started one already"}
    if doubt := monitor_words.doubt(check):
        return {"allowed": False, "reason": doubt}
    allowed, reason = budget.allowed(budget.ages(history, now), params.monitor)
    return {"allowed": allowed, "reason": reason}


def _tell(root: Path, params: Params) -> dict[str, Any]:
    """Delivers to MLflow what it does not know; what it cannot be told now waits."""
    from components.tracking import drift as tracking

    checks = [line for line in budget.history(root) if line.get("kind") == budget.CHECK]
    if not tracking.waiting(root, checks):
        return {"waiting": 0, "away": None}
    try:
        tracking.tell(root, params.promote.registered_model, checks, root / DRIFTED)
    except Unreachable as error:
        return {"waiting": len(tracking.waiting(root, checks)), "away": str(error).partition(": ")[0]}
    return {"waiting": 0, "away": None}


if __name__ == "__main__":
    main(monitor)
