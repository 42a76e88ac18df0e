"""How fast photos are prepared, against a loop that decodes them and does nothing else, and how much memory it takes.

    python benchmarks/prepare.py [--images 2000] [--width 500] [--size 224] [--rounds 3]

The photos are made here, JPEGs of quality 90 in the shape 4:3: windows of photos below the folder that the environment
variable GRAFT_DATA names, or else of smooth noise with fine grain. The loop runs in as many processes as there are
cores and calls the function that prepare calls, without writing anything. Both are run in turn, and the medians are
given, of the time on the clock and of the processors' time; the second says more on a machine that is not idle. Memory
is the sum over prepare's processes (proportional set size, so that what they share counts once), sampled ten times a
second; without pages of files, which the system takes back when it needs them, it is what the processes need.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from components.data import decoding, images, near_duplicates, pool
from components.data.packing import Rows

CLASSES = 4
SEED = 0
PARAMS = """\
data: {{target: {{folder: images}}}}
prepare: {{size: {size}}}
backbone: {{name: resnet18, weights: IMAGENET1K_V1}}
compare: [fine_tune]
students: []
strategies: {{fine_tune: {{}}}}
promote: {{registered_model: toy, aim: better, min_gain: 0.0, margin: 0.01, min_speed_up: 1.2, max_class_loss: 0.05,
  max_slice_loss: 0.05, max_ece_gain: 0.03, max_latency_ratio: 2.0, max_size_ratio: 4.0, min_agreement: 0.995,
  max_known_loss: 0.05, approval: auto}}
