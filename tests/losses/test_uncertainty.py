from __future__ import annotations

import math

import pytest
import torch

from components.losses.uncertainty import uncertainty


def test_by_hand():
    # sigma^2 = 4: a loss of 2 counts 2 / 4, at the price of log(2).
    loss, price = uncertainty(torch.tensor(2.0), torch.tensor(math.log(4.0)))
    assert loss.item() == pytest.approx(0.5)
    assert price.item() == pytest.approx(math.log(2.0))


def test_variance_one_leaves_the_loss_as_it_is():
    assert [part.item() for part in uncertainty(torch.tensor(1.7), torch.tensor(0.0))] == pytest.approx([1.7, 0.0])


def test_it_is_smallest_where_the_variance_is_twice_the_loss():
    # d/ds (exp(-s) L + s / 2) = 1/2 - L exp(-s), which is 0 at exp(s) = 2 L.
    s = torch.tensor(math.log(3.0)).requires_grad_()
    torch.stack(uncertainty(torch.tensor(1.5), s)).sum().backward()
    assert s.grad.item() == pytest.approx(0, abs=1e-6)
