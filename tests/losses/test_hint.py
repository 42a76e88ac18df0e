from __future__ import annotations

import torch

from components.losses.hint import hint


def test_by_hand():
    # Differences 1, 2, 0, 1: the mean of their squares is 6 / 4, and half of it 0.75.
    assert hint(student=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), teacher=torch.tensor([[2.0, 4.0], [3.0, 3.0]])) == 0.75


def test_it_pulls_the_student_to_the_teacher():
    student = torch.zeros(2, 3).requires_grad_()
    hint(student=student, teacher=torch.ones(2, 3)).backward()
    assert bool((student.grad < 0).all())
