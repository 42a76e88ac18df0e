"""Which weights are pulled, how hard, and where to."""

from __future__ import annotations

import pytest
import torch

from components.data.streams import Streams
from components.params import Recipe
from components.training.optimizer import optimizer


@pytest.fixture
def data(toy, make_strategy) -> Streams:
    preprocess = make_strategy("l2_sp").backbone.preprocess
    return Streams(toy, preprocess, batch_size=16, augment="none", seed=0)


def _gradients(strategy, terms) -> dict[str, torch.Tensor]:
    torch.stack(terms).sum().backward()
    return {name: parameter.grad for name, parameter in strategy.named_parameters()}


def test_without_penalties_the_gradients_are_those_of_fine_tuning(data, make_strategy):
    found = {}
    for name, given in (("l2_sp", {"alpha": 0.0, "beta": 0.0}), ("fine_tune", {})):
        torch.manual_seed(0)
        strategy = make_strategy(name, **given).train()
        strategy.begin(data)
        found[name] = _gradients(strategy, list(strategy.losses(target=data.batch("target", 0)).values()))
    assert found["l2_sp"].keys() == found["fine_tune"].keys()
    assert all(torch.equal(gradient, found["fine_tune"][name]) for name, gradient in found["l2_sp"].items())


def test_the_backbone_is_pulled_to_its_start_and_the_head_to_zero(data, make_strategy):
    """Moved by 0.5 everywhere, a weight of the backbone is pulled back by alpha * 0.5 wherever it is; a weight of the
    head by beta times what it is now, wherever it began."""
    torch.manual_seed(0)
    strategy = make_strategy("l2_sp", alpha=0.4, beta=0.03)
    strategy.begin(data)
    with torch.no_grad():
        for parameter in strategy.parameters():
            parameter.add_(0.5)
    terms = strategy.losses(target=data.batch("target", 0))
    count = sum(parameter.numel() for parameter in strategy.backbone.parameters())
    assert terms["start"].item() == pytest.approx(0.4 / 2 * 0.25 * count, rel=1e-4)
    squares = sum(parameter.square().sum().item() for parameter in strategy.heads.parameters())
    assert terms["head"].item() == pytest.approx(0.03 / 2 * squares, rel=1e-4)
    gradients = _gradients(strategy, [terms["start"], terms["head"]])
    for name, parameter in strategy.named_parameters():
        expected = 0.03 * parameter if name.startswith("heads") else torch.full_like(parameter, 0.4 * 0.5)
        torch.testing.assert_close(gradients[name], expected, rtol=1e-4, atol=1e-6)


def test_the_optimizer_does_not_pull_to_zero_what_belongs_to_its_start(make_strategy):
    groups = make_strategy("l2_sp").param_groups(0.1)
    updates = optimizer(groups, Recipe(weight_decay=0.1))
    assert {group["weight_decay"] for group in updates.param_groups} == {0.0}


def test_a_resumed_training_has_the_first_start(data, make_strategy):
    """What `begin` keeps is the pretrained network, which a resumed training builds again before its state is read."""
    strategy = make_strategy("l2_sp")
    strategy.begin(data)
    with torch.no_grad():
        for parameter in strategy.parameters():
            parameter.add_(0.5)
    resumed = make_strategy("l2_sp")
    resumed.begin(data)
    resumed.load_state_dict(strategy.state_dict())
    batch = data.batch("target", 0)
    assert resumed.eval().losses(target=batch)["start"].item() == strategy.eval().losses(target=batch)["start"].item()
