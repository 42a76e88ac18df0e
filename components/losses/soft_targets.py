"""How far a student's softened answers are from its teacher's.

Hinton et al., 2015, arXiv:1503.02531, sec. 2: probabilities q_i = exp(z_i / T) / sum_j exp(z_j / T) at a temperature T;
the student's are matched to the teacher's, times T^2.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student): logits student [B, C], teacher [B, C] -> scalar >= 0, 0 for equal answers.

    The paper's cross-entropy is this plus the teacher's own entropy, which has no gradient. Gradients of softened
    answers shrink with 1 / T^2; the factor keeps the balance with other terms where it was when T is changed.
    """
    log_student = F.log_softmax(student.float() / temperature, 1)
    log_teacher = F.log_softmax(teacher.float() / temperature, 1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
