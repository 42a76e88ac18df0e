"""prepare: raw images -> manifest and packed arrays. Imports no torch.

What it finds wrong is in `problems.json`: unreadable files (left out), copies of one image (one is kept), copies that
lie under different labels (none is kept, since no one can say which is right), images that are nearly the same as a
held-out one or stand in several domains (left out, or kept where params say so), images of groups that are held out
(left out, where they would be trained on), and what the listing found.

The new result is built beside the previous one and takes its place when it is whole; until then the previous one is
where pixels are taken from that were decoded before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from components import jsonfile, paths
from components import params as parameters
from components.data import decoding, near_duplicates, packing, parts, prepared, repeats, split
from components.data.datasets import catalogue
from components.data.decoding import Cache, Decoded, Job, Settings
from components.data.listing import Listed, Listing, attributes, folder_of, listing
from components.data.packing import Rows
from components.data.prepared import RECENT
from components.data.repeats import Image
from components.errors import DataError
from components.filelock import locked
from components.params import Params
from components.stages.command import main, say
from components.stages.progress import counter
from components.types import TASK, LabelSpace

THUMBNAILS = "thumbnails.npy"
FACTS_BYTES = 512
"""Room in the manifest and elsewhere that an image is given when it is asked whether the disk is large enough."""


def prepare() -> None:
    """Reads every domain's images, assigns them to train, val and test, and packs them."""
    write(parameters.load(Path()), paths.PREPARED)


def write(params: Params, folder: Path) -> None:
    """The data as these parameters want it, prepared in `folder`. Pixels that are there already, or in the workspace's
    own prepared data, are taken from there."""
    listings = _listings(params)
    space, table = _label_space(params, listings)
    count = sum(len(found.images) for own in listings.values() for found in own)
    size = count * (params.prepare.size**2 * 3 + near_duplicates.SIDE**2 * 6 + FACTS_BYTES)
    with locked(paths.STATE / "prepare.lock"), packing.building(folder, size) as new:
        settings = Settings(params.prepare.size, params.prepare.interpolation)
        cache = Cache.open(folder, settings) or Cache.open(paths.PREPARED, settings)
        try:
            images, problems = _read(params, listings, new, settings, cache)
        except decoding.Damaged:
            say("pixels that were decoded before are not those of the images: all images are decoded again")
            cache = None
            images, problems = _read(params, listings, new, settings, cache)
        remaining, dropped = _without_repeats(images, problems, params, new)
        _arrange(remaining, new, cache)
        rows = _rows(remaining, params, table)
        _require_every_class(rows, remaining, space, dropped)
        columns = dict.fromkeys(name for own in listings.values() for found in own for name in found.columns)
        prepared.write_facts(new, rows, space, problems, tuple(columns))
        jsonfile.write(new / prepared.DECODER, settings.facts())
    _tell(remaining, listings, problems)


def _listings(params: Params) -> dict[str, list[Listing]]:
    """By domain, its images: the target's may be in two places, those with a label and those without."""
    found: dict[str, list[Listing]] = {}
    for key in ("target", "unlabelled", "source", RECENT):
        options = getattr(params.data, key)
        if options is None:
            continue
        domain = "target" if key == "unlabelled" else key
        if options.dataset is not None:
            catalogue.materialise(options.dataset, folder_of(options), per_class=options.per_class, seed=params.seed)
        own = listing(options, f"data.{key}", labelled=key != "unlabelled", recent=key == RECENT)
        found.setdefault(domain, []).append(own)
    return found


