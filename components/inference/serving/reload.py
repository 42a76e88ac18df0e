"""The bundle in a place, followed: a promotion or a rollback puts another into the folder that a server was started on,
and the server answers with that one soon after, without a restart and without losing a request.

A thread looks at the folder every second. When something else lies there, and has stood so for two looks, it is loaded
beside the one that answers, in the way that the first one was, and has to answer before it takes over. Where that
fails, the old one goes on, and nothing is tried again until the folder changes.

A look costs some ten system calls and needs no more than a file system: notifications of the kernel (inotify) do not
come from network file systems and are lost with the folder that is exchanged for another.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from components.errors import DataError, GraftError
from components.inference.serving.loaded import Loaded
from components.inference.serving.service import Service

LOG = logging.getLogger("graft.serve")
LOOK_S = 1.0
JOIN_S = 10.0
"""How long a server that stops waits for a load that is under way, which cannot be broken off."""


class Entry(NamedTuple):
    name: str
    inode: int
    bytes: int
    modified_ns: int


class Stamp(NamedTuple):
    """What lies in a place, as far as it can be told without reading it."""

    device: int
    inode: int
    entries: tuple[Entry, ...]


def stamp(folder: Path) -> Stamp | None:
    """None where there is no folder that can be read. All of it is of one folder, also while that is being exchanged
    for another."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        about = os.fstat(handle)
        with os.scandir(handle) as listing:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in listing]
    except OSError:
        return None
    finally:
        os.close(handle)
    entries = (Entry(name, each.st_ino, each.st_size, each.st_mtime_ns) for name, each in found)
    return Stamp(about.st_dev, about.st_ino, tuple(sorted(entries)))


class Watch:
    """`folder`: where the bundle lies; `load`: what loads it from there; `found`: its stamp from before it was loaded
    for the first time. `every_s`: from one look to the next.

    A context: it looks while it is entered.
    """

    def __init__(
        self,
        service: Service,
        folder: Path,
        load: Callable[[], Loaded],
        found: Stamp | None,
        *,
        every_s: float = LOOK_S,
    ) -> None:
        self.service, self.folder, self.every_s = service, folder, every_s
        self._load = load
        self._tried = self._last = found
        """What was loaded or refused, and what the last look saw."""
        self._left_memory = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)

    def _look_on(self) -> None:
        while not self._stop.wait(self.every_s):
            if self.service.state == "ready":
                self._look()

    def _look(self) -> None:
        if self._left_memory:  # by now the requests of the model before were answered
            _give_back_memory()
            self._left_memory = False
        found = stamp(self.folder)
        settled, self._last = found == self._last, found
        if found == self._tried or not settled:
            return
        self._left_memory = True
        try:
            model = self._loaded()
        except Exception as error:  # whatever it is, the server has a model that answers
            if stamp(self.folder) == found:
                self._tried = found
                self._refuse(error)
            return
        if stamp(self.folder) != found:  # files of two bundles, perhaps; the next looks see to it
            model.close()
            return
        self._tried = found
        self.service.replace(model)
        told = "" if model.release is None else f"version {model.release.get('version')}, "
        # As text: a log record that held the model would keep it in memory.
        LOG.warning(f"{self.folder} has changed, and from now on answers as {model}, {told}{model.identity!s:.16}")

    def _loaded(self) -> Loaded:
        """It has answered once."""
        if not self.folder.is_dir():
            raise DataError(f"there is no folder at {self.folder}")
        model = self._load()
        try:
            model.warm_up()
        except BaseException:
            model.close()
            raise
        return model

    def _refuse(self, error: Exception) -> None:
        told = " ".join(str(error).split())
        reason = told if isinstance(error, GraftError) else f"{type(error).__name__} {told}"
        self.service.refuse(reason)
        LOG.warning(
            f"what lies at {self.folder} by now cannot answer, and {self.service.model} goes on: {reason}; it is tried "
            "again when the folder changes"
        )


def _give_back_memory() -> None:
    """What a model that is gone took, the C library keeps for later: up to as much again as the process needs. Has it
    give that back to the system, which takes some milliseconds (man 3 malloc_trim; only glibc has it)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
