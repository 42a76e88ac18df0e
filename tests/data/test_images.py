"""Every kind of image file becomes RGB pixels the right way up, or one line that says why not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from components.data import images
from components.errors import DataError


def _encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _halves(mode: str = "RGB", left=(255, 0, 0), right=(0, 0, 255)) -> Image.Image:
    """Eight wide, four high: the left half of one colour, the right of another."""
    image = Image.new(mode, (8, 4), left)
    image.paste(right, (4, 0, 8, 4))
    return image


def _corners(content: bytes) -> tuple[list[int], list[int]]:
    pixels = np.asarray(images.decode(content))
    assert pixels.shape[2] == 3
    return pixels[0, 0].tolist(), pixels[-1, -1].tolist()


def test_rgb():
    assert _corners(_encode(_halves())) == ([255, 0, 0], [0, 0, 255])


def test_grey():
    assert _corners(_encode(_halves("L", 40, 200))) == ([40, 40, 40], [200, 200, 200])


def test_black_and_white():
    assert _corners(_encode(_halves("1", 0, 1))) == ([0, 0, 0], [255, 255, 255])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_shades(kind):
    """Scanners and microscopes write these; taken as eight bits all but the darkest would be white."""
    values = np.full((4, 8), 0x4000, np.uint16)
    values[:, 4:] = 0xC000
    left, right = _corners(_encode(Image.fromarray(values), kind))
    assert left == pytest.approx([64] * 3, abs=1)
    assert right == pytest.approx([192] * 3, abs=1)


def test_palette():
    image = _halves().convert("P", palette=Image.Palette.ADAPTIVE)
    assert _corners(_encode(image)) == ([255, 0, 0], [0, 0, 255])
    assert _corners(_encode(image, "GIF")) == ([255, 0, 0], [0, 0, 255])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped(mode):
    image = _halves("RGBA", (255, 255, 255, 255), (0, 0, 0, 255)).convert(mode)
    assert _corners(_encode(image)) == ([255, 255, 255], [0, 0, 0])


def test_palette_with_transparency():
    image = _halves().convert("P", palette=Image.Palette.ADAPTIVE)
    assert _corners(_encode(image, transparency=0))[0] in ([255, 0, 0], [0, 0, 0])


def test_cmyk_jpeg():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    red, _ = _corners(_encode(image, "JPEG", quality=95))
    assert red[0] > 200
    assert max(red[1:]) < 60


@pytest.mark.parametrize("kind", ["BMP", "WEBP", "TIFF", "GIF", "PNG"])
def test_other_formats(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert _corners(_encode(_halves(), kind, **options)) == ([255, 0, 0], [0, 0, 255])


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert _corners(_encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))[0] == [255, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, kind):
    # Red left, blue right, lying. Orientation 6 and 8 ask for a quarter turn: 4 wide and 8 high.
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = images.decode(_encode(_halves(), kind, exif=exif))
    assert image.size == ((8, 4) if orientation < 5 else (4, 8))
    first = np.asarray(image)[0, 0].tolist()
    # The red half ends up at the top or left for 1, 4, 5, 6 and at the bottom or right for 2, 3, 7, 8.
    assert first == ([255, 0, 0] if orientation in (1, 4, 5, 6) else [0, 0, 255])


@pytest.mark.parametrize("content", [b"", b"text, not an image", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "header"])
def test_what_is_no_image_is_refused_by_name(content):
    with pytest.raises(DataError) as caught:
        images.decode(content, origin="photo.png")
    assert str(caught.value).startswith("photo.png ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF"])
def test_a_file_cut_short_anywhere_is_decoded_or_refused(kind):
    """Never any other exception: one bad file must not end the preparation of a hundred thousand."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    content = _encode(Image.fromarray(noise), kind)
    refused = 0
    for length in range(0, len(content), max(1, len(content) // 60)):
        try:
            images.decode(content[:length])
        except DataError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF"])
def test_a_file_with_wrong_bytes_is_decoded_or_refused(kind):
    rng = np.random.default_rng(1)
    content = _encode(Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)), kind)
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(damaged), 400), 3):
            damaged[place] = rng.integers(256)
        try:
            found = images.decode(bytes(damaged))
        except DataError:
            continue
        assert found.mode == "RGB"


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match=r"big\.png cannot be decoded"):
        images.decode(_encode(_halves()), origin="big.png")


