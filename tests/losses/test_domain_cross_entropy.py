"""Against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from components.losses.domain_cross_entropy import domain_cross_entropy


def test_domain_cross_entropy_by_hand():
    # sigmoid(log 3) = 3/4 and sigmoid(-log 3) = 1/4. The source's mean of -log D: of 3/4 and 1/4; the target's mean of
    # -log(1 - D), of one image with D = 1/4.
    found = domain_cross_entropy(source=torch.tensor([math.log(3), -math.log(3)]), target=torch.tensor([-math.log(3)]))
    expected = -(math.log(3 / 4) + math.log(1 / 4)) / 2 - math.log(3 / 4)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_a_discriminator_that_knows_nothing_loses_two_log_two():
    assert domain_cross_entropy(source=torch.zeros(3), target=torch.zeros(5)).item() == pytest.approx(2 * math.log(2))


def test_being_sure_and_wrong_stays_finite():
    assert domain_cross_entropy(source=torch.tensor([-1e4]), target=torch.tensor([1e4])).item() == pytest.approx(2e4)


def test_weights_by_hand():
    # Source losses log 2 and 0 with weights 3 and 1; target losses log 2 and 0 with weights 1 and 1.
    logits = torch.tensor([0.0, 1e4])
    found = domain_cross_entropy(
        source=logits, target=-logits, source_weight=torch.tensor([3.0, 1.0]), target_weight=torch.ones(2)
    )
    assert found.item() == pytest.approx(math.log(2) * (3 / 4 + 1 / 2), abs=1e-6)


def test_equal_weights_are_no_weights():
    source, target = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 0.1, 2.0])
    weighted = domain_cross_entropy(
        source=source, target=target, source_weight=torch.full((2,), 1.7), target_weight=torch.full((3,), 0.2)
    )
    assert weighted.item() == pytest.approx(domain_cross_entropy(source=source, target=target).item(), abs=1e-6)


def test_the_sum_of_the_weights_is_not_differentiated():
    # One image: a weighted mean of one value does not depend on the weight, but the numerator alone does.
    weight = torch.tensor([2.0]).requires_grad_()
    domain_cross_entropy(
        source=torch.zeros(1), target=torch.zeros(1), source_weight=weight, target_weight=torch.ones(1)
    ).backward()
    assert weight.grad.item() == pytest.approx(math.log(2) / 2)
