"""How much of a strategy answers: what must be deployed of it, and not what it was trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from components.strategies.base import Strategy


class _Reads(TorchFunctionMode):
    """Notes which tensors torch's functions are called with."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: dict | None = None) -> Any:
        self._note((*args, *(kwargs or {}).values()))
        return func(*args, **(kwargs or {}))

    def _note(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, Tensor):
                self.seen.add(id(value))
            elif isinstance(value, (list, tuple)):
                self._note(value)


@torch.no_grad()
def read_by(strategy: Strategy, image: Tensor) -> list[Tensor]:
    """The parameters and buffers that an answer to `image` [B, 3, H, W] reads."""
    with _Reads() as reads:
        strategy.eval()(image)
    return [tensor for tensor in (*strategy.parameters(), *strategy.buffers()) if id(tensor) in reads.seen]


def size_mib(strategy: Strategy, image: Tensor) -> float:
    """MiB of what an answer reads, floating point in fp32. Discriminators, decoders and second encoders, which only
    training asks, do not count: deploying leaves them behind."""
    read = read_by(strategy, image)
    return sum(tensor.numel() * (4 if tensor.is_floating_point() else tensor.element_size()) for tensor in read) / 2**20
