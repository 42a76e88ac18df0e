"""Losses of several tasks, weighed by the noise that each task is learned to have.

Kendall et al., 2018, arXiv:1705.07115, eq. 10, its classification terms: L / sigma^2 + log(sigma) for each task.
"""

from __future__ import annotations

from torch import Tensor


def uncertainty(loss: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """loss scalar, log_variance scalar s = log(sigma^2) -> the weighted loss exp(-s) * loss, and the price s / 2 of
    calling a task noisy. Their sum is smallest at exp(s) = 2 * loss.

    The logarithm is what is learned: any number will do for it, where a variance must stay above 0 (sec. 3.2).
    """
    return (-log_variance).exp() * loss, log_variance / 2
