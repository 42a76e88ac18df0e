"""What this machine remembers for whoever works on it, and could make again: files that took seconds to make, under
keys of everything they depend on.

It lies in $GRAFT_CACHE, else $XDG_CACHE_HOME/graft, else ~/.cache/graft, one folder for each kind.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

ENTRIES = 20
"""How many of a kind are kept: those used last."""
STALE_S = 3600
"""Age after which an unfinished file belongs to a process that was killed."""


def folder(kind: str) -> Path:
    """Where entries of one kind lie. It may not exist. Raises RuntimeError for a user without a home, as in some
    containers."""
    root = os.environ.get("GRAFT_CACHE")
    if root:
        return Path(root) / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graft" / kind


def own_folder(kind: str, key: str) -> Path | None:
    """An entry for others to write into, marked as used now; None where none can be made."""
    try:
        place = folder(kind) / key
        place.mkdir(parents=True, exist_ok=True)
        os.utime(place)
        prune(place.parent, "*")
    except (OSError, RuntimeError):
        return None
    return place


def prune(place: Path, pattern: str, keep: int = ENTRIES) -> None:
    """Removes all but the last used of the entries that fit, and what killed processes left unfinished."""
    ages = [(age, path) for path in place.glob(pattern) if (age := _age_s(path)) is not None]
    too_old = [path for _, path in sorted(ages)[keep:]]
    unfinished = [path for path in place.glob("*.part") if (_age_s(path) or 0) > STALE_S]
    for path in (*too_old, *unfinished):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _age_s(path: Path) -> float | None:
    """Since it was last used; None when another process has just removed it."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
