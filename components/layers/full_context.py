"""Full context embeddings: what an image's features mean depends on the whole support it is seen with.

Vinyals et al., 2016, arXiv:1606.04080, sec. 2.1.2 and appendix A.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FullContext(nn.Module):
    """A bidirectional LSTM over the support, and an LSTM that reads the support by attention for each query.

    `processing_steps`: how often a query reads (the paper's K).
    """

    def __init__(self, num_features: int, processing_steps: int) -> None:
        super().__init__()
        self.processing_steps = processing_steps
        self.over_support = nn.LSTM(num_features, num_features, bidirectional=True)
        # The paper appends what was read to the hidden state. The gates are linear in both and the input, so reading
        # it with the input instead is the same.
        self.over_reads = nn.LSTMCell(2 * num_features, num_features)

    def support(self, features: Tensor) -> Tensor:
        """features [N, D], in the order in which they are read -> [N, D]: forward + backward + features (A.2)."""
        both, _ = self.over_support(features)
        forward, backward = both.chunk(2, dim=1)
        return forward + backward + features

    def query(self, features: Tensor, support: Tensor, taken: Tensor) -> Tensor:
        """features [B, D], support [N, D] from `support`, of which those are read that are `taken` [N] -> [B, D]."""
        hidden, cell = torch.zeros_like(features), torch.zeros_like(features)
        for _ in range(self.processing_steps):
            scores = (hidden @ support.T).masked_fill(~taken, -1e4)
            read = scores.softmax(1) @ support  # eq. 5 and 6
            hidden, cell = self.over_reads(torch.cat([features, read], 1), (hidden, cell))  # eq. 3
            hidden = hidden + features  # eq. 4
        return hidden
