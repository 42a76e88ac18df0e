"""Cross-entropy with class weights, the focal loss and soft labels, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from components.losses.focal import balanced_class_weights, focal_cross_entropy

EVEN = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]])
"""Probabilities 3/4 and 1/4, twice."""
LABELS = torch.tensor([0, 1])


def test_the_focal_loss_by_hand():
    # (1 - 3/4)^2 * -log(3/4) and (1 - 1/4)^2 * -log(1/4): what is easy counts a ninth of what is hard.
    expected = (0.0625 * math.log(4 / 3) + 0.5625 * math.log(4)) / 2
    assert focal_cross_entropy(EVEN, LABELS, gamma=2.0).item() == pytest.approx(expected)


def test_class_weights_multiply_an_image_s_loss_and_the_number_of_images_divides():
    expected = (0.5 * math.log(4 / 3) + 1.5 * math.log(4)) / 2
    found = focal_cross_entropy(EVEN, LABELS, class_weights=torch.tensor([0.5, 1.5]))
    assert found.item() == pytest.approx(expected)
    alone = focal_cross_entropy(EVEN[1:], LABELS[1:], class_weights=torch.tensor([0.5, 1.5]))
    assert alone.item() == pytest.approx(1.5 * math.log(4))


def test_a_soft_label_shares_the_terms_of_its_classes():
    share = torch.tensor([[0.75, 0.25]])
    expected = 0.75 * 0.25 * math.log(4 / 3) + 0.25 * 0.75 * math.log(4)
    assert focal_cross_entropy(EVEN[:1], share, gamma=1.0).item() == pytest.approx(expected)
    weighted = focal_cross_entropy(EVEN[:1], share, class_weights=torch.tensor([2.0, 4.0]))
    assert weighted.item() == pytest.approx(0.75 * 2 * math.log(4 / 3) + 0.25 * 4 * math.log(4))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True])
def test_the_general_form_is_torch_s_own_where_torch_has_one(soft, smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 5, generator=generator)
    labels = torch.randint(5, (7,), generator=generator)
    given = torch.rand(7, 5, generator=generator).softmax(1) if soft else labels
    one = torch.ones(5)
    plain = F.cross_entropy(logits, given, label_smoothing=smoothing)
    assert torch.equal(focal_cross_entropy(logits, given, label_smoothing=smoothing), plain)
    found = focal_cross_entropy(logits, given, class_weights=one, label_smoothing=smoothing)
    torch.testing.assert_close(found, plain)
    weights = torch.rand(5, generator=generator)
    found = focal_cross_entropy(logits, given, class_weights=weights, label_smoothing=smoothing)
    total = F.cross_entropy(logits, given, weights, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(found, total / 7)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_what_is_certain_has_a_gradient_of_zero_and_not_of_nan(gamma):
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    focal_cross_entropy(logits, torch.tensor([0, 0]), gamma=gamma).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0].abs().sum() == 0
    assert logits.grad[1, 0].item() == pytest.approx(-0.5)  # far off, it learns at full rate


def test_balanced_weights_by_hand():
    # Ten images of two classes that are there: 10 / (2 * 8) and 10 / (2 * 2).
    found = balanced_class_weights(torch.tensor([8, 0, 2]))
    assert found.tolist() == [0.625, 0.0, 2.5]
    assert (found * torch.tensor([8, 0, 2])).sum().item() / 10 == 1
