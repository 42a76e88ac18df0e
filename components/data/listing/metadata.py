"""What is known of single images beyond their class: a table that becomes columns of the manifest.

    path,site,year
    cat/0001.png,garden,2023
    dog/0007.png,street,2024

Paths are relative to the folder of the domain's images. Results can be sliced by every other column.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from components.data import prepared
from components.data.listing import tables
from components.data.listing.listed import Listing, is_file
from components.errors import DataError, choices
from components.types import TASK

PATH = "path"


class Metadata(NamedTuple):
    """`columns`: their names, in the file's order; `values`: path -> one value for each of them."""

    columns: tuple[str, ...]
    values: dict[str, tuple[str, ...]]


def read(path: Path, key: str, taken: Collection[str]) -> Metadata:
    """The table that the parameter `key` names. Raises DataError when there is none, when its header lacks `path`, is
    incomplete or has a name out of `taken`, and when a row is too short or stands there twice."""
    values: dict[str, tuple[str, ...]] = {}
    with tables.reading(path, key) as table:
        if PATH not in table.header:
            raise DataError(
                f"{key}: {path} has no column {PATH!r}, which names the images; {choices(PATH, table.header)}"
            )
        at = table.header.index(PATH)
        columns = (*table.header[:at], *table.header[at + 1 :])
        for column in columns:
            if column in taken:
                has = ", ".join(sorted(taken))
                raise DataError(f"{key}: {path} has a column {column!r}, but so has the manifest ({has}); rename it")
        for where, row in table.rows:
            name = PurePosixPath(row[at]).as_posix()
            if name in values:
                raise DataError(f"{key}: {path} has two rows for the image {name!r}, the second in {where}")
            values[name] = (*row[:at], *row[at + 1 :])
    return Metadata(columns, values)


def merged(found: Listing, path: Path, key: str) -> Listing:
    """The listing with the table's columns after its own; rows for files that do not exist are among the problems."""
    taken = {*prepared.COLUMNS, TASK, *found.tasks, *found.columns} - {PATH}
    table = read(path, key, taken)
    images, matched = [], set()
    for image in found.images:
        inside = image.path.is_relative_to(found.root)
        name = (image.path.relative_to(found.root) if inside else image.path).as_posix()
        values = table.values.get(name)
        if values is not None:
            matched.add(name)
            image = replace(image, columns={**image.columns, **dict(zip(table.columns, values, strict=True))})
        images.append(image)
    unmatched = [name for name in table.values if name not in matched and not is_file(found.root / name)]
    return replace(
        found,
        images=images,
        columns=(*found.columns, *table.columns),
        problems={**found.problems, "unmatched_metadata": unmatched},
    )
