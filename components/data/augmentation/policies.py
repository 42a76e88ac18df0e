"""Random changes of a training batch, made on the batch's device.

Each is `(image [B, 3, H, W] float in [0, 1], generator) -> image of the same shape`, before normalisation. The random
numbers are drawn on the CPU, so a seed means the same images on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from components.data.augmentation import colour
from components.data.augmentation.geometry import warp
from components.data.augmentation.random_policies import rand, trivial


def none(image: Tensor, generator: Generator) -> Tensor:
    """The batch as it is."""
    return image


def _affine(
    image: Tensor, generator: Generator, *, degrees: float, scale: float, shift: float, mirror: bool = False
) -> Tensor:
    """Every image turned, scaled (each side by itself) and shifted by its own random amounts, uniform within plus and
    minus the limits; `shift` is a share of the side; with `mirror` every second one on average has its left on the
    right. One bilinear resampling does it all; what comes in from outside is black."""
    turn, wide, high, x, y = (2 * torch.rand(5, len(image), generator=generator) - 1).unbind()
    angle, wide, high = turn * math.radians(degrees), torch.exp(wide * scale), torch.exp(high * scale)
    if mirror:
        wide = torch.where(torch.rand(len(image), generator=generator) < 0.5, -wide, wide)
    # affine_grid works in coordinates that run from -1 to 1, so a shift of one side is 2.
    rows = [
        torch.stack([torch.cos(angle) * wide, -torch.sin(angle) * high, 2 * x * shift], 1),
        torch.stack([torch.sin(angle) * wide, torch.cos(angle) * high, 2 * y * shift], 1),
    ]
    return warp(image, torch.stack(rows, 1))


def shift(image: Tensor, generator: Generator) -> Tensor:
    """Moved by up to 1/16 of the side."""
    return _affine(image, generator, degrees=0, scale=0, shift=1 / 16)


def light(image: Tensor, generator: Generator) -> Tensor:
    """Turned by up to 10 degrees, scaled by up to 10 %, moved by up to 1/16 of the side."""
    return _affine(image, generator, degrees=10, scale=0.1, shift=1 / 16)


def strong(image: Tensor, generator: Generator) -> Tensor:
    """Turned by up to 15 degrees, scaled by up to 40 %, moved by up to 1/8 of the side: for domains that frame their
    objects differently."""
    return _affine(image, generator, degrees=15, scale=math.log(1.4), shift=1 / 8)


def flip(image: Tensor, generator: Generator) -> Tensor:
    """Mirrored or not, scaled by up to 10 %, moved by up to 1/16 of the side: for photographs of things that look the
    same from either side."""
    return _affine(image, generator, degrees=0, scale=0.1, shift=1 / 16, mirror=True)


def appearance(image: Tensor, generator: Generator) -> Tensor:
    """`light`, and then another look: for images that may come to look otherwise than those that are trained on.

    Each is inverted or not (an operation of AutoAugment: Cubuk et al., 2019, arXiv:1805.09501, table 6), its contrast
    and brightness change by up to 50 % and 30 %, and it is blurred by a random amount (SimCLR's other strong changes
    beside the crop: Chen et al., 2020, arXiv:2002.05709, appendix A; here two mean filters stand for a Gaussian).
    """
    return _recoloured(light(image, generator), generator)


def _recoloured(image: Tensor, generator: Generator) -> Tensor:
    inverted, contrast, brightness, blur = torch.rand(4, len(image), generator=generator).to(image.device).unbind()
    image = colour.invert(image, (inverted < 0.5).to(image.dtype))
    image = colour.contrast(image, 0.5 + contrast)
    image = colour.brightness(image, 0.7 + 0.6 * brightness)
    return colour.blur(image, blur)


AUGMENTATIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "none": none,
    "shift": shift,
    "light": light,
    "strong": strong,
    "flip": flip,
    "appearance": appearance,
    "trivial_augment": lambda image, generator: trivial(flip(image, generator), generator),
    "rand_augment": lambda image, generator: rand(flip(image, generator), generator),
}
"""The last two as in their papers: on top of what is done to photographs anyway."""

OF_PARTS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "flip": none,
    "trivial_augment": trivial,
    "rand_augment": rand,
}
"""What is left to do of the policies for photographs where `random_part` has moved and mirrored the images already: it
costs a fraction of a resampling, and needs images that are stored larger than the network sees them."""
