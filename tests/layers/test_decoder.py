"""The decoder: any size, and it can learn an image."""

from __future__ import annotations

import pytest
import torch

from components.layers.decoder import Decoder


@pytest.mark.parametrize("size", [8, 16, 28, 33, 224])
def test_any_size_comes_out(size):
    decoder = Decoder(5, size, channels=2)
    assert decoder(torch.randn(3, 5)).shape == (3, 3, size, size)
    assert decoder.sides[0] <= 8


def test_it_learns_two_images():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 16).expand(3, 16, 16)
    decoder, features, images = Decoder(2, 16), torch.eye(2), torch.stack([ramp, ramp.mT])
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    for _ in range(100):
        loss = torch.nn.functional.mse_loss(decoder(features), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * images.var().item()
