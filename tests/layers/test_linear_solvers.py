"""Both solvers against numbers worked out by hand, numpy's least squares and a plain gradient in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from components.layers.linear_solvers import logistic, ridge


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


@pytest.mark.parametrize("solve", [ridge, logistic])
def test_a_constant_feature_gets_no_weight(solve):
    features = torch.tensor([[0.0, 5.0], [2.0, 5.0]]).double()
    weight, _ = solve(features, torch.eye(2).double(), l2=1.0)
    assert bool((weight[:, 0] != 0).all())
    assert weight[:, 1].tolist() == [0.0, 0.0]


def test_a_strong_penalty_answers_with_the_mean():
    features, answers = torch.randn(20, 3).double(), torch.rand(20, 2).double()
    weight, bias = ridge(features, answers, l2=1e9)
    assert weight.abs().max() < 1e-6
    torch.testing.assert_close(bias, answers.mean(0), atol=1e-6, rtol=0)


def test_logistic_by_hand():
    # One feature -1, 1 (already standard), one class each. By symmetry w = (-v, v), b = 0: the loss is
    # log(1 + exp(-2v)) + l2 * v^2, at rest where sigmoid(-2v) = l2 * v. So l2 = sigmoid(-2) makes v = 1.
    l2 = 1 / (1 + math.exp(2))
    weight, bias = logistic(torch.tensor([[-1.0], [1.0]]).double(), torch.eye(2).double(), l2=l2)
    assert weight.flatten().tolist() == pytest.approx([-1.0, 1.0], abs=1e-6)
    assert bias.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_logistic_with_a_strong_penalty_answers_with_the_classes_shares():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 1)
    weight, bias = logistic(torch.randn(10, 4).double(), torch.nn.functional.one_hot(labels).double(), l2=1e4)
    assert weight.abs().max() < 1e-3
    assert bias.softmax(0).tolist() == pytest.approx([0.6, 0.3, 0.1], abs=1e-4)


def test_logistic_is_where_a_plain_gradient_vanishes_and_the_loss_is_lowest():
    rng = np.random.default_rng(0)
    features, labels, l2 = rng.normal(3, [1, 20, 0.1, 5], (60, 4)), rng.integers(0, 3, 60), 0.05
    one_hot = np.eye(3)[labels]
    found = logistic(torch.from_numpy(features), torch.from_numpy(one_hot), l2=l2)
    std = features.std(0)
    x = (features - features.mean(0)) / std
    weight = found[0].numpy() * std  # of the standardised features
    bias = found[1].numpy() + found[0].numpy() @ features.mean(0)

    def loss(weight, bias):
        logits = x @ weight.T + bias
        picked = logits[np.arange(60), labels] - np.log(np.exp(logits).sum(1))
        return -picked.mean() + l2 / 2 * (weight**2).sum()

    scores = np.exp(x @ weight.T + bias)
    difference = scores / scores.sum(1, keepdims=True) - one_hot
    np.testing.assert_allclose(difference.T @ x / 60 + l2 * weight, 0, atol=1e-6)
    np.testing.assert_allclose(difference.mean(0), 0, atol=1e-6)
    for _ in range(20):
        change = rng.normal(0, 0.01, (3, 4))
        assert loss(weight + change, bias) > loss(weight, bias)


@pytest.mark.parametrize("solve", [ridge, logistic])
def test_an_image_of_weight_3_is_three_images(solve):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 5, generator=generator, dtype=torch.float64) * torch.arange(1, 6)
    one_hot = torch.eye(3, dtype=torch.float64)[torch.arange(40) % 3]
    counts = 1 + torch.arange(40) % 3
    repeated = solve(features.repeat_interleave(counts, 0), one_hot.repeat_interleave(counts, 0), 0.01)
    weighted = solve(features, one_hot, 0.01, weights=0.2 * counts)  # only their ratios matter
    for one, other in zip(weighted, repeated, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    plain = solve(features, one_hot, 0.01)
    assert not torch.allclose(plain[0], repeated[0], rtol=1e-2)
