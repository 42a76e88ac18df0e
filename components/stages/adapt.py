"""adapt: the images that came in last -> a workspace in which strategies compete that adapt to them.

Not a stage of `dvc.yaml`: it makes the workspace in which the pipeline then runs. Which images: those that were kept of
what the champion was asked since the last check that found no drift, or, where no check has found any, all that were
kept; the newest `adapt.images` of them. Images that somebody has labelled are among them whichever champion answered
them and however old they are.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components import jsonfile, paths, tensorfile, workspaces
from components import params as parameters
from components.deployment import bundle
from components.errors import DataError, ParamsError, choices
from components.monitoring import budget
from components.monitoring import labels as given_labels
from components.monitoring.observations import BEFORE_ALL, Kept, Observations
from components.params import Params
from components.stages.command import main, say

LEAST = 50
"""Images without which there is nothing to adapt to: some are held out to judge, and the others hardly fill a batch."""
KEPT = 10
"""Workspaces that stay, this one included."""
IMAGES = paths.RAW / "recent"
MANIFEST = IMAGES / "images.csv"
START = Path("weights/start.safetensors")
BACKBONE = "backbone."
"""What precedes the backbone's tensors in a strategy's file."""
DRIFT, BY_HAND = "drift", "by hand"


def adapt(labels: str | None = None, reason: str = "") -> None:
    """Makes a workspace below .graft/runs whose params.yaml compares `adapt.compare` on the images that came in, and
    writes .graft/adaptation.json. Then run the pipeline there, and `promote --from` it.

    `labels`: a CSV file with the columns path (or name) of an image that was kept, and label: with it, those of
    `adapt.supervised` compete, too; `reason`: why, for the workspace's name.
    """
    say(told(make(Path(), labels=None if labels is None else Path(labels), reason=reason)))


def told(made: Mapping[str, Any]) -> str:
    """What `make` returned, for people."""
    return f"{made['name']}: {_count(made['images'], 'image')}, {made['labelled']} of them labelled, in {made['path']}"


def make(root: Path, *, labels: Path | None = None, reason: str = "") -> dict[str, Any]:
    """What .graft/adaptation.json then holds: `path` of the workspace relative to `root`, `name`, `time`, `images`,
    `labelled`, `bundle` (identity of the champion) and `why`.

    Raises DataError where there is no champion, or where too few images were kept, or for labels that fit none of them;
    ParamsError where params.yaml says of nobody that he adapts.
    """
    params = parameters.load(root)
    facts = jsonfile.read(root / paths.CHAMPION / bundle.FILE)
    identity = bundle.identity(facts)
    observed = Observations.open(root / paths.OBSERVATIONS)
    drifted, since = _drift(root, identity)
    images = _images(observed, identity, params.adapt.images, since)
    known = {} if labels is None else _labelled(labels, observed, facts)
    everything = list(dict.fromkeys([*known, *(image.path for image in images)]))
    if len(everything) < LEAST:
        raise DataError(
            f"{_count(len(everything), 'image')} of those that the champion was asked about {_was(len(everything))} "
            f"kept, but at least {LEAST} are needed to adapt to them: serve with --observe and --keep-images MIB, "
            "and wait for more"
        )
    overlay = changes(params, labelled=bool(known))
    files = _files(everything, known)
    if params.backbone.weights == "pretrain" and (start := _start(root, facts)) is not None:
        files[str(START)] = start
        overlay["backbone"] = {"weights": START.as_posix()}
    moment = datetime.now(UTC)
    name = _name(root, moment, reason or (DRIFT if drifted else BY_HAND))
    place = workspaces.isolated(root, name, overlay, files=files)
    made = {
        "path": place.relative_to(root.resolve()).as_posix(),
        "name": name,
        "time": moment.isoformat(timespec="seconds"),
        "images": len(everything),
        "labelled": len(known),
        "bundle": identity,
        "why": reason or ("the images that come in have changed" if drifted else BY_HAND),
    }
    jsonfile.write(root / paths.ADAPTATION, made)
    for old in workspaces.prune(root, KEPT):
        say(f"removed the old workspace {old}")
    return made


def changes(params: Params, *, labelled: bool) -> dict[str, Any]:
    """What the workspace's parameters change."""
    if not params.adapt.compare:
        raise ParamsError(
            f"adapt.compare is empty, so nobody adapts when the images change; {choices('', params.strategies)}"
        )
    names = [*params.adapt.compare, *(params.adapt.supervised if labelled else ())]
    if len(names) < 2:
        raise ParamsError(
            f"adapt.compare names {names[0]!r} alone: on images without labels each is judged by the answers of the "
            "others, so name two at least, and better three"
        )
    return {
        "data": {"recent": {"manifest": MANIFEST.as_posix()}},
        "compare": names,
        "students": [],
        "teacher": None,
        "strategies": {
            name: {"recipe": {"augment": params.adapt.augment}}
            for name in names
            if "augment" not in params.competitor(name).recipe
        },
        "train": {"seeds": list(params.adapt.seeds)},
    }


