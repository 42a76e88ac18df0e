from __future__ import annotations

import torch
from torch import nn

from components.layers.snapshot import set_between, snapshot


def _network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))


def test_a_snapshot_answers_alike_has_the_same_names_and_nothing_to_train():
    network = _network()
    image = torch.randn(5, 3, 6, 6)
    network(image)
    twin = snapshot(network)
    assert not list(twin.parameters())
    assert twin.state_dict().keys() == network.state_dict().keys()
    assert torch.equal(twin(image), network.eval()(image))
    with torch.no_grad():
        network[0].weight.add_(1)
    assert not torch.equal(twin[0].weight, network[0].weight)


def test_between_by_hand():
    twin = snapshot(nn.Linear(1, 1))
    start = {"weight": torch.tensor([[2.0]]), "bias": torch.tensor([0.0])}
    end = {"weight": torch.tensor([[6.0]]), "bias": torch.tensor([-1.0])}
    set_between(twin, start=start, end=end, alpha=0.25)
    assert twin.weight.item() == 3.0  # 3/4 * 2 + 1/4 * 6
    assert twin.bias.item() == -0.25


def test_the_ends_are_met_to_the_bit():
    torch.manual_seed(0)
    one, other = _network(), _network()
    for network in (one, other):
        network(torch.randn(5, 3, 6, 6))
    start, end = one.state_dict(), other.state_dict()
    twin = snapshot(one)
    for alpha, expected in ((0.0, start), (1.0, end)):
        set_between(twin, start=start, end=end, alpha=alpha)
        assert all(torch.equal(value, expected[key]) for key, value in twin.state_dict().items())
