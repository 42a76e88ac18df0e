"""What observing costs a server: `graft serve` with --observe against the same without, in turns.

    python -m benchmarks.observe --bundle bundle --images data/raw/handwritten_digits [--rounds 15] [--clients 32]

Servers of one bundle on the same cores, all but the last one that this process may use; the clients have that one to
themselves. Only one server is asked at a time, and the order is turned round from round to round. Each ratio is of two
measurements of one round: of throughput (images a second by the clock) and of work (CPU time of the server for an
image). Then the store alone: what a batch costs the answers that wait for it, and what forcing it to disk would.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks import serve
from benchmarks.performance_page import table
from components.monitoring.recorder import Recorder

WITHOUT = "without"
BATCHES, FORCED = 1000, 100
"""Written to the store alone, as they are and forced to disk each."""
WIDTH, CLASSES = 512, 10


def servers(bundle: Path, images: Sequence[bytes], rounds: int, clients: int, folder: Path) -> str:
    seen, kept = (["--observe", "--observations", str(folder / name)] for name in ("seen", "kept"))
    ways = {WITHOUT: [], "--observe": seen, "--observe --keep-images 64": [*kept, "--keep-images", "64"]}
    cores = sorted(os.sched_getaffinity(0))
    own, theirs = (set(cores[:-1]), set(cores[-1:])) if len(cores) > 1 else (set(cores), set(cores))
    context, requests = multiprocessing.get_context("spawn"), serve.requests(images, 0)
    asked, found = {}, {name: [] for name in ways}
    with ExitStack() as stack:
        for name, options in ways.items():
            process, port = serve.start(bundle, own, options)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            here, there = context.Pipe()
            load = context.Process(target=serve.clients, args=(there, theirs, port, clients, requests), daemon=True)
            load.start()
            stack.callback(load.kill)
            there.close()  # so that the end of the clients is noticed here
            asked[name] = process.pid, here
        for number in range(rounds + 1):
            for name in list(ways) if number % 2 else reversed(ways):
                pid, pipe = asked[name]
                cpu = serve.cpu_seconds(pid)
                pipe.send(True)
                seconds = pipe.recv().seconds
                if number:  # the first round warms all of them up
                    found[name].append((len(images) / seconds, (serve.cpu_seconds(pid) - cpu) / len(images)))
    rows = []
    for name, measured in found.items():
        speed, work = (statistics.median(each[place] for each in measured) for place in (0, 1))
        ratios = [_ratio(measured, found[WITHOUT], place) if name != WITHOUT else "" for place in (0, 1)]
        rows.append((name, f"{speed:.0f}", ratios[0], f"{1000 * work:.3f} ms", ratios[1]))
    return table(("graft serve", "images/s", "ratio", "CPU time an image", "ratio"), rows)


def _ratio(measured: Sequence[tuple], without: Sequence[tuple], place: int) -> str:
    """The median of the rounds' own ratios, and its 95 % interval by their order (sign test)."""
    ratios = sorted(one[place] / other[place] for one, other in zip(measured, without, strict=True))
    reach = max(0, int(len(ratios) / 2 - 0.98 * len(ratios) ** 0.5))
    return f"{statistics.median(ratios):.3f} ({ratios[reach]:.3f} to {ratios[-1 - reach]:.3f})"


def store(folder: Path) -> str:
    """The time of one call of `Recorder.add`, with features of a residual network; and with its file forced to disk."""
    random, rows = np.random.default_rng(0), []
    for size, kib in ((1, 0), (32, 0), (1, 50), (32, 50)):
        recorder = Recorder(
            folder / f"{size}-{kib}", bundle="b" * 64, classes=[str(place) for place in range(CLASSES)], width=WIDTH,
            route="fp32@cpu", keep_images_mib=64 if kib else 0,
        )  # fmt: skip
        batch = (
            random.normal(size=(size, WIDTH)).astype(np.float32),
            random.dirichlet(np.ones(CLASSES), size).astype(np.float32),
            [random.bytes(1024 * kib)] * size if kib else None,
        )
        spent = [*_times(recorder, batch, BATCHES, force=False), *_times(recorder, batch, FORCED, force=True)]
        rows.append((f"{size}", f"{kib} KiB" if kib else "none", *spent))
    return table(("images", "each kept", "median", "99 %", "forced: median", "99 %"), rows)


def _times(recorder: Recorder, batch: tuple, count: int, *, force: bool) -> tuple[str, str]:
    spent = []
    for _ in range(count):
        with max(recorder.folder.glob("*.rows")).open("rb") as newest:
            began = time.perf_counter()
            recorder.add(*batch)
            if force:
                os.fdatasync(newest.fileno())
            spent.append(1e6 * (time.perf_counter() - began))
    return f"{statistics.median(spent):.0f} µs", f"{statistics.quantiles(spent, n=100)[-1]:.0f} µs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of image files")
    parser.add_argument("--count", type=int, default=512, help="images in a round")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    files = sorted(path for path in options.images.rglob("*") if path.suffix in (".png", ".jpg"))
    images = [path.read_bytes() for path in itertools.islice(itertools.cycle(files), options.count)]
    with tempfile.TemporaryDirectory(dir=Path()) as folder:  # on the disk that observations would lie on
        place = Path(folder).resolve()
        print(servers(options.bundle.resolve(), images, options.rounds, options.clients, place), end="\n\n")
        print(store(place))


if __name__ == "__main__":
    main()
