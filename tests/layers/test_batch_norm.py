from __future__ import annotations

import torch
from torch import nn

from components.layers.batch_norm import keep_statistics


def test_statistics_stay_and_are_used_while_gain_and_shift_are_trained():
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    norm = network[1]
    keep_statistics(network)
    assert [module.training for module in network] == [True, False, True]
    network[0](torch.randn(8, 3))
    out = norm(torch.full((8, 3), 5.0))
    torch.testing.assert_close(out, torch.full((8, 3), 5.0 / (1 + norm.eps) ** 0.5))  # mean 0, variance 1: as it began
    out.sum().backward()
    assert bool((norm.weight.grad != 0).all())
    assert norm.running_mean.tolist() == [0.0, 0.0, 0.0]
