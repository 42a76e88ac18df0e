"""What clients feel of a promotion: latency of `graft serve` while another bundle is loaded beside the one that
answers, against the same load before.

python -m benchmarks.reload --network mobilenet_v3_small
python -m benchmarks.reload --network resnet18 --clients 2

Two bundles with random weights of their own change places again and again, as a promotion does it, under a load of
clients that ask without a pause. "During" is from the exchange until the first answer of the other model, less the
second and more that the server takes to notice. The server has all cores but the last one that this process may use.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import selectors
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.serve import CLASSES, Client, photographs, requests, start
from components import machine
from components.deployment import bundle, exchange
from components.types import TASK, LabelSpace

COUNT = 16


class Seen(NamedTuple):
    """A request: when it was sent and answered, in seconds of the monotonic clock, and by which bundle."""

    sent: float
    answered: float
    bundle: str


def export(network: str, folder: Path, seed: int) -> Path:
    """A bundle of a classifier with random weights."""
    import torch

    from components.backbones.torchvision_models import TorchvisionBackbone
    from components.deployment import onnx_export
    from components.strategies.fine_tune import FineTune

    torch.manual_seed(seed)
    strategy = FineTune(TorchvisionBackbone(network), LabelSpace({TASK: tuple(f"class {n}" for n in range(CLASSES))}))
    facts = {
        "strategy": "fine_tune",
        "classes": {task: list(names) for task, names in strategy.label_space.classes.items()},
        "preprocess": strategy.backbone.preprocess.to_dict(),
        "temperature": {TASK: 1.0},
        "lineage": {"weights_sha256": str(seed)},
    }
    bundle.write(folder, {"fp32": onnx_export.export(strategy.eval(), facts)}, facts)
    return folder


def clients(pipe, cores: set[int], port: int, count: int, all_requests: list[bytes]) -> None:
    """The process of the clients, which ask until they are told to stop, and then tell what they saw."""
    os.sched_setaffinity(0, cores)
    seen: list[Seen] = []
    with selectors.DefaultSelector() as selector:
        for number in range(count):
            client = Client(port)
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send(number, all_requests[number % len(all_requests)])
        while not pipe.poll():
            for key, _ in selector.select(0.1):
                client = key.data
                if client.receive() is None:
                    continue
                now = time.perf_counter()
                told = re.search(rb"graft-bundle: (\w+)", client.received, re.IGNORECASE)
                assert told is not None
                seen.append(Seen(client.sent_at, now, told[1].decode()))
                client.send(client.number + 1, all_requests[(client.number + 1) % len(all_requests)])
    pipe.send(seen)


def latencies_ms(seen: list[Seen], since: float, until: float) -> list[float]:
    """Of the requests that waited at some time in [since, until)."""
    return [1000 * (one.answered - one.sent) for one in seen if one.answered >= since and one.sent < until]


def resident_mib(pid: int) -> float:
    """Main memory that a process takes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    place, other = (export(arguments.network, folder / str(seed), seed) for seed in range(2))
    cores = sorted(os.sched_getaffinity(0))
    own, theirs = (set(cores[:-1]), set(cores[-1:])) if len(cores) > 1 else (set(cores), set(cores))
    os.environ["GRAFT_CACHE"] = str(folder / "cache")
    process, port = start(place, own, arguments.option)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    asked = requests(photographs(COUNT), 0)
    load = context.Process(target=clients, args=(there, theirs, port, arguments.clients, asked), daemon=True)
    load.start()
    exchanged, memory = [], []
    try:
        time.sleep(4)
        memory.append(resident_mib(process.pid))
        for _ in range(arguments.rounds):
            if arguments.cold:
                shutil.rmtree(folder / "cache", ignore_errors=True)
            exchange.exchange(place, other)
            exchanged.append(time.perf_counter())
            time.sleep(arguments.pause)
            memory.append(resident_mib(process.pid))
        here.send(True)
        seen: list[Seen] = here.recv()
    finally:
        load.kill()
        process.terminate()
        process.wait()
    print(f"{arguments.network}, {len(own)} core(s) of {machine.cpu_name()}, {arguments.clients} clients")
    ratios = []
    for when in exchanged:
        before = max((one for one in seen if one.answered < when), key=lambda one: one.answered).bundle
        took_over = min(one.answered for one in seen if one.answered >= when and one.bundle != before)
        during = latencies_ms(seen, when + 1.0, took_over)
        usual = latencies_ms(seen, when - 2.0, when)
        p99 = [statistics.quantiles(part, n=100)[98] for part in (usual, during)]
        ratios.append(p99[1] / p99[0])
        print(
            f"  took over after {took_over - when:.2f} s; p50 {statistics.median(usual):.1f} -> "
            f"{statistics.median(during):.1f} ms, p99 {p99[0]:.1f} -> {p99[1]:.1f} ms, most {max(during):.1f} ms"
        )
    print(
        f"  p99 during / before: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True
    )
    print(f"  MiB of memory at first, and after each: {', '.join(f'{mib:.0f}' for mib in memory)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="mobilenet_v3_small", help="a torchvision model")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--pause", type=float, default=6.0, help="seconds from one exchange to the next")
    parser.add_argument("--cold", action="store_true", help="without the graphs that earlier loads left in the cache")
    parser.add_argument("--option", action="append", default=[], help="of graft serve, such as --option=--max-batch=8")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Path(folder))


if __name__ == "__main__":
    main()
