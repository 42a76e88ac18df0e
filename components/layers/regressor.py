"""A linear map to a width that is known while training, and later only to the weights that were trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Regressor(nn.Module):
    """x [..., width_in] -> [..., width_out], as nn.Linear; on maps with channels last it is a 1x1 convolution.

    A width of None is not known yet: the module takes the one of the weights that are loaded into it, and can do
    nothing else before that.
    """

    def __init__(self, width_in: int, width_out: int | None) -> None:
        super().__init__()
        layer = nn.Linear(width_in, width_out) if width_out else None
        self.weight = layer.weight if layer else nn.Parameter(torch.empty(0, width_in))
        self.bias = layer.bias if layer else nn.Parameter(torch.empty(0))
        self.register_load_state_dict_pre_hook(_take_width)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def _take_width(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    """Before weights are loaded: gives a module without a width the weights' own."""
    weight, bias = state.get(f"{prefix}weight"), state.get(f"{prefix}bias")
    assert isinstance(module, Regressor)
    if len(module.weight) == 0 and weight is not None and bias is not None:
        module.weight = nn.Parameter(module.weight.new_empty(weight.shape))
        module.bias = nn.Parameter(module.bias.new_empty(bias.shape))
