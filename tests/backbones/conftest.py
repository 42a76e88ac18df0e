"""Networks of millions of weights, made quickly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

NOISE = 1 << 20
RANDOM = ("trunc_normal_", "normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_", "uniform_")


@pytest.fixture
def cheap_weights(monkeypatch) -> Callable[[nn.Module], None]:
    """Networks are built with no random values in them, and whoever asks for values calls this: each weight gets those
    from a random place of one pool of them, of the right size, in a fraction of the time that drawing them takes."""
    left_out: dict[int, torch.Tensor] = {}

    def leave(tensor: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        left_out[id(tensor)] = tensor
        return tensor

    for name in RANDOM:
        monkeypatch.setattr(nn.init, name, leave)

    @torch.no_grad()
    def fill(network: nn.Module) -> None:
        pool = torch.rand(2 * NOISE) * 2 - 1
        for parameter in network.parameters():
            if id(parameter) in left_out:
                bound = (3 / max(1, parameter[0].numel())) ** 0.5 if parameter.ndim > 1 else 0.1
                for part in parameter.view(-1).split(NOISE):
                    start = int(torch.randint(NOISE, ()))
                    torch.mul(pool[start : start + len(part)], bound, out=part)

    return fill
