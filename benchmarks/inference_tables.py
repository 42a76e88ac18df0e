"""What `benchmarks.inference` measured, as tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.performance_page import table
from components.speed.timing import Clock, Ratio, Sample, ratio

if TYPE_CHECKING:
    from benchmarks.inference import Cell

PACKAGES = {"torch": "torch", "torchvision": "torchvision", "onnxruntime": "onnxruntime-gpu", "openvino": "openvino"}
PRECISIONS = ("fp32", "bf16", "int8")
CPU, OPENVINO = "cpu", "openvino"


class Goal(NamedTuple):
    """`routes`: any of which may reach `least` times torch's speed."""

    network: str
    batch_size: int
    routes: tuple[str, ...]
    least: float


FP32 = ("fp32@cpu",)
INT8 = ("int8@cpu", "int8@openvino")
BEST = ("fp32@cpu", "fp32@openvino", "bf16@openvino", *INT8)
GOALS = (
    Goal("resnet18", 32, FP32, 1.35),
    Goal("mobilenet_v3_small", 1, FP32, 3.6),
    Goal("resnet18", 1, INT8, 5.5),
    Goal("resnet50", 32, INT8, 7.0),
    Goal("small_resnet", 1, INT8, 8.0),
    Goal("small_resnet", 32, INT8, 8.0),
    Goal("mobilenet_v3_small", 1, BEST, 4.2),
    Goal("mobilenet_v3_small", 32, BEST, 4.2),
)
PREPROCESSING_GOAL = 0.03
WITHIN = 0.05


def peak(precision: str) -> str:
    """Name of the sample that is a matrix product in this precision."""
    return f"peak {precision}"


def hardware(cells: Sequence[Cell], machine: str) -> str:
    """One sentence: processor, versions, and what a core computes at most."""
    versions = ", ".join(f"{name} {found}" for name, package in PACKAGES.items() if (found := _version(package)))
    best = {precision: max(_giga(cell, precision) for cell in cells) for precision in PRECISIONS}
    return (
        f"One thread on {machine}; {versions}. A product of two matrices reaches at most "
        f"{best['fp32']:.0f} GFLOP/s in fp32, {best['bf16']:.0f} in bf16 and {best['int8']:.0f} GOP/s in int8."
    )


def goals(cells: Sequence[Cell], torch: str) -> str:
    rows = []
    by_cell = {(cell.network, cell.batch_size): cell for cell in cells}
    for goal in GOALS:
        cell = by_cell.get((goal.network, goal.batch_size))
        if cell is None:
            continue
        measured = {route: _over(cell, route, torch, CPU) for route in goal.routes if route in cell.samples}
        best = max(measured, key=lambda route: measured[route].value)
        rows.append(
            [
                f"{goal.network}, batch {goal.batch_size}",
                " or ".join(goal.routes) if goal.routes is not BEST else "any",
                f"{goal.least:.2f}",
                "; ".join(
                    f"{route} {_text(found)}" for route, found in measured.items() if route in (best, *FP32, INT8[0])
                ),
                "yes" if measured[best].value >= goal.least else "**no**",
            ]
        )
    return table(["network", "route", "goal, times torch", "measured", "reached"], rows)


def speed(cells: Sequence[Cell], torch: str, clock: Clock) -> str:
    """How many times as fast as eager torch, with the 95 % interval; torch itself in milliseconds for an image."""

    def entry(cell: Cell, way: str) -> str:
        if way == torch:
            return f"*{_ms(cell, way, clock):.3g} ms*"
        return _text(_over(cell, way, torch, clock))

    return _by_way(cells, entry)


def share_of_peak(cells: Sequence[Cell]) -> str:
    """Operations of the network for a second of the way's time, as a share of those of a matrix product in the same
    precision, in the same rounds."""

    def entry(cell: Cell, way: str) -> str:
        product = cell.samples[peak(cell.precision[way])]
        times = ratio(cell.samples[way], product, CPU).value
        return f"{times * cell.operations / cell.peak_operations:.0%}"

    return _by_way(cells, entry)


def deviation(cells: Sequence[Cell], torch: str) -> str:
    def entry(cell: Cell, way: str) -> str:
        return f"{cell.deviation[way]:.0e}"

    return _by_way(cells, entry, leave_out=(torch,))


def against_openvino(cells: Sequence[Cell]) -> str:
    """The same model in the same precision on both, and the fastest of all routes."""
    rows = []
    for cell in cells:
        row = [_title(cell)]
        for precision in ("fp32", "int8"):
            ours, theirs = (f"{precision}@{provider}" for provider in (CPU, OPENVINO))
            if theirs in cell.samples:
                found = _over(cell, ours, theirs, CPU)
                row.append(f"{_text(found)} {_winner(found)}")
        routes = [name for name in cell.samples if "@" in name]
        row.append(min(routes, key=lambda route: _ms(cell, route, CPU)))
        rows.append(row)
    return table(["network", "fp32: onnxruntime over OpenVINO", "int8: likewise", "fastest route"], rows)


def preprocessing(cells: Sequence[Cell], whole: str, bare: str) -> str:
    """What the graph's own preprocessing adds to the network's time on the CPU provider."""
    rows = []
    for cell in cells:
        if not cell.preprocessing:
            continue
        of, over = cell.preprocessing[whole], cell.preprocessing[bare]
        added, low, high = (value - 1 for value in ratio(over, of, CPU))
        reached = "yes" if added <= PREPROCESSING_GOAL else "no"
        times = [f"{1e3 * _seconds(sample, CPU) / sample.images:.3g} ms" for sample in (over, of)]
        rows.append([_title(cell), *times, f"{added:+.1%} ({low:+.1%} to {high:+.1%})", reached])
    return table(["network", "alone, for an image", "from pixels", "added", "at most 3 %"], rows)


def _by_way(cells: Sequence[Cell], entry: Callable[[Cell, str], str], leave_out: Sequence[str] = ()) -> str:
    names = dict.fromkeys(name for cell in cells for name in cell.precision if name not in leave_out)
    rows = [[name, *(entry(cell, name) if name in cell.precision else "" for cell in cells)] for name in names]
    return table(["", *map(_title, cells)], rows)


def _title(cell: Cell) -> str:
    return f"{cell.network} b{cell.batch_size}"


def _over(cell: Cell, of: str, over: str, clock: Clock) -> Ratio:
    return ratio(cell.samples[of], cell.samples[over], clock)


def _text(found: Ratio) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def _winner(found: Ratio) -> str:
    if found.value >= 1:
        return "onnxruntime"
    return "within 5 %" if found.value >= 1 - WITHIN else "**OpenVINO**"


def _ms(cell: Cell, way: str, clock: Clock) -> float:
    return 1e3 * _seconds(cell.samples[way], clock) / cell.samples[way].images


def _seconds(sample: Sample, clock: Clock) -> float:
    """Of a call, the median."""
    return float(np.median(np.concatenate([np.asarray(calls) for calls in getattr(sample, clock)])))


def _giga(cell: Cell, precision: str) -> float:
    """Billions of operations a second in the best round."""
    calls = np.concatenate([np.asarray(calls) for calls in cell.samples[peak(precision)].cpu])
    return cell.peak_operations / float(calls.min()) / 1e9


def _version(package: str) -> str | None:
    for name in (package, package.removesuffix("-gpu")):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
