"""What a domain discriminator loses: cross-entropy of telling the source from the target.

Ganin et al., 2016, arXiv:1505.07818, eq. 9; Tzeng et al., 2017, arXiv:1702.05464, eq. 2.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def domain_cross_entropy(
    *, source: Tensor, target: Tensor, source_weight: Tensor | None = None, target_weight: Tensor | None = None
) -> Tensor:
    """Logits for "source": source [N_s], target [N_t] -> scalar, the sum of both domains' means:
    -mean(log D(source)) - mean(log(1 - D(target))). 2 log 2 for a discriminator that knows nothing.

    Weights [N_s] and [N_t] make the means weighted ones; what they add up to is not differentiated.
    """
    return _weighted_mean(F.softplus(-source.float()), source_weight) + _weighted_mean(
        F.softplus(target.float()), target_weight
    )


def _weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    return values.mean() if weight is None else (weight * values).sum() / weight.sum().detach()
