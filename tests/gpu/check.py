"""Does the GPU path do what it says, and how near is it to what the machine can do?

    python tests/gpu/check.py --out gpu.md                                     on a machine with an NVIDIA GPU
    python tests/gpu/check.py --device cpu --model small_resnet --size 32 --batch-sizes 1 4 --seconds 0.1 --no-compile

Needs torch, torchvision, numpy, onnx, onnxruntime and Graft (installed, or PYTHONPATH=.), and fetches nothing. On the
CPU it takes the same steps, so that a mistake in it is found without a GPU; its figures mean nothing then. Prints
Markdown for docs/performance.md; the exit code is 1 when a check fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from subject import Subject

from components.errors import MachineError
from components.runtimes import cuda, profile
from components.runtimes import session as sessions
from components.runtimes.options import DEFAULT
from components.runtimes.providers import PROVIDERS, missing
from components.runtimes.session import open_session
from components.speed.timing import Sample, Variant, measure, ratio

ROOT = Path(__file__).resolve().parents[2]

EAGER = "torch eager fp32"
TOLERANCES = {"fp32": 1e-4, "fp16": 5e-2, "int8": 0.5}
"""Largest norm of the logits' error over the norm of their spread; random weights make it larger than trained ones."""
GEMM = {"cuda": 8192, "cpu": 1024}
COPY_BYTES = {"cuda": 1 << 30, "cpu": 1 << 26}


class Check(NamedTuple):
    passed: bool
    what: str
    found: str


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--model", default="resnet50", help="a backbone by its name")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 256])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row of the table")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes a minute")
    parser.add_argument("--out", type=Path, help="write the Markdown there too")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise MachineError("torch finds no usable GPU here; --device cpu takes the same steps without one")
    torch.backends.cudnn.allow_tf32 = False  # of matrix products it is off by default
    torch.backends.cudnn.benchmark = True
    subject = Subject.make(chosen.model, chosen.size, count=max(64, *chosen.batch_sizes))
    page: list[str] = []

    def say(part: str) -> None:
        """At once: what is known must not be lost when a later part fails."""
        page.append(part)
        print(part, end="\n\n", flush=True)

    say(_title(chosen, subject))
    with tempfile.TemporaryDirectory() as folder:
        files = subject.files(Path(folder))
        checks = correct(subject, files, chosen.device)
        say(_checks(checks))
        bounds = roofline(subject, chosen.device)
        say(_bounds(bounds))
        for size in chosen.batch_sizes:
            say(throughput(subject, files, chosen.device, size, chosen.seconds, bounds, compiled=not chosen.no_compile))
    if chosen.out:
        chosen.out.write_text("\n\n".join(page) + "\n", encoding="utf-8")
    return 0 if all(check.passed for check in checks) else 1


def bound(file: Path, subject: Subject, device: str, precision: str, *, nhwc: bool = False) -> cuda.BoundSession:
    """A session with its buffers on the device, in a layout of choice."""
    settings = sessions.session_options(DEFAULT, subject.size)
    if device == "cpu":
        providers: list[tuple[str, dict[str, str]]] = [(PROVIDERS["cpu"], {})]
    else:
        providers = [(PROVIDERS["cuda"], cuda.cuda_options(precision, fixed=True, graphs=True, nhwc=nhwc))]
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = sessions.load(file, settings, providers)
    return cuda.BoundSession(session, device, subject.size, device=device, graphs=device == "cuda")


