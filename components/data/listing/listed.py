"""What a list of images is made of, and what is asked of names wherever they come from: folders or a table."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.errors import DataError, choices
from components.params import ImagesParams

NOTHING: Mapping[str, str] = {}
"""Shared by all images that have none."""
PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What a folder or a value of the split column may be called without `splits`, in any case."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One image. `path`: of the file, as it stands in the manifest; `class_name`: "" where nobody has labelled it;
    `part`: train, val or test where the data says so, None: by hash; `group`: images of one group share a part, which
    then follows from the group's name; `answers`: task -> answer, of the tasks beyond the class; `columns`: metadata,
    name -> text."""

    path: Path
    class_name: str
    part: str | None = None
    group: str | None = None
    answers: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    columns: Mapping[str, str] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True)
class Listing:
    """One domain's images, sorted by path, each path once. `root`: what the paths of metadata are relative to;
    `classes`: sorted; `tasks`: names of those beyond the class; `columns`: names of the metadata; `problems`: kind ->
    what was found wrong, for problems.json."""

    root: Path
    images: list[Listed]
    classes: tuple[str, ...]
    tasks: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    problems: dict[str, list] = field(default_factory=dict)


def part_of(name: str, options: ImagesParams, key: str) -> str:
    """train, val or test, of a folder or a value of the split column of this name. Raises DataError for any other."""
    known = PARTS | {given.lower(): part for given, part in options.splits.items()}
    if name.lower() not in known:
        raise DataError(
            f"{key}.splits: {name!r} is no part that is known; {choices(name, known)}; or say what it is, such as "
            f"{key}.splits: {{{name}: test}}"
        )
    return known[name.lower()]


def require_domains(known: Iterable[str], options: ImagesParams, key: str) -> None:
    """Raises DataError when a domain is meant that is not there."""
    names = sorted(known)
    for name in options.domains or ():
        if name not in names:
            raise DataError(f"{key}.domain: there is no domain {name!r}; {choices(name, names)}")


def require_classes(names: Iterable[str], key: str, where: Path) -> None:
    """Raises DataError for fewer than two classes, and for two that a person would take for the same one. Single
    letters may differ in case: where letters are read, an A is no a."""
    seen: dict[str, str] = {}
    for name in names:
        composed = unicodedata.normalize("NFC", name)
        folded = composed if len(composed) == 1 else unicodedata.normalize("NFC", composed.casefold())
        if folded in seen:
            other = seen[folded]
            way = "how Unicode writes them" if composed == unicodedata.normalize("NFC", other) else "case"
            raise DataError(
                f"{key}: the classes {other!a} and {name!a} in {where} differ only in {way}: give them one name"
            )
        seen[folded] = name
    if len(seen) < 2:
        only = "".join(f" ({name!r})" for name in seen)
        raise DataError(f"{key}: {where} holds {len(seen)} class(es){only}, but at least 2 are needed")


def is_utf8(path: str) -> bool:
    """Whether a path can stand in a manifest, which is UTF-8; on disk a name is any bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_file(path: Path) -> bool:
    """Unlike `Path.is_file`, also of a name that is too long or may not be looked at."""
    try:
        return path.is_file()
    except OSError:
        return False
