"""The discriminator, a module as a constant, and the multilinear map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from components.layers.constant import constant
from components.layers.discriminator import Discriminator
from components.layers.multilinear_map import MultilinearMap


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_the_discriminator_gives_one_logit_for_each_row(hidden):
    discriminator = Discriminator(4, hidden)
    assert discriminator(torch.randn(3, 4)).shape == (3,)
    widths = [layer.out_features for layer in discriminator.modules() if isinstance(layer, nn.Linear)]
    assert widths == [*hidden, 1]


def test_a_discriminator_learns_to_tell_two_clouds_apart():
    torch.manual_seed(0)
    discriminator = Discriminator(2, (16,))
    optimizer = torch.optim.SGD(discriminator.parameters(), lr=0.5)
    source, target = torch.randn(64, 2) + 1.5, torch.randn(64, 2) - 1.5
    for _ in range(50):
        loss = (nn.functional.softplus(-discriminator(source)) + nn.functional.softplus(discriminator(target))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert bool((discriminator(torch.full((1, 2), 1.5)) > 0) & (discriminator(torch.full((1, 2), -1.5)) < 0))


def test_a_constant_module_passes_gradients_on_and_keeps_none():
    torch.manual_seed(0)
    module, x = nn.Linear(3, 1), torch.randn(2, 3).requires_grad_()
    value = constant(module, x)
    assert torch.equal(value, module(x))
    value.sum().backward()
    assert all(parameter.grad is None for parameter in module.parameters())
    torch.testing.assert_close(x.grad, module.weight.detach().expand(2, 3))


def test_the_multilinear_map_by_hand():
    found = MultilinearMap(2, 2)(torch.tensor([[2.0, 3.0]]), torch.tensor([[0.25, 0.75]]))
    assert found.tolist() == [[0.5, 1.5, 0.75, 2.25]]


def test_a_map_within_the_limit_draws_nothing():
    exact = MultilinearMap(64, 64)
    assert exact.num_outputs == 4096
    assert not exact.state_dict()


def test_a_map_beyond_the_limit_is_the_paper_s_product_of_projections():
    torch.manual_seed(0)
    randomised = MultilinearMap(6, 3, limit=17, random_size=5)
    assert randomised.num_outputs == 5
    features, probabilities = torch.randn(4, 6), torch.rand(4, 3)
    state = {key: value.double().numpy() for key, value in randomised.state_dict().items()}
    left = features.double().numpy() @ state["feature_projection"]
    right = probabilities.double().numpy() @ state["class_projection"]
    found = randomised(features, probabilities).numpy()
    np.testing.assert_allclose(found, left * right / np.sqrt(5), rtol=1e-4, atol=1e-5)
    assert not list(randomised.parameters())  # drawn once, never trained


def test_the_randomised_map_keeps_inner_products_on_average():
    torch.manual_seed(0)
    f, g = torch.randn(2, 5), torch.rand(2, 3)
    exact = MultilinearMap(5, 3)(f, g)
    mapped = MultilinearMap(5, 3, limit=1, random_size=200_000)(f, g)
    assert (mapped[0] @ mapped[1]).item() == pytest.approx((exact[0] @ exact[1]).item(), abs=0.15)
    assert (mapped[0] @ mapped[0]).item() == pytest.approx((exact[0] @ exact[0]).item(), rel=0.05)