def test_read_names_the_file(tmp_path):
    (tmp_path / "a.png").write_bytes(_encode(_halves()))
    assert images.read(tmp_path / "a.png").size == (8, 4)
    with pytest.raises(DataError, match=r"cannot read .*none\.png"):
        images.read(tmp_path / "none.png")
    with pytest.raises(DataError, match=r"cannot read .*: it is a folder"):
        images.read(tmp_path)


def test_what_never_ends_is_not_read():
    with pytest.raises(DataError, match="cannot read /dev/zero: it is not a file"):
        images.read(Path("/dev/zero"))


def test_a_file_larger_than_the_limit_is_not_read(tmp_path):
    with (tmp_path / "huge.tif").open("wb") as stream:
        stream.truncate(images.MAX_BYTES + 1)  # sparse: it takes no space
    with pytest.raises(DataError, match=r"huge\.tif has 1,073,741,825 bytes, but the limit is 1,073,741,824"):
        images.read(tmp_path / "huge.tif")


def test_an_image_that_outgrows_the_limit_while_it_is_resized_is_refused():
    """50,000 × 1 has few pixels, but 50,000 times 224 × 224 of them when the shorter side becomes 224."""
    with pytest.raises(DataError, match=r"50000 × 1 pixels would become 11200000 × 224 .* limit is 178,956,970"):
        images.fit(Image.new("RGB", (50_000, 1)), resize=224, size=224)


def test_what_no_decoder_foresaw_is_a_refusal(monkeypatch):
    """Pillow's decoders leave through whatever their arithmetic raises on damaged bytes."""

    def fail(*_: object, **__: object) -> None:
        raise OverflowError("cannot fit\nin an index")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DataError, match=r"^odd\.png cannot be decoded: cannot fit$"):
        images.decode(_encode(_halves()), origin="odd.png")


def _ramp(width: int, height: int) -> Image.Image:
    """Red grows from left to right, green from top to bottom, both by two a pixel."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([2 * x, 2 * y, 0 * x], -1).astype(np.uint8))


@pytest.mark.parametrize(
    ("width", "height", "left", "top"),
    [(60, 20, 20, 0), (20, 60, 0, 20), (21, 20, 0, 0), (20, 20, 0, 0), (100, 20, 40, 0)],
)
def test_the_centre_is_cut_without_resampling_when_the_short_side_fits(width, height, left, top):
    found = images.fit(_ramp(width, height), resize=20, size=20)
    expected = np.asarray(_ramp(width, height))[top : top + 20, left : left + 20]
    assert np.array_equal(found, expected)


def test_a_crop_smaller_than_the_resized_image_is_centred():
    found = images.fit(_ramp(40, 20), resize=20, size=10)
    assert np.array_equal(found, np.asarray(_ramp(40, 20))[5:15, 15:25])


def test_the_aspect_is_kept_when_shrinking():
    # 120x60 to a short side of 30: half the scale, so the middle 30 of 60 columns, 60 of the original's 120.
    found = images.fit(_ramp(120, 60), resize=30, size=30).astype(int)
    assert found.shape == (30, 30, 3)
    assert found[15, 0, 0] == pytest.approx(2 * 30, abs=3)
    assert found[15, -1, 0] == pytest.approx(2 * 89, abs=3)
    assert found[0, 15, 1] == pytest.approx(0, abs=3)
    assert found[-1, 15, 1] == pytest.approx(2 * 59, abs=3)


def test_shrinking_averages_instead_of_picking():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    found = images.fit(Image.fromarray(stripes), resize=16, size=16)
    assert np.abs(found.astype(int) - 127).max() < 16  # picking would give black or white


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 50), (50, 3), (7, 9)])
def test_a_small_image_is_enlarged(width, height):
    found = images.fit(Image.new("RGB", (width, height), (10, 20, 30)), resize=32, size=32)
    assert found.shape == (32, 32, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.full((32, 32, 3), [10, 20, 30], np.uint8))
