"""What the columns of somebody's table of images are for, told from their usual names and from what stands in them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.data.images import SUFFIXES
from components.data.listing import tables
from components.errors import DataError, choices
from components.params import ColumnsParams
from graft.initial.layouts import Part, named_parts

USUAL = {
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "img_path",
    ),
    "label": ("label", "class", "category", "target", "class_name", "label_name", "species", "diagnosis"),
    "split": ("split", "part", "subset", "fold", "partition"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id"),
    "domain": ("domain",),
}
"""Names that people give columns, in small letters."""
OPTIONS = {
    "path": "--path-column",
    "label": "--label",
    "split": "--split",
    "group": "--group",
    "domain": "--domain-column",
}
SAMPLE = 50
"""Rows that are looked at to find out which folder the paths are relative to."""


@dataclass(frozen=True)
class Given:
    """Columns that somebody named on the command line."""

    path: str | None = None
    labels: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    domain: str | None = None


@dataclass(frozen=True)
class Columns:
    """`folder`: what the paths are relative to, where that is not the table's own; `parts`: each value of the split
    column as the part it is; `domains`: values of the domain column; `notes`: what was guessed."""

    columns: ColumnsParams
    folder: Path | None
    parts: dict[str, Part]
    domains: tuple[str, ...]
    notes: tuple[str, ...]


def find(path: Path, key: str, given: Given, *, test: str | None, labelled: bool) -> Columns:
    """Looks at the table. Raises DataError, naming the columns, where one is not known or several could be meant."""
    with tables.reading(path, key) as table:
        header, rows = list(table.header), [row.values for row in table.rows]
    if not rows:
        raise DataError(f"{key}: {path} has a header, but no rows")
    for name in filter(None, (given.path, *given.labels, given.split, given.group, given.domain)):
        if name not in header:
            raise DataError(f"{path} has no column {name!r}; {choices(name, header)}")
    taken = {name for name in (given.path, *given.labels, given.split, given.group, given.domain) if name}
    named = _path_column(path, header, rows, given.path, taken)
    taken.add(named)
    label = given.labels[0] if given.labels else None
    if label is None:
        label = _usual("label", header, taken, path, needed=labelled) or ("" if not labelled else None)
    assert label is not None  # needed: found, or an error
    split = given.split or _usual("split", header, taken, path)
    if split and given.split is None and not _are_parts(header, rows, split):
        split = None  # a column of that name with other values: metadata
    if test is not None and split is None:
        raise DataError(
            f"--test {test} names a value of the split column, but {path} has none; {choices('split', header)}"
        )
    group = given.group or _usual("group", header, taken, path)
    domain = given.domain or _usual("domain", header, taken, path)
    values = _values(header, rows, split)
    parts, said = named_parts(values, test, f"the column {split!r} of {path} has")
    guessed = {
        "path": (given.path, named), "label": (label if given.labels else None, label), "split": (given.split, split),
        "group": (given.group, group), "domain": (given.domain, domain),
    }  # fmt: skip
    words = [f"{role} = {name}" for role, (stated, name) in guessed.items() if name and stated is None]
    if words:
        said = (f"Columns by their names: {', '.join(words)}. ({', '.join(OPTIONS.values())} say otherwise.)", *said)
    columns = ColumnsParams(
        path=named,
        label=label or "label",
        tasks=given.labels[1:],
        split=split,
        group=group,
        domain=domain,
    )
    return Columns(columns, _folder(path, header, rows, named), parts, _values(header, rows, domain), said)


def _usual(role: str, header: Sequence[str], taken: set[str], path: Path, *, needed: bool = False) -> str | None:
    """The one column with a name that is usual for this; None where there is none and none is needed."""
    found = [name for name in header if name.lower() in USUAL[role] and name not in taken]
    if len(found) == 1:
        return found[0]
    if not found and not needed:
        return None
    which = (
        f"several columns that may be the {role} ({', '.join(found)})"
        if found
        else f"no column that is called like a {role}"
    )
    raise DataError(f"{path} has {which}: say which with {OPTIONS[role]}; its columns are {', '.join(header)}")


def _path_column(path: Path, header: Sequence[str], rows: list[list[str]], given: str | None, taken: set[str]) -> str:
    """The column of paths: named, called like one, or the only one whose values end like image files."""
    if given is not None:
        return given
    looks = [
        name
        for at, name in enumerate(header)
        if name not in taken and all(Path(row[at]).suffix.lower() in SUFFIXES for row in rows[:SAMPLE])
    ]
    usual = [name for name in looks if name.lower() in USUAL["path"]]
    if len(usual) == 1 or (not usual and len(looks) == 1):
        return (usual or looks)[0]
    named = _usual("path", header, taken, path, needed=True)
    assert named is not None  # needed
    return named


def _are_parts(header: Sequence[str], rows: list[list[str]], column: str) -> bool:
    try:
        named_parts(_values(header, rows, column), None, "")
    except DataError:
        return False
    return True


def _values(header: Sequence[str], rows: list[list[str]], column: str | None) -> tuple[str, ...]:
    """What stands in a column, each once; nothing for no column. An image without a part gets one by its content."""
    if column is None:
        return ()
    at = header.index(column)
    return tuple(sorted({row[at] for row in rows} - {""}))


def _folder(path: Path, header: Sequence[str], rows: list[list[str]], column: str) -> Path | None:
    """The folder that paths are relative to: the table's own (None), or one beside the table. Raises DataError where no
    image is found in either."""
    at = header.index(column)
    sample = [row[at] for row in itertools.islice(rows, SAMPLE)]

    def there(folder: Path) -> int:
        return sum((folder / name).is_file() for name in sample)

    if there(path.parent):
        return None
    beside = sorted(entry for entry in path.parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    best = max(beside, key=there, default=None)
    if best is None or not there(best):
        raise DataError(
            f"{path} names {sample[0]!r} in its column {column!r}, but there is no such file in {path.parent} nor in a "
            "folder in it: paths must be relative to the table's folder, or name another column with --path-column"
        )
    return best
