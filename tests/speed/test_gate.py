"""Which routes are worth shipping: verdicts on times that are given."""

from __future__ import annotations

import numpy as np
import pytest

from components.errors import DataError
from components.runtimes.routes import Route
from components.speed import measurement
from components.speed.gate import clock, fastest, judge
from components.speed.timing import Sample

FP32, INT8 = Route("fp32", "cpu"), Route("int8", "cpu")
OPEN_FP32, BF16 = Route("fp32", "openvino"), Route("bf16", "openvino")
SIZES = (1, 32)


def sample(milliseconds: float, images: int = 1, *, noise: float = 0.0, seed: int = 0) -> Sample:
    """Of twenty rounds; `noise`: standard deviation of the logarithm of a round's time."""
    factors = np.exp(np.random.default_rng(seed).normal(0, noise, 20))
    times = [[1e-3 * milliseconds * factor] for factor in factors.tolist()]
    return Sample(images, wall=times, cpu=times)


def times(given: dict[Route, tuple[float, float]]) -> dict[tuple[str, int], Sample]:
    """Milliseconds of a batch of 1 and of 32."""
    return {
        (str(route), size): sample(value, size)
        for route, values in given.items()
        for size, value in zip(SIZES, values, strict=True)
    }


def test_a_precision_is_admitted_for_the_use_it_is_faster_in():
    found = judge(times({FP32: (2.0, 40.0), INT8: (2.2, 20.0)}), [FP32, INT8], SIZES, 1.05, 1)
    assert found["fp32@cpu"]["admitted"]
    assert found["int8@cpu"] == {
        "over": "fp32@cpu", "batch_size": 32, "ratio": pytest.approx(2.0), "low": pytest.approx(2.0),
        "high": pytest.approx(2.0), "admitted": True,
        "reason": "0.91 (0.91 to 0.91) at batch 1 and 2.00 (2.00 to 2.00) at batch 32 times as fast as fp32@cpu",
    }  # fmt: skip


def test_one_that_is_hardly_faster_is_not_shipped_and_says_why():
    found = judge(times({FP32: (2.0, 40.0), INT8: (1.96, 39.0)}), [FP32, INT8], SIZES, 1.05, 1)["int8@cpu"]
    assert not found["admitted"]
    assert found["reason"].startswith("1.02 (1.02 to 1.02) at batch 1 and 1.03 (1.03 to 1.03) at batch 32 times as")
    assert found["reason"].endswith("benchmark.min_speed_up asks for 1.05, and for an interval above 1")


def test_a_lead_that_may_be_chance_is_not_enough():
    samples = {("fp32@cpu", 1): sample(3.0, noise=0.8), ("int8@cpu", 1): sample(2.0, noise=0.8, seed=1)}
    found = judge(samples, [FP32, INT8], (1,), 1.05, 1)["int8@cpu"]
    assert found["low"] < 1 and found["ratio"] > 1.05
    assert not found["admitted"]


def test_each_is_held_against_fp32_on_its_own_provider():
    samples = times({FP32: (1.0, 10.0), OPEN_FP32: (4.0, 40.0), BF16: (2.0, 20.0)})
    found = judge(samples, [FP32, OPEN_FP32, BF16], SIZES, 1.05, 1)
    assert found["bf16@openvino"]["over"] == "fp32@openvino"
    assert found["bf16@openvino"]["ratio"] == pytest.approx(2.0)
    alone = judge(times({BF16: (2.0, 20.0)}), [BF16], SIZES, 1.05, 1)["bf16@openvino"]
    assert not alone["admitted"] and "fp32@openvino was not measured" in alone["reason"]


def test_the_fastest_of_all_providers_unless_the_default_is_as_good():
    samples = times({FP32: (2.0, 40.0), INT8: (1.5, 30.0), BF16: (1.0, 90.0)})
    assert fastest(samples, [FP32, INT8, BF16], 1, FP32, 1) == BF16
    assert fastest(samples, [FP32, INT8, BF16], 32, FP32, 1) == INT8
    assert fastest(samples, [FP32], 1, FP32, 1) == FP32
    noisy = {("fp32@cpu", 1): sample(2.0, noise=0.8), ("int8@cpu", 1): sample(1.9, noise=0.8, seed=1)}
    assert fastest(noisy, [FP32, INT8], 1, FP32, 1) == FP32


def test_threads_that_wait_for_each_other_and_gpus_are_timed_by_the_wall():
    assert clock("cpu", 1) == clock("openvino", 1) == "cpu"
    assert clock("cpu", 2) == clock("cuda", 1) == clock("tensorrt", 1) == "wall"


def test_admitted_routes_are_those_whose_files_are_there():
    yes, no = {"admitted": True}, {"admitted": False}
    facts = {
        "models": {"fp32": {}},
        "admission": {"fp32@cpu": yes, "int8@cpu": yes, "fp32@openvino": yes, "bf16@openvino": no},
    }
    assert measurement.admitted(facts, ["cpu", "openvino"]) == [FP32, OPEN_FP32]
    assert measurement.admitted({"models": {"fp32": {}}}, ["cpu"]) == [FP32]
    with pytest.raises(DataError, match="no admitted route on cuda; it has fp32@cpu"):
        measurement.admitted(facts, ["cuda"])
