"""The state of an unfinished training, so that a killed one goes on instead of starting over.

Checkpoints lie beside the pipeline's outputs, not among them: DVC deletes a stage's outputs before it runs. The file's
name is a fingerprint of everything the training depends on, so a checkpoint of other parameters or data is never
found.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch

from components.lineage import digest


class Checkpoint:
    """One training's checkpoint in `folder`; `identity` is what the training depends on (JSON)."""

    def __init__(self, folder: Path, identity: Any) -> None:
        self.path = folder / f"{digest(identity)[:32]}.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Replaces the last one; a kill in the middle leaves the last one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(f".{os.getpid()}.part")
        torch.save(state, unfinished)
        unfinished.replace(self.path)

    def load(self) -> dict[str, Any] | None:
        """The last state, or None when there is none that can be read."""
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except Exception:  # a damaged file raises whatever its first wrong byte leads to; starting over is always right
            self.clear()
            return None

    def clear(self) -> None:
        """Once the training's outputs are written, nothing is left to resume."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
