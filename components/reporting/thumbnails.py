"""Images inside a page: arrays as data URIs, and heat maps laid over them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

LARGEST = 96
"""Pixels a side of what is stored; the page shows small images larger without smoothing them."""
SMALL = 48
"""Pixels a side up to which an image is stored without loss: compression would show in so few pixels."""
VIRIDIS = np.array(
    [
        (68, 1, 84), (72, 24, 106), (71, 45, 123), (66, 64, 134), (59, 82, 139), (51, 99, 141), (44, 114, 142),
        (38, 130, 142), (33, 145, 140), (31, 160, 136), (40, 174, 128), (63, 188, 115), (94, 201, 98), (132, 212, 75),
        (173, 220, 48), (216, 226, 25), (253, 231, 37),
    ]
)  # fmt: skip
"""The colour map of van der Walt and Smith, 2015, at every sixteenth: as far apart to the eye as the values are, and
from dark to light, so it reads without colours too."""


def data_uri(image: np.ndarray) -> str:
    """uint8 [H, W, 3] -> a `data:` address of it, at most LARGEST pixels a side."""
    picture = Image.fromarray(np.ascontiguousarray(image), "RGB")
    if max(picture.size) > LARGEST:
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    content = io.BytesIO()
    picture.save(content, "WEBP", lossless=max(picture.size) <= SMALL, quality=85, method=4)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def coloured(values: np.ndarray) -> np.ndarray:
    """Values [...] from 0 to 1 -> their colours uint8 [..., 3]."""
    positions = np.clip(values, 0, 1) * (len(VIRIDIS) - 1)
    channels = [np.interp(positions, np.arange(len(VIRIDIS)), VIRIDIS[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def overlay(image: np.ndarray, heat: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """uint8 [H, W, 3] in grey under the colours of `heat` [h, w] from 0 to 1 -> uint8, its longer side LARGEST."""
    height, width = image.shape[:2]
    factor = LARGEST / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    grey = Image.fromarray(np.ascontiguousarray(image), "RGB").convert("L").resize(size, Image.Resampling.NEAREST)
    smooth = Image.fromarray(heat.astype(np.float32), "F").resize(size, Image.Resampling.BILINEAR)
    mixed = (1 - strength) * np.asarray(grey, dtype=np.float64)[..., None] + strength * coloured(np.asarray(smooth))
    return mixed.round().astype(np.uint8)
