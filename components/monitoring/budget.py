"""Whether drift may start another retraining: a cool-down and a budget, so that nothing retrains in a loop.

The log is `.graft/monitor/history.jsonl`: a line for every check, and one for every retraining that a check has
started, in the order in which they were written. It keeps what fits `MOST_BYTES`, and every retraining.

A clock may be set, forward or back, and whoever counted time by it alone would retrain at once or not for years. So
each line also says how long the system had been up, which nobody sets. The clock is asked only where the system was
started anew in between; that it stood a year ahead after such a start, and stays so, nobody could know.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from components import jsonfile, paths
from components.filelock import locked
from components.params import MonitorParams

HISTORY = paths.MONITOR / "history.jsonl"
LOCK = paths.MONITOR / "history.lock"
MOST_BYTES = 16 * 2**20
"""Of the log; half of it goes when it is full. Of ten classes that is half a year of hourly checks, or more."""
CHECK, RETRAIN = "check", "retrain"
"""Kinds of its lines."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
HOUR, DAY = 3600.0, 86400.0


class Moment(NamedTuple):
    """`time`: by the clock, seconds since 1970; `boot`: which start of which system it was in, None where none is
    known; `uptime_s`: since that start, standby included."""

    time: float
    boot: str | None = None
    uptime_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As a line of the log has it."""
        known = {} if self.boot is None else {"boot": self.boot, "uptime_s": self.uptime_s}
        return {"time": stamp(self.time), **known}

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> Moment:
        return cls(seconds(line["time"]), line.get("boot"), line.get("uptime_s", 0.0))


def present() -> Moment:
    try:
        return Moment(time.time(), BOOT.read_text().strip(), round(time.clock_gettime(time.CLOCK_BOOTTIME), 3))
    except (OSError, AttributeError):  # a system without the one or the other
        return Moment(time.time())


def allowed(ages: Sequence[float], limits: MonitorParams) -> tuple[bool, str]:
    """Whether a retraining may start, and why, in a sentence; `ages`: how long ago drift has started others, in
    seconds."""
    if limits.max_retrains == 0:
        return False, "monitor.max_retrains is 0: drift starts no retraining"
    last = min(ages, default=math.inf)
    if last < limits.cool_down_h * HOUR:
        return False, (
            f"the last retraining that drift has started was {last / HOUR:.1f} h ago: the next may start in "
            f"{limits.cool_down_h - last / HOUR:.1f} h (monitor.cool_down_h is {limits.cool_down_h:g})"
        )
    recent = sorted(age for age in ages if age < limits.budget_days * DAY)
    if len(recent) >= limits.max_retrains:
        # The next may start when so few are left within budget_days that one more fits.
        wait = limits.budget_days - recent[limits.max_retrains - 1] / DAY
        return False, (
            f"drift has started {_retrainings(len(recent))} in the last {limits.budget_days:g} days, and "
            f"monitor.max_retrains is {limits.max_retrains}: the next may start in {wait:.1f} days"
        )
    return True, (
        f"drift has started {len(recent)} of the {_retrainings(limits.max_retrains)} that it may in "
        f"{limits.budget_days:g} days"
    )


def ages(history: Sequence[Mapping], now: Moment) -> list[float]:
    """How long ago drift has started retrainings, in seconds, by the lines of the log; the newest first.

    That is the time from line to line, or what the retraining's own line says against now if that is less: a clock that
    was wrong for a while makes one of the two too long. A step back counts as no time, since nobody knows how long it
    took.
    """
    found, age, later = [], 0.0, now
    for line in reversed(history):
        moment = Moment.from_dict(line)
        age += max(0.0, _passed(moment, later))
        later = moment
        if line.get("kind") == RETRAIN:
            straight = _passed(moment, now)
            found.append(min(age, straight) if straight >= 0 else age)
    return found


def _passed(earlier: Moment, later: Moment) -> float:
    if earlier.boot is not None and earlier.boot == later.boot:
        return later.uptime_s - earlier.uptime_s
    return later.time - earlier.time


def note(root: Path, reason: str, *, observations: str | None = None, now: Moment | None = None) -> None:
    """Keeps that drift has started a retraining; `reason`: in a sentence; `observations`: the hash of those that showed
    the drift, by default of the last check."""
    last = root / paths.MONITOR / "last.json"
    check = jsonfile.read(last) if last.exists() else {}
    append(
        root,
        {
            "kind": RETRAIN,
            **(now or present()).to_dict(),
            "bundle": check.get("bundle"),
            "observations": observations or check.get("observations"),
            "reason": reason,
        },
    )


def history(root: Path) -> list[dict]:
    return jsonfile.read_lines(root / HISTORY)


def append(root: Path, line: dict) -> None:
    """Adds a line, one process at a time, and makes room where the log has grown too large."""
    file = root / HISTORY
    with locked(root / LOCK):
        jsonfile.append_line(file, line)
        if file.stat().st_size > MOST_BYTES:
            jsonfile.write_lines(file, _newest(jsonfile.read_lines(file), MOST_BYTES // 2))


def _newest(lines: Sequence[dict], size: int) -> list[dict]:
    """The last of them that take so many bytes together, and before these the retrainings."""
    kept: list[dict] = []
    for line in reversed(lines):
        size -= len(jsonfile.dumps(line))
        if size >= 0 or not kept or line.get("kind") == RETRAIN:
            kept.append(line)
    return kept[::-1]


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
