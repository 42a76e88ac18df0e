"""A folder with one folder of images for each class, read into records: pixels at the stored size and what is known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.data import images
from components.errors import DataError


@dataclass(frozen=True)
class Record:
    """One readable image. `pixels` uint8 [S, S, 3]; `width` and `height` are the file's own."""

    path: Path
    class_name: str
    sha256: str
    width: int
    height: int
    pixels: np.ndarray


def class_names(folder: Path) -> list[str]:
    """Names of the class folders, sorted. Raises DataError when there are fewer than two."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        raise DataError(
            f"{folder} holds {len(names)} class folder(s), but at least 2 are needed: {folder}/<class name>/<image>"
        )
    return names


def _paths(folder: Path) -> Iterator[tuple[str, Path]]:
    for name in class_names(folder):
        for path in sorted((folder / name).rglob("*")):
            if path.suffix.lower() in images.SUFFIXES and path.is_file():
                yield name, path


def _record(class_name: str, path: Path, size: int, interpolation: str) -> Record | str:
    """The record, or why there is none."""
    try:
        str(path).encode()  # a manifest is UTF-8 text
        content = path.read_bytes()
        image = images.decode(content, origin=str(path))
    except UnicodeEncodeError:
        return f"the name of {str(path).encode(errors='backslashreplace').decode()} is not UTF-8"
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    except DataError as error:
        return str(error)
    width, height = image.size
    pixels = images.fit(image, resize=size, size=size, interpolation=interpolation)
    return Record(path, class_name, hashlib.sha256(content).hexdigest(), width, height, pixels)


def read(folder: Path, size: int, interpolation: str = "bilinear") -> Iterator[Record | str]:
    """All images below the class folders, in a fixed order, decoded on all cores; for a bad file, what is wrong."""
    with ThreadPoolExecutor() as pool:  # Pillow releases the interpreter while it decodes and resizes
        yield from pool.map(lambda item: _record(*item, size=size, interpolation=interpolation), _paths(folder))
