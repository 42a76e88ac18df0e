"""benchmark: latency, throughput and size of the bundle on every provider, and of every competitor in torch."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components import jsonfile, machine, paths
from components import params as parameters
from components.data import prepared
from components.data.prepared import Prepared
from components.data.streams import crop, normalise
from components.deployment import bundle, timing
from components.deployment.footprint import size_mib
from components.inference.predictor import Predictor
from components.inference.session import present, resolve
from components.params import BenchmarkParams, Params
from components.stages.command import main, say
from components.training.compute import choose
from components.training.restore import restore

SHARE = 0.25
"""Of `benchmark.seconds`, for each competitor: there may be dozens, and only how they compare is asked."""


def benchmark() -> None:
    """Times the bundle on real images; a provider asked for by name must load. Then all competitors by the same means,
    since only one of them was exported."""
    params = parameters.load(Path())
    facts, data = bundle.read(paths.BUNDLE), prepared.read(paths.PREPARED)
    measurements = _bundle(facts, data, params.benchmark)
    strategies, device = _competitors(params, data)
    jsonfile.write(
        paths.BENCHMARK,
        {
            "strategy": facts["strategy"],
            "machine": machine.describe(),
            "measurements": measurements,
            "strategies": strategies,
            "strategies_by": f"torch on {device}, batch 1",
        },
    )


def _bundle(facts: dict, data: Prepared, options: BenchmarkParams) -> list[dict]:
    pixels = data.target.pixels
    providers = present() if options.providers == ("auto",) else list(dict.fromkeys(map(resolve, options.providers)))
    rows = []
    for precision, entry in facts["models"].items():
        for provider in providers:
            start = time.perf_counter()
            predictor = Predictor(paths.BUNDLE / entry["file"], provider=provider)
            load_s = time.perf_counter() - start
            for size in options.batch_sizes:
                batch = np.resize(pixels[: min(size, len(pixels))], (size, *pixels.shape[1:]))
                row = {
                    "precision": precision,
                    "provider": provider,
                    "batch_size": size,
                    **timing.measure(predictor.run, batch, options.seconds),
                    "load_s": load_s,
                    "size_mib": entry["bytes"] / 2**20,
                }
                rows.append(row)
                say(
                    f"{precision} on {provider}, batch {size}: {row['latency_ms']:.2f} ms, "
                    f"{row['images_per_s']:,.0f} images/s"
                )
    return rows


def _competitors(params: Params, data: Prepared) -> tuple[dict[str, dict[str, float]], str]:
    """Every competitor that has a model: latency in fp32 for one preprocessed image in memory, and size; and the device
    that it was measured on."""
    device = choose(replace(params.compute, precision="fp32")).device
    found = {}
    for name in params.competitors:
        if jsonfile.read(paths.MODELS / name / "model.json")["failed"]:
            continue
        strategy = restore(paths.MODELS / name).to(device)
        preprocess = strategy.backbone.preprocess
        image = normalise(crop(torch.from_numpy(data.target.pixels[[0]]).to(device), preprocess), preprocess)

        @torch.inference_mode()
        def answer(image: Tensor, strategy=strategy) -> None:
            strategy(image)
            if device.type == "cuda":
                torch.cuda.synchronize(device)  # or only the asking would be timed

        measured = timing.measure(answer, image, SHARE * params.benchmark.seconds)
        found[name] = {
            "latency_ms": measured["latency_ms"],
            "latency_p95_ms": measured["latency_p95_ms"],
            "size_mib": size_mib(strategy, image),
        }
        say(f"{name} in torch on {device}: {measured['latency_ms']:.2f} ms, {found[name]['size_mib']:.2f} MiB")
    return found, device.type


if __name__ == "__main__":
    main(benchmark)
