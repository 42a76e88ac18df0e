"""Image files out of folders, in an order that does not depend on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.data.images import SUFFIXES


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are given; for a folder, the images below it by their suffix, sorted, folder after folder.

    Names that start with a dot are left out, as `prepare` does with class folders. A link to a folder is followed, but
    no folder is entered twice. A folder that cannot be read stands for itself: reading it as an image says why.
    """
    entered: set[tuple[int, int]] = set()
    for path in paths:
        if path.is_dir():
            yield from _below(path, entered)
        else:
            yield path


def _below(folder: Path, entered: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        about = folder.stat()
        with os.scandir(folder) as listing:
            entries = sorted((entry.name, entry.is_dir()) for entry in listing if not entry.name.startswith("."))
    except OSError:
        yield folder
        return
    if (about.st_dev, about.st_ino) in entered:
        return
    entered.add((about.st_dev, about.st_ino))
    for name, is_folder in entries:
        path = folder / name
        if is_folder:
            yield from _below(path, entered)
        elif path.suffix.lower() in SUFFIXES:
            yield path
