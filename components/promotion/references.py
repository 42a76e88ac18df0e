"""Which images a champion is watched by: those of the workspace it came from that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components import jsonfile, paths
from components.data import prepared
from components.deployment import bundle
from components.monitoring import reference
from components.params import Params
from components.types import TASK


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
    where the workspace's data are those that it was judged on. Otherwise there is none, which `graft monitor` tells."""
    facts = bundle.read(staged)
    last = root / paths.BUNDLE / bundle.FILE
    known = (reference.folder(root, bundle.identity(facts)) / reference.FILE).exists()
    if known or not last.exists() or not (root / paths.PREPARED).exists():
        return
    if jsonfile.read(last)["lineage"].get("data_sha256") == facts["lineage"].get("data_sha256"):
        keep(root, root, staged, params)
