"""Array files that are made row by row, and folders of them that replace the previous ones only when they are whole.

Rows are read and written by position in the file (pread, pwrite) instead of through a memory map: written pages would
count as this process's memory, and a map on a full disk ends the process instead of raising an error.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from components.errors import MachineError

BLOCK = 2**24
"""Bytes that are copied at once."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Rows:
    """The rows of an .npy file of format 1.0. `count` of them, each `shape` and `dtype`."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        """Opens a file that is there. Raises OSError and ValueError for one that is missing or torn."""
        self.path, self._writable = path, writable
        with path.open("rb") as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError(f"{path} is an array file of another version than 1.0")
            shape, by_column, self.dtype = np.lib.format.read_array_header_1_0(stream)
            self._start = stream.tell()
            size = stream.seek(0, os.SEEK_END)
        self.count, self.shape = shape[0], tuple(shape[1:])
        self._bytes = prod(self.shape) * self.dtype.itemsize
        if by_column or size != self._start + self.count * self._bytes:
            raise ValueError(f"{path} is torn: it has {size} bytes")
        self._file = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)

    @classmethod
    def create(cls, path: Path, shape: Sequence[int], dtype: np.typing.DTypeLike) -> Rows:
        """A file of zeros, whose place on the disk is taken. Raises OSError where there is no room."""
        header = _header(shape, dtype)
        size = len(header) + prod(shape) * np.dtype(dtype).itemsize
        with path.open("wb") as stream:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
            else:
                stream.truncate(size)
            stream.write(header)
        return cls(path, writable=True)

    def __reduce__(self) -> tuple:
        """Sent to another process, it is opened again there."""
        return _open, (self.path, self._writable)

    def close(self) -> None:
        os.close(self._file)

    def read(self, row: int, count: int = 1) -> bytes:
        content = os.pread(self._file, count * self._bytes, self._start + row * self._bytes)
        if len(content) != count * self._bytes:
            raise ValueError(f"{self.path} is torn: it ends within row {row}")
        return content

    def write(self, row: int, content: bytes | np.ndarray) -> None:
        """The content of one row or several."""
        left = np.frombuffer(content, np.uint8).data
        at = self._start + row * self._bytes
        while left:
            written = os.pwrite(self._file, left, at)
            left, at = left[written:], at + written

    def keep(self, order: np.ndarray) -> None:
        """Row order[i] becomes row i, for int64 [M] numbers that stand there once each; where one is negative, row i is
        anything, to be written later. All other rows are forgotten.

        In place, since a copy might not fit on the disk. A row that nobody wants is overwritten by the one that belongs
        there, which leaves a place to be filled in turn, and so on. What is left then are closed rings, of which one
        row is held in memory meanwhile.
        """
        wanted = np.zeros(self.count, bool)
        wanted[order[order >= 0]] = True
        placed = order < 0
        sources = order.tolist()
        for start in np.flatnonzero(~wanted[: len(order)]).tolist():
            place = start
            while place < len(order) and not placed[place]:
                self.write(place, self.read(sources[place]))
                placed[place] = True
                place = sources[place]
        for start in np.flatnonzero(~placed).tolist():
            if placed[start] or sources[start] == start:
                continue
            held, place = self.read(start), start
            while sources[place] != start:
                self.write(place, self.read(sources[place]))
                placed[place] = True
                place = sources[place]
            self.write(place, held)
            placed[place] = True
        self._shorten(len(order))

    def _shorten(self, count: int) -> None:
        header = _header((count, *self.shape), self.dtype)
        if len(header) != self._start:
            raise ValueError(f"{self.path}: the header for {count} rows is of another length")
        os.pwrite(self._file, header, 0)
        os.truncate(self._file, self._start + count * self._bytes)
        self.count = count


def _open(path: Path, writable: bool) -> Rows:
    return Rows(path, writable=writable)


def _header(shape: Sequence[int], dtype: np.typing.DTypeLike) -> bytes:
    stream = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, facts)  # with spaces, for a first number that needs more digits
    return stream.getvalue()


def copy(source: Rows, rows: np.ndarray, to: Rows, places: np.ndarray) -> None:
    """Writes rows [M] of one file to places [M] of another; neighbours that stay neighbours are copied at once."""
    if not len(rows):
        return
    apart = np.flatnonzero((np.diff(rows) != 1) | (np.diff(places) != 1)) + 1
    at_once = max(1, BLOCK // max(1, prod(source.shape) * source.dtype.itemsize))
    for first, last in zip([0, *apart.tolist()], [*apart.tolist(), len(rows)], strict=True):
        for start in range(first, last, at_once):
            count = min(at_once, last - start)
            to.write(int(places[start]), source.read(int(rows[start]), count))


@contextmanager
def building(folder: Path, size: int) -> Generator[Path]:
    """A new folder of about `size` bytes beside `folder`, whose place it takes when the block ends without an error.

    Until then the previous folder is as it was, and after an error no trace of the new one is left. The exchange is two
    renames: a kill between them leaves both folders whole under other names, and the previous one is put back when the
    next one is built. Raises MachineError, with the place and the bytes, when the disk is too small or gets full.
    """
    folder = folder.resolve()  # of a link, what it leads to is exchanged
    new, old = (folder.with_name(f".{folder.name}.{name}") for name in ("new", "old"))
    if old.exists() and not folder.exists():
        old.rename(folder)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    place = next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(place).free
    if free < size:
        raise MachineError(f"{folder} needs {size:,} bytes, but only {free:,} are free in {place}")
    try:
        new.mkdir(parents=True)
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise MachineError(
            f"{folder} needs {size:,} bytes, which {place} has no room for ({error.strerror}); nothing was changed"
        ) from None
    finally:
        if old.exists() and not folder.exists():  # the second rename failed
            old.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
