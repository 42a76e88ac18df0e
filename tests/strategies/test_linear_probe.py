"""What the probe does around its solvers, which tests/layers/test_linear_solvers.py checks."""

from __future__ import annotations

import pytest
import torch

from components.data.streams import Streams

SOLVERS = ("ridge", "lbfgs")


@pytest.fixture
def data(toy, make_strategy) -> Streams:
    preprocess = make_strategy("linear_probe").backbone.preprocess
    return Streams(toy, preprocess, batch_size=32, augment="none", seed=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_probe_leaves_the_backbone_and_its_statistics_alone(solver, data, make_strategy):
    strategy = make_strategy("linear_probe", solver=solver).train()
    before = {key: value.clone() for key, value in strategy.backbone.state_dict().items()}
    strategy.finish(data)
    assert all(torch.equal(value, before[key]) for key, value in strategy.backbone.state_dict().items())
    assert all(module.training for module in strategy.modules())


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_probe_solves_again_with_the_same_result(solver, data, make_strategy):
    strategy = make_strategy("linear_probe", solver=solver).eval()
    strategy.finish(data)
    first = strategy.heads["label"].weight.clone()
    strategy.finish(data)
    assert torch.equal(strategy.heads["label"].weight, first)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_penalty_is_chosen_on_validation(solver, data, make_strategy):
    """Out of several it does at least as well there as with each alone."""

    def loss(l2: tuple[float, ...]) -> float:
        strategy = make_strategy("linear_probe", solver=solver, l2=l2).eval()
        strategy.finish(data)
        with torch.no_grad():
            parts = [(strategy(batch.image)["label"], batch.labels["label"]) for batch in data.split("val")]
        logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        return torch.nn.functional.cross_entropy(logits, labels).item()

    values = (1e-4, 1e-2, 1.0, 100.0)
    alone = [loss((value,)) for value in values]
    assert loss(values) == pytest.approx(min(alone), rel=1e-5)
    assert max(alone) > 1.5 * min(alone)  # or there was nothing to choose
