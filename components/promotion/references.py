"""Which images a champion is watched by: those of the workspace it came from that it was not trained on."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np

from components import jsonfile, paths
from components.data import prepared
from components.deployment import bundle
from components.errors import DataError
from components.monitoring import reference
from components.params import Params
from components.promotion import decisions
from components.types import TASK

KEPT = 5
"""Champions, the present one included, whose reference stays: a rollback goes back one or two. Of an older one it is
made anew where the data are still the same."""


def keep(root: Path, source: Path, staged: Path, params: Params) -> None:
    """Writes the monitor's reference of the bundle in `staged`, made in the workspace `source`.

    Of one that was adapted to recent images, those that were held out of them, with the votes that judged it: the
    images that come in are like those. Else the labelled ones of the target's val and test.
    """
    data = prepared.read(source / paths.PREPARED)
    facts = bundle.read(staged)
    votes = None
    if data.recent is not None and len(rows := data.recent.rows("val")):
        images = data.recent.pixels[rows]
        told = jsonfile.read(source / paths.EVALUATION)
        names = np.array(told["classes"])[told["recent"]["votes_without"][facts["strategy"]]]
        place = {name: number for number, name in enumerate(facts["classes"][TASK])}
        votes = np.array([place.get(str(name), reference.UNKNOWN) for name in names])
    else:
        rows = np.sort(np.concatenate([data.target.rows(part, labelled=True) for part in ("val", "test")]))
        images = data.target.pixels[rows]
    reference.write(root, staged, np.asarray(images), votes, limit=params.monitor.reference, seed=params.seed)


def restore(root: Path, staged: Path, params: Params) -> None:
    """Sees to it that an earlier champion has its reference again. It usually is still there; else it is made anew
    where the workspace's data are those that it was judged on. Otherwise, and where data are being prepared anew or the
    disk is full, there is none, which `graft monitor` tells: a rollback is not the moment to insist."""
    facts = bundle.read(staged)
    if (reference.folder(root, bundle.identity(facts)) / reference.FILE).exists():
        return
    with suppress(DataError, OSError):
        last = jsonfile.read(root / paths.BUNDLE / bundle.FILE)
        if last["lineage"].get("data_sha256") == facts["lineage"].get("data_sha256"):
            keep(root, root, staged, params)


def prune(root: Path) -> None:
    """Removes what is kept of all but the champion and the last KEPT that were: images of a large size add up."""
    reigned = dict.fromkeys(line["bundle"] for line in reversed(decisions.reigns(root)))
    needed = {*list(reigned)[:KEPT], (decisions.champion(root) or {}).get("bundle")}
    for place in reference.folder(root, "").glob("*"):
        if place.name not in needed:
            shutil.rmtree(place, ignore_errors=True)
