from __future__ import annotations

import pytest
import torch

from components.data.streams import Streams


@pytest.fixture
def data(toy, make_strategy) -> Streams:
    preprocess = make_strategy("lp_ft").backbone.preprocess
    return Streams(toy, preprocess, batch_size=32, augment="none", seed=0)


def test_it_begins_with_the_probes_head(data, make_strategy):
    strategy, probe = make_strategy("lp_ft"), make_strategy("linear_probe", solver="lbfgs")
    strategy.begin(data)
    probe.finish(data)
    assert torch.equal(strategy.heads["label"].weight, probe.heads["label"].weight)
    assert torch.equal(strategy.heads["label"].bias, probe.heads["label"].bias)


def test_the_first_step_sees_the_function_that_the_head_was_fitted_to(data, make_strategy):
    image = data.batch("target", 0).image
    answers = {}
    for statistics in ("pretrained", "batch"):
        strategy = make_strategy("lp_ft", statistics=statistics)
        strategy.begin(data)
        strategy.train()
        strategy.advance(0.0)
        answers[statistics] = (strategy(image)["label"], strategy.eval()(image)["label"])
    torch.testing.assert_close(*answers["pretrained"], rtol=0, atol=1e-4)
    assert (answers["batch"][0] - answers["batch"][1]).abs().max() > 0.1


def test_gains_and_shifts_are_trained_while_statistics_stay(data, make_strategy):
    strategy = make_strategy("lp_ft")
    strategy.begin(data)
    strategy.train()
    strategy.advance(0.0)
    norm = strategy.backbone.stem[1]
    mean = norm.running_mean.clone()
    strategy.losses(target=data.batch("target", 0))["cross_entropy"].backward()
    assert torch.equal(norm.running_mean, mean)
    assert bool((norm.weight.grad != 0).any())
    assert bool((norm.bias.grad != 0).any())
