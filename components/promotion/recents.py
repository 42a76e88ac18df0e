"""Champion and challenger on recent images, most of which nobody has labelled: who answers as others vote?

Two kinds of images count. Those that the source workspace adapted its strategies to, of which it held some out: the
votes are those of the challenger's rivals, as in `components.evaluation.agreement`. And those that the champion was
adapted to, which were kept when it was promoted: a model that was trained without them must not undo that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from components import jsonfile, paths
from components.data.prepared import HIDDEN, Domain, Prepared
from components.errors import DataError
from components.evaluation.intervals import Interval
from components.evaluation.paired import share_difference
from components.monitoring import reference
from components.promotion.answers import Served, answer
from components.types import TASK


@dataclass(frozen=True)
class Recent:
    """`challenger` and `champion`: shares of the `images` that they answer as the votes are; `lead`: the first minus
    the second. Where a label is known, as of `labelled` of them, it stands in the vote's place.

    `votes_from`: "run": images of the source workspace, votes of the strategies other than the challenger's;
    "champion": images that the champion was adapted to, and the votes by which it was judged then. `collapsed`: the
    challenger answers too few classes for votes to mean anything.
    """

    images: int
    labelled: int
    votes_from: Literal["run", "champion"]
    challenger: float
    champion: float
    lead: Interval
    collapsed: bool = False


@dataclass(frozen=True)
class _Material:
    """`pixels` uint8 [N, S, S, 3]; `files`: where they came from, if that is known; `votes` [N]: names of classes."""

    pixels: np.ndarray
    files: list[Path] | None
    votes: np.ndarray
    labelled: int


def judge(
    root: Path, source: Path, data: Prepared, challenger: Served, champion: Served, *, confidence: float
) -> tuple[Recent | None, Recent | None]:
    """On the images of the run, and on the champion's; `data`: of `source`. Each is None where there are none. Raises
    DataError when what was evaluated in `source` is not what was prepared there."""

    def compared(material: _Material, votes_from: Literal["run", "champion"], collapsed: bool = False) -> Recent:
        own = answer(challenger, material.pixels, material.files, material.votes).right
        other = answer(champion, material.pixels, material.files, material.votes).right
        return Recent(
            images=len(own),
            labelled=material.labelled,
            votes_from=votes_from,
            challenger=float(own.mean()),
            champion=float(other.mean()),
            lead=share_difference(own, other, confidence=confidence),
            collapsed=collapsed,
        )

    of_run = None
    if data.recent is not None and len(data.recent.rows("val")):
        strategy, told = challenger.facts["strategy"], _told(source)
        material = _of_run(source, data.recent, told, strategy)
        of_run = compared(material, "run", strategy in told["collapsed"])
    kept = _of_champion(root, champion)
    return of_run, None if kept is None else compared(kept, "champion")


def _told(source: Path) -> dict[str, Any]:
    evaluation = jsonfile.read(source / paths.EVALUATION)
    if evaluation.get("recent") is None:
        raise DataError(f"{source / paths.EVALUATION} says nothing of the recent images: evaluate again")
    return {**evaluation["recent"], "names": evaluation["classes"]}


def _of_run(source: Path, domain: Domain, told: dict[str, Any], strategy: str) -> _Material:
    rows = domain.rows("val")
    if strategy not in told["votes_without"]:
        raise DataError(f"{source / paths.EVALUATION} has no votes to judge {strategy} by: evaluate again")
    votes = np.array(told["names"])[told["votes_without"][strategy]]
    if len(votes) != len(rows):
        raise DataError(
            f"{source / paths.EVALUATION} has votes on {len(votes)} recent images, but {len(rows)} are prepared: "
            "evaluate again"
        )
    labels = domain.labels[TASK][rows]
    return _Material(
        np.asarray(domain.pixels[rows]),
        [source / domain.paths[row] for row in rows],
        votes,
        int((labels != HIDDEN).sum()),
    )


def _of_champion(root: Path, champion: Served) -> _Material | None:
    """None where it was adapted to nothing, or nothing was kept of it, as of what was promoted by earlier versions."""
    if not (reference.folder(root, champion.identity) / reference.FILE).exists():
        return None
    kept = reference.read(root, champion.identity)
    if kept.votes is None:
        return None
    voted = np.flatnonzero(kept.votes != reference.UNKNOWN)
    if not len(voted):
        return None
    return _Material(np.asarray(kept.images[voted]), None, np.array(kept.classes)[kept.votes[voted]], 0)
