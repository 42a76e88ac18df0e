"""What serving and batch prediction leave behind for the monitor: of every answered image its time, the backbone's
features, the probabilities and the answer; of the images themselves nothing, or a sample if somebody asks for it.

<folder>/<bundle's identity>/
    bundle.json              strategy, class names, width of the features, preprocessing
    00000001.rows            a segment: records of one size, in the order in which they came
    00000001.images/00000001-000017.png …    the sample: segment, row, and what the client sent, to the byte

A segment is appended to by all processes that observe this bundle, one batch at a time under a lock that the system
gives back when its holder dies. So the order is that of arrival, whoever answered and whatever the clock said: the last
n are the last n also after the clock was set back or forward. A process that is killed loses at most the batch that it
was writing: a batch is one write, and an incomplete record at the end is ignored by readers and cut off by the next
writer.

Nothing is forced to disk. A power failure then takes what the system had not written yet, mostly the last half minute,
which no test of hundreds of images misses; forcing it would make answers wait for the disk. Rows of zeros that some
file systems leave behind are ignored, and a bundle.json that was lost is written again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from components import jsonfile
from components.errors import DataError, choices
from components.monitoring import reservoir

FORMAT = 1
BEFORE_ALL = (0, -1)
"""A place, segment and row, that lies before all observations."""
ABOUT = "bundle.json"
SEGMENT = re.compile(r"(\d+)\.rows")


def layout(width: int, classes: int) -> np.dtype:
    """A record: 32 + 4 bytes for each of the features + 2 for each class. `time`: UTC, seconds since 1970; `route`:
    precision@provider that answered. Features are as the model gave them, since any rounding would be one of the ways
    in which they can differ from the reference."""
    return np.dtype(
        [
            ("time", "<f8"),
            ("route", "S16"),
            ("label", "<i4"),
            ("confidence", "<f4"),
            ("probabilities", "<f2", (classes,)),
            ("features", "<f4", (width,)),
        ]
    )


@dataclass(frozen=True)
class Window:
    """Observations in the order of arrival. `place` int [n, 2]: segment, and row in it; `time` float64 [n], UTC in
    seconds; `features` float32 [n, D]; `label` int [n], places in the class names; `confidence` float32 [n], the
    probability of that class; `probabilities` float16 [n, C]; `route` [n], precision@provider that answered; `images`:
    for each the file that holds it, or None."""

    place: np.ndarray
    time: np.ndarray
    features: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray
    route: np.ndarray
    images: tuple[Path | None, ...]

    def __len__(self) -> int:
        return len(self.time)


class Kept(NamedTuple):
    """An image of the sample. `time`: when it was answered; `label`: the answer's place in the class names."""

    path: Path
    time: float
    label: int


