from __future__ import annotations

import pytest
import torch
from torch import nn

from components.layers.low_rank import LowRank, adapt


def test_the_sum_by_hand():
    # Rank 1, alpha 3: W + 3 / 1 * B A with B = (1, 2)', A = (1, 0, -1).
    weight = torch.ones(2, 3)
    low_rank = LowRank(weight, rank=1, alpha=3.0)
    low_rank.up.data = torch.tensor([[1.0], [2.0]])
    low_rank.down.data = torch.tensor([[1.0, 0.0, -1.0]])
    assert low_rank.sum(weight).tolist() == [[4.0, 1.0, -2.0], [7.0, 1.0, -5.0]]


def test_alpha_is_divided_by_the_rank():
    weight = torch.zeros(8, 8)
    low_rank = LowRank(weight, rank=4, alpha=2.0)
    low_rank.up.data = torch.ones(8, 4)
    low_rank.down.data = torch.ones(4, 8)
    assert bool((low_rank.sum(weight) == 2.0).all())  # 2 / 4 * (four ones)


def test_eval_answers_with_what_was_merged_last():
    weight = torch.ones(2, 2)
    low_rank = LowRank(weight, rank=1, alpha=1.0)
    low_rank.up.data.fill_(1.0)
    assert torch.equal(low_rank.eval()(weight), weight)
    low_rank.merge(weight)
    assert torch.equal(low_rank(weight), low_rank.train()(weight))
    assert not torch.equal(low_rank(weight), weight)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (nn.Linear(6, 4), (3, 6)),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 8, 8)),
        (nn.Conv2d(6, 6, 3, groups=6, bias=False), (2, 6, 8, 8)),  # depthwise: [6, 1, 3, 3]
        (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (2, 5, 8)),
    ],
)
def test_every_kind_of_layer_is_unchanged_at_first_and_trained_through_the_change_alone(network, shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    expected = network.train()(x).detach()  # eval mode has kernels of its own for attention
    adapted = adapt(network, rank=2, alpha=4.0)
    names = [name for name, _ in network.named_parameters() if name.endswith(("up", "down"))]
    assert len(names) == 2 * len(adapted) == 2 * sum("merged" in name for name in network.state_dict())
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    for _, low_rank in adapted:
        low_rank.requires_grad_(True)
    found = network.train()(x)
    assert torch.equal(found, expected)
    found.square().sum().backward()
    assert all(bool((low_rank.up.grad != 0).any()) for _, low_rank in adapted)
    # The change has the rank it may have, and a merged network answers like the trained one.
    with torch.no_grad():
        for weight, low_rank in adapted:
            low_rank.up.normal_()
            change = (low_rank.sum(weight) - weight).flatten(1)
            assert int(torch.linalg.matrix_rank(change, rtol=1e-3)) <= 2
            low_rank.merge(weight)
    torch.testing.assert_close(network.eval()(x), network.train()(x).detach(), rtol=1e-5, atol=1e-5)
