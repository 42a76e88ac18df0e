"""What the folders below somebody's images stand for: classes, parts or domains, told from their names alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from components.data.images import SUFFIXES
from components.data.listing.listed import PARTS
from components.errors import DataError, ParamsError, choices

Part = Literal["train", "val", "test"]

DEEPEST = 4
"""Levels of folders whose names are looked at."""
REPEATED = 0.5
"""Share of the second level's names that must occur in several folders of the first for these to be domains."""


@dataclass
class Folder:
    """`images`: how many lie right in it; `folders`: those below that have any, by name."""

    images: int = 0
    folders: dict[str, Folder] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.images + sum(below.total for below in self.folders.values())


@dataclass(frozen=True)
class Layout:
    """`levels` from the top; `parts`: what each folder name on the level of parts is called by us; `domains` and
    `classes`: the names found; `notes`: what was decided that could have been decided otherwise."""

    levels: tuple[str, ...]
    parts: dict[str, Part]
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def scan(root: Path) -> Folder:
    """Counts image files below `root` by their names' endings. A link back to a folder above is not followed."""
    return _scan(root, DEEPEST, (root.stat().st_dev, root.stat().st_ino), ())


def _scan(path: Path, depth: int, identity: tuple[int, int], above: tuple[tuple[int, int], ...]) -> Folder:
    found = Folder()
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        if not above:
            raise DataError(f"cannot look into {path}: {error.strerror}") from None
        return found  # the listing says so
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_dir():
                about = entry.stat()
                key = (about.st_dev, about.st_ino)
                if key in (*above, identity):
                    continue
                below = _scan(Path(entry.path), depth - 1, key, (*above, identity))
                if not below.total:
                    continue
                if depth > 0:
                    found.folders[entry.name] = below
                else:
                    found.images += below.total
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122  # a Path for each takes ten times as long
                found.images += 1
        except OSError:
            continue
    return found


def discover(root: Path, *, layout: str | None = None, test: str | None = None) -> Layout:
    """What the levels below `root` mean; `layout` says so instead of finding out, `test` names the folder that is to
    report. Raises DataError where nothing looks like labels."""
    tree = scan(root)
    if not tree.total:
        ends = " ".join(sorted(SUFFIXES))
        raise DataError(f"{root} holds no images: no file below it ends in {ends}")
    if layout is not None:
        return _named(root, tree, tuple(layout.split("/")), test)
    at = _level_of_parts(tree)
    rest = tree if at is None else _without(tree, at)
    if not rest.folders or (len(rest.folders) == 1 and rest.images):
        where = "it" if at is None else "its folders of parts"
        raise DataError(
            f"{root} has nothing that looks like labels: {rest.images:,} images lie right in {where}. Put those of "
            "each class into a folder named after it, or give a table: graft init table.csv --label COLUMN"
        )
    levels = ["domain", "class"] if _domains(rest) else ["class"]
    if at is not None:
        levels.insert(at, "split")
    return _named(root, tree, tuple(levels), test)


def _named(root: Path, tree: Folder, levels: tuple[str, ...], test: str | None) -> Layout:
    """The layout with the names that occur on each level, and each part's."""
    names = [Counter[str]() for _ in levels]
    for path in _paths(tree, len(levels)):
        for counted, name in zip(names, path, strict=True):
            counted[name] += 1
    by_level = {level: tuple(sorted(found)) for level, found in zip(levels, names, strict=True)}
    for level in levels:
        if not by_level[level]:
            raise DataError(f"{root} has no folders on the level {level!r} of the layout {'/'.join(levels)!r}")
    if test is not None and "split" not in levels:
        raise ParamsError(f"--test {test}: {root} has no folders of parts; it was taken for {'/'.join(levels)}")
    parts, notes = named_parts(by_level.get("split", ()), test, f"{root} has")
    return Layout(levels, parts, by_level.get("domain", ()), by_level.get("class", ()), notes)


def named_parts(names: tuple[str, ...], test: str | None, where: str) -> tuple[dict[str, Part], tuple[str, ...]]:
    """name -> train, val or test, and what was decided about it. Raises DataError for an unknown `test`, and for a name
    that is no part's.

    A part that people call validation is all that many data sets have beside train. It is made the test part then:
    what chooses is cut from train, and what reports has been seen by nothing.
    """
    if test is not None and test not in names:
        raise DataError(f"{where} no part {test!r} for --test; {choices(test, names)}")
    unknown = [name for name in names if name.lower() not in PARTS and name != test]
    if unknown:
        raise DataError(f"{where} a part {unknown[0]!r}, which is none of train, val and test: rename or remove it")
    parts: dict[str, Part] = {name: "test" if name == test else cast(Part, PARTS[name.lower()]) for name in names}
    if not parts:
        return {}, ()
    if "train" not in parts.values():
        raise DataError(f"{where} the parts {', '.join(names)}, but none to train on")
    said = []
    if "test" not in parts.values() and "val" in parts.values():
        held = [name for name, part in parts.items() if part == "val"]
        parts |= dict.fromkeys(held, "test")
        said.append(
            f"{held[0]!r} is used as the test part: there is no other, and what reports must not have chosen. "
            "Validation images are cut from train by their content."
        )
    elif "test" not in parts.values():
        said.append("There is no test part: test and validation images are cut from train by their content.")
    elif "val" not in parts.values():
        said.append("There is no validation part: its images are cut from train by their content.")
    return parts, tuple(said)


def _level_of_parts(tree: Folder) -> int | None:
    """The first level on which every folder is named like a part; None where there is none."""
    nodes = [tree]
    for level in range(DEEPEST - 1):
        names = [name.lower() for node in nodes for name in node.folders]
        direct = sum(node.images for node in nodes)
        if names and set(names) <= set(PARTS) and not direct:
            return level
        nodes = [below for node in nodes for below in node.folders.values()]
    return None


def _without(tree: Folder, level: int) -> Folder:
    """The tree as if the folders on this level were not there: what is below them comes together."""
    if level == 0:
        merged = Folder()
        for below in tree.folders.values():
            merged = _together(merged, below)
        return merged
    return Folder(tree.images, {name: _without(below, level - 1) for name, below in tree.folders.items()})


def _together(a: Folder, b: Folder) -> Folder:
    folders = {
        name: _together(a.folders.get(name, Folder()), b.folders.get(name, Folder()))
        for name in sorted({*a.folders, *b.folders})
    }
    return Folder(a.images + b.images, folders)


def _domains(tree: Folder) -> bool:
    """Whether the first level is domains, not classes: the second has the same names in several of its folders."""
    below = Counter(name for folder in tree.folders.values() for name in folder.folders)
    shallow = sum(folder.images for folder in tree.folders.values())
    if len(tree.folders) < 2 or len(below) < 2 or shallow:
        return False
    return sum(count > 1 for count in below.values()) / len(below) >= REPEATED


def _paths(tree: Folder, depth: int) -> Iterator[tuple[str, ...]]:
    """Names of the folders down to `depth`, where there are so many."""
    if depth == 0:
        yield ()
        return
    for name, below in tree.folders.items():
        for rest in _paths(below, depth - 1):
            yield (name, *rest)
