"""Which routes are worth shipping for their speed on this machine, and which of them is the fastest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.runtimes.routes import PARENT, Route
from components.speed.timing import Clock, Ratio, Sample, ratio

Samples = Mapping[tuple[str, int], Sample]
"""(route, batch size) -> its calls with arrays, all measured in one run."""


def clock(provider: str, threads: int) -> Clock:
    """What to compare by: CPU time where one thread of the CPU computes, because the rest of a shared machine does not
    change it; else the clock on the wall, because waiting, for another thread or a GPU, is then part of the answer."""
    return "cpu" if threads == 1 and provider in ("cpu", "openvino") else "wall"


def judge(
    samples: Samples, routes: Sequence[Route], batch_sizes: Sequence[int], min_speed_up: float, threads: int
) -> dict[str, Any]:
    """For each route: what it was held `over`, how many times as fast it was (`ratio`, `low`, `high`, at `batch_size`),
    whether it is `admitted` and the `reason`.

    A reduced precision must be `min_speed_up` times as fast as fp32 on the same provider, with an interval that lies
    above 1, at the smallest or at the largest batch: one image at a time and many are two uses, and one suffices. fp32
    itself is what a bundle always holds. Where fp32 was not measured on a provider, nothing there can be admitted.
    """
    uses = sorted({min(batch_sizes), max(batch_sizes)})
    verdicts = {}
    for route in routes:
        parent = Route(PARENT, route.provider)
        if route == parent:
            verdicts[str(route)] = _verdict(
                parent, uses[0], Ratio(1.0, 1.0, 1.0), True, f"every precision on {route.provider} is held against it"
            )
            continue
        if (str(parent), uses[0]) not in samples:
            verdicts[str(route)] = {
                "over": str(parent), "batch_size": uses[0], "ratio": None, "low": None, "high": None,
                "admitted": False, "reason": f"{parent} was not measured, so it has nothing to be faster than",
            }  # fmt: skip
            continue
        by = clock(route.provider, threads)
        found = {size: ratio(samples[str(route), size], samples[str(parent), size], by) for size in uses}
        enough = [size for size in uses if found[size].value >= min_speed_up and found[size].low >= 1]
        size = enough[0] if enough else max(uses, key=lambda size: found[size].value)
        told = " and ".join(f"{_words(found[size])} at batch {size}" for size in uses)
        reason = f"{told} times as fast as {parent}"
        if not enough:
            reason += f"; benchmark.min_speed_up asks for {min_speed_up:g}, and for an interval above 1"
        verdicts[str(route)] = _verdict(parent, size, found[size], bool(enough), reason)
    return verdicts


def fastest(samples: Samples, routes: Sequence[Route], batch_size: int, default: Route, threads: int) -> Route:
    """The fastest route at this batch size among those that are faster than `default` by more than chance; `default`
    where none is."""
    base = samples[str(default), batch_size]

    def lead(route: Route) -> Ratio:
        by: Clock = "cpu" if {clock(each.provider, threads) for each in (route, default)} == {"cpu"} else "wall"
        return ratio(samples[str(route), batch_size], base, by)

    leads = {route: lead(route) for route in routes if route != default}
    faster = [route for route, found in leads.items() if found.low > 1]
    return max(faster, key=lambda route: leads[route].value, default=default)


def _verdict(parent: Route, batch_size: int, found: Ratio, admitted: bool, reason: str) -> dict[str, Any]:
    return {
        "over": str(parent),
        "batch_size": batch_size,
        **found.to_dict(),
        "admitted": admitted,
        "reason": reason,
    }


def _words(found: Ratio) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
