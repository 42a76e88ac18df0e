"""Reversal in place, ramp in `advance`, and a discriminator that learns."""

from __future__ import annotations

import math

import pytest
import torch

from components.backbones.lenet import LeNet
from components.layers.gradient_reversal import ramp
from components.strategies import catalogue
from components.strategies.cdan import CDAN
from components.strategies.dann import DANN
from components.types import TASK, Labelled, LabelSpace, Unlabelled

SPACE = LabelSpace({TASK: ("a", "b", "c")})


def _batches(count: int = 8) -> dict:
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(count, 3, 16, 16, generator=generator) for _ in range(2))
    return {
        "source": Labelled(source, {TASK: torch.arange(count) % 3}),
        "unlabelled": Unlabelled(0.5 * target + 0.5),
    }


def _gradients(strategy, term: str) -> dict[str, torch.Tensor]:
    strategy.zero_grad()
    strategy.losses(**_batches())[term].backward()
    return {key: p.grad.clone() for key, p in strategy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", [DANN, CDAN])
def test_the_ramp_weighs_the_features_gradient_alone(kind):
    torch.manual_seed(0)
    strategy = kind(LeNet(16), SPACE, trade_off=0.7)
    strategy.advance(0.1)
    early = _gradients(strategy, "domain")
    strategy.advance(1.0)
    late = _gradients(strategy, "domain")
    share = ramp(0.1, gamma=10) / ramp(1.0, gamma=10)
    for key in early:
        expected = late[key] * share if key.startswith("backbone") else late[key]
        torch.testing.assert_close(early[key], expected, rtol=1e-2, atol=1e-7)
    assert strategy.reversal.factor.item() == pytest.approx(0.7 * ramp(1.0, gamma=10))


@pytest.mark.parametrize("kind", [DANN, CDAN])
def test_the_features_climb_what_the_discriminator_descends(kind):
    """A step against the gradients of one part alone, whether the discriminator's or the network's."""
    torch.manual_seed(0)
    strategy = kind(LeNet(16), SPACE)
    strategy.advance(1.0)
    before = strategy.losses(**_batches())["domain"].item()
    gradients = _gradients(strategy, "domain")
    for part, sign in (("discriminator", -1), ("backbone", 1)):
        start = {key: value.clone() for key, value in strategy.state_dict().items()}
        with torch.no_grad():
            for key, parameter in strategy.named_parameters():
                if key.startswith(part):
                    parameter -= 0.01 * gradients[key] / gradients[key].norm()
        assert sign * (strategy.losses(**_batches())["domain"].item() - before) > 0, part
        strategy.load_state_dict(start)


@pytest.mark.parametrize("name", ["dann", "cdan"])
def test_an_unopposed_discriminator_learns(name):
    torch.manual_seed(0)
    strategy = catalogue.load(name)(LeNet(16), SPACE, trade_off=0.0)
    optimizer = torch.optim.SGD(strategy.parameters(), lr=0.05, momentum=0.9)
    assert strategy.losses(**_batches())["domain"].item() == pytest.approx(2 * math.log(2), abs=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        strategy.backward(strategy.losses(**_batches()))
        optimizer.step()
    assert strategy.losses(**_batches())["domain"].item() < math.log(2)


def test_datnn_is_dann():
    assert catalogue.canonical("DATNN") == catalogue.canonical("datnn") == "dann"
    assert catalogue.canonical("dan") == "dan"
    assert catalogue.load(catalogue.canonical("DATNN")) is DANN


def test_cdan_reads_classes_as_constants_and_randomises_long_maps():
    torch.manual_seed(0)
    short, long = CDAN(LeNet(16), SPACE), CDAN(LeNet(16), LabelSpace({TASK: tuple("abcdefghi")}))
    assert short.map.num_outputs == 500 * 3
    assert long.map.num_outputs == 1024  # 500 * 9 > 4096
    short.advance(1.0)
    assert not any(key.startswith("heads") for key in _gradients(short, "domain"))


def test_entropy_conditioning_weighs_certain_images_more_and_lowers_entropies():
    torch.manual_seed(0)
    plain = CDAN(LeNet(16), SPACE)
    torch.manual_seed(0)
    conditioned = CDAN(LeNet(16), SPACE, entropy_conditioning=True)
    for strategy in (plain, conditioned):
        strategy.advance(1.0)
        strategy.heads[TASK].weight.data *= 20  # untrained, all answers are alike, and so are their weights
    assert abs(plain.losses(**_batches())["domain"].item() - conditioned.losses(**_batches())["domain"].item()) > 1e-5

    def total_entropy() -> float:
        with torch.no_grad():
            p = torch.cat([conditioned(batch.image)[TASK] for batch in _batches().values()]).softmax(1)
        return -(p * p.log()).sum().item()

    before, gradients = total_entropy(), _gradients(conditioned, "domain")
    with torch.no_grad():
        for key, parameter in conditioned.heads.named_parameters():
            parameter -= 0.1 * gradients[f"heads.{key}"] / gradients[f"heads.{key}"].norm()
    assert total_entropy() < before
