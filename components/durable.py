"""What must still be there after the machine itself went down: files whose bytes are on disk, not only in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def flush(paths: Iterable[Path]) -> None:
    """Returns when the contents of these files, and the names in these folders, are on disk.

    A rename is atomic for other processes; after a power cut it is only if what was renamed had been flushed before.
    """
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def flush_tree(folder: Path) -> None:
    """`flush` of a folder and of all that is in it."""
    flush([*folder.rglob("*"), folder])
