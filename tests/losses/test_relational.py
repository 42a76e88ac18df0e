"""Against three points worked out by hand, numpy in double precision, and what must not matter."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from components.losses.relational import relational_angle, relational_distance

# A right triangle with sides 3, 4, 5 and, in one dimension, the points 0, 1, 3.
TEACHER, STUDENT = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]), torch.tensor([[0.0], [1.0], [3.0]])


def huber(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) <= 1 else abs(difference) - 0.5


def test_distance_by_hand():
    # Over their means 4 and 2, distances 01, 02, 12 are 3/4, 4/4, 5/4 and 1/2, 3/2, 2/2: differences 1/4, 1/2, 1/4.
    expected = (0.5 / 16 + 0.5 / 4 + 0.5 / 16) / 3
    assert relational_distance(student=STUDENT, teacher=TEACHER).item() == pytest.approx(expected, abs=1e-6)


def test_angle_by_hand():
    # Cosines at the points 0, 1, 2: of the triangle 0, 3/5, 4/5; on the line 1, -1, 1. Differences 1, 1.6, 0.2, each
    # twice: 1/2, 1.6 - 1/2 (beyond 1 the Huber loss is linear), 0.02.
    expected = (0.5 + 1.1 + 0.02) / 3
    assert relational_angle(student=STUDENT, teacher=TEACHER).item() == pytest.approx(expected, abs=1e-6)


def test_both_in_double_precision():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(2, 1, (7, 3)), rng.normal(-1, 3, (7, 5))

    def distances(x):
        table = {(i, j): float(np.linalg.norm(x[i] - x[j])) for i, j in permutations(range(7), 2)}
        return {pair: value / np.mean(list(table.values())) for pair, value in table.items()}

    def cosines(x):
        def unit(i, j):
            return (x[i] - x[j]) / np.linalg.norm(x[i] - x[j])

        return {(i, j, k): float(unit(i, j) @ unit(k, j)) for i, j, k in permutations(range(7), 3)}

    tensors = {"student": torch.from_numpy(student), "teacher": torch.from_numpy(teacher)}
    for found, table in ((relational_distance(**tensors), distances), (relational_angle(**tensors), cosines)):
        own, known = table(student), table(teacher)
        assert found.item() == pytest.approx(np.mean([huber(known[key] - own[key]) for key in own]), abs=1e-6)


@pytest.mark.parametrize("relation", [relational_distance, relational_angle])
def test_scale_place_rotation_and_dimension_do_not_matter(relation):
    torch.manual_seed(0)
    teacher = torch.randn(8, 3)
    turn, _ = torch.linalg.qr(torch.randn(5, 5))
    student = 4 * (torch.cat([teacher, torch.zeros(8, 2)], 1) @ turn) + 10
    assert relation(student=student, teacher=teacher).item() == pytest.approx(0, abs=1e-8)
    assert relation(student=torch.randn(8, 5), teacher=teacher).item() > 0.01


@pytest.mark.parametrize("relation", [relational_distance, relational_angle])
def test_coinciding_points_leave_the_gradient_finite(relation):
    student = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0], [5.0, 5.0]]).requires_grad_()
    relation(student=student, teacher=torch.randn(4, 3)).backward()
    assert bool(torch.isfinite(student.grad).all())
    dead = torch.zeros(4, 2).requires_grad_()
    value = relation(student=dead, teacher=torch.randn(4, 3))
    value.backward()
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(dead.grad).all())


@pytest.mark.parametrize("relation", [relational_distance, relational_angle])
def test_mixed_precision_does_not_touch_it(relation):
    torch.manual_seed(0)
    student, teacher = torch.randn(8, 6) + 30, torch.randn(8, 4) - 30
    expected = relation(student=student, teacher=teacher)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(relation(student=student, teacher=teacher), expected)