def correct(subject: Subject, files: dict[str, Path], device: str) -> list[Check]:
    expected = subject.logits()
    feed = {"image": subject.images[:5]}
    checks = [_refused(files["fp32"])]
    for precision in ("fp32", "fp16"):
        session = bound(files[precision], subject, device, precision, nhwc=precision == "fp16")
        logits = session.run({"image": subject.images}, ["logits"])["logits"]
        checks.append(_near(f"{precision} on {device} answers like torch in fp32", logits, expected, precision))
        again = np.concatenate([session.run({"image": part}, ["logits"])["logits"] for part in _pieces(subject.images)])
        checks.append(_near(f"{precision}: equal answers in other batches and replays", again, logits, precision))
        if device == "cuda":
            checks.append(Check(session.graphs, f"{precision}: CUDA graphs are captured", str(session.graphs)))
    for precision in ("fp32", "fp16") if device == "cuda" else ("fp32",):
        opened = open_session(files[precision], device, precision=precision, native=subject.size)
        checks.append(Check(opened.provider == device, f"{precision}: the provider is {device}", opened.provider))
        place = profile.placement(files[precision], device, feed, precision=precision, native=subject.size)
        alone = set(place.nodes) == {PROVIDERS[device]}
        checks.append(Check(alone, f"{precision}: every node runs there", str(place.nodes)))
        checks.append(Check(place.copies == 0, f"{precision}: no Memcpy nodes", str(place.copies)))
    if device == "cuda" and missing("tensorrt") is None:
        for precision, file in (("fp16", "fp16"), ("int8", "int8_symmetric")):
            session = open_session(files[file], "tensorrt", precision=precision, native=subject.size)
            logits = session.run({"image": subject.images}, ["logits"])["logits"]
            checks.append(_near(f"{precision} on tensorrt answers like torch in fp32", logits, expected, precision))
    return checks


def _refused(file: Path) -> Check:
    """With the GPU hidden, CUDA by name must be an error and not a slow success."""
    code = f"from components.runtimes.session import open_session; open_session({str(file)!r}, 'cuda')"
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=hidden, capture_output=True, text=True)
    last = (done.stderr.strip().splitlines() or ["no error"])[-1]
    return Check("MachineError" in last, "cuda by name, where there is no GPU, is refused", last)


def _near(what: str, found: np.ndarray, expected: np.ndarray, precision: str) -> Check:
    spread = np.linalg.norm(expected - expected.mean(1, keepdims=True))
    error = float(np.linalg.norm(found - expected) / spread)
    same = float((found.argmax(1) == expected.argmax(1)).mean())
    return Check(error <= TOLERANCES[precision], what, f"error {error:.1e} of the spread, {same:.1%} same decisions")


def _pieces(images: np.ndarray) -> list[np.ndarray]:
    """Of changing size, so that every bucket but the largest is used."""
    ends = np.cumsum([1, 2, 3, 5, 9, 17])
    return [part for part in np.split(images, ends[ends < len(images)]) if len(part)]


class Bounds(NamedTuple):
    """`flops`: of a 16-bit matrix product, a second; `bandwidth`: of a copy, bytes read and written a second; and what
    that allows for the network, in images a second."""

    flops: float
    bandwidth: float
    by_arithmetic: float
    by_memory: float


