"""The closed form, against numbers worked out by hand and by numpy's own least squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.strategies.linear_probe import ridge


def test_ridge_by_hand():
    # One feature 0, 2 with answers 0, 4. Standardised: mean 1, std 1, x = -1, 1; centred answers -2, 2.
    # gram = 2 + 2 * l2, x'y = 4. For l2 = 1: w = 4 / 4 = 1, offset 2, so the answer is 2 + (f - 1) = f + 1.
    weight, bias = ridge(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [4.0]]), l2=1.0)
    assert weight.tolist() == [[pytest.approx(1.0)]]
    assert bias.tolist() == [pytest.approx(1.0)]


def test_ridge_standardises_so_that_the_unit_of_a_feature_does_not_matter():
    # The same feature in a unit a hundred times smaller: the answers stay, so the weight is a hundredth.
    features, answers = torch.tensor([[0.0], [2.0]]).double(), torch.tensor([[0.0], [4.0]]).double()
    weight, bias = ridge(features * 100, answers, l2=1.0)
    assert weight.item() == pytest.approx(0.01)
    assert bias.item() == pytest.approx(1.0)


def test_ridge_without_penalty_is_least_squares():
    rng = np.random.default_rng(0)
    features, answers = rng.normal(3, 2, (40, 5)), rng.normal(0, 1, (40, 3))
    weight, bias = ridge(torch.from_numpy(features), torch.from_numpy(answers), l2=1e-12)
    solution, *_ = np.linalg.lstsq(np.hstack([features, np.ones((40, 1))]), answers, rcond=None)
    np.testing.assert_allclose(weight.numpy(), solution[:5].T, atol=1e-6)
    np.testing.assert_allclose(bias.numpy(), solution[5], atol=1e-6)


def test_ridge_gives_a_constant_feature_no_weight():
    features = torch.tensor([[0.0, 5.0], [2.0, 5.0]]).double()
    weight, _ = ridge(features, torch.tensor([[0.0], [4.0]]).double(), l2=1.0)
    assert weight.tolist() == [[pytest.approx(1.0), 0.0]]


def test_a_strong_penalty_answers_with_the_mean():
    features, answers = torch.randn(20, 3).double(), torch.rand(20, 2).double()
    weight, bias = ridge(features, answers, l2=1e9)
    assert weight.abs().max() < 1e-6
    torch.testing.assert_close(bias, answers.mean(0), atol=1e-6, rtol=0)


def test_the_probe_leaves_the_backbone_and_its_statistics_alone(toy, make_strategy):
    from components.data.streams import Streams

    strategy = make_strategy("linear_probe").train()
    before = {key: value.clone() for key, value in strategy.backbone.state_dict().items()}
    strategy.finish(Streams(toy, strategy.backbone.preprocess, batch_size=32, augment="none", seed=0))
    assert all(torch.equal(value, before[key]) for key, value in strategy.backbone.state_dict().items())


def test_the_probe_solves_again_with_the_same_result(toy, make_strategy):
    from components.data.streams import Streams

    strategy = make_strategy("linear_probe").eval()
    data = Streams(toy, strategy.backbone.preprocess, batch_size=32, augment="none", seed=0)
    strategy.finish(data)
    first = strategy.heads["label"].weight.clone()
    strategy.finish(data)
    assert torch.equal(strategy.heads["label"].weight, first)
