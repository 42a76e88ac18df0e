"""How long a call takes, and how two calls compare: measured in turns, because a shared machine has good and bad
moments that must hit all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

ROUNDS = 30
"""Turns that every variant gets, where its calls are short enough for the time."""
FEWEST_ROUNDS = 5
RESAMPLES = 1000


Clock = Literal["wall", "cpu"]
"""By the clock on the wall, or in CPU time of all the process's threads, of which other processes take nothing."""


@dataclass(frozen=True)
class Variant:
    """One call, which answers `images` images; `share`: of the time that others get."""

    run: Callable[[], object]
    images: int = 1
    share: float = 1.0


@dataclass
class Sample:
    """Seconds of each timed call, round by round, by both clocks."""

    images: int
    wall: list[list[float]] = field(default_factory=list)
    cpu: list[list[float]] = field(default_factory=list)

    def figures(self, clock: Clock = "wall") -> dict[str, float]:
        """Milliseconds per call (quantiles) and images per second at the median by a clock, and the CPU's milliseconds
        per image."""
        times = np.concatenate([np.asarray(calls) for calls in getattr(self, clock)])
        middle, slow, slowest = np.quantile(times, [0.5, 0.95, 0.99])
        cpu = np.median(np.concatenate([np.asarray(calls) for calls in self.cpu]))
        return {
            "latency_ms": 1e3 * float(middle),
            "latency_p95_ms": 1e3 * float(slow),
            "latency_p99_ms": 1e3 * float(slowest),
            "images_per_s": self.images / float(middle),
            "cpu_ms_per_image": 1e3 * float(cpu) / self.images,
            "calls": len(times),
        }


class Ratio(NamedTuple):
    """How many times as fast, with the bounds of a 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return {"ratio": self.value, "low": self.low, "high": self.high}


def measure(variants: Mapping[str, Variant], seconds: float) -> dict[str, Sample]:
    """Calls every variant for about `seconds`, in many short rounds and an order that changes from round to round.

    A turn begins with a call that is not timed, because the others have just used the caches; but where a single call
    fills the turn, it counts.
    """
    turns = {name: variant.share * seconds / ROUNDS for name, variant in variants.items()}
    filling = {name: _warm_up(variants[name].run, 3 * turn) > turn / 2 for name, turn in turns.items()}
    samples = {name: Sample(variant.images) for name, variant in variants.items()}
    names, order = list(variants), np.random.default_rng(0)
    until, rounds = time.perf_counter() + ROUNDS * sum(turns.values()), 0
    while rounds < FEWEST_ROUNDS or (rounds < 2 * ROUNDS and time.perf_counter() < until):
        for index in order.permutation(len(names)):
            name = names[index]
            wall, cpu = _turn(variants[name].run, turns[name], untimed=not filling[name])
            samples[name].wall.append(wall)
            samples[name].cpu.append(cpu)
        rounds += 1
    return samples


def ratio(of: Sample, over: Sample, clock: Clock = "wall") -> Ratio:
    """How many times as fast `of` is as `over`, image for image: the median over the rounds that both were measured
    in, and a bootstrap of those rounds."""
    pairs = zip(getattr(of, clock), getattr(over, clock), strict=True)
    scale = of.images / over.images
    logs = np.array([np.log(scale * np.median(theirs) / np.median(own)) for own, theirs in pairs])
    drawn = np.random.default_rng(0).integers(len(logs), size=(RESAMPLES, len(logs)))
    low, high = np.quantile(np.median(logs[drawn], axis=1), [0.025, 0.975])
    return Ratio(*(float(np.exp(value)) for value in (np.median(logs), low, high)))


def _warm_up(run: Callable[[], object], seconds: float) -> float:
    """Calls for about so long, once at least; returns the seconds of the last call."""
    until = time.perf_counter() + seconds
    run()  # the first call allocates and chooses kernels
    while True:
        start = time.perf_counter()
        run()
        end = time.perf_counter()
        if end > until:
            return end - start


def _turn(run: Callable[[], object], seconds: float, *, untimed: bool) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of each call of one turn."""
    until = time.perf_counter() + seconds
    if untimed:
        run()
    wall, cpu = [], []
    while not wall or time.perf_counter() < until:
        used, start = time.process_time(), time.perf_counter()
        run()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return wall, cpu