class Observations:
    """Reads while others write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path) -> Observations:
        """`folder`: where --observe wrote. Where nobody has, there are no observations."""
        return cls(folder)

    def bundles(self) -> list[str]:
        """Identities of the bundles that something was observed of."""
        return sorted(about.parent.name for about in self.folder.glob(f"*/{ABOUT}"))

    def about(self, bundle: str) -> dict[str, Any]:
        """Strategy, task, class names, `features` (their width) and preprocessing. Raises DataError for a bundle that
        nothing was observed of."""
        if bundle not in self.bundles():
            raise DataError(
                f"{self.folder} has no observations of bundle {bundle!r}; {choices(bundle, self.bundles())}"
            )
        return about(self.folder / bundle)

    def recent(self, n: int, bundle: str, until: float | None = None) -> Window:
        """The last n to arrive, or as many as there are; of those whose time is before `until`, if that is given."""
        found: list[tuple[int, np.ndarray, np.ndarray]] = []
        missing = n
        for number, rows, places in self._segments(bundle, newest_first=True):
            if missing <= 0:
                break
            if until is not None:
                earlier = rows["time"] < until
                rows, places = rows[earlier], places[earlier]
            if len(rows):
                found.insert(0, (number, rows[-missing:], places[-missing:]))
                missing -= len(rows)
        return self._window(bundle, found)

    def images(self, limit: int, bundle: str, since: Sequence[int] = BEFORE_ALL) -> list[Kept]:
        """The newest `limit` of the images that were kept, in the order of arrival; of those that arrived after the
        place `since`, or of all where the store was deleted and begun anew meanwhile."""
        if since[0] > max(segments(self.folder / bundle), default=0):
            since = BEFORE_ALL
        found: list[Kept] = []
        for number, rows, places in self._segments(bundle, newest_first=True, with_images=True):
            if len(found) >= limit or number < since[0]:
                break
            known = dict(zip(places.tolist(), rows[["time", "label"]].tolist(), strict=True))
            files = reservoir.kept(self.folder / bundle, number)
            later = [row for row in files if row in known and (number, row) > tuple(since)]
            found = [Kept(Path(files[row].path), *known[row]) for row in later] + found
        return found[max(0, len(found) - limit) :]

    def summary(self) -> list[dict[str, Any]]:
        """For every bundle: identity, strategy, `observations`, `first` and `last` (their earliest and latest time, or
        None), `mib`, `images` and `images_mib`. That with the latest observation comes last."""
        found = []
        for bundle in self.bundles():
            # A copy, since a view of the times alone would hold all that was read.
            parts = [(number, rows["time"].copy()) for number, rows, _ in self._segments(bundle)]
            times = np.concatenate([part for _, part in parts] or [np.empty(0)])
            kept = [file for number, _ in parts for file in reservoir.kept(self.folder / bundle, number).values()]
            found.append(
                {
                    "bundle": bundle,
                    "strategy": self.about(bundle).get("strategy"),
                    "observations": len(times),
                    "first": float(times.min()) if len(times) else None,
                    "last": float(times.max()) if len(times) else None,
                    "mib": sum(file.size for file in segments(self.folder / bundle).values()) / 2**20,
                    "images": len(kept),
                    "images_mib": sum(file.size for file in kept) / 2**20,
                }
            )
        return sorted(found, key=lambda entry: entry["last"] or 0.0)

    def _segments(
        self, bundle: str, *, newest_first: bool = False, with_images: bool = False
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Number, records and their places in the segment. Each is read when it is asked for; `with_images`: those of
        which none was kept are not."""
        folder = self.folder / bundle
        if not (folder / ABOUT).exists():
            return
        record = record_of(about(folder))
        for number in sorted(segments(folder), reverse=newest_first):
            if with_images and not reservoir.kept(folder, number):
                continue
            with contextlib.suppress(FileNotFoundError):  # pruned since the folder was listed
                rows = np.frombuffer(_whole(segment(folder, number).read_bytes(), record.itemsize), record)
                places = np.flatnonzero(rows["time"] > 0)
                yield number, rows[places] if len(places) < len(rows) else rows, places

    def _window(self, bundle: str, found: list[tuple[int, np.ndarray, np.ndarray]]) -> Window:
        known = (self.folder / bundle / ABOUT).exists()
        told = about(self.folder / bundle) if known else {"features": 0, "classes": []}
        rows = np.concatenate([rows for _, rows, _ in found] or [np.empty(0, record_of(told))])
        files = {
            (number, row): file.path
            for number, _, _ in found
            for row, file in reservoir.kept(self.folder / bundle, number).items()
        }
        numbers = [np.full(len(places), number) for number, _, places in found]
        return Window(
            place=np.stack([np.concatenate([*own, np.empty(0, int)]) for own in (numbers, [f[2] for f in found])], 1),
            time=rows["time"].copy(),
            features=rows["features"].copy(),
            label=rows["label"].astype(np.int64),
            confidence=rows["confidence"].copy(),
            probabilities=rows["probabilities"].copy(),
            route=rows["route"].astype(str),
            images=tuple(
                Path(files[number, place]) if (number, place) in files else None
                for number, _, places in found
                for place in places.tolist()
            ),
        )


def record_of(about: dict[str, Any]) -> np.dtype:
    return layout(about["features"], len(about["classes"]))


def segment(folder: Path, number: int) -> Path:
    return folder / f"{number:08}.rows"


def segments(folder: Path) -> dict[int, reservoir.File]:
    """A bundle's segments by number, in the order in which they were begun."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as listing:
        for entry in listing:
            if matched := SEGMENT.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):  # pruned since the folder was listed
                    about = entry.stat()
                    found[int(matched[1])] = reservoir.File(entry.path, about.st_size, about.st_mtime)
    return dict(sorted(found.items()))


def delete(path: Path) -> None:
    """A segment and its images."""
    path.unlink(missing_ok=True)
    shutil.rmtree(reservoir.below(path.parent, int(path.stem)), ignore_errors=True)


def described(folder: Path) -> bool:
    """Whether bundle.json is there, and not lost in part to a power failure."""
    try:
        return bool(json.loads((folder / ABOUT).read_bytes()))
    except (FileNotFoundError, ValueError):
        return False


def about(folder: Path) -> dict[str, Any]:
    about = jsonfile.read(folder / ABOUT)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise DataError(f"{folder / ABOUT} does not describe observations of format {FORMAT}, which is read here")
    return about


def _whole(content: bytes, size: int) -> bytes:
    return content[: len(content) // size * size]