def _label_space(params: Params, listings: Mapping[str, list[Listing]]) -> tuple[LabelSpace, attributes.Table]:
    """The classes; the further tasks and the descriptions that `data.attributes` gives them, with its table; and the
    tasks that the target's own table answers."""
    target = listings["target"][0]
    tasks: dict[str, tuple[str, ...]] = {TASK: target.classes}
    table: attributes.Table = {}
    descriptions = None
    if params.data.attributes is not None:
        path = Path(params.data.attributes)
        table = attributes.read(path, target.classes)
        taken = {TASK, *prepared.COLUMNS, *target.tasks}.intersection(params.data.tasks)
        if taken:
            raise DataError(f"data.tasks: the manifest has a column {min(taken)!r} already; rename it in {path}")
        vectors = attributes.descriptions(table, params.data.tasks, path)
        descriptions = {TASK: vectors} if vectors[0] else None
        tasks |= attributes.questions(table, params.data.tasks, path)
    for task in target.tasks:
        tasks[task] = tuple(sorted({image.answers[task] for image in target.images if image.class_name}))
        if len(tasks[task]) < 2:
            raise DataError(f"data.target.columns.tasks: every image has the same answer to {task!r}")
    space = LabelSpace(tasks, descriptions)
    for domain in ("source", RECENT):
        for found in listings.get(domain, ()):
            _require_known(domain, "classes", set(found.classes), target.classes)
            for task in set(found.tasks).intersection(target.tasks):
                answers = {image.answers[task] for image in found.images if image.class_name}
                _require_known(domain, f"answers to {task!r}", answers, tasks[task])
    for found in (found for own in listings.values() for found in own):
        taken = set(params.data.tasks).intersection(found.columns)
        if taken:
            raise DataError(f"data.tasks: the metadata of {found.root} have a column {min(taken)!r}, too; rename one")
    return space, table


def _require_known(domain: str, what: str, given: set[str], target: Iterable[str]) -> None:
    unknown = sorted(given - set(target))
    if unknown:
        raise DataError(f"data.{domain} has {what} that data.target lacks: {', '.join(unknown)}")


def _read(
    params: Params, listings: Mapping[str, list[Listing]], folder: Path, settings: Settings, cache: Cache | None
) -> tuple[list[Image], dict[str, dict[str, list]]]:
    """Decodes all images into `folder`; those of all domains that can be used, target first, each domain's once and
    ordered by sha256; and by domain what is wrong there."""
    side, count = near_duplicates.SIDE, sum(len(found.images) for own in listings.values() for found in own)
    thumbnails = Rows.create(folder / THUMBNAILS, (count, side, side, 3), np.float16)
    first = 0
    images: list[Image] = []
    problems: dict[str, dict[str, list]] = {}
    for domain, own in listings.items():
        listed = [image for found in own for image in found.images]
        pixels = Rows.create(folder / f"{domain}.npy", (len(listed), settings.size, settings.size, 3), np.uint8)
        job = Job([str(image.path) for image in listed], settings, pixels, thumbnails, first, cache)
        decoded = decoding.decode(job, counter(domain, len(listed), "images"))
        divided = parts.of_images(domain, listed, decoded, params)
        readable = [
            Image(domain, divided[row], listed[row], item, row, first + row)
            for row, item in enumerate(decoded)
            if isinstance(item, Decoded)
        ]
        kinds: dict[str, list] = {"unreadable": [item for item in decoded if isinstance(item, str)]}
        if not readable:
            raise DataError(f"data.{domain}: no readable image in {own[0].root}")
        usable, left_out = parts.without_held_out_groups(readable, images, params)
        kept, repeated = repeats.once(usable)
        kinds |= repeated | ({"in_held_out_groups": left_out} if left_out else {})
        if not kept:
            raise DataError(
                f"data.{domain}: of {own[0].root} no image is left: {_counts(kinds)}; give other images, or correct "
                "their labels"
            )
        for found in own:
            for kind, entries in found.problems.items():
                kinds[kind] = kinds.get(kind, []) + entries
        images += kept
        problems[domain] = kinds
        first += len(listed)
        pixels.close()
    thumbnails.close()
    return images, problems


def _without_repeats(
    images: list[Image], problems: dict[str, dict[str, list]], params: Params, folder: Path
) -> tuple[list[Image], int]:
    """The images that stay, and how many near duplicates go; all of them are added to the problems."""
    dropping = params.prepare.near_duplicates == "drop"
    similarity = params.prepare.near_duplicate_similarity
    found = repeats.find(images, np.load(folder / THUMBNAILS, mmap_mode="r"), similarity, dropping=dropping)
    (folder / THUMBNAILS).unlink()
    dropped = {repeat.other for repeat in found} if dropping else set()
    remaining = [index for index in range(len(images)) if index not in dropped]
    for domain, entries in repeats.described(found, images, remaining).items():
        problems[domain]["near_duplicates"] = entries
        if not any(images[index].domain == domain for index in remaining):
            raise DataError(
                f"data.{domain}: every image is nearly the same as one that is held out; give other images, or set "
                "prepare.near_duplicates to 'keep'"
            )
    return [images[index] for index in remaining], len(dropped)


