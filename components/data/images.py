"""From the bytes of an image file to pixels: the one way in, for preparing training data and for predicting alike.

Needs numpy and Pillow only.
"""

from __future__ import annotations

import io
import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from components.errors import DataError

ORIENTATION = 0x0112
"""Number of the EXIF tag."""
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MAX_PIXELS = 178_956_970
"""Where Pillow itself takes an image for a decompression bomb. In RGB they are half a gigabyte."""
MAX_BYTES = 2**30
"""Of a file. An image within MAX_PIXELS is hardly ever larger, and a file is read whole."""


class TooManyPixels(DataError):
    """An image that is larger than somebody allows, found out before it is decoded."""


def decode(content: bytes, origin: str = "the image", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """RGB, turned as its EXIF orientation says. Raises DataError naming `origin` when the bytes are no usable image."""
    if not content:
        raise DataError(f"{origin} is not an image: it is empty")
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise DataError(f"{origin} is not an image") from None
    except Image.DecompressionBombError as error:
        raise TooManyPixels(f"{origin} cannot be decoded: {error}") from None
    except Exception as error:  # as in `rgb`
        raise DataError(f"{origin} cannot be decoded: {_reason(error)}") from None
    with image:
        return rgb(image, origin, max_pixels)


def rgb(image: Image.Image, origin: str = "the image", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Like `decode`, of an image that is open, perhaps not yet loaded."""
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixels(f"{origin} has {width} × {height} pixels, but the limit is {max_pixels:,}")
    try:
        image.load()
        if image.getexif().get(ORIENTATION, 1) != 1:  # asked first: it copies also what needs no turning
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16") or image.mode == "I":
            # Pillow would cut 16 bits off at 255 instead of scaling them, and the image would turn white.
            image = Image.fromarray((np.asarray(image, dtype=np.uint32) // 257).clip(0, 255).astype(np.uint8))
        return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as error:  # Pillow's decoders let all kinds of errors through when a file is damaged
        raise DataError(f"{origin} cannot be decoded: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def read(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Like `decode`, from a file."""
    try:
        about = path.stat()
        if stat.S_ISREG(about.st_mode) and about.st_size > MAX_BYTES:
            raise DataError(f"{path} has {about.st_size:,} bytes, but the limit is {MAX_BYTES:,}")
        if not stat.S_ISREG(about.st_mode):  # a device or a pipe might never end
            raise DataError(f"cannot read {path}: it is {'a folder' if path.is_dir() else 'not a file'}")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # a null character in the name
        raise DataError(f"cannot read {path!s}: {error}") from None
    return decode(content, origin=str(path), max_pixels=max_pixels)


def from_array(pixels: np.ndarray) -> Image.Image:
    """uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] -> RGB; transparency is dropped, as `decode` does."""
    if pixels.dtype != np.uint8:
        raise DataError(f"an image as an array must be uint8, from 0 to 255, but this one is {pixels.dtype}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or 0 in pixels.shape:
        raise DataError(
            f"an image as an array must be [height, width], or with 1, 3 or 4 channels last, not {list(pixels.shape)}"
        )
    return Image.fromarray(pixels).convert("RGB")


def fit(image: Image.Image, resize: int, size: int, interpolation: str = "bilinear") -> np.ndarray:
    """The centre of the image at the network's size: uint8 [size, size, 3].

    The shorter side becomes `resize` pixels (aspect kept, "bilinear" or "bicubic" with antialias), then the central
    square is cut. Raises DataError for an image so long and thin that it would outgrow `MAX_PIXELS` on the way.
    """
    width, height = image.size
    scale = resize / min(width, height)
    shape = (max(size, round(width * scale)), max(size, round(height * scale)))
    if shape[0] * shape[1] > max(MAX_PIXELS, width * height):
        raise DataError(
            f"an image of {width} × {height} pixels would become {shape[0]} × {shape[1]} when its shorter side is "
            f"{resize}, but the limit is {MAX_PIXELS:,} pixels"
        )
    if shape != image.size:
        image = image.resize(shape, Image.Resampling[interpolation.upper()])
    left, top = (shape[0] - size) // 2, (shape[1] - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))
