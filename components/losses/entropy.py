"""Shannon entropy of a classifier's answers: how undecided it is."""

from __future__ import annotations

from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """[B, C] -> [B] in nats, between 0 and log C."""
    log_probabilities = logits.float().log_softmax(1)
    return -(log_probabilities.exp() * log_probabilities).sum(1)
