"""Images in the page hold the pixels that they stand for."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from components.reporting import thumbnails


def decoded(uri: str) -> np.ndarray:
    head, content = uri.split(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_a_small_image_keeps_every_pixel():
    image = np.random.default_rng(0).integers(256, size=(28, 32, 3), dtype=np.uint8)
    assert np.array_equal(decoded(thumbnails.data_uri(image)), image)


def test_a_large_image_is_made_small_and_keeps_its_shape():
    image = np.zeros((384, 192, 3), dtype=np.uint8)
    image[:192] = 200
    shown = decoded(thumbnails.data_uri(image))
    assert shown.shape == (96, 48, 3)
    assert abs(int(shown[10, 20, 0]) - 200) < 6 and shown[80, 20, 0] < 6


def test_the_colours_are_viridis():
    from matplotlib import colormaps

    values = np.linspace(0, 1, 101)
    theirs = 255 * colormaps["viridis"](values)[:, :3]
    assert np.abs(thumbnails.coloured(values) - theirs).max() < 5  # of 255: straight lines between sixteenths


def test_heat_is_bright_where_it_is_high():
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[0, 3] = 1
    mixed = thumbnails.overlay(np.full((32, 32, 3), 100, dtype=np.uint8), heat)
    assert mixed.shape == (96, 96, 3)
    assert mixed[2, 93].tolist() == np.round(0.45 * 100 + 0.55 * np.array([253, 231, 37])).tolist()
    assert mixed[93, 2].tolist() == np.round(0.45 * 100 + 0.55 * np.array([68, 1, 84])).tolist()
