"""Vinyals et al.'s appendix A, step by step with the weights of the module."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.layers.full_context import FullContext

EVERY = torch.ones(4, dtype=torch.bool)


@pytest.fixture
def context() -> FullContext:
    torch.manual_seed(0)
    return FullContext(3, processing_steps=2).double()


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _lstm_step(x, hidden, cell, weights):
    """An LSTM's gates, in torch's order: input, forget, candidate, output."""
    w_x, w_h, b_x, b_h = (weight.detach().numpy() for weight in weights)
    i, f, g, o = np.split(w_x @ x + b_x + w_h @ hidden + b_h, 4)
    cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(cell), cell


def test_the_support_is_read_both_ways(context):
    support = torch.randn(4, 3).double()
    lstm = context.over_support
    kinds = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    expected = support.numpy().copy()
    for suffix, order in (("", range(4)), ("_reverse", reversed(range(4)))):
        hidden, cell = np.zeros(3), np.zeros(3)
        for place in order:
            weights = [getattr(lstm, kind + suffix) for kind in kinds]
            hidden, cell = _lstm_step(support[place].numpy(), hidden, cell, weights)
            expected[place] += hidden
    np.testing.assert_allclose(context.support(support).detach().numpy(), expected, atol=1e-12)


def test_a_query_reads_the_support_by_attention(context):
    query, support = torch.randn(1, 3).double(), torch.randn(4, 3).double()
    cell_of = context.over_reads
    weights = (cell_of.weight_ih, cell_of.weight_hh, cell_of.bias_ih, cell_of.bias_hh)
    x, g = query[0].numpy(), support.numpy()
    hidden, cell = np.zeros(3), np.zeros(3)
    for _ in range(2):
        scores = np.exp(g @ hidden)
        read = (scores / scores.sum()) @ g
        hidden, cell = _lstm_step(np.concatenate([x, read]), hidden, cell, weights)
        hidden = hidden + x
    np.testing.assert_allclose(context.query(query, support, EVERY).detach().numpy()[0], hidden, atol=1e-12)


def test_places_that_hold_nothing_are_not_read(context):
    query, support = torch.randn(5, 3).double(), torch.randn(4, 3).double()
    padded = torch.cat([support[:2], 100 * torch.ones(2, 3).double(), support[2:]])
    taken = torch.tensor([True, True, False, False, True, True])
    torch.testing.assert_close(context.query(query, padded, taken), context.query(query, support, EVERY))


def test_without_steps_a_query_would_not_know_the_support(context):
    query, support = torch.randn(5, 3).double(), torch.randn(4, 3).double()
    assert not torch.allclose(context.query(query, support, EVERY), context.query(query, -support, EVERY))
