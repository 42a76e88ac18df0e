"""Evidence from real bundles on real prepared data, see `colour_support`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from colour_support import (
    ALIKE,
    BLUE,
    COLOURS,
    GREENER,
    LABELS,
    OLIVE,
    PARAMS,
    RED,
    TEST,
    colour_bundle,
    colour_rows,
    compared,
    prepare_colours,
)
from components import jsonfile, paths
from components.data import prepared
from components.deployment import bundle
from components.errors import DataError
from components.evaluation import metrics
from components.evaluation.paired import from_counts
from components.promotion.evidence import Evidence, gather
from components.promotion.rule import decide
from components.runtimes import machines
from components.runtimes.options import Options
from components.runtimes.routes import Route
from components.types import TASK, LabelSpace
from evidence_support import limits


def test_a_better_challenger(workspace):
    """It knows the 10 olive images, which the champion takes for red, and is right on all others, too."""
    found = compared(workspace, GREENER)
    assert found.images == 60
    assert found.challenger.accuracy == 1.0
    assert found.champion is not None
    assert found.champion.accuracy == pytest.approx(50 / 60)
    assert found.lead == from_counts(10, 0, 60, confidence=0.95)
    # Five parts at once: three classes and two slices.
    green = from_counts(10, 0, 20, confidence=0.95, comparisons=5)
    none = from_counts(0, 0, 20, confidence=0.95, comparisons=5)
    assert {part.name: part.difference for part in found.classes} == {"red": none, "green": green, "blue": none}
    assert [(part.name, part.images, part.challenger, part.champion) for part in found.slices] == [
        ("light bright", 50, 1.0, 1.0), ("light dim", 10, 1.0, 0.0)
    ]  # fmt: skip
    assert found.challenger.agreement == 0.998  # the least that the bundle tells
    assert found.challenger.route == "fp32@cpu"
    file = workspace / paths.BUNDLE / "model.fp32.onnx"
    assert found.challenger.size_mib == file.stat().st_size / 2**20
    assert not found.same_bundle
    assert (found.classes_gone, found.classes_new, found.new_routes, found.recent) == ((), (), (), None)
    assert decide(found, limits()).promoted


def test_a_challenger_that_trades_one_class_for_another_is_kept_out_by_that_class(workspace):
    """It takes 10 pure green images for blue and gets the 10 olive ones right: as good on the whole, worse on some."""
    trade = np.array([[4.0, 0, 0], [0, 3.9, 5.0], [0, 0, 4.0]])
    trade[0, 1] = 2.5  # olive: red 3.14, green 1.96 + 2.75, blue 3.53
    found = compared(workspace, trade)
    assert found.lead is not None
    assert found.lead.value == 0
    assert {part.name: part.difference.value for part in found.slices} == {"light bright": -0.2, "light dim": 1.0}
    failed = [check.name for check in decide(found, limits(min_gain=-0.5, max_ece_gain=1)).checks if not check.passed]
    assert failed == ["slice"]


def test_the_images_of_the_source_are_a_slice_where_that_was_declared(tmp_path):
    """Olive there: the challenger has unlearned it. Of what comes in, it loses nothing."""
    rows, pixels = colour_rows(TEST[:30], LABELS[:30], "test", "target")
    more, known = colour_rows([OLIVE] * 40, ["green"] * 40, "val", "source")
    space = LabelSpace({TASK: COLOURS}, {})
    prepared.write(tmp_path / paths.PREPARED, rows + more, {"target": pixels, "source": known}, space, {}, ["light"])
    colour_bundle(tmp_path / paths.CHAMPION, GREENER)
    colour_bundle(tmp_path / paths.BUNDLE, ALIKE)
    assert gather(tmp_path, tmp_path, PARAMS).slices == ()
    declared = replace(PARAMS, evaluate=replace(PARAMS.evaluate, slices=("domain",)))
    found = gather(tmp_path, tmp_path, declared)
    (part,) = found.slices
    lost = from_counts(0, 40, 40, confidence=0.95, comparisons=3)  # with two classes
    assert (part.name, part.images, part.difference) == ("domain source", 40, lost)
    failed = [check.name for check in decide(found, limits(min_gain=-0.9)).checks if not check.passed]
    assert failed == ["slice"]


def test_calibration_is_that_of_the_probabilities_as_they_are_served(workspace):
    """The same decisions by the same factor: 4 gives 0.9647 to a pure colour, 40 gives 1."""
    found = compared(workspace, 10 * ALIKE)
    labels = np.array([COLOURS.index(label) for label in LABELS])
    shares = np.array(TEST) / 255
    assert found.champion is not None
    for candidate, factor in ((found.champion, 4), (found.challenger, 40)):
        expected = metrics.expected_calibration_error(factor * shares, labels)
        assert candidate.ece == pytest.approx(expected, abs=1e-6)
    assert found.ece_gain is not None
    assert found.ece_gain.value == pytest.approx(found.challenger.ece - found.champion.ece)
    assert found.lead is not None
    assert found.lead.value == 0


def test_a_slow_and_large_challenger_is_measured_as_such(workspace):
    found = compared(workspace, GREENER, layers=60)
    assert found.speed_up is not None
    assert found.speed_up.high < 0.5
    assert found.champion is not None
    assert found.challenger.latency_ms is not None
    assert found.champion.latency_ms is not None
    assert found.challenger.latency_ms > 2 * found.champion.latency_ms
    decision = decide(found, limits())
    assert not decision.promoted
    assert "times as long, and 2 is allowed" in decision.reason


def test_without_a_champion_it_only_has_to_answer(workspace):
    colour_bundle(workspace / paths.BUNDLE, GREENER)
    found = gather(workspace, workspace, PARAMS)
    assert (found.champion, found.lead, found.classes, found.speed_up) == (None, None, (), None)
    assert found.challenger.accuracy == 1.0
    assert decide(found, limits()).reason == "first champion: there was none to beat"
    assert Evidence.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_model_that_answers_with_no_numbers_is_not_even_the_first(workspace):
    """Green is infinite: 20 images and the olive ones get no probabilities."""
    colour_bundle(workspace / paths.BUNDLE, np.array([[4.0, 0, 0], [0, np.inf, 0], [0, 0, 4.0]]))
    found = gather(workspace, workspace, PARAMS)
    assert found.challenger.answered < 1
    decision = decide(found, limits())
    assert not decision.promoted
    assert decision.reason.startswith("there is no champion, but still the challenger gives probabilities for ")


def test_the_champion_s_own_bundle_is_known_again(workspace):
    colour_bundle(workspace / paths.CHAMPION, ALIKE)
    colour_bundle(workspace / paths.BUNDLE, ALIKE)
    found = gather(workspace, workspace, PARAMS)
    assert found.same_bundle
    assert decide(found, limits()).reason == "it is the champion's own bundle"


def test_the_champion_s_own_model_with_a_further_route_is_known_as_such(workspace):
    admitted = {"admitted": True, "reason": "all agree"}
    colour_bundle(workspace / paths.CHAMPION, ALIKE, admission={"fp32@cpu": admitted})
    colour_bundle(
        workspace / paths.BUNDLE, ALIKE, models=("fp32", "int8"),
        admission={"fp32@cpu": admitted, "int8@cpu": admitted},
    )  # fmt: skip
    found = gather(workspace, workspace, PARAMS)
    assert not found.same_bundle
    assert found.new_routes == ("int8@cpu",)
    assert decide(found, limits()).promoted


def test_both_answer_by_the_route_that_they_are_or_would_be_served_by(workspace):
    facts = colour_bundle(workspace / paths.BUNDLE, GREENER, models=("fp32", "int8"))
    options = {"int8@cpu": Options(threads=1).to_dict()}
    row = {"route": "int8@cpu", "from": "arrays", "batch_size": 1, "latency_ms": 1.0, "images_per_s": 1000.0}
    jsonfile.write(
        workspace / paths.BENCHMARK,
        {"bundle": bundle.identity(facts), "machine_key": machines.key(), "threads": 1, "fastest": "int8@cpu",
         "speed": {"int8@cpu": {"admitted": True}}, "measurements": [row], "options": options},
    )  # fmt: skip
    colour_bundle(workspace / paths.CHAMPION, ALIKE)
    assert gather(workspace, workspace, PARAMS).challenger.route == "int8@cpu"
    colour_bundle(workspace / paths.CHAMPION, ALIKE, models=("fp32", "int8"))
    machines.write(workspace / paths.CHAMPION, Route("int8", "cpu"), Options(threads=1), {})
    (workspace / paths.BENCHMARK).unlink()
    found = gather(workspace, workspace, PARAMS)
    assert found.champion is not None
    assert (found.champion.route, found.challenger.route) == ("int8@cpu", "fp32@cpu")


def test_classes_are_compared_by_name(workspace):
    """The champion knows no blue but black, and has red and green the other way round."""
    colour_bundle(
        workspace / paths.CHAMPION, np.array([[0, 4.0, 0], [4.0, 0, 0], [0, 0, 4.0]]), classes=("green", "red", "black")
    )
    colour_bundle(workspace / paths.BUNDLE, GREENER)
    found = gather(workspace, workspace, PARAMS)
    assert found.champion is not None
    assert found.champion.accuracy == pytest.approx(30 / 60)  # 20 red and 10 pure green
    assert {part.name: part.champion for part in found.classes} == {"red": 1.0, "green": 0.5, "blue": 0.0}
    assert (found.classes_gone, found.classes_new) == (("black",), ("blue",))
    decision = decide(found, limits())
    assert not decision.promoted
    assert "it no longer knows 'black', which the champion does" in decision.reason


def test_a_model_of_another_size_gets_the_images_from_their_files(workspace):
    """The files are all blue here: the champion, which takes 16 pixels, is right on the 20 blue ones alone."""
    colour_bundle(workspace / paths.CHAMPION, ALIKE, side=16)
    colour_bundle(workspace / paths.BUNDLE, ALIKE)
    with pytest.raises(DataError, match=r"0\.png"):
        gather(workspace, workspace, PARAMS)
    for path in prepared.read(workspace / paths.PREPARED).target.paths:
        (workspace / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), BLUE).save(workspace / path)
    found = gather(workspace, workspace, PARAMS)
    assert found.champion is not None
    assert found.champion.accuracy == pytest.approx(20 / 60)
    assert found.challenger.accuracy == pytest.approx(50 / 60)


def test_the_source_may_be_another_workspace(tmp_path):
    root, source = tmp_path / "main", tmp_path / "runs" / "drifted"
    prepare_colours(source)
    colour_bundle(root / paths.CHAMPION, ALIKE)
    colour_bundle(source / paths.BUNDLE, GREENER)
    found = gather(root, source, PARAMS)
    assert found.lead == from_counts(10, 0, 60, confidence=0.95)


def test_what_cannot_be_compared_is_an_error(workspace):
    colour_bundle(workspace / paths.BUNDLE, GREENER, classes=("a", "b", "c"))
    file = workspace / paths.BUNDLE / bundle.FILE
    jsonfile.write(file, jsonfile.read(file) | {"classes": {"slant": ["a", "b", "c"]}})
    with pytest.raises(DataError, match="answers slant, but no 'label'"):
        gather(workspace, workspace, PARAMS)
    colour_bundle(workspace / paths.BUNDLE, GREENER)
    rows, pixels = colour_rows([RED], ["red"], "train", "target")
    prepared.write(workspace / paths.PREPARED, rows, {"target": pixels}, LabelSpace({TASK: COLOURS}, {}), {}, ["light"])
    with pytest.raises(DataError, match="no labelled test images"):
        gather(workspace, workspace, PARAMS)
