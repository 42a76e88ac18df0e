"""How long a call takes, and how two compare."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from components.speed import timing
from components.speed.timing import Sample, Variant, measure, ratio


def test_figures_of_calls_of_known_length():
    sample = Sample(images=4, wall=[[0.010, 0.020], [0.030]], cpu=[[0.008, 0.008], [0.016]])
    assert sample.figures() == pytest.approx(
        {
            "latency_ms": 20.0,
            "latency_p95_ms": 29.0,  # between the second and the third of three, nine tenths of the way
            "latency_p99_ms": 29.8,
            "images_per_s": 4 / 0.020,
            "cpu_ms_per_image": 2.0,
            "calls": 3,
        }
    )
    assert sample.figures("cpu")["latency_ms"] == pytest.approx(8.0)


def test_a_ratio_is_the_median_over_rounds_and_counts_images():
    over = Sample(images=1, wall=[[0.2], [0.6, 0.6, 9.0], [0.8]])
    of = Sample(images=1, wall=[[0.1], [0.2], [0.4]])
    assert ratio(of, over).value == pytest.approx(2.0)  # of 2, 3 and 2
    assert (ratio(of, over).low, ratio(of, over).high) == pytest.approx((2.0, 3.0))
    batch = Sample(images=8, wall=of.wall)
    assert ratio(batch, over).value == pytest.approx(16.0)
    assert ratio(over, of).value == pytest.approx(0.5)


def test_a_ratio_by_cpu_time_knows_nothing_of_waiting():
    waiting = Sample(images=1, wall=[[1.0]] * 5, cpu=[[0.1]] * 5)
    busy = Sample(images=1, wall=[[0.2]] * 5, cpu=[[0.2]] * 5)
    assert ratio(waiting, busy, "cpu").value == pytest.approx(2.0)
    assert ratio(waiting, busy).value == pytest.approx(0.2)


def test_variants_take_turns_so_a_machine_that_slows_down_hits_all_alike():
    start = time.perf_counter()
    calls: list[str] = []

    def sleeping(name: str, seconds: float) -> Variant:
        def run() -> None:
            calls.append(name)
            time.sleep(seconds * (1 + 4 * (time.perf_counter() - start)))

        return Variant(run, images=2)

    samples = measure({"slow": sleeping("slow", 0.004), "fast": sleeping("fast", 0.002)}, seconds=0.3)
    assert ratio(samples["fast"], samples["slow"]).value == pytest.approx(2.0, rel=0.25)
    assert len(samples["fast"].wall) == len(samples["slow"].wall) >= timing.FEWEST_ROUNDS
    assert samples["slow"].wall[-1][0] > 1.5 * samples["slow"].wall[0][0]  # it did slow down
    changes = sum(first != second for first, second in pairwise(calls))
    assert changes > timing.FEWEST_ROUNDS


def test_a_call_that_takes_longer_than_the_time_is_measured_a_few_times():
    calls = []
    samples = measure({"": Variant(lambda: calls.append(time.sleep(0.01)))}, seconds=0.001)
    assert samples[""].figures()["calls"] == timing.FEWEST_ROUNDS
    assert len(calls) == timing.FEWEST_ROUNDS + 2  # the warming up


def test_a_share_of_the_time():
    samples = measure(
        {"all": Variant(lambda: time.sleep(0.001)), "part": Variant(lambda: time.sleep(0.001), share=0.25)}, seconds=0.2
    )
    assert samples["all"].figures()["calls"] > 2 * samples["part"].figures()["calls"]
