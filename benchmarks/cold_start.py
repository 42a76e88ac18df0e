"""From the start of a process until it has answered one photograph: seconds, and the most main memory it held.

python -m benchmarks.cold_start [--write] [--network resnet18] [--rounds 5]

Fresh processes, in turns, on one thread, from the content of a JPEG; `--write` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks import performance_page
from components.runtimes.providers import present

CLASSES, STORED = 100, 256
PHOTOGRAPH = (500, 375)

REPORT = """
import json, time
held = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps({"answered": time.monotonic(), "cpu_s": time.process_time(), "mib": int(held.split()[1]) / 1024}))
"""
TORCH = """
import io, sys
import torch
from PIL import Image
from torchvision import models, transforms
torch.set_num_threads(1)
folder, network = sys.argv[1:3]
model = models.get_model(network)
model.load_state_dict(torch.load(f"{folder}/weights.pt", weights_only=True))
to_input = transforms.Compose([
    transforms.Resize(256),
    transforms.CenterCrop(224),
    transforms.ToTensor(),
    transforms.Normalize([0.5] * 3, [0.25] * 3),
])
with torch.inference_mode():
    model.eval()(to_input(Image.open(sys.stdin.buffer).convert("RGB"))[None])
"""
ONNXRUNTIME = """
import sys
import numpy, onnxruntime
from PIL import Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(f"{sys.argv[1]}/model.fp32.onnx", options, providers=["CPUExecutionProvider"])
session.run(None, {"image": numpy.asarray(Image.open(sys.stdin.buffer).convert("RGB"))[None]})
"""
PREDICTOR = """
import sys
from pathlib import Path
from components.runtimes.options import Options
from components.inference.predictor import Predictor
precision, provider = sys.argv[3:5]
cache = sys.argv[5] == "yes"
file = Path(sys.argv[1]) / f"model.{'int8' if precision == 'int8' else 'fp32'}.onnx"
options = Options(threads=1)
predictor = Predictor.load(file, provider=provider, precision=precision, options=options, cache=cache, brief=True)
predictor.run(predictor.pixels(sys.stdin.buffer.read())[None])
"""


class Way(NamedTuple):
    """`program`: Python source that answers the image on its standard input; `arguments`: its third and further."""

    program: str
    arguments: tuple[str, ...] = ()


def ways() -> dict[str, Way]:
    found = {
        "torch and torchvision": Way(TORCH),
        "onnxruntime, the file as it is": Way(ONNXRUNTIME),
        "Predictor, fp32@cpu, first start": Way(PREDICTOR, ("fp32", "cpu", "no")),
        "Predictor, fp32@cpu": Way(PREDICTOR, ("fp32", "cpu", "yes")),
        "Predictor, int8@cpu": Way(PREDICTOR, ("int8", "cpu", "yes")),
    }
    if "openvino" in present():
        found |= {
            f"Predictor, {precision}@openvino": Way(PREDICTOR, (precision, "openvino", "yes"))
            for precision in ("fp32", "int8")
        }
    return found


def prepare(network: str, folder: Path) -> None:
    """The files that the processes load: random weights as torch and as onnxruntime want them."""
    import torch
    from torchvision import models

    from benchmarks.inference_ways import subject

    torch.save(models.get_model(network).state_dict(), folder / "weights.pt")
    for precision, content in subject(network, CLASSES, STORED).model.items():
        (folder / f"model.{precision}.onnx").write_bytes(content)


def photograph() -> bytes:
    """A JPEG of soft shapes."""
    small = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(small).resize(PHOTOGRAPH, Image.Resampling.BICUBIC).save(content, "jpeg", quality=90)
    return content.getvalue()


def start(way: Way, folder: Path, network: str, image: bytes) -> dict[str, float]:
    """One fresh process: `s` until the answer, by the clock; `cpu_s`; `mib`."""
    command = [sys.executable, "-c", way.program + REPORT, str(folder), network, *way.arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GRAFT_CACHE": str(folder / "cache")}
    began = time.monotonic()
    done = subprocess.run(command, input=image, capture_output=True, check=True, env=environment)
    told = json.loads(done.stdout)
    # The monotonic clock is the machine's, so the child's reading compares with this process's.
    return {"s": told["answered"] - began, "cpu_s": told["cpu_s"], "mib": told["mib"]}


def measure(network: str, rounds: int, folder: Path) -> dict[str, list[dict[str, float]]]:
    image = photograph()
    prepare(network, folder)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways()}
    for turn in range(rounds + 1):
        for name, way in ways().items():
            told = start(way, folder, network, image)
            if turn:  # the first start fills the caches, the system's among them
                found[name].append(told)
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    middle = {
        name: {key: statistics.median(one[key] for one in starts) for key in starts[0]}
        for name, starts in found.items()
    }
    slowest = middle["torch and torchvision"]["cpu_s"]
    rows = [
        [name, f"{row['cpu_s']:.2f}", f"{slowest / row['cpu_s']:.1f}", f"{row['s']:.2f}", f"{row['mib']:.0f}"]
        for name, row in middle.items()
    ]
    return performance_page.table(["", "CPU s", "times torch", "seconds by the clock", "MiB"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18", help="a torchvision model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"into {performance_page.PAGE.name}")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        content = table(measure(asked.network, asked.rounds, Path(folder)))
    print(content)
    if asked.write:
        performance_page.replace("cold start", content)


if __name__ == "__main__":
    main()
