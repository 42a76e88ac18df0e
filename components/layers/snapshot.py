"""A network's twin whose weights are set, not trained."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def snapshot(network: Network) -> Network:
    """A copy in eval mode, with buffers where the network has parameters: it is saved and exported with its owner, and
    no optimizer finds anything to train in it."""
    twin = copy.deepcopy(network).eval()
    for module in twin.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach().clone())
    return twin


@torch.no_grad()
def set_between(twin: nn.Module, *, start: dict[str, Tensor], end: dict[str, Tensor], alpha: float) -> None:
    """Writes (1 - alpha) * start + alpha * end into the twin; `start` and `end` as `state_dict` gives them. At alpha 0
    and 1 it is one of the two to the bit. What only counts (integers) is the end's."""
    for key, value in twin.state_dict().items():
        value.copy_(start[key].lerp(end[key], alpha) if value.is_floating_point() else end[key])