"""


def scenes() -> list[Image.Image]:
    """What windows are cut from."""
    given = sorted(Path(os.environ["GRAFT_DATA"]).rglob("*.jpg")) if "GRAFT_DATA" in os.environ else []
    if given:
        return [images.read(path) for path in given[:: max(1, len(given) // 64)]]
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(16):
        grain = rng.normal(0, 6, (750, 1000, 1))
        layers = [
            np.asarray(Image.fromarray(rng.integers(0, 256, (3 * k, 4 * k, 3), dtype=np.uint8)).resize((1000, 750)))
            for k in (2, 8, 40)
        ]
        found.append(Image.fromarray((np.average(layers, 0, (4, 2, 1)) + grain).clip(0, 255).astype(np.uint8)))
    return found


def make(folder: Path, first: int, count: int, width: int) -> None:
    """Photos number first to first + count, in folders by class."""
    sources = scenes()
    for number in range(first, first + count):
        rng = np.random.default_rng((SEED, number))
        scene = sources[int(rng.integers(len(sources)))]
        side = rng.uniform(0.3, 0.9) * min(scene.width / 4, scene.height / 3)
        box = (4 * side, 3 * side)
        left, top = rng.uniform(0, scene.width - box[0]), rng.uniform(0, scene.height - box[1])
        photo = scene.resize((width, width * 3 // 4), box=(left, top, left + box[0], top + box[1]))
        content = io.BytesIO()
        photo.save(content, "JPEG", quality=90)
        path = folder / f"class_{number % CLASSES}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.getvalue())


def _make(arguments: tuple) -> None:
    make(*arguments)


def bare(files: list[str], size: int) -> None:
    """The loop that prepare is held against."""
    for path in files:
        images.pixels(Path(path).read_bytes(), resize=size, size=size)


def bare_everywhere(files: list[str], size: int) -> None:
    """In independent processes, one for each core."""
    count = pool.cores()
    shares = [get_context("fork").Process(target=bare, args=(files[n::count], size)) for n in range(count)]
    for process in shares:
        process.start()
    for process in shares:
        process.join()


def decoded(files: list[str], size: int, folder: Path) -> None:
    """As prepare does it: into files, with digests and thumbnails."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    side = near_duplicates.SIDE
    pixels = Rows.create(folder / "pixels.npy", (len(files), size, size, 3), np.uint8)
    thumbnails = Rows.create(folder / "thumbnails.npy", (len(files), side, side, 3), np.float16)
    job = decoding.Job(files, decoding.Settings(size, "bilinear"), pixels, thumbnails)
    broken = [item for item in decoding.decode(job, lambda done: None) if isinstance(item, str)]
    if broken:
        raise SystemExit(broken[0])
    pixels.close()
    thumbnails.close()


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and those of the processors."""
    began, used = time.monotonic(), _processors()
    work()
    return time.monotonic() - began, _processors() - used


def _processors() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def memory(process: int) -> tuple[float, float]:
    """MiB of a process and those below it: in all, and without pages of files."""
    whole = own = 0
    waiting = [process]
    while waiting:
        number = waiting.pop()
        try:
            about = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()[1:]
            waiting += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
        except OSError:  # it has ended meanwhile
            continue
        facts = {line.split(":")[0]: int(line.split()[1]) for line in about}
        whole += facts["Pss"]
        own += facts["Pss_Anon"]
    return whole / 1024, own / 1024


def prepare(workspace: Path) -> tuple[float, float, float, float]:
    """The stage as DVC runs it: seconds on the clock, those of the processors, and peaks of memory in MiB."""
    began, used, peaks = time.monotonic(), _processors(), [(0.0, 0.0)]
    command = [sys.executable, "-m", "components.stages.prepare"]
    running = subprocess.Popen(command, cwd=workspace)
    while running.poll() is None:
        peaks.append(memory(running.pid))
        time.sleep(0.1)
    if running.returncode:
        raise SystemExit(running.returncode)
    taken = time.monotonic() - began, _processors() - used
    return *taken, max(whole for whole, _ in peaks), max(own for _, own in peaks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prepare-") as folder:
        workspace = Path(folder)
        (workspace / "params.yaml").write_text(PARAMS.format(size=given.size))
        ranges = [(workspace / "images", first, min(500, given.images - first), given.width)
                  for first in range(0, given.images, 500)]  # fmt: skip
        with ProcessPoolExecutor(pool.cores()) as makers:
            list(makers.map(_make, ranges))
        files = [str(path) for path in sorted((workspace / "images").rglob("*.jpg"))]
        size = sum(Path(path).stat().st_size for path in files)
        print(
            f"{len(files):,} JPEGs of {given.width} × {given.width * 3 // 4}, {size / len(files) / 1024:.0f} KiB each,"
        )
        print(f"stored at {given.size} × {given.size}; {pool.cores()} cores\n", flush=True)

        if given.rounds:
            ways = {
                "bare loop": lambda: bare_everywhere(files, given.size),
                "prepare's decoding": lambda: decoded(files, given.size, workspace / "decoded"),
            }
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for _ in range(given.rounds):
                for name, work in ways.items():
                    taken[name].append(timed(work))
            shutil.rmtree(workspace / "decoded")
            print("| decoding | images/s | images/s of processor time | share of the bare loop's speed |")
            print("|---|---:|---:|---:|")
            medians = {
                name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in taken.items()
            }
            for name, (clock, used) in medians.items():
                share = medians["bare loop"][1] / used
                print(f"| {name} | {len(files) / clock:,.0f} | {len(files) / used:,.0f} | {share:.1%} |")
            print(flush=True)

        rows = [("first", prepare(workspace)), ("again, nothing new", prepare(workspace))]
        make(workspace / "images", given.images, 10, given.width)
        rows.append(("again, 10 new images", prepare(workspace)))
        print("\n| prepare | s | s of processor time | memory at most, MiB | of it not files, MiB |")
        print("|---|---:|---:|---:|---:|")
        for name, (clock, used, whole, own) in rows:
            print(f"| {name} | {clock:.1f} | {used:.1f} | {whole:,.0f} | {own:,.0f} |")


if __name__ == "__main__":
    main()
