"""How far what a student computes half-way is from what its teacher does.

Romero et al., 2015, arXiv:1412.6550, eq. 3: 1/2 |u - r(v)|^2, with u the teacher's hint and r(v) the student's guess of
it.
"""

from __future__ import annotations

from torch import Tensor


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """student [B, ...], teacher of the same shape -> scalar: half the mean squared difference.

    The paper sums over the elements of an image. The mean keeps one learning rate right for maps of every size.
    """
    return 0.5 * (teacher.float() - student.float()).square().mean()
