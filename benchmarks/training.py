"""A classifier of 2,000 photos on a frozen MobileNetV2: Graft's way beside what people write.

    make bench-train                                  epochs of the others measured: 1 of 10
    python -m benchmarks.training --measured 10       everything from end to end, most of an hour

With GRAFT_DATA, the photos are 2,000 distinct JPEG files made of the training photos of ants and bees there (a random
part of each, mirrored or not, encoded anew), tested on the 153 others, and the weights are the real ones. Without it,
they are drawn, and the weights are random.

Every way is a process that computes with one thread, and is timed in processor seconds, its children's among them, from
the start of its interpreter to its answers for the test photos. The ways take turns, part by part, so that a busy
machine slows all alike. Graft's is always measured whole, its export included. Epochs of the others are all alike:
where fewer than ten are measured, the table says so, and the rest are counted at the mean of those.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.machine import describe

PHOTOS, EPOCHS = 2000, 10
TITLES = {
    "naive": "naive loop: Pillow, transforms and the frozen body in every epoch, SGD",
    "torchvision": "torchvision's way: its decoder, v2 transforms in a DataLoader, the same body and head",
    "fastai": "fastai: `vision_learner`, frozen",
    "graft": "Graft: prepare, embed, linear_probe",
}
PARAMS = """\
data:
  target: {folder: photos, layout: split/class}
prepare: {size: 256, val_fraction: 0.1, near_duplicates: keep}
backbone: {name: mobilenet_v2, weights: weights.pth}
train: {seeds: [0]}
compute: {device: cpu, precision: fp32, threads: 1}
compare: [linear_probe]
students: []
strategies: {linear_probe: {}}
promote: {registered_model: toy, aim: better, min_gain: 0.0, margin: 0.01, min_speed_up: 1.2, max_class_loss: 0.05,
  max_slice_loss: 0.05, max_ece_gain: 0.03, max_latency_ratio: 2.0, max_size_ratio: 4.0, min_agreement: 0.995,
  max_known_loss: 0.05, approval: auto}
"""


def make(folder: Path, data: Path | None, count: int) -> None:
    """Photos, weights and parameters for all ways."""
    rng = np.random.default_rng(0)
    if data is None:
        _drawn(folder / "photos", count, rng)
    else:
        _from_ants_and_bees(folder / "photos", data / "hymenoptera", count, rng)
    import torch
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    state = mobilenet_v2().state_dict()
    if data is not None:
        state = torch.load(data / "weights" / "mobilenet_v2.pth", weights_only=True)
    torch.save(state, folder / "weights.pth")
    (folder / "params.yaml").write_text(PARAMS)


def _from_ants_and_bees(folder: Path, photos: Path, count: int, rng: np.random.Generator) -> None:
    originals = sorted((photos / "train").glob("*/*.jpg"))
    rng.shuffle(originals)
    for number in range(count):
        path = originals[number % len(originals)]
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        width, height = (int(side * rng.uniform(0.7, 1.0)) for side in image.size)
        left, top = int(rng.integers(0, image.width - width + 1)), int(rng.integers(0, image.height - height + 1))
        image = image.crop((left, top, left + width, top + height))
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        _save(image, folder / "train" / path.parent.name / f"{number:05d}.jpg")
    for path in sorted((photos / "val").glob("*/*.jpg")):
        target = folder / "test" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def _drawn(folder: Path, count: int, rng: np.random.Generator) -> None:
    """500 x 375 pixels of smooth colour; the classes differ in the direction of fine stripes."""
    x, y = np.meshgrid(np.arange(500), np.arange(375))
    for part, number in (("train", count), ("test", count // 10)):
        for place in range(number):
            small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
            base = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.float64)
            angle = np.pi * (place % 2) / 2 + rng.normal(0, 0.2)
            stripes = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / rng.uniform(8, 14))
            image = Image.fromarray((base * 0.6 + 50 + 45 * stripes[..., None]).clip(0, 255).astype(np.uint8))
            _save(image, folder / part / ("upright", "level")[place % 2] / f"{place:05d}.jpg")


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)


def measure(folder: Path, ways: list[str], epochs: int) -> dict[str, list[dict[str, Any]]]:
    """Way -> its parts, in order. One process works at a time, each part of one way followed by one of the next."""
    quiet = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    processes = {
        way: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.training_ways", way, str(folder), str(epochs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **quiet, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path[1:]])},
            text=True,
        )
        for way in ways
    }
    parts: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    left = dict(processes)
    while left:
        for way, process in list(left.items()):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{way} failed with exit code {process.wait()}")
            parts[way].append(json.loads(line))
            print(f"{way}: {parts[way][-1]}", file=sys.stderr, flush=True)
            if parts[way][-1]["accuracy"] is not None:
                process.stdin.write("\n")
                process.stdin.close()
                process.wait()
                del left[way]
    return parts


def total(parts: list[dict[str, Any]], epochs: int) -> float:
    """Processor seconds of ten epochs, of which `epochs` were measured."""
    repeated = sum(part["seconds"] for part in parts if part["part"].startswith("epoch"))
    once = sum(part["seconds"] for part in parts) - repeated
    return once + repeated * EPOCHS / epochs


def table(parts: dict[str, list[dict[str, Any]]], epochs: int) -> str:
    whole = {way: total(found, epochs) for way, found in parts.items()}
    lines = ["| way | epochs measured | processor seconds | accuracy | Graft is faster |", "|---|---:|---:|---:|---:|"]
    for way, found in parts.items():
        measured = "no epochs: solved" if way == "graft" else f"{epochs} of {EPOCHS}"
        ratio = "" if way == "graft" else f"{whole[way] / whole['graft']:.1f} times"
        lines.append(f"| {TITLES[way]} | {measured} | {whole[way]:.0f} | {found[-1]['accuracy']:.3f} | {ratio} |")
    own = ", ".join(f"{part['part']} {part['seconds']:.1f}" for part in parts["graft"])
    return "\n".join([*lines, "", f"Graft, processor seconds: {own}. Machine: {describe()}, one thread."])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--measured", type=int, default=1, help="epochs of the other ways that are measured, 1 to 10")
    parser.add_argument("--photos", type=int, default=PHOTOS)
    parser.add_argument("--ways", default="naive,torchvision,fastai,graft")
    given = parser.parse_args()
    epochs = min(max(given.measured, 1), EPOCHS)
    ways = [way for way in given.ways.split(",") if way != "fastai" or importlib.util.find_spec("fastai")]
    data = os.environ.get("GRAFT_DATA")
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), Path(data) if data else None, given.photos)
        print(table(measure(Path(name), ways, epochs), epochs))
    if "fastai" in given.ways and "fastai" not in ways:
        print("\nfastai is not installed: pip install --target FOLDER fastai, and PYTHONPATH=FOLDER, adds it.")


if __name__ == "__main__":
    main()
