"""A user's table of images: a row for each, with its path, its label, and perhaps its part, its group, its domain and
answers to further questions. All other columns are metadata.

    path,label,split,patient,age
    scans/0001.png,benign,train,17,54
    scans/0002.png,malign,test,4,61

What `prepare` writes is another manifest: see `prepared`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from components.data import prepared, split
from components.data.listing import tables
from components.data.listing.listed import NOTHING, Listed, Listing, is_file, part_of, require_domains
from components.errors import DataError, choices
from components.params import ColumnsParams, ImagesParams
from components.types import TASK

OWN = frozenset({*prepared.COLUMNS, TASK})
"""Columns that the prepared manifest has of its own. Those of a table are left aside where they are called so, but for
`split` and `domain`: what says how the images are divided must not be overlooked."""


def listed(path: Path, root: Path, options: ImagesParams, key: str, *, labelled: bool, recent: bool = False) -> Listing:
    """The images that the table names, whose paths are relative to `root` or absolute. Files that do not exist are
    among the problems; so are labels that are missing, and groups that the table itself tears apart. Of a path that
    is there twice one row is kept, with a label before without, test before val before train, or none where labels or
    answers differ.

    See `listing.listing` for `labelled`, `recent` and the errors raised; beyond them, DataError for an image that has a
    label, but no answer to one of the further tasks: strategies for several tasks could learn nothing from it, and no
    one could measure them.
    """
    problems: dict[str, list] = {}
    with tables.reading(path, f"{key}.manifest") as table:
        reader = _Reader(path, root, options, key, table.header, labelled=labelled, recent=recent)
        found = [image for row in table.rows if (image := reader.image(row, problems)) is not None]
    require_domains(reader.domains, options, key)
    images = _each_once(found, problems)
    if not images:
        raise DataError(_nothing(path, root, key, problems))
    if labelled and not recent:
        problems["unlabelled"] = [str(image.path) for image in images if not image.class_name]
    problems["torn_groups"] = _torn(images)
    return Listing(
        root=root,
        images=images,
        classes=tuple(sorted({image.class_name for image in images} - {""})),
        tasks=reader.tasks,
        columns=reader.metadata,
        problems={kind: sorted(entries) for kind, entries in sorted(problems.items()) if entries},
    )


class _Reader:
    """Rows into images. `domains`: those met so far."""

    def __init__(
        self,
        path: Path,
        root: Path,
        options: ImagesParams,
        key: str,
        header: Sequence[str],
        *,
        labelled: bool,
        recent: bool,
    ) -> None:
        self.path, self.root, self.options, self.key, self.recent = path, root, options, key, recent
        # What comes in may be a list of paths alone: that nobody has labelled it need not be said in an empty column.
        bare = recent and options.columns.label == ColumnsParams().label and options.columns.label not in header
        self.labelled = labelled = labelled and not bare
        self.metadata = _metadata(header, options.columns, path, key, labelled=labelled)
        self.tasks = options.columns.tasks if labelled else ()
        self.at = {name: number for number, name in enumerate(header)}
        self.domains: set[str] = set()
        self.parts: dict[str, str | None] = {"": None}

    def image(self, row: tables.Row, problems: dict[str, list]) -> Listed | None:
        """None: it is of another domain, or among the problems. Raises DataError where the row cannot be meant so."""
        columns = self.options.columns
        if columns.domain is not None:
            domain = self._cell(row, columns.domain)
            self.domains.add(domain)
            if self.options.domains and domain not in self.options.domains:
                return None
        name = row.values[self.at[columns.path]]
        if not name:
            raise DataError(f"{self.key}.manifest: {self.path}, {row.where}: there is no path")
        file = Path(self.root, name)
        if not is_file(file):
            problems.setdefault("missing", []).append(str(file))
            return None
        label = self._cell(row, columns.label) if self.labelled else ""
        part = self._part(self._cell(row, columns.split))
        if self.labelled and not self.recent and not label and part in ("val", "test"):
            problems.setdefault("unlabelled_held_out", []).append(str(file))
            return None
        return Listed(
            path=file,
            class_name=sys.intern(label),
            part=part if label or self.recent else "train",
            group=self._cell(row, columns.group) or None,
            answers=self._answers(row, label) if label and self.tasks else NOTHING,
            columns={name: row.values[self.at[name]] for name in self.metadata} if self.metadata else NOTHING,
        )

    def _cell(self, row: tables.Row, column: str | None) -> str:
        return "" if column is None else row.values[self.at[column]].strip()

    def _part(self, name: str) -> str | None:
        if name not in self.parts:
            self.parts[name] = part_of(name, self.options, self.key)
        return self.parts[name]

    def _answers(self, row: tables.Row, label: str) -> dict[str, str]:
        answers = {task: self._cell(row, task) for task in self.tasks}
        for task, answer in answers.items():
            if not answer:
                raise DataError(
                    f"{self.key}.manifest: {self.path}, {row.where}: the image has the label {label!r}, but no answer "
                    f"to {task!r}: give one, or leave {task!r} out of {self.key}.columns.tasks"
                )
        return answers


def _metadata(
    header: Sequence[str], columns: ColumnsParams, path: Path, key: str, *, labelled: bool
) -> tuple[str, ...]:
    """Names of the columns that are metadata. Raises DataError when a column is missing that the parameters name, or
    one is there that seems to divide the images, but is not named."""
    named = {entry.name: getattr(columns, entry.name) for entry in fields(columns) if entry.name != "tasks"}
    if not labelled:
        del named["label"]
    asked = [(f"columns.{name}", column) for name, column in named.items() if column is not None]
    asked += [("columns.tasks", task) for task in columns.tasks if labelled]
    for name, column in asked:
        if column not in header:
            raise DataError(f"{key}.{name}: {path} has no column {column!r}; {choices(column, header)}")
    for task in columns.tasks:
        if task in OWN:
            raise DataError(f"{key}.columns.tasks: the manifest has a column {task!r} already; rename it in {path}")
    used = {columns.label, *columns.tasks, *(column for _, column in asked)}
    for name in ("split", "domain"):
        if name in header and name not in used:
            raise DataError(
                f"{key}.columns.{name}: {path} has a column {name!r}; set {key}.columns.{name} to it, or rename it"
            )
    return tuple(name for name in header if name not in used | OWN)


def _nothing(path: Path, root: Path, key: str, problems: dict[str, list]) -> str:
    missing = problems.get("missing")
    if not missing:
        return f"{key}.manifest: {path} has no row of an image that can be used"
    slashes = "; its paths have backslashes, which separate no folders here" if "\\" in missing[0] else ""
    return (
        f"{key}.manifest: of the {len(missing)} files that {path} names none exists, such as {missing[0]}{slashes}; "
        f"paths are relative to {root}: is {key}.folder right?"
    )


def _each_once(found: list[Listed], problems: dict[str, list]) -> list[Listed]:
    """Sorted by path, each path once; adds what had to go to `problems`, under the kinds that `repeats.once` has for
    copies of one image: a row is one, too."""
    by_path: dict[str, list[Listed]] = {}
    for image in found:
        by_path.setdefault(str(image.path), []).append(image)
    images = []
    for path in sorted(by_path):
        same = by_path[path]
        labelled = [image for image in same if image.class_name]
        if len(same) > 1:
            kind = "overlaps" if len({image.part for image in labelled}) > 1 else "duplicates"
            if any(
                (image.class_name, image.answers) != (labelled[0].class_name, labelled[0].answers) for image in labelled
            ):
                kind = "contradictions"
            problems.setdefault(kind, []).append([path] * len(same))
            if kind == "contradictions":
                continue
        images.append(
            max(labelled or same, key=lambda image: -1 if image.part is None else split.SPLITS.index(image.part))
        )
    return images


def _torn(images: list[Listed]) -> list[str]:
    """Groups of which the table itself puts some images into one part and some into another."""
    parts: dict[str, set[str]] = {}
    for image in images:
        if image.group is not None:
            parts.setdefault(image.group, set()).add(image.part or "no part")
    return [f"{group} is in {' and '.join(sorted(of))}" for group, of in parts.items() if len(of) > 1]
