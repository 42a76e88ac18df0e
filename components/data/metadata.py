"""What is known of single images beyond their class: a table that becomes columns of the manifest.

    path,site,year
    cat/0001.png,garden,2023
    dog/0007.png,street,2024

Paths are relative to the folder of the domain's images. Results can be sliced by every other column.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from components.errors import DataError, choices

PATH = "path"


class Metadata(NamedTuple):
    """`columns`: their names, in the file's order; `values`: path -> one value for each of them."""

    columns: tuple[str, ...]
    values: dict[str, tuple[str, ...]]


def read(path: Path, key: str, taken: Collection[str]) -> Metadata:
    """The table that the parameter `key` names. Raises DataError when there is none, when its header lacks `path`, is
    incomplete or has a name out of `taken`, and when a row is too short or stands there twice."""
    try:
        # Any line break, also within a field, is read as one newline: a lone carriage return would tear the manifest.
        with path.open(encoding="utf-8-sig") as stream:
            header, *rows = [row for row in csv.reader(stream, strict=True) if row]
    except FileNotFoundError:
        raise DataError(f"{key}: there is no file {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DataError(f"{key}: {path} is no table of images ({error})") from None
    if PATH not in header:
        raise DataError(f"{key}: {path} has no column {PATH!r}, which names the images; {choices(PATH, header)}")
    at = header.index(PATH)
    columns = (*header[:at], *header[at + 1 :])
    for number, column in enumerate(columns):
        if not column.strip() or column == PATH or column in columns[:number]:
            raise DataError(f"{key}: {path} has a column {column!r} that is without a name or there twice")
        if column in taken:
            has = ", ".join(sorted(taken))
            raise DataError(f"{key}: {path} has a column {column!r}, but so has the manifest ({has}); rename it")
    values: dict[str, tuple[str, ...]] = {}
    for row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{key}: in {path} the row of {row[0]!r} has {len(row)} fields, but the header {len(header)}"
            )
        name = PurePosixPath(row[at]).as_posix()
        if name in values:
            raise DataError(f"{key}: {path} has two rows for the image {name!r}")
        values[name] = (*row[:at], *row[at + 1 :])
    return Metadata(columns, values)
