"""Images as sequences: what is read in which order, and what becomes of a layer's states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.backbones.recurrent import ImageSequence, Layer, SequenceBackbone, patches, rows
from components.errors import ParamsError


def test_rows_keep_a_row_s_pixels_together():
    image = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    sequence = rows(image)
    assert sequence.shape == (2, 4, 15)
    for row in range(4):
        assert torch.equal(sequence[1, row], image[1, :, row].flatten())


def test_patches_come_in_the_order_of_writing_and_are_filled_with_zeros():
    image = 1 + torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    sequence = patches(image, 2)
    assert sequence.shape == (2, 2 * 3, 3 * 2 * 2)
    assert torch.equal(sequence[1, 1], image[1, :, 0:2, 2:4].flatten())
    assert torch.equal(sequence[1, 3], image[1, :, 2:4, 0:2].flatten())
    beyond = sequence[:, 2].view(2, 3, 2, 2)
    assert torch.equal(beyond[..., 0], image[:, :, 0:2, 4])
    assert not beyond[..., 1].any()


def test_an_lstm_layer_computes_the_paper_s_equations():
    torch.manual_seed(0)
    layer = Layer(3, 2, "lstm", bidirectional=False)
    sequence = torch.randn(1, 4, 3)
    weight_in, weight_hidden, bias_in, bias_hidden = (p.detach().double().numpy() for p in layer.cell.parameters())

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    hidden, state, expected = np.zeros(2), np.zeros(2), []
    for x in sequence[0].double().numpy():
        let_in, forget, new, let_out = np.split(weight_in @ x + weight_hidden @ hidden + bias_in + bias_hidden, 4)
        state = sigmoid(forget) * state + sigmoid(let_in) * np.tanh(new)
        hidden = sigmoid(let_out) * np.tanh(state)
        expected.append(hidden)
    np.testing.assert_allclose(layer(sequence)[0].detach().numpy(), np.stack(expected), atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_forget_gate_starts_open(bidirectional):
    cell = Layer(3, 4, "lstm", bidirectional).cell
    gates = [value for name, value in cell.named_parameters() if name.startswith("bias_ih")]
    assert len(gates) == 1 + bidirectional
    for bias in gates:
        assert torch.equal(bias[4:8], torch.ones(4))
        assert not torch.equal(bias[:4], torch.ones(4))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_last_state_of_each_direction_has_seen_everything(cell):
    torch.manual_seed(0)
    backbone = SequenceBackbone(3, cell=cell, width=4, layers=1, bidirectional=True).eval()
    sequence = torch.randn(2, 6, 3)
    backwards = SequenceBackbone(3, cell=cell, width=4, layers=1, bidirectional=True).eval()
    # With the directions' weights exchanged, the reversed sequence gives the halves exchanged.
    own = backbone.state_dict()
    other = {
        name: own[name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"]
        for name in own
        if name.startswith("layers")
    }
    backwards.load_state_dict({**own, **other})
    features, reversed_features = backbone(sequence), backwards(sequence.flip(1))
    torch.testing.assert_close(features[:, :4], reversed_features[:, 4:])
    torch.testing.assert_close(features[:, 4:], reversed_features[:, :4])
    for step in range(6):
        changed = sequence.clone()
        changed[:, step] += 1
        assert ((backbone(changed) - features).abs().view(2, 2, 4).amax((0, 2)) > 1e-6).all()


def test_the_mean_is_over_time():
    torch.manual_seed(0)
    backbone = SequenceBackbone(3, width=4, layers=2, summary="mean")
    seen = []
    backbone.layers[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    features = backbone(torch.randn(2, 6, 3))
    torch.testing.assert_close(features, seen[0].mean(1))


def test_sequences_of_any_length_are_read():
    backbone = SequenceBackbone(3, width=4, layers=1)
    assert [backbone(torch.randn(2, length, 3)).shape for length in (1, 5, 9)] == [(2, 4)] * 3


def test_sizes_that_are_no_whole_number_of_patches_are_read():
    for size in (28, 30, 32):
        backbone = ImageSequence(read="patches", size=size, width=4, layers=1)
        assert backbone(torch.zeros(2, 3, size, size)).shape == (2, 4)
    assert ImageSequence(read="patches", size=28, patch=7).patch == 7


@pytest.mark.parametrize(
    ("given", "message"),
    [({"cell": "lstn"}, "'lstm'"), ({"summary": "max"}, "last, mean"), ({"layers": 0}, "at least 1")],
)
def test_what_there_is_not_is_refused(given, message):
    with pytest.raises(ParamsError, match=message):
        SequenceBackbone(3, **given)
