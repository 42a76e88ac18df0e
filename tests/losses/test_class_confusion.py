"""Against numbers worked out by hand and by numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from components.losses.class_confusion import class_confusion


def test_class_confusion_by_hand():
    # One image, probabilities 3/4 and 1/4: its weight is 1 (of 1), the correlation is the outer product
    # [[9, 3], [3, 1]] / 16, its rows normalised [[3/4, 1/4], [3/4, 1/4]], off the diagonal 1/4 + 3/4, over 2 classes.
    found = class_confusion(torch.tensor([[math.log(3), 0.0]]), temperature=1.0)
    assert found.item() == pytest.approx(0.5, abs=1e-6)


def test_two_images_weigh_by_their_certainty_by_hand():
    # Image 1 certain of class 0 (entropy 0), image 2 undecided (log 2): 1 + exp(-H) is 2 and 3/2, scaled to add up to
    # two: 8/7 and 6/7. Correlation: 8/7 [[1, 0], [0, 0]] + 6/7 [[1/4, 1/4], [1/4, 1/4]] = [[19, 3], [3, 3]] / 14.
    # Rows normalised: off the diagonal 3/22 and 1/2, over 2 classes.
    found = class_confusion(torch.tensor([[1e4, 0.0], [0.0, 0.0]]), temperature=1.0)
    assert found.item() == pytest.approx((3 / 22 + 1 / 2) / 2, abs=1e-6)


def test_class_confusion_is_numpy_s():
    logits, temperature = np.random.default_rng(0).normal(0, 3, (9, 4)), 2.5
    y = np.exp(logits / temperature)
    y /= y.sum(1, keepdims=True)
    certain = 1 + np.exp((y * np.log(y)).sum(1))
    confusion = np.einsum("bi,b,bj->ij", y, 9 * certain / certain.sum(), y)
    confusion /= confusion.sum(1, keepdims=True)
    expected = (confusion.sum() - np.trace(confusion)) / 4
    assert class_confusion(torch.from_numpy(logits), temperature=temperature).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_the_temperature_divides():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    found = class_confusion(5 * logits, temperature=5.0).item()
    assert found == pytest.approx(class_confusion(logits, temperature=1.0).item(), abs=1e-6)


def test_certain_answers_in_all_classes_confuse_nothing():
    assert class_confusion(100 * torch.eye(3), temperature=1.0).item() == pytest.approx(0, abs=1e-6)


def test_the_weights_are_not_differentiated():
    # Two classes, two images with mirrored answers: by symmetry the weights are equal whatever they are, but their
    # gradients are not nothing. Against finite differences with the weights held at one.
    logits = torch.tensor([[1.0, 0.0], [0.0, 0.5]], dtype=torch.float64).requires_grad_()
    class_confusion(logits, temperature=1.0).backward()
    with torch.no_grad():
        p = logits.softmax(1)
        certain = 1 + torch.exp((p * p.log()).sum(1))
        weight = 2 * certain / certain.sum()

    def held(values: torch.Tensor) -> float:
        y = values.softmax(1)
        confusion = torch.einsum("bi,b,bj->ij", y, weight, y)
        confusion = confusion / confusion.sum(1, keepdim=True)
        return ((confusion.sum() - confusion.trace()) / 2).item()

    for index in ((0, 0), (0, 1), (1, 0), (1, 1)):
        step = torch.zeros_like(logits)
        step[index] = 1e-5
        slope = (held(logits.detach() + step) - held(logits.detach() - step)) / 2e-5
        assert logits.grad[index].item() == pytest.approx(slope, abs=1e-5)
