"""What several test modules ask of the system."""

from __future__ import annotations

import time
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_gone(running: list[int], within_s: float) -> bool:
    """Whether none of the processes runs any more, at the latest after so many seconds."""
    until = time.monotonic() + within_s
    while any(alive(pid) for pid in running):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
