"""TrivialAugment and RandAugment: operations drawn at random for each image of a batch, at random or at one strength.

Müller & Hutter, 2021, arXiv:2103.10158, sec. 3, with its "wide" space: one operation, at a strength drawn from
31. Cubuk et al., 2020, arXiv:1909.13719, sec. 3: two operations, one after the other, at one strength, here 9 of 30.
Spaces and numbers are those that torchvision has made of both papers; turning is about the centre and shearing about
the upper left corner, as there.

All images of a batch that drew the same operation are changed together, each at its own strength.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from components.data.augmentation import colour
from components.data.augmentation.geometry import warp

STRENGTHS = 31


def shear_x(image: Tensor, amount: Tensor) -> Tensor:
    """Rows moved to the left by `amount` pixels for each row below the first."""
    # In coordinates from -1 to 1, with the upper left corner of the image as what stays.
    slope = amount * image.shape[2] / image.shape[3]
    return _move(image, x_of_y=slope, x=slope)


def shear_y(image: Tensor, amount: Tensor) -> Tensor:
    """Columns moved up by `amount` pixels for each column right of the first."""
    slope = amount * image.shape[3] / image.shape[2]
    return _move(image, y_of_x=slope, y=slope)


def translate_x(image: Tensor, amount: Tensor) -> Tensor:
    """Moved to the right by so many pixels."""
    return _move(image, x=-2 * amount / image.shape[3])


def translate_y(image: Tensor, amount: Tensor) -> Tensor:
    """Moved down by so many pixels."""
    return _move(image, y=-2 * amount / image.shape[2])


def rotate(image: Tensor, degrees: Tensor) -> Tensor:
    """Turned against the clock about the centre."""
    angle = degrees * math.pi / 180
    height, width = image.shape[2:]
    sin, cos = angle.sin(), angle.cos()
    return _move(image, x_of_x=cos, x_of_y=-sin * height / width, y_of_x=sin * width / height, y_of_y=cos)


def identity(image: Tensor, amount: Tensor) -> Tensor:
    return image


def _move(image: Tensor, **entries: Tensor) -> Tensor:
    """Where each new pixel comes from: x = x_of_x * x' + x_of_y * y' + x, and the same for y; what is not given is that
    of no change."""
    one, zero = image.new_ones(len(image)), image.new_zeros(len(image))
    same = {"x_of_x": one, "x_of_y": zero, "x": zero, "y_of_x": zero, "y_of_y": one, "y": zero}
    matrix = torch.stack([entries.get(key, value) for key, value in same.items()], 1)
    return warp(image, matrix.view(-1, 2, 3))


Operation = Callable[[Tensor, Tensor], Tensor]
Range = tuple[float, float, bool]
"""Amount at the lowest and at the highest strength, and whether either sign is meant."""

OPERATIONS: dict[str, Operation] = {
    "identity": identity,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
    "rotate": rotate,
    "brightness": lambda image, amount: colour.brightness(image, 1 + amount),
    "saturation": lambda image, amount: colour.saturation(image, 1 + amount),
    "contrast": lambda image, amount: colour.contrast(image, 1 + amount),
    "sharpness": lambda image, amount: colour.sharpness(image, 1 + amount),
    "posterize": lambda image, amount: colour.posterize(image, amount.round()),
    "solarize": colour.solarize,
    "autocontrast": colour.autocontrast,
    "equalize": colour.equalize,
}

UNSIGNED = {
    "identity": (0.0, 0.0, False),
    "solarize": (255.0, 0.0, False),
    "autocontrast": (0.0, 0.0, False),
    "equalize": (0.0, 0.0, False),
}
WIDE: dict[str, Range] = {
    **dict.fromkeys(("shear_x", "shear_y", "brightness", "saturation", "contrast", "sharpness"), (0.0, 0.99, True)),
    **dict.fromkeys(("translate_x", "translate_y"), (0.0, 32.0, True)),
    "rotate": (0.0, 135.0, True),
    "posterize": (8.0, 2.0, False),
    **UNSIGNED,
}


def narrow(side: int) -> dict[str, Range]:
    """RandAugment's space for images of so many pixels on a side."""
    return {
        **dict.fromkeys(("shear_x", "shear_y"), (0.0, 0.3, True)),
        **dict.fromkeys(("translate_x", "translate_y"), (0.0, 150 / 331 * side, True)),
        **dict.fromkeys(("brightness", "saturation", "contrast", "sharpness"), (0.0, 0.9, True)),
        "rotate": (0.0, 30.0, True),
        "posterize": (8.0, 4.0, False),
        **UNSIGNED,
    }


def trivial(image: Tensor, generator: Generator) -> Tensor:
    """One operation for each image, at any strength."""
    strength = torch.randint(STRENGTHS, (len(image),), generator=generator) / (STRENGTHS - 1)
    return _one_each(image, WIDE, strength, generator)


def rand(image: Tensor, generator: Generator, *, count: int = 2, strength: int = 9) -> Tensor:
    """`count` operations for each image, at one `strength` of 30."""
    for _ in range(count):
        same = torch.full((len(image),), strength / (STRENGTHS - 1))
        image = _one_each(image, narrow(image.shape[3]), same, generator)
    return image


def _one_each(image: Tensor, space: Mapping[str, Range], strength: Tensor, generator: Generator) -> Tensor:
    drawn = torch.randint(len(OPERATIONS), (len(image),), generator=generator)
    sign = 1.0 - 2.0 * torch.randint(2, (len(image),), generator=generator)
    changed = image.clone()
    for number, (name, operation) in enumerate(OPERATIONS.items()):
        rows = torch.nonzero(drawn == number)[:, 0]
        if len(rows) and operation is not identity:
            low, high, signed = space[name]
            amount = low + (high - low) * strength[rows]
            amount = amount * sign[rows] if signed else amount
            rows = rows.to(image.device)
            changed[rows] = operation(image[rows], amount.to(image.device, image.dtype))
    return changed
