from __future__ import annotations

import torch
from torch import nn

from components.params import Recipe
from components.strategies.bitfit import biases
from components.training import session
from components.training.compute import Compute

CPU = Compute(torch.device("cpu"), "fp32", 1)


def test_biases_and_head_move_and_nothing_else(toy, make_strategy, tmp_path):
    recipe = Recipe(steps=5, batch_size=16, lr=0.1, augment="none", log_every=5, evaluate_every=5)
    before = {}

    def make():
        strategy = make_strategy("bitfit")
        before.update({key: value.clone() for key, value in strategy.state_dict().items()})
        return strategy

    strategy = session.train(
        make, toy, recipe, CPU, seed=0, identity="bitfit", checkpoints=tmp_path, log=lambda record: None
    ).strategy
    moved = {key for key, value in strategy.state_dict().items() if not torch.equal(value, before[key])}
    expected = {key for key in before if key.endswith("bias") or key.startswith("heads")}
    assert moved == expected
    assert "backbone.stem.1.bias" in moved  # the shift of a normalisation, whose convolution has no bias


def test_what_counts_as_a_bias():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2), nn.MultiheadAttention(4, 2))
    sizes = [parameter.numel() for parameter in biases(network)]
    assert sizes == [
        4,
        4,
        2,
        12,
        4,
    ]  # ..., and attention's: of its three projections, and of its output
