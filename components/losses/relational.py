"""How differently student and teacher arrange the same images: by distances of pairs and by angles of triplets.

Park et al., 2019, arXiv:1904.05068, sec. 3.2. Neither depends on the two feature spaces' dimensions, scale, place or
rotation, so nothing has to be fitted between them. Differences are measured by the Huber loss with delta 1.

The paper sums over pairs and triplets; here, as in its published experiments' code, the mean is taken, so that the
weights of the terms do not depend on the batch size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """student [B, D_s], teacher [B, D_t] -> scalar: the mean over pairs of different images (sec. 3.2.1). B >= 2."""
    different = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
    return F.huber_loss(_relative_distance(student)[different], _relative_distance(teacher)[different])


def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """student [B, D_s], teacher [B, D_t] -> scalar: the mean over triplets of different images (sec. 3.2.2). B >= 3.

    Needs memory for B^3 numbers.
    """
    count = len(student)
    same = torch.eye(count, dtype=torch.bool, device=student.device)
    different = ~(same[:, :, None] | same[:, None, :] | same[None, :, :])
    differences = F.huber_loss(_cosines(student), _cosines(teacher), reduction="none")
    return torch.where(different, differences, 0.0).sum() / (count * (count - 1) * (count - 2))


def _relative_distance(x: Tensor) -> Tensor:
    """x [B, D] -> Euclidean distances [B, B] over the mean of all pairs."""
    distance = _distance(x)
    mean = distance.sum() / (len(x) * (len(x) - 1))
    return distance / mean.clamp_min(1e-12)


def _cosines(x: Tensor) -> Tensor:
    """x [B, D] -> [B, B, B]: entry (j, i, k) is the cosine of the angle at x_j between x_i and x_k; 0 where two
    of them coincide, for there is none."""
    with torch.autocast(x.device.type, enabled=False):
        # <x_i - x_j, x_k - x_j> = <x_i, x_k> - <x_i, x_j> - <x_k, x_j> + <x_j, x_j>: one matrix product, where all
        # differences would be B^2 D numbers. Differences do not change when the origin moves; near the points, the
        # products are small and little is lost in subtracting them.
        x = x.float() - x.float().mean(0)
        gram = x @ x.T
    distance = _distance(x)
    # Dividing by infinity leaves coinciding points without a value and, where 0 / 0 would be, without a gradient.
    distance = torch.where(distance > 1e-6 * distance.detach().max(), distance, torch.inf)
    own = gram.diagonal()
    products = gram[None, :, :] - gram[:, :, None] - gram[:, None, :] + own[:, None, None]
    return products / distance[:, :, None] / distance[:, None, :]


def _distance(x: Tensor) -> Tensor:
    # Not by a matrix product: its rounding makes noise of small distances. The gradient at distance 0 is 0.
    return torch.cdist(x.float(), x.float(), compute_mode="donot_use_mm_for_euclid_dist")
