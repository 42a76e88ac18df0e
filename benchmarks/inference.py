"""How fast the exported model answers on one core, beside torch and OpenVINO, and how close that is to what the
processor can do at all.

python -m benchmarks.inference                 # 5 minutes: prints the tables
python -m benchmarks.inference --write         # and puts them into docs/performance.md
python -m benchmarks.inference --quick         # 1 minute, with wide intervals

Everything that answers the same images takes turns in one process, on one thread, and is compared in CPU time of that
process within each round, so that a shared machine's good and bad moments hit all alike. A product of two large
matrices takes its turn too: the peak it reaches is that of the same moments.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before any library counts the cores

import numpy as np

from benchmarks import inference_tables, performance_page
from components import machine
from components.speed.timing import Sample, Variant, measure

if TYPE_CHECKING:
    from benchmarks.inference_ways import Subject

NETWORKS = {
    "small_resnet": (10, 32),
    "mobilenet_v3_small": (100, 256),
    "resnet18": (100, 256),
    "resnet50": (100, 232),
}
"""Name -> classes, and pixels a side of the stored images; those of torchvision cut their 224 out of them."""
BATCH_SIZES = (1, 32)
QUICK = {"small_resnet": (1, 32), "mobilenet_v3_small": (1,), "resnet18": (1,)}
SECONDS, QUICK_SECONDS = 1.0, 0.3
SHORT_S = 0.3
"""Of a call, for the cost of preprocessing to be measured too: beside a longer one it is lost in the noise."""


@dataclass(frozen=True)
class Cell:
    """One network at one batch size. `samples`: by name of the way, "peak <precision>" among them; `deviation`: of the
    logits from torch's, in terms of their own spread; `operations`: of one image; `preprocessing`: the CPU provider's
    fp32 from pixels and the network alone, which took turns with each other only, since they differ by little."""

    network: str
    batch_size: int
    precision: dict[str, str]
    samples: dict[str, Sample]
    deviation: dict[str, float]
    operations: int
    peak_operations: int
    preprocessing: dict[str, Sample]


def cell(subject: Subject, batch_size: int, seconds: float, *, compiled: bool) -> Cell:
    """Measures everything that can answer a batch of this size, in turns."""
    from benchmarks import inference_ways as w

    batch = w.pixels(batch_size, subject.preprocess.resize)
    found = w.ways(subject, compiled=compiled)
    expected = found[w.TORCH].answer(batch)
    spread = np.linalg.norm(expected - expected.mean())
    deviation = {name: float(np.linalg.norm(way.answer(batch) - expected) / spread) for name, way in found.items()}
    variants = {name: Variant(partial(way.answer, batch), batch_size) for name, way in found.items()}
    variants |= {inference_tables.peak(name): Variant(run, share=0.5) for name, run in w.peaks().items()}
    samples = measure(variants, seconds)
    pair: dict[str, Sample] = {}
    if np.median(samples[w.FP32].wall[-1]) < SHORT_S:
        bare = w.bare(subject, batch)
        pair = measure({w.FP32: variants[w.FP32], w.BARE: Variant(bare, batch_size)}, 2 * seconds)
    precision = {name: way.precision for name, way in found.items()}
    return Cell(subject.name, batch_size, precision, samples, deviation, subject.operations, 2 * w.GEMM**3, pair)


def cells(
    plan: Mapping[str, Sequence[int]], seconds: float, *, compiled: bool, networks: Mapping[str, tuple[int, int]]
) -> list[Cell]:
    import torch

    from benchmarks import inference_ways

    torch.set_num_threads(1)
    done = []
    for name, batch_sizes in plan.items():
        subject = inference_ways.subject(name, *networks[name])
        for batch_size in batch_sizes:
            done.append(cell(subject, batch_size, seconds, compiled=compiled))
            print(f"\n{inference_tables.speed(done[-1:], inference_ways.TORCH, 'cpu')}", flush=True)
    return done


def report(done: Sequence[Cell]) -> dict[str, str]:
    """Name of a place in docs/performance.md -> what belongs there."""
    from benchmarks.inference_ways import BARE, FP32, TORCH

    return {
        "hardware": inference_tables.hardware(done, machine.describe()),
        "goals": inference_tables.goals(done, TORCH),
        "speed": inference_tables.speed(done, TORCH, "cpu"),
        "wall": inference_tables.speed(done, TORCH, "wall"),
        "peak": inference_tables.share_of_peak(done),
        "deviation": inference_tables.deviation(done, TORCH),
        "openvino": inference_tables.against_openvino(done),
        "preprocessing": inference_tables.preprocessing(done, FP32, BARE),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=list(BATCH_SIZES))
    parser.add_argument("--seconds", type=float, help="for each way, unless five rounds take longer")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile as well: a minute or two for each network"
    )
    parser.add_argument("--write", action="store_true", help=f"into {performance_page.PAGE.name}")
    asked = parser.parse_args(arguments)
    plan = QUICK if asked.quick else dict.fromkeys(asked.networks, asked.batch_sizes)
    seconds = asked.seconds or (QUICK_SECONDS if asked.quick else SECONDS)
    for name, content in report(cells(plan, seconds, compiled=asked.compile, networks=NETWORKS)).items():
        print(f"\n{name}\n{content}")
        if asked.write:
            performance_page.replace(name, content)


if __name__ == "__main__":
    main()
