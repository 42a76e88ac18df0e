"""Which node ran where: a session that says "CUDA" may still copy back and forth for a node that only the CPU has.

onnxruntime's own profile tells it for each kernel that was called. What a CUDA graph replays is not in it, but the run
before the capture is.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.errors import DataError
from components.runtimes.options import DEFAULT, Options
from components.runtimes.session import open_session

KERNEL = "_kernel_time"


@dataclass(frozen=True)
class Placement:
    """`operators`: onnxruntime's provider name -> operator -> how many nodes of it ran there."""

    operators: dict[str, dict[str, int]]

    @property
    def nodes(self) -> dict[str, int]:
        """Provider -> how many nodes."""
        return {provider: sum(counts.values()) for provider, counts in self.operators.items()}

    @property
    def copies(self) -> int:
        """Nodes that copy between main memory and a device: none, where all runs on one provider."""
        return sum(
            count
            for counts in self.operators.values()
            for operator, count in counts.items()
            if operator.startswith("Memcpy")
        )


def placement(
    model: bytes | Path,
    provider: str,
    feed: Mapping[str, np.ndarray],
    options: Options = DEFAULT,
    *,
    precision: str = "fp32",
    native: int | None = None,
) -> Placement:
    """Loads a model as `session.open_session` does, answers once, and says which nodes ran where. For onnxruntime's
    providers; OpenVINO runs on one device by construction."""
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "profile"
        session = open_session(model, provider, options, precision=precision, native=native, profile=prefix)
        session.run(feed)
        return read(Path(session.session.end_profiling()))  # ty: ignore


def read(profile: Path) -> Placement:
    """A profile that onnxruntime wrote. Every node counts once, however often it ran. Raises DataError when the file
    is none."""
    try:
        events = json.loads(profile.read_text(encoding="utf-8"))
        kernels = {
            (event["name"], event["args"]["node_index"]): (event["args"]["provider"], event["args"]["op_name"])
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith(KERNEL)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{profile} is not a profile of onnxruntime: {type(error).__name__} {error}") from None
    operators: dict[str, Counter[str]] = {}
    for provider, operator in kernels.values():
        operators.setdefault(provider, Counter())[operator] += 1
    return Placement({provider: dict(counts) for provider, counts in operators.items()})
