"""From any of Pillow's pixel modes to eight-bit RGB: what becomes of transparency, and where white is."""

from __future__ import annotations

import numpy as np
from PIL import Image

from components.errors import DataError

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
"""TIFF tags; PHOTOMETRIC 0 is "white is zero", SAMPLE_FORMAT 2 is "signed"."""
WHITE = (1.0, 255.0, 65535.0)
"""Where white may lie in an image of 32-bit numbers: the ranges that programs write."""
OVERSHOOT = 0.1
"""How far an image of 32-bit numbers may go beyond its range: resampling leaves such values at edges."""


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded image of any mode -> RGB. Raises DataError where nobody can say which value is white.

    **Transparency** is laid on white. The colour beneath full transparency is whatever the editor left there, mostly
    black, and nobody has ever seen it; to drop alpha would train on it. White is what pages, shops and viewers show
    behind a cut-out, and what it is flattened on when it is saved as JPEG, so a class of cut-outs looks as its
    photographed images do.

    **Deep greys** are scaled by what the format says white is, never by what an image happens to hold: the same grey
    stays the same grey in all images. Of 16 bits (12, where TIFF says so) the eight highest are kept, as Pillow keeps
    them of 16-bit colour. For 32-bit numbers no format says it; there white is the first of 1, 255 and 65535 that the
    values do not exceed (of integers 255 or 65535), and an image of negative or larger ones is refused.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    white = Image.new("RGB", image.size, "white")
    image = image.convert("RGBA")
    white.paste(image, mask=image)
    return white


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(BITS_PER_SAMPLE, (16 if image.mode.startswith("I;16") else 32,))[0]
    signed = tags.get(SAMPLE_FORMAT, (1,))[0] == 2
    if bits <= 16:
        if signed and values.min() < 0:
            raise DataError(f"its values go from {values.min()} to {values.max()}, but black is 0")
        levels = (values >> (bits - 8 - signed)).clip(0, 255).astype(np.uint8)
    else:
        levels = _of_a_guessed_range(values)
    if tags.get(PHOTOMETRIC) == 0:
        levels = 255 - levels
    if "transparency" in image.info:
        levels = np.where(values == image.info["transparency"], np.uint8(255), levels)
    return Image.fromarray(levels)


def _of_a_guessed_range(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    choices = WHITE if values.dtype.kind == "f" else WHITE[1:]
    for white in choices:
        if low >= -OVERSHOOT and high <= white + OVERSHOOT:  # never so for NaN
            return np.rint((values * (255 / white)).clip(0, 255)).astype(np.uint8)
    raise DataError(
        f"its 32-bit values go from {low:g} to {high:g}, and white is none of "
        f"{', '.join(f'{white:g}' for white in choices)}: save it with 8 or 16 bits"
    )