def _start(root: Path, facts: Mapping[str, Any]) -> bytes | None:
    """The weights to adapt from, as a file: those of the champion's own backbone where this workspace still has them,
    else those that it started from, too. Both spare the time of pretraining once more; the former know the task
    already. None where the workspace has no pretrained ones."""
    pretrained = root / paths.PRETRAINED / "backbone.safetensors"
    if not pretrained.is_file():  # then nothing says which tensors the plain backbone has
        return None
    for model in sorted((root / paths.MODELS).glob("*/model.json")):
        if jsonfile.read(model).get("weights_sha256") != facts["lineage"]["weights_sha256"]:
            continue
        arrays = tensorfile.load(model.with_name("model.safetensors"))
        own = {name.removeprefix(BACKBONE): array for name, array in arrays.items() if name.startswith(BACKBONE)}
        if own.keys() == tensorfile.load(pretrained).keys():  # an adapter or a folded layer makes another network of it
            return tensorfile.encode(own)
    return pretrained.read_bytes()


def _drift(root: Path, identity: str) -> tuple[bool, Sequence[int]]:
    """Whether the last check of this champion found drift; and then the place of the last image of which none had, or
    one before all."""
    checks = [
        line
        for line in budget.history(root)
        if line.get("kind") == budget.CHECK
        and line["bundle"] == identity
        and line["checked"]
        and line["until"] is None  # a look back says nothing of now
    ]
    drifted = bool(checks) and checks[-1]["drift"]
    clean = [line["last"] for line in checks if not line["drift"] and "last" in line] if drifted else []
    return drifted, clean[-1] if clean else BEFORE_ALL


def _images(observed: Observations, identity: str, limit: int, since: Sequence[int]) -> list[Kept]:
    """The newest: those that came after that place, but older ones as well where these would not suffice."""
    found = observed.images(limit, identity, since)
    return found if len(found) >= LEAST else observed.images(LEAST, identity)


def _labelled(file: Path, observed: Observations, facts: Mapping) -> dict[Path, str]:
    """The labelled images, of whichever champion."""
    kept = [image.path for name in observed.bundles() for image in observed.images(sys.maxsize, name)]
    found, gone = given_labels.read(file, kept, next(iter(facts["classes"].values())))
    if gone:
        say(f"{_count(gone, 'label')} of {file} {_was(gone)} left aside: the images are not kept any more")
    return found


def _files(images: Iterable[Path], known: Mapping[Path, str]) -> dict[str, Path | str | bytes]:
    """Copies of the images, which are called as where they were kept, and the table of them."""
    places = {path: given_labels.name(path) for path in images}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(given_labels.COLUMNS)
    writer.writerows(sorted((place, known.get(path, "")) for path, place in places.items()))
    return {**{str(IMAGES / place): path for path, place in places.items()}, str(MANIFEST): text.getvalue()}


def _name(root: Path, moment: datetime, why: str) -> str:
    """For people: 2026-11-22-1405-drift."""
    words = re.sub(r"[^a-z0-9]+", "-", why.lower()).strip("-")[:30].strip("-")
    name = f"{moment:%Y-%m-%d-%H%M}-{words or BY_HAND}"
    taken = {path.name for path in (root / paths.RUNS).glob("*")}
    others = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(other for other in others if other not in taken)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


if __name__ == "__main__":
    main(adapt)
