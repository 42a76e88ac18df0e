"""benchmark: every admitted model on every provider of this machine -> latency, throughput, size. Imports no torch."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from components import jsonfile, machine, paths
from components import params as parameters
from components.data import prepared
from components.deployment import bundle, timing
from components.inference.predictor import Predictor
from components.inference.session import present, resolve
from components.stages.command import main, say


def benchmark() -> None:
    """Times the bundle on real images; a provider asked for by name must load."""
    options = parameters.load(Path()).benchmark
    facts = bundle.read(paths.BUNDLE)
    pixels = prepared.read(paths.PREPARED).target.pixels
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
    jsonfile.write(
        paths.BENCHMARK, {"strategy": facts["strategy"], "machine": machine.describe(), "measurements": rows}
    )


if __name__ == "__main__":
    main(benchmark)
