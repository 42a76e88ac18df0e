"""The fastest way to run a bundle on this machine: which route, and how its session uses the cores.

Successive halving (Jamieson and Talwalkar, 2016, arXiv:1502.07943): all candidates get little time, the faster third of
them more, and so on. A shared machine drifts, so nothing is compared across time: candidates are measured in small
groups, each in turns with the default, and ranked by how many times as fast they are. The best of so many looks better
than it is; what it gains is therefore measured anew, and only a gain beyond chance replaces the default.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components import machine
from components.errors import DataError, MachineError
from components.inference import selection
from components.runtimes import machines
from components.runtimes.options import DEFAULT, Options
from components.runtimes.providers import present, resolve
from components.runtimes.routes import PARENT, Route
from components.speed import measurement
from components.speed.timing import FEWEST_ROUNDS, Ratio, Variant, measure, ratio

GROUP = 6
"""Candidates that are loaded at once, beside the default."""
KEEP = 3
"""One in so many goes on to the next round; and so many reach the last."""
MARGIN = 1.02
"""How many times as fast as the default a candidate must be, besides an interval above 1: less is not worth leaving
what everyone else runs."""
SHARES = {"cores": 0.4, "memory": 0.25, "final": 0.25, "batch": 0.1}
"""Of the time, for each part of the search."""
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
SATURATED = 0.97
"""Share of the highest throughput that is as good: the smallest batch that reaches it is recommended."""
LEAST_S = 0.03
"""Measured seconds of a candidate, however little time there is."""


@dataclass(frozen=True)
class Candidate:
    """One way to run the bundle."""

    route: Route
    options: Options = DEFAULT


@dataclass(frozen=True)
class Trial:
    """What was found of a candidate when it was last measured. `part`: of the search, a key of SHARES."""

    candidate: Candidate
    latency_ms: float
    over_default: Ratio
    part: str


@dataclass(frozen=True)
class Tuning:
    """`trials`: the fastest first, the default among them; `chosen`: what to run from now on; `measured`: the figures
    for machines.json."""

    trials: list[Trial]
    chosen: Candidate
    measured: dict[str, Any]


Make = Callable[[Candidate], Callable[[], object]]
"""Loads a candidate; a call answers one batch."""


def tune(
    bundle: Path, seconds: float = 60.0, *, batch_size: int = 1, say: Callable[[str], None] = lambda line: None
) -> Tuning:
    """Searches for about `seconds` and writes what it finds into the bundle's machines.json. `batch_size`: the images
    of a call that is to be fast: what is best for one is often not best for many.

    Raises DataError where there is no bundle, or none that runs here.
    """
    facts = selection.read(bundle)
    routes = measurement.admitted(facts, present())
    default = Candidate(Route(PARENT, resolve("auto")))
    if default.route not in routes:
        default = Candidate(routes[0])
    side = int(facts["preprocess"]["resize"])
    image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    batch = np.repeat(image, batch_size, axis=0)

    def make(candidate: Candidate) -> Callable[[], object]:
        answer = _load(bundle, candidate)
        return lambda: answer(batch)

    found = search(make, routes, default, seconds * (1 - SHARES["batch"]), say=say)
    found.measured.update(tuned_for=batch_size)
    sizes = affordable(found.measured["latency_ms"] / batch_size, seconds * SHARES["batch"])
    found.measured.update(_throughput(_load(bundle, found.chosen), image, sizes, seconds * SHARES["batch"]))
    machines.write(bundle, found.chosen.route, found.chosen.options, found.measured)
    return found


def search(
    make: Make,
    routes: Sequence[Route],
    default: Candidate,
    seconds: float,
    *,
    cores: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Tuning:
    """First which route on how many `cores` (by default, this machine's), then how it keeps memory and rewrites the
    graph, then the best three against the default."""
    cores = cores or machine.physical_cores()
    trials: dict[Candidate, Trial] = {}
    parts = sum(SHARES[part] for part in ("cores", "memory", "final"))
    budget = {part: seconds * share / parts for part, share in SHARES.items()}

    first = [candidate for route in routes for candidate in over_cores(route, cores) if candidate != default]
    say(f"{len(first)} candidates beside {describe(default)}")
    best = _halve(make, default, first, budget["cores"], "cores", trials)
    second = [candidate for found in best[:2] for candidate in over_memory(found) if candidate != default]
    say(f"{len(second)} more around {' and '.join(map(describe, best[:2]))}")
    _halve(make, default, second, budget["memory"], "memory", trials)
    finalists = _ranked(trials.values())[:KEEP]
    _group(make, default, [trial.candidate for trial in finalists], time.monotonic() + budget["final"], "final", trials)
    last = _ranked(trial for trial in trials.values() if trial.part == "final" and trial.candidate != default)
    chosen = next((trial for trial in last if beats(trial.over_default)), trials[default])
    measured = {
        "latency_ms": chosen.latency_ms,
        "over": describe(default),
        **chosen.over_default.to_dict(),
    }
    return Tuning(_ranked(trials.values()), chosen.candidate, measured)


def beats(over_default: Ratio) -> bool:
    """Whether a lead over the default is more than chance, and worth having."""
    return over_default.low > 1 and over_default.value >= MARGIN


def over_cores(route: Route, cores: int) -> list[Candidate]:
    """A route on 1, 2, 4, … and all `cores`, with idle threads asleep and, where there are several, spinning. On a GPU
    there is nothing to choose."""
    if route.provider not in ("cpu", "openvino"):
        return [Candidate(route)]
    counts = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    found = []
    for threads in (*counts, None):  # None: all of them
        spins = (False, True) if route.provider == "cpu" and (threads or cores) > 1 else (False,)
        found += [Candidate(route, Options(threads=threads, spinning=spinning)) for spinning in spins]
    return found


def over_memory(candidate: Candidate) -> list[Candidate]:
    """The other ways of keeping memory and rewriting the graph; OpenVINO and GPUs have their own."""
    if candidate.route.provider != "cpu":
        return []
    return [
        replace(candidate, options=replace(candidate.options, arena=arena, optimization=optimization))
        for arena in (True, False)
        for optimization in ("all", "extended")
        if (arena, optimization) != (candidate.options.arena, candidate.options.optimization)
    ]


def describe(candidate: Candidate) -> str:
    """ "int8@cpu with threads 1, spinning True"; only what differs from the defaults is named."""
    usual = Options().to_dict()
    named = [f"{name} {value}" for name, value in candidate.options.to_dict().items() if value != usual[name]]
    return f"{candidate.route} with {', '.join(named)}" if named else f"{candidate.route} with the defaults"


def _halve(
    make: Make, default: Candidate, candidates: Sequence[Candidate], seconds: float, part: str, trials: dict
) -> list[Candidate]:
    """The candidates that survive, the fastest first. Each rung has the same time for fewer of them."""
    rungs, left = 1, len(candidates)
    while left > GROUP:
        rungs, left = rungs + 1, -(-left // KEEP)
    end = time.monotonic() + seconds
    for rung in range(rungs):
        until = time.monotonic() + (end - time.monotonic()) / (rungs - rung)
        groups = [candidates[start : start + GROUP] for start in range(0, len(candidates), GROUP)]
        for number, group in enumerate(groups):
            here = time.monotonic() + (until - time.monotonic()) / (len(groups) - number)
            _group(make, default, group, here, part, trials)
        known = [trials[candidate] for candidate in candidates if candidate in trials]
        candidates = [trial.candidate for trial in _ranked(known)]
        if rung < rungs - 1:
            candidates = candidates[: -(-len(candidates) // KEEP)]
    return [default, *candidates] if not candidates else list(candidates)


def _group(
    make: Make, default: Candidate, group: Iterable[Candidate], until: float, part: str, trials: dict[Candidate, Trial]
) -> None:
    """Measures some candidates in turns with the default, until about `until` of the monotonic clock. One that does not
    load here is left out."""
    calls = {default: make(default)}
    for candidate in group:
        try:
            calls[candidate] = make(candidate)
        except (MachineError, DataError):
            continue
    named = dict(zip(map(str, range(len(calls))), calls, strict=True))
    each = max(LEAST_S, (until - time.monotonic()) / len(calls))
    samples = measure({name: Variant(calls[candidate]) for name, candidate in named.items()}, each)
    for name, candidate in named.items():
        latency_ms = samples[name].figures()["latency_ms"]
        trials[candidate] = Trial(candidate, latency_ms, ratio(samples[name], samples["0"]), part)


def _ranked(trials: Iterable[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: -trial.over_default.value)


def _load(bundle: Path, candidate: Candidate) -> Callable[[np.ndarray], object]:
    """The way of `components.speed.measurement`, so that tuning and the benchmark measure the same."""
    return measurement.load(bundle, candidate.route, candidate.options)[1].arrays


def affordable(image_ms: float, seconds: float) -> list[int]:
    """Those of BATCH_SIZES that can be called often enough in the time, 1 at least, by the milliseconds of an image."""
    calls = FEWEST_ROUNDS + 3  # with the warming up
    return [size for size in BATCH_SIZES if size == 1 or calls * size * image_ms / 1e3 <= seconds]


def _throughput(
    answer: Callable[[np.ndarray], object], image: np.ndarray, sizes: Sequence[int], seconds: float
) -> dict[str, float]:
    """The smallest batch that nearly reaches the highest throughput, and that throughput."""
    batches = {size: np.repeat(image, size, axis=0) for size in sizes}
    samples = measure(
        {str(size): Variant(lambda batch=batch: answer(batch), size) for size, batch in batches.items()},
        seconds / len(sizes),
    )
    rates = {size: samples[str(size)].figures()["images_per_s"] for size in sizes}
    best = next(size for size in sizes if rates[size] >= SATURATED * max(rates.values()))
    return {"batch_size": best, "images_per_s": rates[best]}