def roofline(subject: Subject, device: str) -> Bounds:
    side = GEMM[device]
    one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(one)
    flops = 2 * side**3 / _best(lambda: torch.mm(one, other, out=product), device)
    source = torch.zeros(COPY_BYTES[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * COPY_BYTES[device] / _best(lambda: target.copy_(source), device)
    per_image, moved = subject.work()
    return Bounds(flops, bandwidth, flops / per_image, bandwidth / moved)


def _best(run: Callable[[], object], device: str) -> float:
    """Seconds of the fastest call: the machine's limit, not its habit."""
    sample = measure({"run": Variant(_finished(run, device))}, 1.0 if device == "cuda" else 0.2)["run"]
    return min(min(calls) for calls in sample.wall)


def _finished(run: Callable[[], object], device: str) -> Callable[[], object]:
    if device == "cpu":
        return run

    def waited() -> None:
        run()
        torch.cuda.synchronize()

    return waited


def variants(
    subject: Subject, files: dict[str, Path], device: str, size: int, *, compiled: bool
) -> dict[str, Callable[[], object]]:
    """Name -> one call for a batch. What torch gets lies on the device, normalised; onnxruntime's graph gets uint8 and
    normalises too."""
    images = np.resize(subject.images, (size, *subject.images.shape[1:]))
    given = subject.normalised[torch.arange(size) % len(subject.normalised)].to(device)
    half = given.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    calls: dict[str, Callable[[], object]] = {}

    def torch_call(module: Callable, image: torch.Tensor) -> Callable[[], object]:
        @torch.inference_mode()
        def call() -> None:
            module(image)

        return _finished(call, device)

    def network(dtype: torch.dtype) -> torch.nn.Module:
        fresh = Subject.make(subject.name, subject.size, count=2).strategy.to(device, dtype)
        return fresh if dtype == torch.float32 else fresh.to(memory_format=torch.channels_last)

    calls[EAGER] = torch_call(network(torch.float32), given)
    calls["torch eager bf16, channels last"] = torch_call(network(torch.bfloat16), half)
    if compiled:
        mode = "reduce-overhead" if size == 1 and device == "cuda" else "default"
        program = torch.compile(network(torch.bfloat16), mode=mode, dynamic=False)
        calls["torch.compile bf16, channels last"] = torch_call(program, half)
    for name, precision, nhwc in (
        ("onnxruntime fp32", "fp32", False),
        ("onnxruntime fp16", "fp16", False),
        ("onnxruntime fp16, channels last", "fp16", True),
    ):
        session = bound(files[precision], subject, device, precision, nhwc=nhwc)
        session.buckets = (size,)
        session.run({"image": images})
        calls[name] = lambda session=session: session.launch(size)
        if nhwc:
            calls["… from and to main memory"] = lambda session=session: session.run({"image": images}, ["logits"])
    if device == "cuda" and missing("tensorrt") is None:
        for precision, file in (("fp16", "fp16"), ("int8", "int8_symmetric")):
            engine = open_session(files[file], "tensorrt", precision=precision, native=subject.size)
            assert isinstance(engine, cuda.BoundSession)
            engine.buckets = (size,)
            engine.run({"image": images})
            calls[f"TensorRT {precision}"] = lambda engine=engine: engine.launch(size)
    return calls


def throughput(
    subject: Subject,
    files: dict[str, Path],
    device: str,
    size: int,
    seconds: float,
    bounds: Bounds,
    *,
    compiled: bool,
) -> str:
    calls = variants(subject, files, device, size, compiled=compiled)
    samples = measure({name: Variant(call, images=size) for name, call in calls.items()}, seconds)
    limit = min(bounds.by_arithmetic, bounds.by_memory)
    lines = [
        f"### {subject.name} at {subject.size} pixels, batch {size}",
        "",
        f"| | images/s | p50 ms | p99 ms | times {EAGER} | of the roofline |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *(_row(name, sample, samples[EAGER], limit) for name, sample in samples.items())])


def _row(name: str, sample: Sample, eager: Sample, limit: float) -> str:
    told, gain = sample.figures(), ratio(sample, eager)
    return (
        f"| {name} | {told['images_per_s']:,.0f} | {told['latency_ms']:.3f} | {told['latency_p99_ms']:.3f} | "
        f"{gain.value:.2f} ({gain.low:.2f} to {gain.high:.2f}) | {told['images_per_s'] / limit:.0%} |"
    )


def _title(chosen: argparse.Namespace, subject: Subject) -> str:
    where = torch.cuda.get_device_name() if chosen.device == "cuda" else "the CPU"
    return (
        f"## {subject.name} on {where}\n\ntorch {torch.__version__}, onnxruntime {onnxruntime.__version__}; "
        f"`{' '.join(['python', 'tests/gpu/check.py', *sys.argv[1:]])}`"
    )


def _checks(checks: list[Check]) -> str:
    rows = [f"| {'ok' if passed else '**fails**'} | {what} | {found} |" for passed, what, found in checks]
    return "\n".join(["| | check | found |", "|---|---|---|", *rows])


def _bounds(bounds: Bounds) -> str:
    return (
        f"bf16 matrix product {bounds.flops / 1e12:,.1f} TFLOP/s, which allows {bounds.by_arithmetic:,.0f} images/s; "
        f"copy {bounds.bandwidth / 1e9:,.0f} GB/s, which allows {bounds.by_memory:,.0f} images/s where each "
        "convolution's output is written and read once in 16 bits."
    )


if __name__ == "__main__":
    sys.exit(main())
