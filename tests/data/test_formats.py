"""Formats and kinds of pixels, each against values that are known from how the file was written."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from components.data import images
from components.errors import DataError
from corpus_support import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, chunk, encoded, png, tiff

SHADES = np.arange(24, dtype=np.uint8).reshape(4, 6, 1) * 11
"""[4, 6, 1], from 0 to 253."""
COLOURS = np.stack([SHADES[..., 0], SHADES[::-1, :, 0], SHADES[:, ::-1, 0]], -1)
ALPHA = np.full((4, 6, 1), 255, np.uint8)
ALPHA[:, 3:] = 0
ALPHA[0] = 51  # a fifth


def _found(content: bytes) -> np.ndarray:
    return np.asarray(images.decode(content)).astype(int)


def _grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(levels).astype(int).reshape(4, 6, 1), 3, axis=2)


def _on_white(colours: np.ndarray) -> np.ndarray:
    share = ALPHA / 255
    return colours * share + 255 * (1 - share)


WIDE = SHADES.astype(np.uint16) * 256 + 200  # the lower byte is nearly a level more


PNGS = {
    "1 bit": (png(SHADES // 128, 1, GREY), _grey(255 * (SHADES // 128))),
    "2 bits": (png(SHADES // 64, 2, GREY), _grey(85 * (SHADES // 64))),
    "4 bits": (png(SHADES // 16, 4, GREY), _grey(17 * (SHADES // 16))),
    "grey": (png(SHADES, 8, GREY), _grey(SHADES)),
    "16-bit grey": (png(WIDE, 16, GREY), _grey(SHADES)),
    "RGB": (png(COLOURS, 8, RGB), COLOURS),
    "16-bit RGB": (png(COLOURS.astype(np.uint16) * 256 + 200, 16, RGB), COLOURS),
    "palette": (
        png(SHADES // 11, 8, PALETTE, chunk(b"PLTE", COLOURS.reshape(-1, 3).tobytes())), COLOURS
    ),
    "palette of 2 bits": (
        png(SHADES // 64, 2, PALETTE, chunk(b"PLTE", bytes([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 250, 20]))),
        np.array([[9, 8, 7], [6, 5, 4], [3, 2, 1], [0, 250, 20]])[SHADES[..., 0] // 64],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PNGS)
def test_png(name):
    content, expected = PNGS[name]
    assert np.array_equal(_found(content), expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(np.dstack([SHADES, ALPHA]), 8, GREY_ALPHA), _on_white(_grey(SHADES))),
        (png(np.dstack([SHADES, ALPHA]).astype(np.uint16) * 257, 16, GREY_ALPHA), _on_white(_grey(SHADES))),
        (png(np.dstack([COLOURS, ALPHA]), 8, RGBA), _on_white(COLOURS)),
        (png(np.dstack([COLOURS, ALPHA]).astype(np.uint16) * 257, 16, RGBA), _on_white(COLOURS)),
        (
            png(
                SHADES // 11, 8, PALETTE, chunk(b"PLTE", COLOURS.reshape(-1, 3).tobytes()),
                chunk(b"tRNS", ALPHA.tobytes()),
            ),
            _on_white(COLOURS),
        ),
        (tiff([np.dstack([COLOURS, ALPHA])], 8, 2, extra=2), _on_white(COLOURS)),
        (
            tiff([np.dstack([np.rint(COLOURS * (ALPHA / 255)).astype(np.uint8), ALPHA])], 8, 2, extra=1),
            _on_white(COLOURS),
        ),
        (encoded(Image.fromarray(np.dstack([COLOURS, ALPHA])), "WEBP", lossless=True, exact=True), _on_white(COLOURS)),
    ],
    ids=[
        "grey", "16-bit grey", "RGB", "16-bit RGB", "palette", "TIFF", "TIFF, alpha multiplied in", "lossless WebP",
    ],
)  # fmt: skip
def test_what_is_transparent_lies_on_white(content, expected):
    """Half of the image is fully transparent; the colours that the file hides there are seen nowhere."""
    assert (_found(content)[1:, 3:] == 255).all()
    tolerance = 3 if content.startswith(b"II") else 1  # multiplied in, a fifth of a colour is told from few levels
    np.testing.assert_allclose(_found(content), expected, atol=tolerance)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (png(SHADES, 8, GREY, chunk(b"tRNS", bytes([0, 33]))), 33),
        (png(WIDE, 16, GREY, chunk(b"tRNS", (33 * 256 + 200).to_bytes(2, "big"))), 33),
        (png(np.dstack([SHADES] * 3), 8, RGB, chunk(b"tRNS", bytes([0, 33] * 3))), 33),
    ],
    ids=["grey", "16-bit grey", "RGB"],
)  # fmt: skip
def test_a_colour_that_stands_for_transparency_is_white(content, key):
    assert np.array_equal(_found(content), _grey(np.where(key == SHADES, 255, SHADES)))


FLOATS = (SHADES / np.float32(255)).astype(np.float32)


GREY_TIFFS = {
    "grey": (tiff([SHADES], 8, 1), SHADES),
    "grey, white is 0": (tiff([255 - SHADES], 8, 0), SHADES),
    "16 bits": (tiff([WIDE], 16, 1), SHADES),
    "16 bits, big-endian": (tiff([WIDE.astype(">u2")], 16, 1, order=">"), SHADES),
    "16 bits, white is 0": (tiff([65535 - WIDE], 16, 0), SHADES),
    "12 bits": (tiff([SHADES.astype(np.uint16) * 16 + 9], 12, 1), SHADES),
    "16 bits, signed": (tiff([(SHADES.astype(np.int16) * 128 + 99)], 16, 1, kind=2), SHADES),
    "floats to 1": (tiff([FLOATS], 32, 1, kind=3), SHADES),
    "floats to 255": (tiff([SHADES.astype(np.float32)], 32, 1, kind=3), SHADES),
    "floats to 65535": (tiff([SHADES.astype(np.float32) * 257], 32, 1, kind=3), SHADES),
    "32 bits to 255": (tiff([SHADES.astype(np.int32)], 32, 1, kind=2), SHADES),
    "32 bits to 65535": (tiff([SHADES.astype(np.int32) * 257], 32, 1, kind=2), SHADES),
}  # fmt: skip


@pytest.mark.parametrize("name", GREY_TIFFS)
def test_grey_tiff(name):
    content, expected = GREY_TIFFS[name]
    assert np.array_equal(_found(content), _grey(expected))


def test_floats_may_go_beyond_their_white_a_little_as_resampling_leaves_them():
    found = _found(tiff([FLOATS * np.float32(1.15) - np.float32(0.06)], 32, 1, kind=3))
    np.testing.assert_allclose(found, _grey(np.rint(SHADES * 1.15 - 0.06 * 255).clip(0, 255)), atol=1)


def test_colour_tiff():
    assert np.array_equal(_found(tiff([COLOURS], 8, 2)), COLOURS)
    assert np.array_equal(_found(tiff([COLOURS.astype(np.uint16) * 256 + 200], 16, 2)), COLOURS)
    inks = np.dstack([255 - COLOURS, np.zeros((4, 6), np.uint8)])  # without black, the complement
    assert np.array_equal(_found(tiff([inks], 8, 5)), COLOURS)
    inks[..., 3] = 255
    assert not _found(tiff([inks], 8, 5)).any()


@pytest.mark.parametrize("values", [[-5000, 100], [0, 1e6], [0, np.nan]], ids=str)
def test_an_image_without_a_white_is_refused(values):
    page = np.resize(np.array(values, np.float32), (4, 6, 1))
    with pytest.raises(DataError, match=r"^scan\.tif cannot be decoded: its 32-bit values go from .* 8 or 16 bits$"):
        images.decode(tiff([page], 32, 1, kind=3), origin="scan.tif")
    with pytest.raises(DataError, match=r"its values go from -3 to 7, but black is 0"):
        images.decode(tiff([np.resize(np.array([-3, 7], np.int16), (4, 6, 1))], 16, 1, kind=2))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF"])
def test_of_many_frames_or_pages_the_first_is_taken(form):
    pages = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(pages[0], form, save_all=True, append_images=pages[1:], **options)
    assert (_found(content) == [255, 0, 0]).all()
    assert (_found(tiff([SHADES, 255 - SHADES], 8, 1)) == _grey(SHADES)).all()


def test_gif():
    image = Image.fromarray(COLOURS).quantize(24)
    image.info.clear()
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.array_equal(_found(encoded(image, "GIF")), expected)
    hidden = np.asarray(image) == 5
    assert hidden.any()
    expected[hidden] = 255
    assert np.array_equal(_found(encoded(image, "GIF", transparency=5)), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_bmp(mode):
    image = Image.fromarray(COLOURS).convert(mode)
    assert np.array_equal(_found(encoded(image, "BMP")), np.asarray(image.convert("RGB")))


PATCHES = np.kron(np.array([[[200, 30, 40], [20, 180, 60]], [[70, 80, 220], [250, 250, 120]]]), np.ones((16, 16, 1)))
PATCHES = PATCHES.astype(np.uint8)
"""Four patches of one colour, of a JPEG's blocks each."""


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 1}], ids=str
)
def test_jpeg(options):
    content = encoded(Image.fromarray(PATCHES), "JPEG", quality=98, **options)
    np.testing.assert_allclose(_found(content)[4::16, 4::16], PATCHES[4::16, 4::16], atol=6)
    np.testing.assert_allclose(
        _found(encoded(Image.fromarray(PATCHES), "WEBP", quality=98))[4::16, 4::16], PATCHES[4::16, 4::16], atol=6
    )


