"""CORAL: the distance between the second-order statistics of two samples.

Sun & Saenko, 2016, arXiv:1607.01719, eq. 1-3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def covariance(x: Tensor) -> Tensor:
    """[N, d] -> [d, d], the unbiased estimate: (x'x - (1'x)'(1'x) / N) / (N - 1). At least two rows."""
    # Centred first: the same number as the paper's difference of two large sums, without their rounding.
    centred = x - x.mean(0)
    return centred.T @ centred / (len(x) - 1)


def coral(*, source: Tensor, target: Tensor) -> Tensor:
    """source [N_s, d], target [N_t, d] -> scalar |C_s - C_t|^2 / (4 d^2), the norm being Frobenius's."""
    with torch.autocast(source.device.type, enabled=False):
        difference = covariance(source.float()) - covariance(target.float())
    return difference.square().sum() / (4 * source.shape[1] ** 2)
