"""Class confusion: how much probability a classifier gives to pairs of different classes at once.

Jin et al., 2020, arXiv:1912.03699, sec. 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.losses.entropy import entropy


def class_confusion(logits: Tensor, *, temperature: float) -> Tensor:
    """logits [B, C] -> scalar in [0, 1): 0 when every answer is certain.

    The paper's four steps: probability rescaling by the temperature; uncertainty reweighting, where certain answers
    count more, with weights that add up to B and are not differentiated; class correlation, of which this is the
    weighted form; category normalisation, after which the mean over classes of what is off the diagonal is lost.
    """
    with torch.autocast(logits.device.type, enabled=False):
        softened = logits.float() / temperature
        probabilities = softened.softmax(1)
        certain = 1 + torch.exp(-entropy(softened.detach()))
        weight = len(logits) * certain / certain.sum()
        confusion = (probabilities * weight[:, None]).T @ probabilities
        confusion = confusion / confusion.sum(1, keepdim=True)
    return (confusion.sum() - confusion.diagonal().sum()) / logits.shape[1]
