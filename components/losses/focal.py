"""Cross-entropy of classes, and its variants for classes of different sizes: weighted, and focal.

Lin et al., 2017, arXiv:1708.02002, eq. 5: FL(p_t) = -alpha_t (1 - p_t)^gamma log(p_t), which is the cross-entropy at
gamma 0, here of a softmax's probabilities. Class weights as in King & Zeng, 2001, "Logistic regression in rare events
data", Political Analysis 9, sec. 4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def focal_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 0.0,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """logits [B, C], labels [B] int64 or, as probabilities, [B, C] float; class_weights [C] -> scalar:
    -1/B * sum over images b and classes c of w_c y_bc (1 - p_bc)^gamma log(p_bc).

    For a label that is a probability, each class has its share of its own term. `label_smoothing` takes this share of
    every label and spreads it over all classes. The sum is divided by the number of images and not by their weights:
    weights whose mean over all images is 1 leave the loss as large as it was, and a batch with an image of a rare class
    counts more than one without.
    """
    logits = logits.float()
    if gamma == 0 and class_weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    count = logits.shape[1]
    share = labels if labels.is_floating_point() else F.one_hot(labels, count)
    share = share * (1 - label_smoothing) + label_smoothing / count
    log_probabilities = logits.log_softmax(1)
    # A power below 1 has an infinite slope where nothing is left to learn: there, the constant has none.
    wrong = (-torch.expm1(log_probabilities)).clamp_min(torch.finfo(logits.dtype).tiny)
    terms = share * wrong**gamma * -log_probabilities
    return (terms if class_weights is None else terms * class_weights).sum() / len(logits)


def balanced_class_weights(counts: Tensor) -> Tensor:
    """Images of each class [C] -> weights [C], n / (C n_c): all classes together weigh alike, and the mean over the
    images is 1. A class without images is not counted, and weighs nothing."""
    counts = counts.double()
    present = counts > 0
    return torch.where(present, counts.sum() / (present.sum() * counts.clamp_min(1)), 0.0).float()
