"""Random changes of a batch: none where the amounts are zero, seeded, within their limits, black outside."""

from __future__ import annotations

import math

import pytest
import torch

from components.data.augmentation.policies import AUGMENTATIONS, _affine, none


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _spot(size: int = 33) -> torch.Tensor:
    """A bright square around the centre of a black image."""
    image = torch.zeros(64, 3, size, size)
    middle = size // 2
    image[:, :, middle - 1 : middle + 2, middle - 1 : middle + 2] = 1
    return image


def _centres(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean position of the light of each image, x and y in pixels from the middle."""
    weights = image.mean(1)
    place = torch.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    total = weights.sum((1, 2))
    return (weights.sum(1) * place).sum(1) / total, (weights.sum(2) * place).sum(1) / total


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_shape_and_the_range_are_kept(name):
    image = torch.rand(5, 3, 16, 24)
    found = AUGMENTATIONS[name](image, _generator())
    assert found.shape == image.shape
    assert found.dtype == image.dtype
    assert -1e-6 <= found.min() <= found.max() <= 1 + 1e-6


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_seed_decides(name):
    image = torch.rand(4, 3, 16, 16)
    once, again, other = (AUGMENTATIONS[name](image, _generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert torch.equal(once, other) == (name == "none")


def test_none_is_the_batch_itself():
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(none(image, _generator()), image)


def test_no_amount_changes_nothing():
    image = torch.rand(3, 3, 16, 16)
    found = _affine(image, _generator(), degrees=0, scale=0, shift=0)
    torch.testing.assert_close(found, image, atol=1e-5, rtol=0)


def test_what_comes_in_from_outside_is_black():
    found = _affine(torch.ones(32, 3, 16, 16), _generator(), degrees=0, scale=0, shift=0.25)
    edges = torch.stack([found[..., 0], found[..., -1], found[..., 0, :], found[..., -1, :]])
    assert edges.min() == 0
    assert found[..., 8, 8].min() == pytest.approx(1)


def test_a_shift_stays_within_a_sixteenth_of_the_side_both_ways():
    x, y = _centres(AUGMENTATIONS["shift"](_spot(), _generator()))
    for offset in (x, y):
        assert offset.abs().max() <= 33 / 16 + 0.01
        assert offset.max() > 1
        assert offset.min() < -1


def test_every_image_is_moved_by_its_own_amount():
    x, y = _centres(AUGMENTATIONS["shift"](_spot(), _generator()))
    assert len(set(x.tolist())) > 50
    assert not torch.allclose(x, y)


def test_a_turn_stays_within_its_degrees():
    size = 33
    bar = torch.zeros(64, 1, size, size).expand(64, 3, size, size).clone()
    bar[:, :, 15:18, 4:29] = 1  # a horizontal bar through the centre
    turned = _affine(bar, _generator(), degrees=10, scale=0, shift=0).mean(1)
    place = torch.arange(size) - (size - 1) / 2
    total = turned.sum((1, 2))
    xx = (turned.sum(1) * place**2).sum(1) / total
    yy = (turned.sum(2) * place**2).sum(1) / total
    xy = (turned * place[:, None] * place[None, :]).sum((1, 2)) / total
    degrees = 0.5 * torch.atan2(2 * xy, xx - yy) * 180 / math.pi  # of the bar's main axis
    assert degrees.abs().max() < 10.5
    assert degrees.max() > 7
    assert degrees.min() < -7


def test_scaling_keeps_the_centre_and_changes_each_side_by_itself():
    square = torch.zeros(64, 3, 33, 33)
    square[:, :, 8:25, 8:25] = 1
    found = _affine(square, _generator(), degrees=0, scale=0.1, shift=0)
    x, y = _centres(found)
    assert max(x.abs().max(), y.abs().max()) < 0.05
    wide, high = found[:, 0, 16].sum(1) / 17, found[:, 0, :, 16].sum(1) / 17
    for side in (wide, high):
        assert math.exp(-0.1) - 0.01 < side.min() < 0.93
        assert 1.07 < side.max() < math.exp(0.1) + 0.01
    assert not torch.allclose(wide, high, atol=0.02)
