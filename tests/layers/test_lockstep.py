"""Networks that run side by side answer as they do alone, whatever their forward does between the stops."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.recurrent import ImageSequence
from components.backbones.small_resnet import SmallResNet
from components.backbones.torchvision_models import TorchvisionBackbone
from components.layers.lockstep import Lockstep


def untouched(number: int, values: list[Tensor]) -> list[Tensor]:
    return values


class Winding(nn.Module):
    """No chain: a tensor of its own, a branch around a stop, and dropout that its own forward switches."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.shape[0], -1) * self.scale
        y = F.dropout(self.first(x), 0.5, self.training)
        return torch.cat([self.second(y), x], dim=1)


@pytest.mark.parametrize(
    ("make", "size", "count"),
    [
        (lambda: SmallResNet(widths=(4, 6, 8), size=16), 16, 4),
        (lambda: TorchvisionBackbone("squeezenet1_1"), 64, 9),
        (lambda: ImageSequence(read="patches", size=16, width=8), 16, 3),
    ],
    ids=["small_resnet", "squeezenet1_1", "patch_lstm"],
)
def test_backbones_answer_as_they_do_alone(make, size, count):
    networks = [make().eval(), make().eval()]
    image = torch.randn(2, 3, size, size)
    lockstep = Lockstep(networks[0], networks[0].stages())
    assert lockstep.count == count
    seen = []

    def between(number, values):
        seen.append(number)
        return values

    with torch.no_grad():
        found = lockstep.run(networks, image, between)
        for network, features in zip(networks, found, strict=True):
            torch.testing.assert_close(features, network(image))
    assert seen == list(range(count))


def test_statistics_move_as_they_do_alone():
    networks = [SmallResNet(widths=(4, 4, 4), size=16), SmallResNet(widths=(4, 4, 4), size=16)]
    alone = deepcopy(networks)
    image = torch.randn(8, 3, 16, 16)
    Lockstep(networks[0], networks[0].stages()).run(networks, image, untouched)
    for network, other in zip(networks, alone, strict=True):
        other(image)
        state = network.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


def test_what_is_done_between_counts_for_what_follows():
    network = Winding().eval()
    x = torch.randn(3, 4)
    lockstep = Lockstep(network, [network.first])
    (found,) = lockstep.run([network], x, lambda number, values: [values[0] * 0])
    expected = network.second(torch.zeros(3, 4))
    torch.testing.assert_close(found[:, :4], expected)
    torch.testing.assert_close(found[:, 4:], x * 1.5)


def test_a_forward_that_knows_its_mode_keeps_doing_so():
    network = Winding()
    lockstep = Lockstep(network, [network.first, network.second])
    x = torch.randn(3, 4)
    torch.manual_seed(0)
    (found,) = lockstep.run([network.train()], x, untouched)
    torch.manual_seed(0)
    assert torch.equal(found, network(x))
    (found,) = lockstep.run([network.eval()], x, untouched)
    assert torch.equal(found, network(x))


def test_looking_changes_nothing():
    network = SmallResNet(widths=(4, 4, 4), size=16).train()
    network.stem.eval()
    before, rng = deepcopy(network.state_dict()), torch.get_rng_state()
    modes = [part.training for part in network.modules()]
    Lockstep(network, network.stages())
    assert [part.training for part in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_forward_that_looks_at_the_image_is_refused():
    class Moody(Winding):
        def forward(self, x: Tensor) -> Tensor:
            return self.first(x) if x.sum() > 0 else self.second(x)

    network = Moody()
    with pytest.raises(TypeError, match="Moody cannot be told"):
        Lockstep(network, [network.first])


def test_a_copy_stops_where_the_original_does():
    network = SmallResNet(widths=(4, 6, 8), size=16).eval()
    steps = deepcopy(Lockstep(network, network.stages()))
    visited = []

    def between(number: int, values: list[Tensor]) -> list[Tensor]:
        visited.append(number)
        return values

    with torch.no_grad():
        steps.run([network], torch.randn(2, 3, 16, 16), between)
    assert visited == [0, 1, 2, 3]
