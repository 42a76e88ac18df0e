"""From the bytes of an image file to pixels: the one way in, for preparing training data and for predicting alike.

Needs numpy and Pillow only.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from components.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def decode(content: bytes, origin: str = "the image") -> Image.Image:
    """RGB, turned as its EXIF orientation says. Raises DataError naming `origin` when the bytes are no usable image."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16") or image.mode == "I":
                # Pillow would cut 16 bits off at 255 instead of scaling them, and the image would turn white.
                image = Image.fromarray((np.asarray(image, dtype=np.uint32) // 257).clip(0, 255).astype(np.uint8))
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise DataError(f"{origin} is not an image") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{origin} cannot be decoded: {error}") from None


def read(path: Path) -> Image.Image:
    """Like `decode`, from a file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    return decode(content, origin=str(path))


def fit(image: Image.Image, resize: int, size: int, interpolation: str = "bilinear") -> np.ndarray:
    """The centre of the image at the network's size: uint8 [size, size, 3].

    The shorter side becomes `resize` pixels (aspect kept, "bilinear" or "bicubic" with antialias), then the central
    square is cut.
    """
    width, height = image.size
    scale = resize / min(width, height)
    shape = (max(size, round(width * scale)), max(size, round(height * scale)))
    if shape != image.size:
        image = image.resize(shape, Image.Resampling[interpolation.upper()])
    left, top = (shape[0] - size) // 2, (shape[1] - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))
