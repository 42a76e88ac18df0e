"""How long a call takes."""

from __future__ import annotations

import time

import numpy as np
import pytest

from components.deployment import timing


def test_latency_and_throughput_of_a_call_of_known_length():
    calls = []

    def run(batch):
        calls.append(len(batch))
        time.sleep(0.01)

    found = timing.measure(run, np.zeros((4, 2)), seconds=0.15)
    assert 10 <= found["latency_ms"] < 20
    assert found["latency_p95_ms"] >= found["latency_ms"]
    assert found["images_per_s"] == pytest.approx(4 / (found["latency_ms"] / 1000))
    assert set(calls) == {4}
    assert len(calls) > found["calls"] > 3  # some went into warming up


def test_a_call_that_takes_longer_than_the_time_is_measured_once():
    found = timing.measure(lambda batch: time.sleep(0.02), np.zeros((1, 1)), seconds=0.001)
    assert found["calls"] == 1
