"""Images of a batch recoloured, each by its own amount, on the batch's device.

Each is `(image [n, 3, H, W] float in [0, 1], amount [n]) -> the same shape`, and, but for `blur`, what Pillow's
ImageEnhance and ImageOps do to one image. What they define on whole grey levels is done on the nearest of the 256.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.2989, 0.587, 0.114)
"""What red, green and blue are worth in grey (ITU-R BT.601, as torchvision has them)."""


def brightness(image: Tensor, factor: Tensor) -> Tensor:
    """0: black; 1: the image."""
    return (image * factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def saturation(image: Tensor, factor: Tensor) -> Tensor:
    """0: grey; 1: the image."""
    red, green, blue = image.unbind(1)
    grey = (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return _blend(image, grey[:, None], factor)


def contrast(image: Tensor, factor: Tensor) -> Tensor:
    """0: the mean of its grey everywhere; 1: the image."""
    return _blend(image, (image.mean((2, 3)) @ image.new_tensor(LUMA)).view(-1, 1, 1, 1), factor)


def sharpness(image: Tensor, factor: Tensor) -> Tensor:
    """0: smoothed by a 3 x 3 kernel, but for the edge; 1: the image."""
    kernel = image.new_ones(3, 1, 3, 3)
    kernel[:, :, 1, 1] = 5
    smooth = image.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(image, kernel / 13, groups=3)
    return _blend(image, smooth, factor)


def posterize(image: Tensor, bits: Tensor) -> Tensor:
    """So many of a grey level's eight bits are kept."""
    step = 2.0 ** (8 - bits.view(-1, 1, 1, 1))
    return _levels(image).div_(step).floor_().mul_(step / 255)


def solarize(image: Tensor, threshold: Tensor) -> Tensor:
    """Grey levels from the threshold (of 256) on are inverted."""
    return torch.where(image >= (threshold.view(-1, 1, 1, 1) - 0.5) / 255, 1 - image, image)


def autocontrast(image: Tensor, amount: Tensor) -> Tensor:
    """Each channel stretched until its darkest value is black and its brightest full; a channel of one value stays."""
    low, high = (end[..., None, None] for end in image.contiguous().flatten(2).aminmax(dim=2))
    flat = high == low
    scale = torch.where(flat, 1, 1 / (high - low))
    return (image - torch.where(flat, 0, low)).mul_(scale)


def invert(image: Tensor, amount: Tensor) -> Tensor:
    """0: the image; 1: its negative."""
    return torch.lerp(image, 1 - image, amount.view(-1, 1, 1, 1))


def blur(image: Tensor, amount: Tensor) -> Tensor:
    """0: the image; 1: smoothed twice by the mean of 3 x 3 pixels, of which at the edge those count that are there."""
    smooth = image
    for side in (2, 3, 2, 3):
        smooth = _mean_of_three(smooth, side)
    return _blend(image, smooth, 1 - amount)


def _mean_of_three(image: Tensor, side: int) -> Tensor:
    """Each pixel and its two neighbours along a side: in a quarter of the time that a pooling layer takes."""
    before, after = (image.narrow(side, first, image.shape[side] - 1) for first in (0, 1))
    found = image.clone()
    found.narrow(side, 1, before.shape[side]).add_(before)
    found.narrow(side, 0, after.shape[side]).add_(after)
    found.div_(3)
    for edge in (0, -1):
        found.select(side, edge).mul_(1.5)  # of two
    return found


def equalize(image: Tensor, amount: Tensor) -> Tensor:
    """Each channel's grey levels spread so that its histogram becomes as even as it can; what has too few of them
    stays."""
    count, pixels = image.shape[0] * image.shape[1], image.shape[2] * image.shape[3]
    channel = 256 * torch.arange(count, device=image.device, dtype=torch.int32)
    levels = _levels(image).to(torch.int32) + channel.view(*image.shape[:2], 1, 1)
    histogram = torch.bincount(levels.flatten(), minlength=256 * count).view(count, 256)
    # Pillow: the brightest level's pixels do not count, and a step is the 255th part of the others.
    brightest = 255 - histogram.flip(1).gt(0).int().argmax(1, keepdim=True)
    step = (pixels - histogram.gather(1, brightest)) // 255
    below = histogram.cumsum(1) - histogram
    table = ((below + step // 2) // step.clamp_min(1)).clamp_max(255) / 255
    kept = torch.arange(256, device=image.device) / 255
    table = torch.where(step == 0, kept, table).flatten()
    return table.index_select(0, levels.flatten()).view(image.shape)


def _blend(image: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """From the other image, at 0, over the image, at 1, and on; cut off at black and full."""
    return torch.lerp(other, image, factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def _levels(image: Tensor) -> Tensor:
    """Whole numbers from 0 to 255."""
    return (image * 255).round_()
