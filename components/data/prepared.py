"""Prepared data: one manifest row per image and the pixels of each domain in one array file.

    data/prepared/manifest.csv       path, domain, split, sha256, width, height, a column of labels for each task, and
                                     those of the images' metadata
    data/prepared/<domain>.npy       uint8 [N, S, S, 3], rows in the manifest's order; memory-mapped when read
    data/prepared/label_space.json   class names by task, and the classes' descriptions where there are any
    data/prepared/problems.json      what was found wrong, and what was done about it
    data/prepared/decoder.json       what made the pixels: for those that want to use them again

The domains: "target", the images that the model is for, "source", labelled ones of another kind, and "recent", which
come in now: their labels are mostly empty, and their parts are train and val. A domain that params.yaml does not have
is not there.

The images of a domain are ordered by sha256: however they are laid out, they are the same bytes. A training label that
strategies may not see is not in the manifest at all: an empty field cannot be cheated with.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from components import jsonfile
from components.errors import DataError
from components.types import LabelSpace

COLUMNS = ("path", "domain", "split", "sha256", "width", "height")
MANIFEST = "manifest.csv"
DECODER = "decoder.json"
RECENT = "recent"
HIDDEN = -1
"""Stands for a label that is not given."""


@dataclass(frozen=True)
class Domain:
    """The images of one domain. `pixels` uint8 [N, S, S, 3]; `labels` int64 [N] by task, HIDDEN where not given;
    `splits` [N] of "train", "val", "test"; `paths` and `sha256` [N]; `columns`: what results can be sliced by, name ->
    text [N]: width, height, the tasks but the first, and the metadata. The text is empty where nothing is known."""

    pixels: np.ndarray
    labels: dict[str, np.ndarray]
    splits: np.ndarray
    paths: list[str]
    sha256: list[str]
    columns: dict[str, list[str]] = field(default_factory=dict)

    def rows(self, split: str, labelled: bool | None = None) -> np.ndarray:
        """Indices [M] of a split's images, those with (True), without (False) or regardless of (None) a label. Where
        there are further tasks, their answers count, too, but for those of which no image of the domain knows any."""
        mask = self.splits == split
        if labelled is not None:
            known = [values != HIDDEN for values in self.labels.values()]
            mask &= np.all([task for task in known if task.any()] or known, axis=0) == labelled
        return np.flatnonzero(mask)


@dataclass(frozen=True)
class Prepared:
    """Everything a stage may want to know about the data."""

    label_space: LabelSpace
    domains: dict[str, Domain]

    @property
    def target(self) -> Domain:
        return self.domains["target"]

    @property
    def recent(self) -> Domain | None:
        """None where no recent images were asked for."""
        return self.domains.get(RECENT)


def write(
    folder: Path,
    rows: list[dict],
    pixels: dict[str, np.ndarray],
    space: LabelSpace,
    problems: dict,
    metadata: Sequence[str] = (),
) -> None:
    """Writes pixels that are in memory, and `write_facts`."""
    folder.mkdir(parents=True, exist_ok=True)
    for domain, array in pixels.items():
        np.save(folder / f"{domain}.npy", array)
    write_facts(folder, rows, space, problems, metadata)


def write_facts(
    folder: Path, rows: list[dict], space: LabelSpace, problems: dict, metadata: Sequence[str] = ()
) -> None:
    """Writes what is not pixels. `rows` are in the order of each domain's pixels; `metadata` names those of their keys
    that are neither COLUMNS nor tasks."""
    text = io.StringIO()
    columns = [*COLUMNS, *space.classes, *metadata]
    plain, quoted = (
        csv.DictWriter(text, columns, restval="", lineterminator="\n", quoting=quoting)
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    plain.writeheader()
    for row in rows:
        # Before Python 3.13 a carriage return alone gets no quotes, and ends the row when it is read.
        (quoted if any("\r" in str(value) for value in row.values()) else plain).writerow(row)
    jsonfile.write_text(folder / MANIFEST, text.getvalue())
    jsonfile.write(folder / "label_space.json", space.to_dict())
    jsonfile.write(folder / "problems.json", problems)


def manifest(folder: Path) -> list[dict[str, str]]:
    """The rows as they are written."""
    with (folder / MANIFEST).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read(folder: Path) -> Prepared:
    """Opens prepared data; the pixels stay on disk until touched. Raises DataError when it is missing or torn."""
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is incomplete ({error}): prepare again") from None


def _read(folder: Path) -> Prepared:
    space = LabelSpace.from_dict(jsonfile.read(folder / "label_space.json"))
    index = {task: {name: number for number, name in enumerate(names)} for task, names in space.classes.items()}
    rows = manifest(folder)
    hidden = {"path", "domain", "split", "sha256", next(iter(space.classes))}
    columns = [column for column in (rows[0] if rows else ()) if column not in hidden]
    domains = {}
    for name in dict.fromkeys(row["domain"] for row in rows):
        own = [row for row in rows if row["domain"] == name]
        pixels = np.load(folder / f"{name}.npy", mmap_mode="r")
        if len(pixels) != len(own):
            raise DataError(f"{folder}/{name}.npy has {len(pixels)} images, but the manifest {len(own)}: prepare again")
        labels = {
            task: np.array([numbers[row[task]] if row[task] else HIDDEN for row in own], dtype=np.int64)
            for task, numbers in index.items()
        }
        domains[name] = Domain(
            pixels=pixels,
            labels=labels,
            splits=np.array([row["split"] for row in own]),
            paths=[row["path"] for row in own],
            sha256=[row["sha256"] for row in own],
            columns={column: [row[column] for row in own] for column in columns},
        )
    return Prepared(space, domains)
