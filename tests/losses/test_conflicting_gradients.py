"""Algorithm 1 of PCGrad, step by step on paper."""

from __future__ import annotations

import pytest
import torch

from components.losses.conflicting_gradients import project_conflicts


def test_two_conflicting_gradients_by_hand():
    # g1 = (1, 0), g2 = (-1, 1), product -1. g1 - (-1 / 2) g2 = (1/2, 1/2); g2 - (-1 / 1) g1 = (0, 1): the first's own
    # gradient is taken off the second, not the projected one.
    found = project_conflicts(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), [[0, 1], [1, 0]])
    assert found.tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_gradients_that_do_not_conflict_stay():
    gradients = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    assert torch.equal(project_conflicts(gradients, [[1, 2], [2, 0], [0, 1]]), gradients)


def test_the_order_in_which_tasks_meet_matters():
    # g1 = (1, 0), g2 = (-1, 1), g3 = (0, -1). First g2: (1/2, 1/2), which conflicts with g3: (1/2, 0). First g3: no
    # conflict; then g2: (1/2, 1/2).
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])
    assert project_conflicts(gradients, [[1, 2], [], []])[0].tolist() == [0.5, 0.0]
    assert project_conflicts(gradients, [[2, 1], [], []])[0].tolist() == [0.5, 0.5]


def test_a_gradient_of_zero_conflicts_with_nothing():
    gradients = torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    assert torch.equal(project_conflicts(gradients, [[1], [0]]), gradients)


def test_no_projected_pair_conflicts_any_more():
    torch.manual_seed(0)
    gradients = torch.randn(2, 50) + torch.tensor([[1.0], [-1.0]])
    found = project_conflicts(gradients, [[1], [0]])
    assert (found[0] @ gradients[1]).item() == pytest.approx(0, abs=1e-4)
    assert (found[1] @ gradients[0]).item() == pytest.approx(0, abs=1e-4)
