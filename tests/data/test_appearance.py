"""The policy for images that may come to look otherwise: each of its changes worked out by hand, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy import ndimage

from components.data.augmentation import colour
from components.data.augmentation.policies import AUGMENTATIONS, _recoloured, light


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_inverted_is_pillow_s_negative_and_each_image_has_its_own_amount():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    found = colour.invert(image, torch.tensor([0.0, 1.0, 0.5]))
    negative = np.asarray(ImageOps.invert(Image.fromarray(pixels[1]))).transpose(2, 0, 1)
    torch.testing.assert_close(found[0], image[0])
    torch.testing.assert_close((found[1] * 255).round(), torch.from_numpy(negative.copy()).float())
    torch.testing.assert_close(found[2], torch.full((3, 5, 4), 0.5))  # half the way to the negative is grey


def test_a_point_is_blurred_into_a_pyramid_and_the_edge_divides_by_what_is_there():
    point = torch.zeros(2, 3, 7, 7)
    point[:, :, 3, 3] = 1
    found = colour.blur(point, torch.tensor([1.0, 0.5]))
    pyramid = torch.tensor([0, 1, 2, 3, 2, 1, 0.0]) / 9  # [1, 1, 1] * [1, 1, 1], each a third
    torch.testing.assert_close(found[0, 0], torch.outer(pyramid, pyramid))
    torch.testing.assert_close(found[1], 0.5 * found[0] + 0.5 * point[1])
    # In a corner 4 of 9 pixels count, beside it 6. Once: [1/4, 1/6; 1/6, 1/9]; twice, in the corner, their mean.
    corner = torch.zeros(1, 3, 5, 5)
    corner[:, :, 0, 0] = 1
    assert colour.blur(corner, torch.ones(1))[0, 0, 0, 0] == pytest.approx((1 / 4 + 1 / 6 + 1 / 6 + 1 / 9) / 4)


def test_blur_is_scipy_s_mean_filter_twice_and_keeps_a_flat_image():
    image = torch.rand(1, 3, 9, 12, generator=_generator())
    found = colour.blur(image, torch.ones(1))[0]
    for channel in range(3):
        expected = image[0, channel].double().numpy()
        for _ in range(2):
            counted = ndimage.uniform_filter(np.ones_like(expected), 3, mode="constant")
            expected = ndimage.uniform_filter(expected, 3, mode="constant") / counted
        np.testing.assert_allclose(found[channel].numpy(), expected, atol=1e-6)
    torch.testing.assert_close(colour.blur(torch.full((1, 3, 6, 6), 0.3), torch.ones(1)), torch.full((1, 3, 6, 6), 0.3))


def test_every_second_image_on_average_is_a_negative_and_none_is_as_it_was():
    halves = torch.full((400, 3, 8, 32), 0.45)
    halves[:, :, :, 16:] = 0.55
    found = _recoloured(halves, _generator())
    negatives = int((found[:, 0, 4, 24] < found[:, 0, 4, 8]).sum())
    assert 160 < negatives < 240  # 200 and four standard deviations
    assert len({round(level, 6) for level in found[:, 0, 4, 24].tolist()}) > 350, "images have amounts in common"


def test_contrast_brightness_and_blur_stay_within_their_limits():
    """Of one grey, only brightness changes anything: 0.7 to 1.3 times. Of two greys, their difference is stretched by
    contrast times brightness, 0.5 * 0.7 to 1.5 * 1.3; the
    step between them is blurred to a third of it: 0, 0, 1/9, 1/3, 2/3, 8/9, 1, 1."""
    levels = _recoloured(torch.full((500, 3, 8, 8), 0.5), _generator())[:, 0, 4, 4]
    assert 0.35 - 1e-6 < levels.min() < 0.36
    assert 0.64 < levels.max() < 0.65 + 1e-6
    halves = torch.full((4000, 3, 8, 32), 0.45)
    halves[:, :, :, 16:] = 0.55
    found = _recoloured(halves, _generator(1))[:, 0, 4]
    apart = (found[:, 24] - found[:, 8]).abs()
    assert 0.035 - 1e-6 < apart.min() < 0.038
    assert 0.188 < apart.max() < 0.195 + 1e-6
    steep = (found[:, 16] - found[:, 15]).abs() / apart  # 1 where nothing is blurred, 1/3 where all is
    assert 1 / 3 - 1e-4 < steep.min() < 0.35
    assert 0.98 < steep.max() < 1 + 1e-4


def test_it_moves_as_light_does():
    """The places are drawn first, with light's own numbers: a generator in the same state moves both alike."""
    image = torch.zeros(64, 3, 32, 32)
    image[:, :, 12:20, 12:20] = 1
    plain, other = light(image, _generator(3)), AUGMENTATIONS["appearance"](image, _generator(3))
    place = torch.arange(32.0)
    whites = plain.mean(1).sum(1) @ place / plain.mean(1).sum((1, 2))
    background = other[:, :, :1, :1]
    shape = (other - background).abs().mean(1)
    found = shape.sum(1) @ place / shape.sum((1, 2))
    assert (found - whites).abs().median() < 0.1
