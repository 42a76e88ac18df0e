"""prepare: raw images -> manifest and packed arrays. Imports no torch.

What it finds wrong is in `problems.json`: unreadable files (left out), copies of one image (one is kept), copies that
lie under different labels (none is kept, since no one can say which is right), images that are nearly the same as a
held-out one or stand in both domains (left out, or kept where params say so), and metadata of files that do not exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components import params as parameters
from components import paths
from components.data import attributes, folders, metadata, near_duplicates, prepared, split
from components.data.datasets import catalogue
from components.errors import DataError
from components.params import ImagesParams, Params
from components.stages.command import main, say
from components.types import TASK, LabelSpace

KEPT_FIRST = ("test", "val", "train")
"""Of two images that are the same, the one whose part stands first is kept."""


@dataclass(frozen=True)
class _Image:
    """A readable image and where it goes."""

    domain: str
    part: str
    record: folders.Record

    def facts(self) -> dict[str, str]:
        """As problems.json names it; also a label that strategies may not see, for this is not theirs to read."""
        path, label = self.record.path.as_posix(), self.record.class_name
        return {"domain": self.domain, "path": path, "split": self.part, "label": label}


@dataclass(frozen=True)
class _Repeat:
    """Two indices of images that are (nearly) the same; `other` is the one that goes."""

    kept: int
    other: int
    similarity: float


def prepare() -> None:
    """Reads every domain's images, assigns them to train, val and test, and packs them."""
    write(parameters.load(Path()), paths.PREPARED)


def write(params: Params, folder: Path) -> None:
    """The data as these parameters want it, prepared in `folder`."""
    folders_of, images, problems = _read(params)
    names = {domain: folders.class_names(root) for domain, root in folders_of.items()}
    unknown = sorted(set(names.get("source", [])) - set(names["target"]))
    if unknown:
        raise DataError(f"data.source has classes that data.target lacks: {', '.join(unknown)}")

    repeats = _repeats(images, params)
    dropped = {repeat.other for repeat in repeats} if params.prepare.near_duplicates == "drop" else set()
    remaining = [index for index in range(len(images)) if index not in dropped]
    for domain, entries in _described(repeats, images, remaining).items():
        problems[domain]["near_duplicates"] = entries
    rows: dict[str, list[dict]] = {}
    pixels: dict[str, np.ndarray] = {}
    for domain in folders_of:
        own = [images[index] for index in remaining if images[index].domain == domain]
        if not own:
            raise DataError(
                f"data.{domain}: every image is nearly the same as one that is held out; give other images, or set "
                "prepare.near_duplicates to 'keep'"
            )
        rows[domain] = _rows(own, params.prepare.labels_per_class if domain == "target" else None, params.seed)
        pixels[domain] = np.stack([image.record.pixels for image in own])

    space, answers = _label_space(params, names["target"])
    columns: dict[str, None] = {}  # in order, and each once
    for domain, root in folders_of.items():
        for row in rows[domain]:  # a hidden label hides the answers that follow from it
            row |= {task: answers[row[TASK]][task] if row[TASK] else "" for task in params.data.tasks}
        options = params.data.target if domain == "target" else params.data.source
        assert options is not None  # a domain that was read
        found, problems[domain]["unmatched_metadata"] = _add_metadata(domain, options, rows[domain], root, space)
        columns |= dict.fromkeys(found)
        wrong = ", ".join(f"{len(entries)} {kind}" for kind, entries in problems[domain].items() if entries)
        count = f"{len(pixels[domain])} images of {len(names[domain])} classes"
        say(f"{domain}: {count} from {root}" + (wrong and f" ({wrong.replace('_', ' ')})"))
    every = [row for own in rows.values() for row in own]
    _require_every_class(every, space, len(dropped))
    prepared.write(folder, every, pixels, space, problems, tuple(columns))


def _read(params: Params) -> tuple[dict[str, Path], list[_Image], dict[str, dict[str, list]]]:
    """By domain, the folder of its images and what is wrong there; and the images of all domains, target first."""
    domains = {"target": params.data.target}
    if params.data.source is not None:
        domains["source"] = params.data.source
    folders_of: dict[str, Path] = {}
    images: list[_Image] = []
    problems: dict[str, dict[str, list]] = {}
    for domain, options in domains.items():
        root = folders_of[domain] = _folder(domain, options, params.seed)
        records, problems[domain] = _clean(folders.read(root, params.prepare.size, params.prepare.interpolation))
        if not records:
            raise DataError(f"data.{domain}: no readable image in {root}")
        images += [_Image(domain, _part(domain, record, params), record) for record in records]
    return folders_of, images, problems


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