def _arrange(images: Sequence[Image], folder: Path, cache: Cache | None) -> None:
    """Puts each domain's pixels into the order of its images."""
    for domain in dict.fromkeys(image.domain for image in images):
        pixels = Rows(folder / f"{domain}.npy", writable=True)
        own = [image for image in images if image.domain == domain]
        cached = np.array([image.decoded.cached for image in own])
        pixels.keep(np.where(cached < 0, [image.row for image in own], -1))
        if cache is not None:
            cache.copy(cached, pixels)
        pixels.close()


def _rows(images: Sequence[Image], params: Params, table: attributes.Table) -> list[dict]:
    """Manifest rows in the images' order. A training label of the target beyond the budget is left empty, and with it
    the answers that would give it away."""
    train = [index for index, image in enumerate(images) if _is_counted(image)]
    kept = split.labelled(
        [split.position(images[index].sha256, params.seed) for index in train],
        [images[index].listed.class_name for index in train],
        params.prepare.labels_per_class,
    )
    hidden = {index for index, keep in zip(train, kept, strict=True) if not keep}
    return [_row(image, params, table, hidden=index in hidden) for index, image in enumerate(images)]


def _is_counted(image: Image) -> bool:
    return image.domain == "target" and image.part == "train" and image.listed.class_name != ""


def _row(image: Image, params: Params, table: attributes.Table, *, hidden: bool) -> dict:
    listed: Listed = image.listed
    row = {
        **listed.columns,
        "path": image.path,
        "domain": image.domain,
        "split": image.part,
        "sha256": image.sha256,
        "width": image.decoded.width,
        "height": image.decoded.height,
        TASK: "",
    }
    if listed.class_name and not hidden:
        row |= {TASK: listed.class_name, **listed.answers}
        row |= {task: table[listed.class_name][task] for task in params.data.tasks}
    return row


def _require_every_class(rows: Sequence[Mapping], images: Sequence[Image], space: LabelSpace, dropped: int) -> None:
    """Raises DataError where a part that is needed has no image, or none of a class."""
    for domain, share in (("source", "prepare.source_val_fraction"), (RECENT, "prepare.recent_val_fraction")):
        sides = {row["split"] for row in rows if row["domain"] == domain}
        if sides and sides != {"train", "val"}:
            raise DataError(
                f"the {domain} has images for {' and '.join(sorted(sides))} only, but both train and val are needed: "
                f"add images, or change {share} or seed"
            )
    labelled = Counter((image.listed.class_name, image.part) for image in images if image.domain == "target")
    present = {(row["split"], row[TASK]) for row in rows if row["domain"] == "target"}
    for part in split.SPLITS:
        missing = [name for name in space.classes[TASK] if (part, name) not in present]
        if not missing:
            continue
        name = missing[0]
        counts = [labelled[name, other] for other in split.SPLITS]
        has = f"which has {sum(counts)} usable image{'' if sum(counts) == 1 else 's'}"
        if sum(counts):
            has += " (" + ", ".join(f"{other} {n}" for other, n in zip(split.SPLITS, counts, strict=True)) + ")"
        others = f" (nor of {len(missing) - 1} other classes)" if missing[1:] else ""
        raise DataError(
            f"the {part} part has no labelled image of class {name!r}{others}, {has}, but every part needs one of each "
            "class: add images of it or leave the class out, or change prepare.val_fraction, prepare.test_fraction or "
            "seed" + (f"; {dropped} near duplicates were left out (prepare.near_duplicates)" if dropped else "")
        )


def _tell(images: Sequence[Image], listings: Mapping[str, list[Listing]], problems: Mapping[str, Mapping]) -> None:
    for domain, own in listings.items():
        mine = [image for image in images if image.domain == domain]
        known = sum(image.decoded.cached >= 0 for image in mine)
        of = f" of {len(own[0].classes)} classes" if own[0].classes else ""
        line = f"{domain}: {len(mine)} images{of} from "
        line += " and ".join(str(found.root) for found in own)
        notes = [*([f"{known} decoded before"] if known else []), *filter(None, [_counts(problems[domain])])]
        say(line + (f" ({', '.join(notes)})" if notes else ""))


def _counts(kinds: Mapping[str, list]) -> str:
    return ", ".join(f"{len(entries)} {kind}".replace("_", " ") for kind, entries in kinds.items() if entries)


if __name__ == "__main__":
    main(prepare)
