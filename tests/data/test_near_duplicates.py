"""The same picture in another file is found, another picture is not: counted on the handwritten digits."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from components.data import near_duplicates
from components.data.near_duplicates import edges, thumbnails
from components.params import PrepareParams

THRESHOLD = PrepareParams().near_duplicate_similarity


def closest(images: np.ndarray, others: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Of thumbnails in two arrays, turned round: the first are the last in the file."""
    numbers = np.arange(len(images) + len(others))
    both = np.concatenate([others, images])
    return near_duplicates.closest(both, numbers[len(others) :], numbers[: len(others)], threshold)


def test_a_thumbnail_is_the_mean_under_each_cell():
    pixels = np.arange(32 * 32 * 3, dtype=np.float32).reshape(1, 32, 32, 3) % 251
    means = pixels.reshape(1, 16, 2, 16, 2, 3).mean((2, 4))
    assert np.allclose(thumbnails(pixels.astype(np.uint8)), means, atol=0.1)  # float16 has a step of 0.125 there


def test_a_cell_between_pixels_takes_its_share_of_each():
    """24 pixels in 16 cells of one and a half: the first is all of pixel 0 and half of pixel 1."""
    row = np.zeros(24, np.uint8)
    row[0], row[1], row[2] = 90, 30, 60
    pixels = np.broadcast_to(row[None, None, :, None], (1, 24, 24, 3))
    found = thumbnails(pixels)[0, 5, :, 0]
    assert np.allclose(found[:3], [(90 + 15) / 1.5, (15 + 60) / 1.5, 0.0], atol=0.05)


def test_an_image_smaller_than_a_thumbnail_is_enlarged():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    assert np.array_equal(thumbnails(pixels), pixels.repeat(2, axis=1).repeat(2, axis=2).astype(np.float16))


def test_the_correlation_of_a_picture_with_itself_its_negative_and_its_shade(picture):
    image = picture(32, 32).astype(np.float32)[None] / 2 + 40
    same, negative, brighter = image, 255 - image, image * 1.2 + 10
    vector = edges(thumbnails(same))[0]
    assert vector @ vector == pytest.approx(1, abs=1e-5)
    assert vector @ edges(thumbnails(negative))[0] == pytest.approx(-1, abs=1e-3)
    assert vector @ edges(thumbnails(brighter))[0] == pytest.approx(1, abs=1e-3)


def test_a_red_lamp_is_no_green_one():
    lamp = np.zeros((2, 16, 16, 3), np.uint8)
    lamp[0, 4:12, 4:12, 0] = 200
    lamp[1, 4:12, 4:12, 1] = 200
    red, green = edges(thumbnails(lamp))
    assert abs(red @ green) < 1e-6


def test_blank_pictures_are_alike_to_none():
    blank = np.full((3, 16, 16, 3), 255, np.uint8)
    blank[1] = 7
    blank[2, 0, 0] = 254  # a speck that normalisation would blow up
    found = edges(thumbnails(blank))
    assert not found.any()
    assert closest(thumbnails(blank), thumbnails(blank), 0.5)[0].tolist() == [-1, -1, -1]


def test_blocks_and_sketches_miss_nothing_that_comparing_all_finds(picture, monkeypatch):
    images = np.stack([picture(16, 16, seed) for seed in range(90)])
    rng = np.random.default_rng(0)
    noisy = (images[:50].astype(int) + rng.integers(-25, 26, (50, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    left, right = thumbnails(images), thumbnails(noisy[rng.permutation(50)])
    products = edges(left) @ edges(right).T
    threshold = float(np.median(products.max(1)[:50]))
    monkeypatch.setattr(near_duplicates, "BLOCK", 16)
    monkeypatch.setattr(near_duplicates, "SKETCH", 8)
    index, similarity = closest(left, right, threshold)
    expected = np.where(products.max(1) >= threshold, products.argmax(1), -1)
    assert 20 <= (expected >= 0).sum() <= 30
    assert index.tolist() == expected.tolist()
    assert np.allclose(similarity, np.where(expected >= 0, products.max(1), 0), atol=1e-5)


def test_nothing_is_like_nothing():
    some, none = np.ones((2, 16, 16, 3), np.float16), np.ones((0, 16, 16, 3), np.float16)
    assert closest(some, none, 0.9)[0].tolist() == [-1, -1]
    assert closest(none, some, 0.9)[0].tolist() == []


@pytest.fixture(scope="module")
def scans() -> list[Image.Image]:
    """All handwritten digits, written as the built-in data set writes them."""
    from sklearn.datasets import load_digits

    values = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    return [Image.fromarray(value).resize((32, 32), Image.Resampling.BILINEAR).convert("RGB") for value in values]


def _edges(images: list[Image.Image]) -> np.ndarray:
    return edges(thumbnails(np.stack([np.asarray(image) for image in images])))


def _jpeg(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=60)
    return Image.open(content).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded as JPEG of quality 60": _jpeg,
    "resized to 80 % and back": lambda image: image.resize((26, 26), Image.Resampling.BILINEAR).resize((32, 32)),
    "15 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_changed_digit_is_found(change, scans):
    some = scans[::6]
    similarity = (_edges(some) * _edges([CHANGES[change](image) for image in some])).sum(1)
    assert (similarity >= THRESHOLD).mean() == 1.0


def test_of_1797_digits_hardly_two_pass_for_one(scans):
    """8x8 pixels of ink leave room for look-alikes: 1.6 million pairs of different digits, of which two ones agree."""
    vectors = _edges(scans)
    similar = np.triu(vectors @ vectors.T, k=1) >= THRESHOLD
    assert similar.sum() <= 1


def test_a_flipped_digit_is_another_picture(scans):
    flipped = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in scans[::20]]
    assert (_edges(scans[::20]) * _edges(flipped)).sum(1).max() < THRESHOLD