def _part(domain: str, record: folders.Record, params: Params) -> str:
    options = params.prepare
    if domain == "target":
        fractions = {"val_fraction": options.val_fraction, "test_fraction": options.test_fraction}
    else:
        fractions = {"val_fraction": options.source_val_fraction, "test_fraction": 0.0}
    return split.part(record.sha256, **fractions, seed=params.seed)


def _repeats(images: list[_Image], params: Params) -> list[_Repeat]:
    """Exact copies in both domains, and images of val and train that are nearly the same as one of a part held out from
    theirs. An image is `other` at most once, for what weighs most: a copy, then its likeness to test, then to val."""
    found: dict[int, _Repeat] = {}
    first: dict[str, int] = {}
    for index in sorted(range(len(images)), key=lambda i: KEPT_FIRST.index(images[i].part)):  # stable: target first
        kept = first.setdefault(images[index].record.sha256, index)
        if kept != index:
            found[index] = _Repeat(kept, index, 1.0)
    thumbnails = np.concatenate(
        [
            near_duplicates.thumbnails(np.stack([image.record.pixels for image in images[start : start + 256]]))
            for start in range(0, len(images), 256)
        ]
    )
    dropping = params.prepare.near_duplicates == "drop"
    for held_out, below in (("test", ("val", "train")), ("val", ("train",))):
        references = [i for i, image in enumerate(images) if image.part == held_out and not (dropping and i in found)]
        others = [i for i, image in enumerate(images) if image.part in below and i not in found]
        nearest, similarity = near_duplicates.closest(
            thumbnails[others], thumbnails[references], params.prepare.near_duplicate_similarity
        )
        for at in np.flatnonzero(nearest >= 0):
            found[others[at]] = _Repeat(references[nearest[at]], others[at], float(similarity[at]))
    return [found[index] for index in sorted(found)]


def _described(repeats: list[_Repeat], images: list[_Image], remaining: list[int]) -> dict[str, list[dict]]:
    """Entries of problems.json by the domain of the image that goes. Rows count a domain's remaining images."""
    rows: dict[int, int] = {}
    counts: dict[str, int] = {}
    for index in remaining:
        domain = images[index].domain
        rows[index] = counts.get(domain, 0)
        counts[domain] = rows[index] + 1
    entries: dict[str, list[dict]] = {image.domain: [] for image in images}
    for repeat in repeats:
        other = images[repeat.other]
        entries[other.domain].append(
            {
                "similarity": round(repeat.similarity, 4),
                "kept": images[repeat.kept].facts(),
                "other": other.facts(),
                "dropped": repeat.other not in rows,
                "kept_row": rows.get(repeat.kept),
                "other_row": rows.get(repeat.other),
            }
        )
    return entries


def _rows(images: list[_Image], labels_per_class: int | None, seed: int) -> list[dict]:
    """Manifest rows in the images' order; a training label beyond the budget is left empty."""
    labels = [image.record.class_name for image in images]
    train = [index for index, image in enumerate(images) if image.part == "train"]
    positions = [split.position(images[index].record.sha256, seed) for index in train]
    kept = split.labelled(positions, [labels[index] for index in train], labels_per_class)
    for index, keep in zip(train, kept, strict=True):
        labels[index] = labels[index] if keep else ""
    return [
        {
            "path": image.record.path.as_posix(),
            "domain": image.domain,
            "split": image.part,
            "label": label,
            "sha256": image.record.sha256,
            "width": image.record.width,
            "height": image.record.height,
        }
        for image, label in zip(images, labels, strict=True)
    ]


def _add_metadata(
    domain: str, options: ImagesParams, rows: list[dict], folder: Path, space: LabelSpace
) -> tuple[tuple[str, ...], list[str]]:
    """Fills in the columns of the domain's table; returns their names, and the paths in it that are no file."""
    if options.metadata is None:
        return (), []
    taken = {*prepared.COLUMNS, *space.classes} - {metadata.PATH}
    table = metadata.read(Path(options.metadata), f"data.{domain}.metadata", taken)
    for row in rows:
        values = table.values.get(Path(row["path"]).relative_to(folder).as_posix())
        if values is not None:
            row |= zip(table.columns, values, strict=True)
    return table.columns, [name for name in table.values if not (folder / name).is_file()]


def _require_every_class(rows: list[dict], space: LabelSpace, dropped: int) -> None:
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
                + (f"; {dropped} near duplicates were left out (prepare.near_duplicates)" if dropped else "")
            )


if __name__ == "__main__":
    main(prepare)
