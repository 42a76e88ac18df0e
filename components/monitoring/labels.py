"""What people say that the kept images show: a table with a row for each image that somebody has labelled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from components.data.listing import tables
from components.errors import DataError, choices

OPTION = "--labels"
COLUMNS = ("path", "label")


def name(image: Path) -> str:
    """What a kept image is called where images of several champions come together, as on the report: with the beginning
    of the identity of the bundle that answered it."""
    return f"{image.parent.parent.name[:8]}-{image.name}"


def read(file: Path, kept: Iterable[Path], classes: Sequence[str]) -> tuple[dict[Path, str], int]:
    """Image -> label, for those of `kept` that the table names by their path (from here, or from the table's folder) or
    by their name, the report's included, wherever a copy may lie; and how many rows are about images that are not kept.
    Rows without a label are passed over.

    Raises DataError for a table that lacks a column, a label that is no class, an image with two labels, a name that
    several images have, and a table that labels none of the images.
    """
    images = {path.resolve(): path for path in kept}
    by_name: dict[str, list[Path]] = {}
    for path in images.values():
        by_name.setdefault(path.name, []).append(path)
        by_name[name(path)] = [path]
    found: dict[Path, str] = {}
    gone = 0
    with tables.reading(file, OPTION) as table:
        missing = [column for column in COLUMNS if column not in table.header]
        if missing:
            raise DataError(f"{OPTION}: {file} has no column {missing[0]!r}; {choices(missing[0], table.header)}")
        places = [table.header.index(column) for column in COLUMNS]
        for where, values in table.rows:
            text, label = (values[place].strip() for place in places)
            if not label:
                continue
            if label not in classes:
                raise DataError(
                    f"{OPTION}: {file}, {where}: {label!r} is no class of the champion; {choices(label, classes)}"
                )
            path = _meant(text, file, images, by_name, where)
            if path is None:
                gone += 1
            elif found.setdefault(path, label) != label:
                raise DataError(f"{OPTION}: {file}, {where}: {text} has two labels, {found[path]!r} and {label!r}")
    if not found:
        raise DataError(
            f"{OPTION}: {file} labels none of the {len(images)} images that were kept: its column 'path' must hold "
            "their paths or names"
        )
    return found, gone


def _meant(
    text: str, file: Path, images: Mapping[Path, Path], by_name: Mapping[str, list[Path]], where: str
) -> Path | None:
    for candidate in (Path(text), file.parent / text):
        if candidate.resolve() in images:
            return images[candidate.resolve()]
    same = by_name.get(Path(text).name, [])
    if len(same) > 1:
        raise DataError(
            f"{OPTION}: {file}, {where}: {text} is the name of {len(same)} images, such as {same[0]} and {same[1]}: "
            "give the path"
        )
    return same[0] if same else None