def test_grey_jpeg():
    content = encoded(Image.fromarray(PATCHES[..., 0]), "JPEG", quality=98)
    np.testing.assert_allclose(_found(content), np.dstack([PATCHES[..., 0]] * 3), atol=2)


@pytest.mark.parametrize("marked", [True, False], ids=["Adobe's marker", "no marker"])
def test_cmyk_jpeg(marked):
    """Adobe writes the inks inverted, 255 for none, and so does whoever else writes such files, marker or not."""
    content = encoded(Image.fromarray(np.dstack([255 - PATCHES, 0 * PATCHES[..., :1]]), "CMYK"), "JPEG", quality=98)
    at = content.index(b"\xff\xee")
    assert content[at + 4 : at + 9] == b"Adobe"
    if not marked:
        content = content[:at] + content[at + 2 + int.from_bytes(content[at + 2 : at + 4], "big") :]
    np.testing.assert_allclose(_found(content)[4::16, 4::16], PATCHES[4::16, 4::16], atol=6)


def _as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF 2.3, tag Orientation: at which edge of the upright image the file's first row and first column lie."""
    row, column = {
        1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left",
        5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom",
    }[orientation].split()  # fmt: skip
    if "bottom" in (row, column):
        upright = upright[::-1]
    if "right" in (row, column):
        upright = upright[:, ::-1]
    return upright if row in ("top", "bottom") else upright.transpose(1, 0, 2)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(orientation, form):
    wide = np.concatenate([PATCHES, PATCHES[:16, 16:].repeat(2, 0)], axis=1)  # 48 wide, 32 high
    stored = Image.fromarray(np.ascontiguousarray(_as_stored(wide, orientation)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}.get(form, {})
    content = encoded(stored, form, exif=exif, **options)
    whole = images.decode(content)
    assert whole.size == (48, 32)
    np.testing.assert_allclose(np.asarray(whole)[4::16, 4::16].astype(int), wide[4::16, 4::16], atol=6)
    # The shorter side becomes 16: the JPEG is decoded at half its size, and the centre lies between the first columns.
    found, size = images.pixels(content, resize=16, size=16)
    assert size == (48, 32)
    np.testing.assert_allclose(found[3::8, 8].astype(int), wide[[4, 20], 24], atol=6)
    np.testing.assert_allclose(found[3::8, 1].astype(int), wide[[4, 20], 10], atol=6)
