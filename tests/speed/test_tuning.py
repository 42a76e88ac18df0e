"""The search for the fastest way to run a bundle."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components import jsonfile
from components.deployment import bundle
from components.errors import DataError, MachineError
from components.inference.predictor import Predictor
from components.runtimes import machines
from components.runtimes.options import Options
from components.runtimes.routes import Route
from components.speed import tuning
from components.speed.timing import Ratio
from components.speed.tuning import Candidate, beats, over_cores, over_memory, search

FP32, INT8, OPENVINO = Route("fp32", "cpu"), Route("int8", "cpu"), Route("fp32", "openvino")
DEFAULT = Candidate(FP32)


def making(milliseconds: Callable[[Candidate], float]) -> Callable[[Candidate], Callable[[], None]]:
    """Calls that take so long, and cost nothing."""

    def make(candidate: Candidate) -> Callable[[], None]:
        seconds = milliseconds(candidate) / 1e3
        return lambda: time.sleep(seconds)

    return make


def test_it_finds_the_one_setting_that_is_fastest():
    def milliseconds(candidate: Candidate) -> float:
        options = candidate.options
        fast = candidate.route == INT8
        return 6.0 - 2 * fast - 1 * (fast and options.threads == 2) - 1 * (fast and options.optimization == "extended")

    found = search(making(milliseconds), [FP32, INT8, OPENVINO], DEFAULT, 3.0, cores=4)
    assert found.chosen.route == INT8
    assert (found.chosen.options.threads, found.chosen.options.optimization) == (2, "extended")
    assert found.measured["ratio"] == pytest.approx(3.0, rel=0.3)
    assert found.measured["low"] > 1
    assert found.measured["over"] == "fp32@cpu with the defaults"
    assert {trial.candidate.route for trial in found.trials} == {FP32, INT8, OPENVINO}
    ratios = [trial.over_default.value for trial in found.trials]
    assert ratios == sorted(ratios, reverse=True)


def test_where_nothing_is_really_faster_the_default_stays():
    found = search(making(lambda candidate: 3.0 if candidate == DEFAULT else 3.01), [FP32], DEFAULT, 1.0, cores=2)
    assert found.chosen == DEFAULT
    assert found.measured["ratio"] == 1.0


@pytest.mark.parametrize(
    ("found", "enough"),
    [
        (Ratio(1.30, 1.20, 1.40), True),
        (Ratio(1.30, 0.99, 1.60), False),  # may be chance
        (Ratio(1.01, 1.005, 1.02), False),  # real, and not worth it
    ],
)
def test_a_lead_must_be_real_and_worth_having(found: Ratio, *, enough: bool):
    assert beats(found) is enough


def test_a_candidate_that_does_not_load_is_left_out():
    def make(candidate: Candidate) -> Callable[[], None]:
        if candidate.route == INT8:
            raise MachineError("no such thing here")
        return lambda: time.sleep(0.002)

    found = search(make, [FP32, INT8], DEFAULT, 0.5, cores=1)
    assert {trial.candidate.route for trial in found.trials} == {FP32}


def test_what_is_tried():
    assert [(found.options.threads, found.options.spinning) for found in over_cores(FP32, 6)] == [
        (1, False), (2, False), (2, True), (4, False), (4, True), (None, False), (None, True),
    ]  # fmt: skip
    assert [found.options.threads for found in over_cores(OPENVINO, 2)] == [1, None]
    assert over_cores(Route("fp16", "cuda"), 8) == [Candidate(Route("fp16", "cuda"))]
    assert over_cores(FP32, 1) == [DEFAULT]
    tried = [(found.options.arena, found.options.optimization) for found in over_memory(DEFAULT)]
    assert tried == [(True, "extended"), (False, "all"), (False, "extended")]
    assert over_memory(Candidate(OPENVINO)) == []


def test_batches_that_would_take_too_long_are_not_tried():
    assert tuning.affordable(0.25, 6.0) == list(tuning.BATCH_SIZES)
    assert tuning.affordable(100.0, 6.0) == [1, 2, 4]  # eight calls of four images take 3.2 s, of eight 6.4 s
    assert tuning.affordable(9000.0, 6.0) == [1]


def test_a_candidate_is_named_by_what_is_unusual_about_it():
    assert tuning.describe(DEFAULT) == "fp32@cpu with the defaults"
    named = Candidate(INT8, Options(threads=1, arena=False))
    assert tuning.describe(named) == "int8@cpu with threads 1, arena False"


def test_a_bundle_is_tuned_and_a_predictor_runs_it_so(exported: Path, tmp_path: Path):
    facts = {
        "strategy": "fine_tune", "classes": {"label": ["cat", "dog", "owl"]},
        "preprocess": {"size": 24, "resize": 28, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
        "lineage": {"weights_sha256": "of the test"},
        "admission": {"fp32@cpu": {"admitted": True, "reason": "it is fp32"}},
    }  # fmt: skip
    bundle.write(tmp_path, {"fp32": exported}, facts)
    lines: list[str] = []
    start = time.monotonic()
    found = tuning.tune(tmp_path, 1.0, batch_size=2, say=lines.append)
    assert time.monotonic() - start < 20
    assert machines.read(tmp_path) == (found.chosen.route, found.chosen.options)
    entry = jsonfile.read(tmp_path / machines.FILE)[machines.key()]
    assert entry["measured"]["tuned_for"] == 2
    assert entry["measured"]["batch_size"] in tuning.BATCH_SIZES
    assert entry["measured"]["images_per_s"] > 0
    assert Predictor.load(tmp_path).model.selection.options == found.chosen.options
    assert lines


def test_without_a_bundle_there_is_nothing_to_tune(tmp_path: Path):
    with pytest.raises(DataError, match=r"bundle\.json"):
        tuning.tune(tmp_path / "nowhere", 1.0)
