"""How long an export takes: traced afresh, and through the remembered architecture of another training.

    python benchmarks/export.py [BACKBONE ...]

Prints a table, CPU seconds of one thread. Each row is measured in a process of its own, whose imports are done before
the clock starts, with random weights; the exporter's own imports, which only a fresh export needs, are on the clock.
Ends with an error when the two ways do not give the same bytes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BACKBONES = ("small_resnet", "resnet18", "resnet50", "mobilenet_v3_small")
REPEATS = 5
HEAD = """\
| backbone | size, MiB | fresh, first in its process, s | fresh again, s | by skeleton, s | times as fast |
|---|---:|---:|---:|---:|---:|"""


def row(name: str) -> str:
    """One backbone's row, measured here and now."""
    import torch

    from components.backbones.build import build
    from components.deployment.onnx_export import export
    from components.strategies.fine_tune import FineTune
    from components.types import LabelSpace, Preprocess

    torch.set_num_threads(1)
    if name == "small_resnet":
        preprocess = Preprocess(32, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    else:
        preprocess = Preprocess(224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    space = LabelSpace({"label": tuple(str(number) for number in range(10))})

    def trained(seed: int) -> FineTune:
        torch.manual_seed(seed)
        return FineTune(build(name, preprocess=preprocess), space).eval()

    def timed(strategy: FineTune, skeletons: Path | None) -> tuple[float, bytes]:
        start = time.process_time()
        content = export(strategy, {"strategy": "fine_tune"}, skeletons=skeletons)
        return time.process_time() - start, content

    with tempfile.TemporaryDirectory() as folder:
        first, _ = timed(trained(0), Path(folder))
        retrained = trained(1)
        filled = [timed(retrained, Path(folder)) for _ in range(REPEATS)]
    again, fresh = timed(retrained, None)
    if any(content != fresh for _, content in filled):
        raise SystemExit(f"{name}: the export through a skeleton differs from a fresh one")
    seconds = statistics.median(taken for taken, _ in filled)
    size = len(fresh) / 2**20
    return f"| {name} | {size:.1f} | {first:.2f} | {again:.2f} | {seconds:.3f} | {again / seconds:.0f} |"


def main() -> None:
    if sys.argv[1:2] == ["--row"]:
        print(row(sys.argv[2]))
        return
    print(HEAD, flush=True)
    for name in sys.argv[1:] or BACKBONES:
        subprocess.run([sys.executable, __file__, "--row", name], check=True)


if __name__ == "__main__":
    main()
