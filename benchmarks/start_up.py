"""How long the commands take that people wait for: whole processes, wall time, the median of several.

make run && python benchmarks/start_up.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGE = next((ROOT / "data/raw/handwritten_digits/7").glob("*.png"), None)

COMMANDS = {
    "graft run, nothing to do": ["-m", "graft", "run"],
    "graft status": ["-m", "graft", "status"],
    "graft predict IMAGE": ["-m", "graft", "predict", str(IMAGE)],
    "a stage without torch (report)": ["-m", "components.stages.report"],
    "import torch": ["-c", "import torch"],
    "import mlflow": ["-c", "import mlflow"],
    "import prefect": ["-c", "import prefect"],
}


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    if IMAGE is None:
        raise SystemExit("there is no run to measure: make run")
    for name, arguments in COMMANDS.items():
        times = [seconds(arguments) for _ in range(rounds)]
        print(f"{name:<32} {statistics.median(times):6.2f} s  ({min(times):.2f} to {max(times):.2f})", flush=True)


if __name__ == "__main__":
    main()
