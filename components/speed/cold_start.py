"""What a fresh process costs until it has answered one image: seconds, and main memory. Measured in a child process,
because this one has long imported everything and holds other models too; in the second of two, because the first one
fills the cache that every later start uses. It starts as `graft predict` does for one image."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from components.errors import MachineError
from components.runtimes.options import DEFAULT, Options
from components.runtimes.routes import Route

TIMEOUT_S = 600


def measure(bundle: Path, route: Route, image: bytes, options: Options = DEFAULT) -> dict[str, float]:
    """`image`: the content of an image file. `cold_start_s`: from before the process is started until it has answered;
    `cold_start_cpu_s`: what all its threads computed in that time; `load_s`: of it, until the predictor was ready;
    `peak_mib`: the most main memory it held.

    Raises MachineError with the child's last words when it fails.
    """
    _start(bundle, route, image, options)
    return _start(bundle, route, image, options)


def _start(bundle: Path, route: Route, image: bytes, options: Options) -> dict[str, float]:
    asked = json.dumps({"bundle": str(bundle), "route": str(route), "options": options.to_dict()})
    command = [sys.executable, "-m", "components.speed.cold_start", asked]
    start = time.monotonic()
    try:
        child = subprocess.run(command, input=image, capture_output=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise MachineError(f"{route} has not answered in a process of its own within {TIMEOUT_S} s") from None
    if child.returncode:
        reason = (child.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise MachineError(f"{route} does not answer in a process of its own: {reason}")
    told = json.loads(child.stdout)
    return {
        "cold_start_s": told["answered"] - start,
        "cold_start_cpu_s": told["cpu_s"],
        "load_s": told["load_s"],
        "peak_mib": told["peak_mib"],
    }


def _answer(asked: dict[str, Any], image: bytes) -> dict[str, float]:
    from components.inference.predictor import Predictor

    route = Route.parse(asked["route"])
    options = Options.from_dict(asked["options"])
    start = time.perf_counter()
    predictor = Predictor.load(
        Path(asked["bundle"]), provider=route.provider, precision=route.precision, options=options, brief=True
    )
    load_s = time.perf_counter() - start
    predictor.run(predictor.pixels(image)[None])
    # The monotonic clock is the machine's, so the parent can subtract its own reading.
    return {"answered": time.monotonic(), "cpu_s": time.process_time(), "load_s": load_s, "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    """Of this process. Linux reports what the parent held before the fork as `ru_maxrss`, so its own count is read."""
    try:
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.argv[1]), sys.stdin.buffer.read())))
