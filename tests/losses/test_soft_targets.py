"""Against numbers worked out by hand, and the limit of high temperatures that the paper derives."""

from __future__ import annotations

import math

import pytest
import torch

from components.losses.soft_targets import soft_targets

# Teacher 3/4 and 1/4, student 1/2 and 1/2.
TEACHER, STUDENT = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[1.0, 1.0]])
FORWARD = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)  # KL(teacher || student) = 0.1308
BACKWARD = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)  # KL(student || teacher) = 0.1438


def test_by_hand_and_in_the_right_direction():
    found = soft_targets(student=STUDENT, teacher=TEACHER, temperature=1.0).item()
    assert found == pytest.approx(FORWARD, abs=1e-6)
    assert found != pytest.approx(BACKWARD, abs=1e-3)


def test_the_square_of_the_temperature_is_there():
    # Three times the logits at three times the temperature are the same probabilities.
    found = soft_targets(student=3 * STUDENT, teacher=3 * TEACHER, temperature=3.0).item()
    assert found == pytest.approx(9 * FORWARD, abs=1e-5)


def test_it_is_the_mean_over_images():
    student = torch.cat([STUDENT, TEACHER])
    found = soft_targets(student=student, teacher=torch.cat([TEACHER, TEACHER]), temperature=1.0)
    assert found.item() == pytest.approx(FORWARD / 2, abs=1e-6)


def test_equal_answers_lose_nothing():
    logits = torch.randn(5, 4)
    assert soft_targets(student=logits + 7, teacher=logits, temperature=2.0).item() == pytest.approx(0, abs=1e-5)


def test_at_high_temperatures_logits_are_matched():
    """Hinton et al., eq. 4: with logits of mean zero the gradient goes to (z - v) / (N T^2), here times T^2."""
    torch.manual_seed(0)
    student, teacher = (x - x.mean(1, keepdim=True) for x in torch.randn(2, 6, 5))
    student.requires_grad_()
    soft_targets(student=student, teacher=teacher, temperature=300.0).backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 5 / 6, rtol=0.02, atol=1e-4)


def test_mixed_precision_does_not_touch_it():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 8, 10) + 20
    expected = soft_targets(student=student, teacher=teacher, temperature=20.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(soft_targets(student=student, teacher=teacher, temperature=20.0), expected)
