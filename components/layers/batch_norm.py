"""Batch normalisation that goes on with the statistics it has.

While training, a batch-norm layer uses the statistics of the batch and follows them with its running ones: a network
whose weights stand still moves all the same. Strategies that promise to change less say so here.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def keep_statistics(network: nn.Module) -> None:
    """Puts every batch-norm layer inside into eval mode; their gains and shifts can be trained on."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
