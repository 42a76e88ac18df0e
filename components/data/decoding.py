"""From a list of image files to rows of pixels, on all cores: each file is read once, hashed, decoded, brought to the
stored size and written to its place in an array file that is there already.

What comes back is a digest and a size. What was decoded before with the same settings is recognised by its digest and
not decoded again.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

from components import jsonfile
from components.data import colours, images, near_duplicates, packing, pool, prepared
from components.data.packing import Rows
from components.errors import DataError, MachineError

FILE_MS, BYTE_MS = 0.15, 1.7e-5
"""What a small file takes, and each byte of a JPEG on top: only to guess whether a pool is worth its start."""
SMALL_MS = 300.0
"""Below it, starting processes costs more than it saves."""
VERIFIED = 0.01
"""Share of the pixels found in the previous result that are decoded all the same, to see whether they are right."""
VERIFIED_AT_LEAST = 16


class Decoded(NamedTuple):
    """What is known of one image file. `width` and `height` are the file's own, upright; `cached`: the row of the cache
    that its pixels are in, or -1 when they were written."""

    sha256: str
    width: int
    height: int
    cached: int = -1


class Settings(NamedTuple):
    """What decides about the pixels beside the file."""

    size: int
    interpolation: str

    def facts(self) -> dict:
        """As they are written beside the pixels: two results with equal facts have equal pixels of equal files."""
        sources = b"".join(Path(str(module.__file__)).read_bytes() for module in (images, colours))
        code = hashlib.sha256(sources).hexdigest()
        return {**self._asdict(), "code": code, "pillow": PIL.__version__}


class Damaged(Exception):
    """The cache has other pixels than the file."""


@dataclass(frozen=True)
class Cache:
    """The pixels of a previous result. `known`: sha256 -> width, height and row, counted over all `files`; `verified`:
    those that are decoded again."""

    files: tuple[Rows, ...]
    known: Mapping[str, tuple[int, int, int]]
    verified: frozenset[str]

    @classmethod
    def open(cls, folder: Path, settings: Settings) -> Cache | None:
        """None where there is no whole result that was made with these settings."""
        try:
            if jsonfile.read(folder / prepared.DECODER) != settings.facts():
                return None
            rows = prepared.manifest(folder)
            files = [Rows(folder / f"{name}.npy") for name in dict.fromkeys(row["domain"] for row in rows)]
            if sum(file.count for file in files) != len(rows):
                return None
            known = {row["sha256"]: (int(row["width"]), int(row["height"]), at) for at, row in enumerate(rows)}
        except (DataError, OSError, ValueError, KeyError, TypeError):
            return None
        some = np.linspace(0, len(rows) - 1, min(len(rows), max(VERIFIED_AT_LEAST, int(len(rows) * VERIFIED))))
        return cls(tuple(files), known, frozenset(rows[int(at)]["sha256"] for at in some))

    def copy(self, rows: np.ndarray, to: Rows) -> None:
        """Writes rows int64 [M] of the cache to the same places of another file; a negative one is none."""
        first = 0
        for file in self.files:
            places = np.flatnonzero((rows >= first) & (rows < first + file.count))
            packing.copy(file, rows[places] - first, to, places)
            first += file.count

    def locate(self, row: int) -> tuple[Rows, int]:
        for file in self.files:
            if row < file.count:
                return file, row
            row -= file.count
        raise IndexError(row)


@dataclass(frozen=True)
class Job:
    """Which files, and where they go: to the row of their number in `pixels` uint8 [N, S, S, 3], and, counted from
    `first`, in `thumbnails` float16 [M, 16, 16, 3]."""

    files: Sequence[str]
    settings: Settings
    pixels: Rows
    thumbnails: Rows
    first: int = 0
    cache: Cache | None = None

    def one(self, number: int) -> Decoded | str:
        """Reads one file; a text says why it is no usable image. Raises OSError when there is no room for the pixels,
        and Damaged."""
        path = self.files[number]
        try:
            content = images.file_content(Path(path))
            sha256 = hashlib.sha256(content).hexdigest()
            if self.cache is not None and sha256 in self.cache.known:
                return self._known(number, sha256, content)
            pixels, (width, height) = self._pixels(path, content)
        except DataError as error:
            return str(error)
        self.pixels.write(number, pixels)
        self.thumbnails.write(self.first + number, near_duplicates.thumbnails(pixels[None]))
        return Decoded(sha256, width, height)

    def _known(self, number: int, sha256: str, content: bytes) -> Decoded:
        """Of an image that the cache has."""
        assert self.cache is not None
        width, height, row = self.cache.known[sha256]
        file, at = self.cache.locate(row)
        pixels = np.frombuffer(file.read(at), np.uint8).reshape(1, *file.shape)
        if sha256 in self.cache.verified and not np.array_equal(
            self._pixels(self.files[number], content)[0], pixels[0]
        ):
            raise Damaged
        self.thumbnails.write(self.first + number, near_duplicates.thumbnails(pixels))
        return Decoded(sha256, width, height, row)

    def _pixels(self, path: str, content: bytes) -> tuple[np.ndarray, tuple[int, int]]:
        try:
            return images.pixels(
                content, resize=self.settings.size, origin=images.printable(path), **self.settings._asdict()
            )
        except MemoryError:  # a fault of this machine, on which the data must not depend
            raise MachineError(f"there is not enough memory to decode {images.printable(path)}") from None


def decode(job: Job, tell: Callable[[int], None]) -> list[Decoded | str]:
    """What is known of each file of the job, or why it is no usable image. `tell` hears now and then how many are done.

    Raises MachineError, with the file's name, when a process is killed: most likely, memory ran out.
    """
    if not _is_small(job.files):
        return pool.run(job.one, len(job.files), job.files.__getitem__, tell)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of files that can be used all the same
        with ThreadPoolExecutor(pool.cores()) as threads:  # Pillow releases the interpreter while it decodes
            return list(threads.map(job.one, range(len(job.files))))


def _is_small(files: Sequence[str]) -> bool:
    """Whether the files take less than starting processes would, as far as their sizes tell."""
    left = SMALL_MS
    for path in files:
        with suppress(OSError):
            left -= FILE_MS + Path(path).stat().st_size * BYTE_MS
        if left < 0:
            return False
    return True
