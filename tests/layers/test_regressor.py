from __future__ import annotations

import pytest
import torch

from components.layers.regressor import Regressor


def test_it_is_a_linear_map_of_the_last_dimension():
    module = Regressor(2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[2.0, 3.0]]))
        module.bias.fill_(1.0)
    assert module(torch.tensor([[[1.0, 1.0], [0.0, 2.0]]])).tolist() == [[[6.0], [7.0]]]


def test_without_a_width_it_takes_that_of_the_weights():
    trained, blank = torch.nn.Sequential(Regressor(3, 5)), torch.nn.Sequential(Regressor(3, None))
    blank.load_state_dict(trained.state_dict())
    x = torch.randn(4, 3)
    assert torch.equal(blank(x), trained(x))


def test_a_width_that_is_known_is_not_given_up():
    with pytest.raises(RuntimeError, match="size mismatch"):
        Regressor(3, 4).load_state_dict(Regressor(3, 5).state_dict())
