"""prepare: raw images -> manifest and packed arrays. Imports no torch.

What it finds wrong is in `problems.json`: unreadable files (left out), copies of one image (one is kept), and copies
that lie under different labels (none is kept, since no one can say which is right).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from components import params as parameters
from components import paths
from components.data import attributes, folders, prepared, split
from components.data.datasets import catalogue
from components.errors import DataError
from components.params import ImagesParams, Params
from components.stages.command import main, say
from components.types import TASK, LabelSpace


def prepare() -> None:
    """Reads every domain's images, assigns them to train, val and test, and packs them."""
    params = parameters.load(Path())
    domains = {"target": params.data.target}
    if params.data.source is not None:
        domains["source"] = params.data.source

    names: dict[str, list[str]] = {}
    rows: list[dict] = []
    pixels: dict[str, np.ndarray] = {}
    problems: dict[str, dict] = {}
    for domain, images in domains.items():
        folder = _folder(domain, images, params.seed)
        names[domain] = folders.class_names(folder)
        records, problems[domain] = _clean(folders.read(folder, params.prepare.size, params.prepare.interpolation))
        if not records:
            raise DataError(f"data.{domain}: no readable image in {folder}")
        rows += _rows(domain, records, params)
        pixels[domain] = np.stack([record.pixels for record in records])
        found = ", ".join(f"{len(entries)} {kind}" for kind, entries in problems[domain].items() if entries)
        say(
            f"{domain}: {len(records)} images of {len(names[domain])} classes from {folder}" + (found and f" ({found})")
        )

    unknown = sorted(set(names.get("source", [])) - set(names["target"]))
    if unknown:
        raise DataError(f"data.source has classes that data.target lacks: {', '.join(unknown)}")
    space, answers = _label_space(params, names["target"])
    for row in rows:  # a hidden label hides the answers that follow from it
        row |= {task: answers[row[TASK]][task] if row[TASK] else "" for task in params.data.tasks}
    _require_every_class(rows, space)
    prepared.write(paths.PREPARED, rows, pixels, space, problems)


def _label_space(params: Params, names: list[str]) -> tuple[LabelSpace, attributes.Table]:
    """The classes, with the further tasks and the descriptions that `data.attributes` gives them, and its table."""
    if params.data.attributes is None:
        return LabelSpace({TASK: tuple(names)}), {}
    path = Path(params.data.attributes)
    table = attributes.read(path, names)
    taken = {TASK, *prepared.COLUMNS}.intersection(params.data.tasks)
    if taken:
        raise DataError(f"data.tasks: the manifest has a column {min(taken)!r} already; rename it in {path}")
    vectors = attributes.descriptions(table, params.data.tasks, path)
    tasks = attributes.questions(table, params.data.tasks, path)
    return LabelSpace({TASK: tuple(names), **tasks}, {TASK: vectors} if vectors[0] else None), table


def _folder(domain: str, images: ImagesParams, seed: int) -> Path:
    if images.folder is not None:
        return Path(images.folder)
    assert images.dataset is not None  # one of the two is given: params.yaml was checked
    folder = paths.RAW / images.dataset
    catalogue.materialise(images.dataset, folder, per_class=images.per_class, seed=seed)
    return folder


def _clean(found: Iterable[folders.Record | str]) -> tuple[list[folders.Record], dict[str, list]]:
    """The records to use, and what was left out and why."""
    unreadable: list[str] = []
    copies: dict[str, list[folders.Record]] = {}
    for item in found:
        if isinstance(item, str):
            unreadable.append(item)
        else:
            copies.setdefault(item.sha256, []).append(item)
    duplicates, contradictions, records = [], [], []
    for same in copies.values():
        group = [str(record.path) for record in same]
        if len({record.class_name for record in same}) > 1:
            contradictions.append(group)
            continue
        records.append(same[0])
        if len(same) > 1:
            duplicates.append(group)
    return records, {"unreadable": unreadable, "duplicates": duplicates, "contradictions": contradictions}


def _rows(domain: str, records: list[folders.Record], params: Params) -> list[dict]:
    """Manifest rows in the records' order; a training label beyond the budget is left empty."""
    options = params.prepare
    if domain == "target":
        fractions = {"val_fraction": options.val_fraction, "test_fraction": options.test_fraction}
    else:
        fractions = {"val_fraction": options.source_val_fraction, "test_fraction": 0.0}
    parts = [split.part(record.sha256, **fractions, seed=params.seed) for record in records]
    labels = [record.class_name for record in records]
    if domain == "target":
        train = [index for index, name in enumerate(parts) if name == "train"]
        positions = [split.position(records[index].sha256, params.seed) for index in train]
        kept = split.labelled(positions, [labels[index] for index in train], options.labels_per_class)
        for index, keep in zip(train, kept, strict=True):
            labels[index] = labels[index] if keep else ""
    return [
        {
            "path": record.path.as_posix(),
            "domain": domain,
            "split": part,
            "label": label,
            "sha256": record.sha256,
            "width": record.width,
            "height": record.height,
        }
        for record, part, label in zip(records, parts, labels, strict=True)
    ]


def _require_every_class(rows: list[dict], space: LabelSpace) -> None:
    sides = {row["split"] for row in rows if row["domain"] == "source"}
    if sides and sides != {"train", "val"}:
        raise DataError(
            f"the source has images for {' and '.join(sorted(sides))} only, but both train and val are needed: "
            "add images, or change prepare.source_val_fraction or seed"
        )
    for part in split.SPLITS:
        present = {row["label"] for row in rows if row["domain"] == "target" and row["split"] == part}
        missing = [name for name in space.classes[TASK] if name not in present]
        if missing:
            raise DataError(
                f"the {part} part has no labelled image of class {missing[0]!r}: add images, or change "
                "prepare.val_fraction, prepare.test_fraction or seed"
            )


if __name__ == "__main__":
    main(prepare)
