"""Writes observations (see `observations`) from inside a process that answers, which must go on answering when the disk
is full, read-only or gone. One that hangs holds it up: a batch is written before its answers are given, so that a kill
loses none."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components import jsonfile
from components.errors import DataError, MachineError
from components.filelock import locked
from components.monitoring import observations, reservoir
from components.monitoring.observations import ABOUT, FORMAT

ROWS = 1024
"""Observations in a segment, unless that is more than an eighth of what all may take."""
SEGMENT_S = 24 * 3600.0
"""After which a segment is closed, so that the images of the last days are kept also where few come in: each segment
has its share."""
MIB = 512
"""What all observations may take by default, without images."""
WAIT_S = 0.1
"""For another process that is writing its batch, which takes microseconds."""


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Busy(OSError):
    """Another process holds the segment, because it was stopped in the middle of a write."""


class Recorder:
    """Threads may share it, and any number of processes may record into the same folder.

    `folder`: of all bundles' observations; `bundle`: the identity of the one that answers; `classes`: names in the
    order of the probabilities; `width`: of the features; `route`: precision@provider that answers; `about`: what else
    bundle.json is to say of it. `mib`: what the observations of all bundles may take, without images, and
    `keep_images_mib`: what the sample of images may; the oldest are deleted. `clock`: seconds since 1970; `say`: is
    told once when nothing can be recorded, and once when something can again.

    Raises MachineError when the folder cannot be written to, and DataError when what is there is not of this bundle. A
    disk that is full is neither: what answers must start all the same.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bundle: str,
        classes: Sequence[str],
        width: int,
        route: str,
        about: Mapping[str, Any] | None = None,
        mib: float = MIB,
        keep_images_mib: float = 0,
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.root, self.folder = folder, folder / bundle
        self.record = observations.layout(width, len(classes))
        own = {"format": FORMAT, "bundle": bundle, "classes": list(classes), "features": width}
        self.about = {**own, **(about or {})}
        self.limit = int(mib * 2**20)
        self.rows = max(1, min(ROWS, self.limit // 8 // self.record.itemsize))
        self.recorded = self.missed = 0
        self._route = route.encode()
        self._clock, self._say = clock, say or _to_stderr
        self._lock = threading.Lock()
        self._file: int | None = None
        self._number, self._following = 0, self.folder
        """Of the segment, and where the one after it will be, whose presence says that this one is closed."""
        self._began: float | None = None
        """Time of the segment's first record."""
        self._reasons: dict[str, str] = {}
        """Of what cannot be written at present: "observations" or "images"."""
        self._keeper = None
        if keep_images_mib:
            self._keeper = reservoir.Keeper(folder, self.folder, int(keep_images_mib * 2**20), self.rows)
        try:
            self._open()
        except OSError as error:
            if error.errno not in FULL:
                raise MachineError(f"cannot write observations to {folder}: {error.strerror or error}") from None
            self._failed("observations", error)
        if observations.described(self.folder):
            self._require_same()

    def _require_same(self) -> None:
        told = observations.about(self.folder)
        for name in ("features", "classes"):
            if told[name] != self.about[name]:
                raise DataError(
                    f"{self.folder / ABOUT} says that {name} are {told[name]}, but this model's are {self.about[name]}"
                )

    @property
    def keeps_images(self) -> bool:
        """Whether `add` has any use for the images' bytes."""
        return self._keeper is not None

    def add(
        self, features: np.ndarray, probabilities: np.ndarray, contents: Sequence[bytes | None] | None = None
    ) -> None:
        """A batch: features [n, D], probabilities [n, C], and the image files' bytes where they are known. Never raises
        for what the disk, or whoever else writes, does."""
        label = probabilities.argmax(1)
        rows = np.zeros(len(label), self.record)
        rows["route"] = self._route
        rows["label"] = label
        rows["confidence"] = probabilities[np.arange(len(label)), label]
        rows["probabilities"] = probabilities
        rows["features"] = features
        with self._lock:
            rows["time"] = now = self._clock()
            before = self.recorded
            try:
                first = self._append(rows, now)
            except OSError as error:
                self._failed("observations", error)
                self._close()
            else:
                self._worked("observations")
                self._keep(contents or [], first)
            self.missed += len(rows) - (self.recorded - before)

    def close(self) -> None:
        """Says how many answers were not recorded, if that is still going on."""
        with self._lock:
            self._close()
            if "observations" in self._reasons:
                self._say(f"{self.missed:,} answers were not recorded in {self.root}")

    def _keep(self, contents: Sequence[bytes | None], first: int) -> None:
        if self._keeper is None:
            return
        try:
            if self._keeper.offer(contents, self._number, first):
                self._worked("images")
        except OSError as error:
            self._failed("images", error)

    def _append(self, rows: np.ndarray, now: float) -> int:
        """Returns the place of the first in its segment, and counts as recorded what was written, also if it raises."""
        file, first = self._hold(now)
        size, content, done = self.record.itemsize, rows.tobytes(), 0
        try:
            while done < len(content):
                done += os.write(file, content[done:])
        finally:  # what a full disk has cut short, the next write cuts off
            self.recorded += done // size
            fcntl.flock(file, fcntl.LOCK_UN)
        return first

    def _hold(self, now: float) -> tuple[int, int]:
        """Locks the segment to append to, which may be a new one, and returns its file and how many records it has."""
        while True:
            file = self._open() if self._file is None else self._file
            self._take(file)
            about = os.fstat(file)
            rows, torn = divmod(about.st_size, self.record.itemsize)
            # Else it was pruned, or another process has closed it.
            if about.st_nlink and not self._following.exists():
                if not rows:
                    self._began = now
                elif self._began is None:
                    self._began = float(np.frombuffer(os.pread(file, 8, 0), "<f8")[0])
                if rows < self.rows and now - self._began < SEGMENT_S:
                    if torn:
                        os.ftruncate(file, about.st_size - torn)
                    return file, rows
                self._following.touch()
            self._close()

    def _take(self, file: int) -> None:
        """The lock. Whoever has it gives it back within microseconds, unless it was stopped in between: nobody's
        answers may wait for that."""
        until = time.monotonic() + (0.0 if "observations" in self._reasons else WAIT_S)
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise Busy("another process holds the file and was stopped") from None
                time.sleep(0.0005)

    def _open(self) -> int:
        """The newest segment."""
        if not observations.described(self.folder):
            with locked(self.folder / ".lock"):
                jsonfile.write(self.folder / ABOUT, self.about)
        self._number = max(observations.segments(self.folder), default=1)
        path = observations.segment(self.folder, self._number)
        self._following = observations.segment(self.folder, self._number + 1)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        self._began = None
        groups = [list(observations.segments(folder).values()) for folder in self.root.iterdir() if folder.is_dir()]
        for surplus in reservoir.surplus(groups, self.limit):
            if Path(surplus.path) != path:
                observations.delete(Path(surplus.path))
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _failed(self, what: str, error: OSError) -> None:
        if what not in self._reasons:
            self._reasons[what] = reason = error.strerror or str(error)
            self._say(f"{what} cannot be written to {self.root} ({reason}); answers go on without them")

    def _worked(self, what: str) -> None:
        if self._reasons.pop(what, None) is not None:
            told = f"; {self.missed:,} answers were not recorded so far" if what == "observations" else ""
            self._say(f"{what} are written to {self.root} again{told}")


def _to_stderr(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # it may lead to a file on the same full disk, or be closed
        print(f"graft: {message}", file=sys.stderr, flush=True)
