"""The trained model in torch, answering what the exported one answers: what speed is compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from components.data.streams import crop, normalise
from components.errors import MachineError
from components.strategies.base import Strategy
from components.types import TASK

Answer = Callable[[np.ndarray], np.ndarray]
"""uint8 [B, S, S, 3] -> logits [B, C] of the first task."""


def eager(strategy: Strategy, device: torch.device) -> Answer:
    """In fp32, with the preprocessing on the same device, as the exported graph has it inside."""
    strategy = strategy.to(device).eval()
    preprocess = strategy.backbone.preprocess

    @torch.inference_mode()
    def answer(batch: np.ndarray) -> np.ndarray:
        image = normalise(crop(torch.from_numpy(batch).to(device), preprocess), preprocess)
        return strategy(image)[TASK].cpu().numpy()  # which also waits for a GPU

    return answer


def compiled(strategy: Strategy, device: torch.device, example: np.ndarray) -> Answer:
    """The same by torch.compile, which compiles for each batch size at its first call. `example`: a batch to try.

    Raises MachineError where this machine cannot compile, for want of a C++ compiler for example.
    """
    strategy = strategy.to(device).eval()
    preprocess = strategy.backbone.preprocess
    program = torch.compile(strategy, dynamic=False)

    @torch.inference_mode()
    def answer(batch: np.ndarray) -> np.ndarray:
        image = normalise(crop(torch.from_numpy(batch).to(device), preprocess), preprocess)
        return program(image)[TASK].cpu().numpy()

    try:
        answer(example)
    except Exception as error:  # Inductor wraps whatever its compilers say
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"benchmark.torch_compile is true, but torch.compile does not work here: {reason}"
        ) from error
    return answer
