"""The toy's images as they come in later: inverted, and mostly without a label."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from components.data import prepared
from components.data.prepared import HIDDEN, RECENT, Domain, Prepared
from components.types import TASK


def inverted(target: Domain, labelled: int = 0) -> Domain:
    """Negatives of the target's test images and of those for training that have no label: every third is held out; of
    each part the first `labelled` keep what is known of them."""
    rows = np.sort(np.concatenate([target.rows("test"), target.rows("train", labelled=False)]))
    pixels = 255 - target.pixels[rows]
    splits = np.where(np.arange(len(rows)) % 3 == 0, "val", "train")
    labels = {task: np.full(len(rows), HIDDEN) for task in target.labels}
    known = target.labels[TASK][rows] != HIDDEN
    for part in ("train", "val"):
        kept = np.flatnonzero((splits == part) & known)[:labelled]
        for task, values in labels.items():
            values[kept] = target.labels[task][rows[kept]]
    sha256 = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
    columns = {name: [values[row] for row in rows] for name, values in target.columns.items()}
    return Domain(pixels, labels, splits, [f"recent/{row}.png" for row in rows], sha256, columns)


def with_recent(data: Prepared, labelled: int = 0) -> Prepared:
    return replace(data, domains={**data.domains, RECENT: inverted(data.target, labelled)})


def write(folder: Path, data: Prepared) -> None:
    """As `prepare` leaves it."""
    names = {task: (*classes, "") for task, classes in data.label_space.classes.items()}  # HIDDEN, -1, is the last
    rows = [
        {
            "path": own.paths[row],
            "domain": domain,
            "split": own.splits[row],
            "sha256": own.sha256[row],
            **{name: values[row] for name, values in own.columns.items() if name not in names},
            **{task: names[task][values[row]] for task, values in own.labels.items()},
        }
        for domain, own in data.domains.items()
        for row in range(len(own.paths))
    ]
    pixels = {name: np.asarray(domain.pixels) for name, domain in data.domains.items()}
    prepared.write(folder, rows, pixels, data.label_space, {name: {} for name in data.domains})
