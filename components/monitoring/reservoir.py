"""A few of the images that were answered, as they came in: a fair sample of each stretch of time, within a limit of
bytes.

A reservoir takes a sample of a stream whose length nobody knows yet, each of its items with equal probability: Vitter,
1985, "Random sampling with a reservoir", ACM Transactions on Mathematical Software 11(1), algorithm R. Here every
process has one for each segment of observations that it adds to, so that what came last is always represented, however
much came before.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import random
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from components.data.images import kind

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tiff"}
SHARE = 4
"""Segments that may hold images before the limit is reached. Fewer would leave the images of too short a time, more
too few of each for those that have just changed."""
ROOM = 8
"""Room is made for this part of the limit at a time, and then what other processes have added is counted as well. An
image that is larger is never kept."""
AHEAD_S = 3600.0
"""By which a file may have been changed after now, as where a server keeps the files whose clock is another one."""
LEFT_BEHIND_S = 60.0
"""After which an unfinished file is one that nobody will finish."""
FOLDER = re.compile(r"(\d+)\.images")
NAME = re.compile(r"\d+-(\d+)\.\w+")


class Reservoir:
    """`capacity`: items that it holds at most; `offered`: items that it was shown."""

    def __init__(self, capacity: int, seed: str) -> None:
        self.capacity, self.offered = capacity, 0
        self._random = random.Random(seed)

    def place(self) -> int | None:
        """Where the next item goes, in the place of what is there; None: it is not taken."""
        self.offered += 1
        if self.offered <= self.capacity:
            return self.offered - 1
        place = self._random.randrange(self.offered)
        return place if place < self.capacity else None


class File(NamedTuple):
    """`path` as text, since a folder may hold hundreds of thousands; `changed`: seconds since 1970."""

    path: str
    size: int
    changed: float


class Keeper:
    """Writes one process's share of the images. `root`: the folder of all bundles' observations, whose images
    together take at most `limit` bytes; `folder`: this bundle's; `rows`: of a segment.

    Any number of processes may keep images at once. Each counts the others' only when it makes room, so that with n
    of them the limit may be exceeded by n - 1 eighths at most.
    """

    def __init__(self, root: Path, folder: Path, limit: int, rows: int) -> None:
        self.root, self.folder, self.limit, self.rows = root, folder, limit, rows
        self._segment: int | None = None
        self._reservoir = Reservoir(0, "")
        self._kept: list[Path] = []
        """What is in the reservoir, by place."""
        self._images = self._bytes = 0
        self._added = 0
        """Bytes since room was made."""

    def offer(self, contents: Sequence[bytes | None], segment: int, first: int) -> int:
        """The files of the observations from row `first` of a segment on; None for an image that came as none. Returns
        how many were kept. Raises OSError when one cannot be written."""
        taken = 0
        for row, content in enumerate(contents, first):
            if content is None or len(content) > self.limit // ROOM:
                continue
            if segment != self._segment:
                self._begin(segment, row, len(content))
            self._images, self._bytes = self._images + 1, self._bytes + len(content)
            place = self._reservoir.place()
            if place is not None:
                self._keep(place, content, file(self.folder, segment, row, content))
                taken += 1
        return taken

    def _begin(self, segment: int, row: int, size: int) -> None:
        """The mean size of the images so far says how many make up the share of a segment, and the rows that are left
        in this one say which part of it is this process's."""
        mean = self._bytes / self._images if self._images else size
        whole = int(self.limit / SHARE / max(1.0, mean))
        left = max(1, self.rows - row)
        if self._segment is None:
            tidy(self.folder)
            self._make_room()
        self._segment, self._kept = segment, []
        self._reservoir = Reservoir(max(1, min(left, whole * left // self.rows)), f"{segment} {row}")

    def _keep(self, place: int, content: bytes, path: Path) -> None:
        self._added += len(content)
        if self._added > self.limit // ROOM:
            self._make_room()
            self._added = len(content)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            try:
                unfinished.write_bytes(content)
            except FileNotFoundError:  # the segment's first
                path.parent.mkdir(parents=True, exist_ok=True)
                unfinished.write_bytes(content)
            unfinished.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
        if place < len(self._kept):
            self._kept[place].unlink(missing_ok=True)
        self._kept[place : place + 1] = [path]

    def _make_room(self) -> None:
        prune(self.root, self.limit - self.limit // ROOM)
        self._added = 0


def file(folder: Path, segment: int, row: int, content: bytes) -> Path:
    """Of an observation's image; `row`: its place in the segment."""
    suffix = SUFFIXES.get(kind(content) or "", ".image")
    return below(folder, segment) / f"{segment:08}-{row:06}{suffix}"


def below(folder: Path, segment: int) -> Path:
    """Where a segment's images are; `folder`: the bundle's."""
    return folder / f"{segment:08}.images"


def kept(folder: Path, segment: int) -> dict[int, File]:
    """A segment's images by the place of their observation, in the order in which they came."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(below(folder, segment)) as listing:
        for entry in listing:
            if matched := NAME.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):  # replaced or pruned since the folder was listed
                    about = entry.stat()
                    found[int(matched[1])] = File(entry.path, about.st_size, about.st_mtime)
    return dict(sorted(found.items()))


def tidy(folder: Path) -> None:
    """Deletes what processes that were killed have left unfinished."""
    for unfinished in folder.glob("*.images/.*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - unfinished.stat().st_mtime > LEFT_BEHIND_S:
                unfinished.unlink()


def prune(root: Path, limit: int) -> None:
    """Deletes the oldest images of all bundles until the rest take no more than `limit` bytes."""
    groups = []
    for folder in root.iterdir():
        numbers = sorted(int(found[1]) for below in folder.glob("*.images") if (found := FOLDER.fullmatch(below.name)))
        groups.append([file for number in numbers for file in kept(folder, number).values()])
    for file in surplus(groups, limit):
        Path(file.path).unlink(missing_ok=True)


def surplus(groups: Iterable[Sequence[File]], limit: int) -> Iterator[File]:
    """What must go so that the rest takes no more than `limit` bytes: the oldest. Within a group the order given says
    which is older, whatever the clock said; between groups, the time of the last change. What was changed in the
    future, because the clock was set back since, goes first: else it would stay for years, and what is new would go."""
    lists = [list(files) for files in groups]
    over = sum(file.size for files in lists for file in files) - limit
    latest = time.time() + AHEAD_S
    for file in heapq.merge(*lists, key=lambda file: file.changed if file.changed < latest else 0.0):
        if over <= 0:
            return
        over -= file.size
        yield file
