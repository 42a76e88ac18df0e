"""Every operation of TrivialAugment and RandAugment is torchvision's on one image; each image has its own."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as V

from components.data.augmentation import random_policies
from components.data.augmentation.geometry import random_part
from components.data.augmentation.policies import AUGMENTATIONS, OF_PARTS
from components.data.augmentation.random_policies import OPERATIONS, STRENGTHS, WIDE, narrow, rand, trivial

BILINEAR = InterpolationMode.BILINEAR


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """Three pictures, uint8 [3, 3, 40, 48], smooth like photographs."""
    coarse = torch.randint(0, 256, (3, 3, 6, 7), generator=torch.Generator().manual_seed(0)).float()
    return F.interpolate(coarse, (40, 48), mode="bicubic").clamp(20, 230).round().to(torch.uint8)


def _shear(image, *degrees):
    return V.affine(image, 0.0, [0, 0], 1.0, list(degrees), interpolation=BILINEAR, center=[0, 0])


def _translate(image, *way):
    return V.affine(image, 0.0, list(way), 1.0, [0.0, 0.0], interpolation=BILINEAR)


# torchvision's on a float image for what is continuous, on a uint8 image for what is defined on whole grey levels.
THEIRS = {
    "shear_x": lambda image, amount: _shear(image / 255, math.degrees(math.atan(amount)), 0.0),
    "shear_y": lambda image, amount: _shear(image / 255, 0.0, math.degrees(math.atan(amount))),
    "translate_x": lambda image, amount: _translate(image / 255, amount, 0),
    "translate_y": lambda image, amount: _translate(image / 255, 0, amount),
    "rotate": lambda image, amount: V.rotate(image / 255, amount, interpolation=BILINEAR),
    "brightness": lambda image, amount: V.adjust_brightness(image / 255, 1 + amount),
    "saturation": lambda image, amount: V.adjust_saturation(image / 255, 1 + amount),
    "contrast": lambda image, amount: V.adjust_contrast(image / 255, 1 + amount),
    "sharpness": lambda image, amount: V.adjust_sharpness(image / 255, 1 + amount),
    "posterize": lambda image, amount: V.posterize(image, amount) / 255,
    "solarize": lambda image, amount: V.solarize(image, amount) / 255,
    "autocontrast": lambda image, amount: V.autocontrast(image / 255),
    "equalize": lambda image, amount: V.equalize(image) / 255,
    "identity": lambda image, amount: image / 255,
}
AMOUNTS = {
    "translate_x": (7, -5, 32),
    "translate_y": (7, -5, 32),
    "rotate": (30.0, -110.0, 135.0),
    "posterize": (2, 5, 8),
    "solarize": (0, 100, 255),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_torchvision_s_with_each_image_at_its_own_amount(name, pixels):
    amounts = AMOUNTS.get(name, (0.3, -0.5, 0.99))
    image = pixels.float() / 255
    # As a batch comes from `crop`, with its channels last.
    found = OPERATIONS[name](image.contiguous(memory_format=torch.channels_last), torch.tensor(amounts).float())
    for number, amount in enumerate(amounts):
        expected = THEIRS[name](pixels[number], amount)
        # Both resample bilinearly: what differs is the order in which coordinates are rounded.
        torch.testing.assert_close(found[number], expected, rtol=0, atol=3e-5)


def test_what_has_nothing_to_stretch_stays():
    flat = torch.full((1, 3, 8, 8), 0.4)
    for name in ("autocontrast", "equalize"):
        torch.testing.assert_close(OPERATIONS[name](flat, torch.zeros(1)), flat)


def test_equalize_counts_a_small_image_as_too_few_pixels(pixels):
    small = pixels[:1, :, :8, :8]  # at most 64 pixels are not of the brightest level: a step would be 0
    expected = V.equalize(small) / 255
    torch.testing.assert_close(OPERATIONS["equalize"](small / 255, torch.zeros(1)), expected)


SPACES = {
    "trivial_augment": (WIDE, v2.TrivialAugmentWide()._AUGMENTATION_SPACE, range(STRENGTHS)),
    "rand_augment": (narrow(40), v2.RandAugment()._AUGMENTATION_SPACE, range(STRENGTHS)),
}
NAMES = {"translate_x": "TranslateX", "translate_y": "TranslateY", "shear_x": "ShearX", "shear_y": "ShearY",
         "autocontrast": "AutoContrast", "saturation": "Color"}  # fmt: skip


@pytest.mark.parametrize("policy", SPACES)
def test_the_space_is_torchvision_s(policy):
    own, theirs, strengths = SPACES[policy]
    assert set(own) == set(OPERATIONS)
    assert {NAMES.get(name, name.title()) for name in own} == set(theirs)
    for name, (low, high, signed) in own.items():
        magnitudes, with_sign = theirs[NAMES.get(name, name.title())]
        values = magnitudes(STRENGTHS, 40, 40)
        assert with_sign == signed
        unit = 255 if name == "solarize" else 1  # theirs is a share of full
        for strength in strengths if values is not None else ():
            found = low + (high - low) * strength / (STRENGTHS - 1)
            expected = unit * float(values[strength])
            assert (round(found) if name == "posterize" else found) == pytest.approx(expected, abs=1e-4)


def test_every_image_has_its_own_operation(pixels):
    image = (pixels[:1].float() / 255).expand(400, -1, -1, -1)
    found = trivial(image, torch.Generator().manual_seed(0))
    same = [bool(torch.equal(one, image[0])) for one in found]
    # Identity is one of 14 operations; strength 0, one of 31, changes nothing either.
    assert 0.05 < sum(same) / 400 < 0.2
    assert len({round(float(one.sum()), 2) for one in found}) > 150


def test_rand_augment_does_two_operations_at_one_strength(monkeypatch):
    seen = []

    def note(image, amount):
        seen.append((len(image), set(amount.tolist())))
        return image

    monkeypatch.setattr(random_policies, "OPERATIONS", {"rotate": note, "solarize": note})
    monkeypatch.setattr(random_policies, "identity", None)
    rand(torch.rand(64, 3, 8, 8), torch.Generator().manual_seed(0))
    assert sum(count for count, _ in seen) == 2 * 64
    assert [{round(value, 3) for value in values} for _, values in seen] == [{-9.0, 9.0}, {178.5}] * 2


def test_flip_mirrors_too_and_the_digits_policies_never_do():
    bar = torch.zeros(200, 3, 32, 32)
    bar[:, :, :, 4:10] = 1
    right = {
        name: (policy(bar, torch.Generator().manual_seed(0))[:, 0, 16, 16:].sum(1) > 3).sum().item()
        for name, policy in AUGMENTATIONS.items()
        if name not in ("trivial_augment", "rand_augment", "appearance")  # a negative is bright on both sides
    }
    assert 70 < right.pop("flip") < 130
    assert set(right.values()) == {0}


def test_a_random_part_is_a_square_anywhere_in_the_image_either_way_round():
    y, x = torch.meshgrid(torch.arange(10), torch.arange(10), indexing="ij")
    pixels = torch.stack([y, x, y + x], 2).to(torch.uint8).expand(300, -1, -1, -1)
    parts = random_part(pixels, 7, torch.Generator().manual_seed(0))
    assert parts.shape == (300, 7, 7, 3)
    seen = []
    for part in parts:
        turned = bool(part[0, 0, 1] > part[0, 1, 1])
        top, left = part.flip(1)[0, 0, :2].tolist() if turned else part[0, 0, :2].tolist()
        expected = pixels[0, top : top + 7, left : left + 7]
        assert torch.equal(part, expected.flip(1) if turned else expected)
        seen.append((top, left, turned))
    assert {corner[:2] for corner in seen} == {(top, left) for top in range(4) for left in range(4)}
    assert 110 < sum(turned for _, _, turned in seen) < 190


def test_every_policy_of_parts_is_a_policy():
    assert set(OF_PARTS) <= set(AUGMENTATIONS)
