"""A folder of images that is either there as a whole or not at all, and knows what it was made from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from components.errors import DataError

STAMP = ".complete"


def publish(root: Path, arguments: Mapping[str, object], write: Callable[[Path], None]) -> None:
    """Has `write` fill a new folder beside `root`, then puts it in the place of `root`: a reader never sees half of it.

    The stamp holds the arguments, so the same call does nothing and another call replaces. A folder with no stamp was
    not made here and is not touched.
    """
    stamp = json.dumps(arguments, sort_keys=True)
    if root.exists():
        if (root / STAMP).exists():
            if (root / STAMP).read_text() == stamp:
                return
        elif any(root.iterdir()):
            raise DataError(f"{root} holds files that Graft did not write: move them away, or name another folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        write(folder)
        (folder / STAMP).write_text(stamp)
        if root.exists():
            root.rename(Path(scratch) / "old")
        folder.rename(root)
