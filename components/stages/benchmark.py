"""benchmark: time, memory and accuracy of the bundle's routes beside torch, and the latency of every competitor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from components import jsonfile, paths
from components import params as parameters
from components.data import prepared
from components.data.prepared import Prepared
from components.data.streams import crop, normalise
from components.deployment.footprint import size_mib
from components.params import Params
from components.speed import subjects
from components.speed.gate import clock
from components.speed.measurement import Plan
from components.speed.timing import Clock, Sample, Variant, measure
from components.stages.command import main, say
from components.strategies.base import Strategy
from components.training.compute import Compute, choose
from components.training.restore import restore

SHARE = 0.1
"""Of `benchmark.seconds`, for each competitor: there may be dozens, and only how they compare is asked."""

ONE_THREAD = ", CPU time of one thread"


def benchmark() -> None:
    """Times the bundle and its model in torch on real images; a provider asked for by name must load. All competitors
    are timed too, in torch alone, since only one of them was exported."""
    params, data = parameters.load(Path()), prepared.read(paths.PREPARED)
    compute = choose(replace(params.compute, precision="fp32"))
    strategies = _competitors(params, data, compute)
    options = params.benchmark
    strategy = jsonfile.read(paths.BUNDLE / "bundle.json")["strategy"]
    found = subjects.measured(
        paths.BUNDLE,
        subjects.material(data),
        Plan(options.batch_sizes, options.seconds, options.min_speed_up, compute.threads),
        providers=options.providers,
        trained=paths.MODELS / strategy,
        torch_compile=options.torch_compile,
        say=say,
    )
    in_torch = dict.fromkeys((row["route"] for row in found["references"]), subjects.trained_accuracy(strategy, data))
    jsonfile.write(
        paths.BENCHMARK,
        {
            **found,
            "accuracy": {**found["accuracy"], **in_torch},
            "strategies": strategies,
            "strategies_by": f"torch on {compute.device.type}, batch 1{ONE_THREAD if _clock(compute) == 'cpu' else ''}",
        },
    )


def _competitors(params: Params, data: Prepared, compute: Compute) -> dict[str, dict[str, float]]:
    """Every competitor that has a model: latency in fp32 for one preprocessed image in memory, and size."""
    device = compute.device
    found = {}
    for name in params.competitors:
        if jsonfile.read(paths.MODELS / name / "model.json")["failed"]:
            continue
        strategy = restore(paths.MODELS / name).to(device)
        preprocess = strategy.backbone.preprocess
        image = normalise(crop(torch.from_numpy(data.target.pixels[[0]]).to(device), preprocess), preprocess)
        figures = _alone(strategy, image, SHARE * params.benchmark.seconds).figures(_clock(compute))
        found[name] = {
            "latency_ms": figures["latency_ms"],
            "latency_p95_ms": figures["latency_p95_ms"],
            "size_mib": size_mib(strategy, image),
        }
        say(f"{name} in torch on {device}: {figures['latency_ms']:.2f} ms, {found[name]['size_mib']:.2f} MiB")
    return found


def _clock(compute: Compute) -> Clock:
    return clock(compute.device.type, compute.threads)


def _alone(strategy: Strategy, image: Tensor, seconds: float) -> Sample:
    @torch.inference_mode()
    def answer() -> None:
        strategy(image)
        if image.device.type == "cuda":
            torch.cuda.synchronize(image.device)  # or only the asking would be timed

    return measure({"": Variant(answer)}, seconds)[""]


if __name__ == "__main__":
    main(benchmark)
