"""What HTTP costs: `graft serve` under a load of many clients against the predictor alone, on the same images.

python -m benchmarks.serve --network mobilenet_v3_small     # random weights, generated photographs of 500 x 375 pixels
python -m benchmarks.serve --bundle bundle --images data/raw/handwritten_digits

Both start from the bytes of image files and run on the same cores, all but the last one that this process may use; the
clients have that one to themselves. Rounds alternate, and the ratio of each is of its own two measurements: of
throughput (images a second by the clock) and of work (CPU time of the process for an image). Every answer is compared
with the predictor's.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import multiprocessing
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 10


class Load(NamedTuple):
    """One round of requests: `latency_ms` of each, `answers` in the order of the images."""

    seconds: float
    latency_ms: list[float]
    answers: list[dict]


def export(network: str, folder: Path) -> Path:
    """A classifier with random weights as `graft` exports it."""
    import torch

    from components.backbones.torchvision_models import TorchvisionBackbone
    from components.deployment import onnx_export
    from components.strategies.fine_tune import FineTune
    from components.types import TASK, LabelSpace

    torch.manual_seed(0)
    strategy = FineTune(TorchvisionBackbone(network), LabelSpace({TASK: tuple(f"class {n}" for n in range(CLASSES))}))
    classes, preprocess = strategy.label_space.classes, strategy.backbone.preprocess.to_dict()
    path = folder / f"{network}.fp32.onnx"
    path.write_bytes(onnx_export.export(strategy.eval(), {"classes": classes, "preprocess": preprocess}))
    return path


def photographs(count: int) -> list[bytes]:
    """JPEG files of about 40 kB, smooth with some grain."""
    import numpy as np
    from PIL import Image

    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.float32)
        grain = rng.normal(0, 6, smooth.shape)
        stream = io.BytesIO()
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        found.append(stream.getvalue())
    return found


def start(model: Path, cores: set[int], options: Sequence[str]) -> tuple[subprocess.Popen, int]:
    """`graft serve` on these cores -> (process, port)."""
    command = [sys.executable, "-m", "graft", "serve", str(model), "--port", "0", *options]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(r"http://127\.0\.0\.1:(\d+) ", line)
    if found is None:
        raise SystemExit(f"graft serve did not start: {line}")
    return process, int(found[1])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def requests(images: Sequence[bytes], a_form: int) -> list[bytes]:
    """Whole HTTP requests: an image each, or forms of `a_form` images."""
    if not a_form:
        return [_request("image/jpeg", image) for image in images]
    found = []
    for first in range(0, len(images), a_form):
        parts = [
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="%d.jpg"\r\n\r\n%b\r\n' % (number, image)
            for number, image in enumerate(images[first : first + a_form])
        ]
        found.append(_request("multipart/form-data; boundary=x", b"".join(parts) + b"--x--\r\n"))
    return found


def _request(kind: str, body: bytes) -> bytes:
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Client:
    """One keep-alive connection, which sends its next request when the answer has come."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number, self.sent_at, self.received = -1, 0.0, b""

    def send(self, number: int, request: bytes) -> None:
        self.number, self.sent_at, self.received = number, time.perf_counter(), b""
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The body of the answer, once it is complete."""
        found = self.socket.recv(1 << 18)
        if not found:
            raise SystemExit(f"the server closed a connection: {self.received.decode()}")
        self.received += found
        head, blank, body = self.received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if not blank or length is None or len(body) < int(length[1]):
            return None
        if b" 200 " not in head[:16]:
            raise SystemExit(f"the server refused: {self.received.decode()}")
        return body


def clients(pipe, cores: set[int], port: int, count: int, all_requests: list[bytes]) -> None:
    """The process of the clients: a round of load for every message."""
    os.sched_setaffinity(0, cores)
    while pipe.recv():
        with selectors.DefaultSelector() as selector:
            for _ in range(count):
                client = Client(port)
                selector.register(client.socket, selectors.EVENT_READ, client)
            pipe.send(_round(selector, all_requests))
            for key in list(selector.get_map().values()):
                key.data.socket.close()


def _round(selector: selectors.BaseSelector, all_requests: list[bytes]) -> Load:
    bodies: list[bytes] = [b""] * len(all_requests)
    latency_ms: list[float] = []
    following = itertools.count()

    def send(client: Client) -> None:
        number = next(following)
        if number < len(all_requests):
            client.send(number, all_requests[number])

    start = time.perf_counter()
    for key in list(selector.get_map().values()):
        send(key.data)
    while len(latency_ms) < len(all_requests):
        for key, _ in selector.select():
            body = key.data.receive()
            if body is not None:
                latency_ms.append(1000 * (time.perf_counter() - key.data.sent_at))
                bodies[key.data.number] = body
                send(key.data)
    seconds = time.perf_counter() - start
    answers = [json.loads(body) for body in bodies]
    return Load(seconds, latency_ms, [one for answer in answers for one in answer.get("predictions", [answer])])


def measure(arguments: argparse.Namespace, model: Path, images: list[bytes]) -> None:
    from components.inference.predictor import Predictor

    cores = sorted(os.sched_getaffinity(0))
    own, theirs = (set(cores[:-1]), set(cores[-1:])) if len(cores) > 1 else (set(cores), set(cores))
    os.sched_setaffinity(0, own)
    predictor = Predictor.load(model)
    process, port = start(model, own, arguments.option)
    here, there = multiprocessing.get_context("spawn").Pipe()
    load = multiprocessing.get_context("spawn").Process(
        target=clients, args=(there, theirs, port, arguments.clients, requests(images, arguments.form)), daemon=True
    )
    load.start()
    there.close()  # so that the end of the clients is noticed here
    rows, latency_ms = [], []
    try:
        for number in range(arguments.rounds + 1):
            cpu, clock = time.process_time(), time.perf_counter()
            expected = list(predictor.predict(images))
            alone = len(images) / (time.perf_counter() - clock), (time.process_time() - cpu) / len(images)
            cpu = cpu_seconds(process.pid)
            here.send(True)
            found: Load = here.recv()
            served = len(images) / found.seconds, (cpu_seconds(process.pid) - cpu) / len(images)
            for one, other in zip(expected, found.answers, strict=True):
                if one.class_name != other["class"] or abs(one.probability - other["probability"]) > 1e-4:
                    raise SystemExit(f"the server answers {other}, the predictor {one}")
            if number:  # the first round warms both up
                rows.append((*alone, *served))
                latency_ms += found.latency_ms
    finally:
        load.kill()
        process.terminate()
        process.wait()
    report(arguments, rows, latency_ms, model, images, len(own))


def report(arguments: argparse.Namespace, rows: list, latency_ms: list[float], model: Path, images: list, cores: int):
    def middle(values) -> float:
        return statistics.median(values)

    steps = statistics.quantiles(latency_ms, n=100)
    size = statistics.mean(map(len, images)) / 1000
    asked = f"forms of {arguments.form}" if arguments.form else "an image a request"
    print(f"{model.name}: {len(images)} images of {size:.1f} kB a round, {len(rows)} rounds, {cores} core(s)")
    print(f"  {arguments.clients} clients, {asked}")
    for name, place in (("predictor", 0), ("graft serve", 2)):
        speed, work = middle(row[place] for row in rows), 1000 * middle(row[place + 1] for row in rows)
        print(f"  {name:<12} {speed:8.1f} images/s  {work:7.3f} ms of CPU time an image")
    by_clock, by_work = [r[2] / r[0] for r in rows], [r[1] / r[3] for r in rows]
    for name, ratios in (("throughput", by_clock), ("work", by_work)):
        print(f"  {name:<10} ratio {middle(ratios):.1%}  ({min(ratios):.1%} to {max(ratios):.1%})")
    print(f"  latency of a request, ms: p50 {steps[49]:.1f}, p95 {steps[94]:.1f}, p99 {steps[98]:.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="a bundle or an .onnx file")
    parser.add_argument("--network", help="instead: a torchvision model with random weights")
    parser.add_argument("--images", type=Path, help="folder of image files; else generated photographs")
    parser.add_argument("--count", type=int, default=256, help="images in a round")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--form", type=int, default=0, help="images in a request; 0: one, as the body")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--option", action="append", default=[], help="of graft serve, such as --option=--max-batch=8")
    arguments = parser.parse_args()
    if (arguments.bundle is None) == (arguments.network is None):
        parser.error("give --bundle or --network")
    if arguments.images:
        files = sorted(path for path in arguments.images.rglob("*") if path.suffix in (".png", ".jpg"))
        images = [path.read_bytes() for path in itertools.islice(itertools.cycle(files), arguments.count)]
    else:
        images = photographs(arguments.count)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.bundle or export(arguments.network, Path(folder))
        measure(arguments, model, images)


if __name__ == "__main__":
    main()
