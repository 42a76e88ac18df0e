"""Whether drift may start another retraining: a cool-down and a budget, so that nothing retrains in a loop.

The log is `.graft/monitor/history.jsonl`: a line for every check, and one for every retraining that a check has
started, in the order in which they were written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from components import jsonfile, paths
from components.filelock import locked
from components.params import MonitorParams

HISTORY = paths.MONITOR / "history.jsonl"
LOCK = paths.MONITOR / "history.lock"
CHECK, RETRAIN = "check", "retrain"
"""Kinds of its lines."""
HOUR, DAY = 3600.0, 86400.0


def allowed(now: float, past: Sequence[float], limits: MonitorParams) -> tuple[bool, str]:
    """Whether a retraining may start at `now`, and why, in a sentence; `past`: when drift has started others, in any
    order. Seconds since 1970.

    A time that lies in the future counts as now: the clock was set back since, so how long ago it was is unknown.
    """
    times = sorted(min(moment, now) for moment in past)
    future = sum(moment > now for moment in past)
    doubt = ""
    if future:
        verb = "counts" if future == 1 else "count"
        doubt = f"; the clock was set back, so {_retrainings(future)} of the future {verb} as now"
    if limits.max_retrains == 0:
        return False, "monitor.max_retrains is 0: drift starts no retraining"
    if times and now - times[-1] < limits.cool_down_h * HOUR:
        since, wait = (now - times[-1]) / HOUR, limits.cool_down_h - (now - times[-1]) / HOUR
        return False, (
            f"the last retraining that drift has started was {since:.1f} h ago: the next may start in {wait:.1f} h "
            f"(monitor.cool_down_h is {limits.cool_down_h:g}){doubt}"
        )
    recent = [moment for moment in times if now - moment < limits.budget_days * DAY]
    if len(recent) >= limits.max_retrains:
        # The next may start when so few are left within budget_days that one more fits.
        wait = (recent[-limits.max_retrains] + limits.budget_days * DAY - now) / DAY
        return False, (
            f"drift has started {_retrainings(len(recent))} in the last {limits.budget_days:g} days, and "
            f"monitor.max_retrains is {limits.max_retrains}: the next may start in {wait:.1f} days{doubt}"
        )
    return True, (
        f"drift has started {len(recent)} of the {_retrainings(limits.max_retrains)} that it may in "
        f"{limits.budget_days:g} days{doubt}"
    )


def past(history: Sequence[Mapping], now: float) -> list[float]:
    """When drift has started retrainings, by the lines of the log in their order.

    A time in the future was written before the clock was set back. The retraining then counts as of the first line
    behind it whose time is not in the future: so the cool-down begins when the change of clock is first seen, neither
    forgotten nor repeated until the clock has caught up.
    """
    found = []
    for place, line in enumerate(history):
        if line.get("kind") != RETRAIN:
            continue
        moment = seconds(line["time"])
        if moment > now:
            behind = (seconds(later["time"]) for later in history[place + 1 :])
            moment = next((later for later in behind if later <= now), moment)
        found.append(moment)
    return found


def note(root: Path, reason: str, *, observations: str | None = None, now: float | None = None) -> None:
    """Keeps that drift has started a retraining; `reason`: in a sentence; `observations`: the hash of those that showed
    the drift, by default of the last check."""
    last = root / paths.MONITOR / "last.json"
    check = jsonfile.read(last) if last.exists() else {}
    append(
        root,
        {
            "kind": RETRAIN,
            "time": stamp(time.time() if now is None else now),
            "bundle": check.get("bundle"),
            "observations": observations or check.get("observations"),
            "reason": reason,
        },
    )


def history(root: Path) -> list[dict]:
    return jsonfile.read_lines(root / HISTORY)


def append(root: Path, line: dict) -> None:
    """Adds a line, one process at a time."""
    with locked(root / LOCK):
        jsonfile.append_line(root / HISTORY, line)


def stamp(moment: float) -> str:
    """Seconds since 1970 -> "2026-11-22T10:00:00Z"."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> float:
    """The inverse of `stamp`; also takes other forms of ISO 8601, where a time without a zone is one of UTC. Raises
    ValueError for what is none."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _retrainings(count: int) -> str:
    return f"{count} retraining{'s' * (count != 1)}"
