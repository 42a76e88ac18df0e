"""Maximum mean discrepancy with several Gaussian kernels: how far apart two samples' distributions are.

Gretton et al., 2012, JMLR 13 (eq. 3, the unbiased estimate); kernels as in Long et al., 2015, arXiv:1502.02791, sec.
3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from components.losses.distance import squared_distance

MULTIPLIERS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mmd(source: Tensor, target: Tensor, multipliers: Sequence[float] = MULTIPLIERS) -> Tensor:
    """Squared MMD: source [N_s, d], target [N_t, d] -> scalar, about 0 for equal distributions (it may fall below).

    The kernel is the mean over `multipliers` m of exp(-|x - y|^2 / (m * median)), where the median of all squared
    distances between different points sets the scale and is not differentiated. At least two rows on each side.
    """
    count = len(source)
    both = torch.cat([source, target]).float()  # half precision would round the differences away
    distance = squared_distance(both, both)
    different = ~torch.eye(len(both), dtype=torch.bool, device=both.device)
    median = distance.detach()[different].median().clamp_min(1e-12)
    kernel = torch.stack([torch.exp(-distance / (m * median)) for m in multipliers]).mean(0)
    within_source, within_target = kernel[:count, :count], kernel[count:, count:]
    return _mean_off_diagonal(within_source) + _mean_off_diagonal(within_target) - 2 * kernel[:count, count:].mean()


def _mean_off_diagonal(kernel: Tensor) -> Tensor:
    """A point's likeness to itself says nothing about the distribution; leaving it out makes the estimate unbiased."""
    n = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))
