"""Champion and challenger on recent images, by the votes of others: of the run, or kept with the champion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colour_support import (
    ALIKE,
    COLOURS,
    GREENER,
    OLIVE,
    PARAMS,
    RED,
    SIDE,
    colour_bundle,
    compared,
    prepare_colours,
)
from components import jsonfile, paths
from components.errors import DataError
from components.evaluation.paired import from_counts
from components.monitoring import reference
from components.promotion.evidence import gather
from components.promotion.rule import decide
from evidence_support import limits

VOTED = ["green"] * 25 + ["red"] * 15
"""By the rivals: all 25 olive ones are green, and of 15 red ones all red."""


def _evaluated(root: Path, votes: Sequence[str], strategy: str = "dan", **more: Any) -> None:
    """What evaluate says of recent images; its classes stand in another order than the bundle's."""
    classes = ["blue", "green", "red"]
    jsonfile.write(
        root / paths.EVALUATION,
        {"classes": classes,
         "recent": {"votes_without": {strategy: [classes.index(name) for name in votes]}, "collapsed": [], **more}},
    )  # fmt: skip


def test_an_adapted_challenger_is_compared_on_the_recent_images_of_its_workspace(tmp_path):
    prepare_colours(tmp_path, [OLIVE] * 25 + [RED] * 15, ["green"] * 3 + [""] * 37)
    _evaluated(tmp_path, VOTED)
    found = compared(tmp_path, GREENER)
    recent = found.recent
    assert recent is not None
    assert (recent.images, recent.labelled, recent.votes_from) == (40, 3, "run")
    assert (recent.challenger, recent.champion) == (1.0, 15 / 40)
    assert recent.lead == from_counts(25, 0, 40, confidence=0.95)
    assert decide(found, limits()).reason.startswith("adapted: it answers 100.0% of 40 recent images")
    _evaluated(tmp_path, VOTED, collapsed=["dan"])
    decision = decide(gather(tmp_path, tmp_path, PARAMS), limits())
    assert not decision.promoted
    assert "agreement proves nothing" in decision.reason


@pytest.mark.parametrize(
    ("evaluated", "complaint"),
    [
        (
            lambda root: jsonfile.write(root / paths.EVALUATION, {"classes": list(COLOURS)}),
            "nothing of the recent",
        ),
        (lambda root: _evaluated(root, VOTED, strategy="mcc"), "no votes to judge dan by"),
        (lambda root: _evaluated(root, VOTED[:-1]), "votes on 39 recent images, but 40 are prepared"),
    ],
)
def test_an_evaluation_of_other_recent_images_is_refused(tmp_path, evaluated, complaint):
    prepare_colours(tmp_path, [OLIVE] * 25 + [RED] * 15)
    evaluated(tmp_path)
    with pytest.raises(DataError, match=complaint):
        compared(tmp_path, GREENER)


def test_a_champion_that_was_adapted_is_compared_on_the_images_that_were_kept_of_that(workspace):
    """It was adapted to olive, which the challenger takes for red. One image was not voted on, and does not count."""
    colour_bundle(workspace / paths.CHAMPION, GREENER, strategy="dan")
    images = np.full((31, SIDE, SIDE, 3), OLIVE, np.uint8)
    reference.write(workspace, workspace / paths.CHAMPION, images, [1] * 30 + [reference.UNKNOWN])
    colour_bundle(workspace / paths.BUNDLE, ALIKE)
    found = gather(workspace, workspace, PARAMS)
    assert found.recent is not None
    assert (found.recent.images, found.recent.votes_from) == (30, "champion")
    assert (found.recent.challenger, found.recent.champion) == (0.0, 1.0)
    assert found.recent.lead == from_counts(0, 30, 30, confidence=0.95)
    decision = decide(found, limits(min_gain=-0.5))  # whatever it gains on the test images
    assert not decision.promoted
    assert "adapted to images that this one does not know" in decision.reason


def test_an_adapted_champion_s_images_count_beside_those_of_the_run(tmp_path):
    """It was adapted to olive; the challenger, to reddish images, which it knows now, has forgotten that."""
    prepare_colours(tmp_path, [RED] * 40)
    _evaluated(tmp_path, ["red"] * 40, strategy="fine_tune")
    colour_bundle(tmp_path / paths.CHAMPION, GREENER, strategy="dan")
    images = np.full((30, SIDE, SIDE, 3), OLIVE, np.uint8)
    reference.write(tmp_path, tmp_path / paths.CHAMPION, images, [1] * 30)
    colour_bundle(tmp_path / paths.BUNDLE, ALIKE)
    found = gather(tmp_path, tmp_path, PARAMS)
    assert found.recent is not None and (found.recent.votes_from, found.recent.images) == ("run", 40)
    assert found.earlier is not None and found.earlier.lead == from_counts(0, 30, 30, confidence=0.95)
    decision = decide(found, limits(min_gain=-0.5, max_known_loss=0.9, max_ece_gain=1))
    failed = [check.name for check in decision.checks if check.decides and not check.passed]
    assert failed == ["earlier"]


def test_a_champion_that_was_not_adapted_has_no_recent_images(workspace):
    colour_bundle(workspace / paths.CHAMPION, ALIKE)
    reference.write(workspace, workspace / paths.CHAMPION, np.full((20, SIDE, SIDE, 3), RED, np.uint8))
    colour_bundle(workspace / paths.BUNDLE, GREENER)
    assert gather(workspace, workspace, PARAMS).recent is None
