"""How long a model takes to answer, and how many images it answers in a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from typing import TypeVar

import numpy as np

Batch = TypeVar("Batch", bound=Sized)


def measure(run: Callable[[Batch], object], batch: Batch, seconds: float) -> dict[str, float]:
    """Calls `run(batch)` for about `seconds`, after as many warm-up calls as fit into a tenth of that.

    Returns milliseconds per call (median, and the 95th percentile) and images per second at the median.
    """
    until = time.perf_counter() + seconds / 10
    run(batch)  # the first call allocates and chooses kernels
    while time.perf_counter() < until:
        run(batch)
    times = []
    until = time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        start = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - start)
    median, slow = np.quantile(times, [0.5, 0.95])
    return {
        "latency_ms": 1e3 * float(median),
        "latency_p95_ms": 1e3 * float(slow),
        "images_per_s": len(batch) / float(median),
        "calls": len(times),
    }
