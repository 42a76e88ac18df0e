"""Predicting a folder of photographs: how much of the speed of its two halves, decoding and inference, is left when
both run at once, and whether memory stays flat.

python benchmarks/predict.py PHOTOS [--network resnet18] [--threads 1,2] [--decoders 1,2] [--stream 20000]

The network has random weights, which costs as much time as trained ones. The parts take turns; a speed is the best of
the rounds, since other programs only ever slow one down, and CPU time is the median.
`of slower` is the whole over the slower of its halves, each alone on the machine; `of cores` is the whole over what is
possible where both halves keep all cores busy: then their times add up. `of CPU` compares CPU time in the same way:
what is missing there is what working side by side costs, also on a machine that others use.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from components import machine
from components.inference import folder, stream
from components.inference.predictor import BATCH_SIZES, Failure, Predictor
from components.runtimes.options import Options

NETWORKS = {"small_resnet": 32, "resnet18": 224, "mobilenet_v3_small": 224, "resnet50": 224}
STEP = 2000
"""Files between two lines about memory."""


def export(network: str, path: Path) -> None:
    """In a process of its own, so that torch's memory is not counted."""
    import torch

    from components.backbones.build import build
    from components.deployment import onnx_export
    from components.strategies.fine_tune import FineTune
    from components.types import LabelSpace, Preprocess

    torch.manual_seed(0)
    size = NETWORKS[network]
    preprocess = Preprocess(size, round(size / 0.875), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    space = LabelSpace({"label": ("ant", "bee")})
    strategy = FineTune(build(network, preprocess=preprocess), space).eval()
    path.write_bytes(onnx_export.export(strategy, {"classes": space.classes, "preprocess": preprocess.to_dict()}))


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """(images per second of the clock, milliseconds of CPU per image)"""
    start, busy = time.perf_counter(), time.process_time()
    images = work()
    return images / (time.perf_counter() - start), 1000 * (time.process_time() - busy) / images


def compare(model: Path, files: list[Path], threads: int, decoders: int, rounds: int) -> None:
    predictor = Predictor.load(model, provider="cpu", options=Options(threads=threads))
    predictor.decoders = decoders
    size = BATCH_SIZES["cpu"]
    pixels = np.stack([predictor.pixels(path) for path in files])
    distance = max(2 * size, 2 * decoders)

    def decode() -> int:
        return sum(1 for _ in stream.ahead(predictor.pixels, files, threads=decoders, distance=distance))

    def infer() -> int:
        for start in range(0, len(pixels), size):
            predictor.run(pixels[start : start + size])
        return len(pixels)

    def whole() -> int:
        return sum(not isinstance(answer, Failure) for answer in predictor.predict(files))

    infer()
    parts = {"decode": decode, "inference": infer, "whole": whole}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, work in parts.items():
            measured[name].append(timed(work))
    speed = {name: max(row[0] for row in rows) for name, rows in measured.items()}
    busy = {name: statistics.median(row[1] for row in rows) for name, rows in measured.items()}
    slower = min(speed["decode"], speed["inference"])
    cores = 1 / (1 / speed["decode"] + 1 / speed["inference"])
    print(
        f"{threads} inference + {decoders} decoding thread(s):  "
        + "  ".join(f"{name} {speed[name]:7.1f}/s ({busy[name]:5.2f} ms CPU)" for name in parts)
        + f"  of slower {speed['whole'] / slower:4.0%}  of cores {speed['whole'] / cores:4.0%}"
        + f"  of CPU {(busy['decode'] + busy['inference']) / busy['whole']:4.0%}",
        flush=True,
    )


def memory_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def flat(model: Path, files: list[Path], count: int, root: Path) -> None:
    """A folder of `count` photographs, told apart by their names alone, from its listing to the last answer."""
    (root / "photos").mkdir()
    for number, path in enumerate(islice(cycle(files), count)):
        copy = root / "photos" / f"{number:06}{path.suffix}"
        try:
            os.link(path, copy)
        except OSError:  # on another disk
            copy.symlink_to(path.resolve())
    predictor = Predictor.load(model, provider="cpu")
    print(f"memory over {count:,} files, MiB: {memory_mib():.0f} before", end="", flush=True)
    start = time.perf_counter()
    for number, _ in enumerate(predictor.predict(folder.find([root / "photos"])), 1):
        if number % STEP == 0:
            print(f", {memory_mib():.0f}", end="", flush=True)
    print(f"  ({count / (time.perf_counter() - start):.0f} images/s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="resnet18")
    parser.add_argument("--threads", default=f"1,{machine.physical_cores()}")
    parser.add_argument("--decoders", default=f"1,{machine.physical_cores()}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--stream", type=int, default=0, help="Files of the memory test.")
    given = parser.parse_args()
    files = list(islice(folder.find([given.photos]), given.images))
    if not files:
        raise SystemExit(f"there are no images below {given.photos}")
    print(f"{given.network}, {len(files)} photographs, {machine.describe()}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "model.fp32.onnx"
        maker = multiprocessing.get_context("spawn").Process(target=export, args=(given.network, model))
        maker.start()
        maker.join()
        for threads in map(int, given.threads.split(",")):
            for decoders in map(int, given.decoders.split(",")):
                compare(model, files, threads, decoders, given.rounds)
        if given.stream:
            flat(model, files, given.stream, Path(temporary))


if __name__ == "__main__":
    main()
