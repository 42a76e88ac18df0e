"""Every kind of image file becomes RGB pixels the right way up, or one line that says why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from components.data import images
from components.errors import DataError
from corpus_support import bombs, broken, odd, photo
from corpus_support import encoded as _encode


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


@pytest.mark.filterwarnings("ignore")
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


def _without(content: bytes, **options) -> np.ndarray:
    """The same pixels without reduced decoding."""
    return images.fit(images.decode(content), **options).astype(int)


@pytest.mark.parametrize("width", [304, 305, 311])
def test_a_large_jpeg_is_decoded_at_a_reduced_scale_that_hardly_shows(width):
    coarse = np.random.default_rng(3).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, 233), Image.Resampling.BICUBIC)
    content = _encode(image, "JPEG", quality=90)
    found, size = images.pixels(content, resize=56, size=56)  # 233 // 56 is 4
    assert size == (width, 233)
    difference = np.abs(found - _without(content, resize=56, size=56))
    assert 0.2 < difference.mean() < 2
    assert difference.max() < 25


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_image_lies_where_the_whole_one_does(orientation):
    """65 × 71 pixels are 8.1 × 8.9 at an eighth, decoded as 9 × 9. Taken for the whole, they would be shifted by most
    of a pixel, which here is 30 levels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    x, y = np.meshgrid(np.linspace(0, 255, 65), np.linspace(0, 255, 71))
    content = _encode(Image.fromarray(np.stack([x, y, x], -1).astype(np.uint8)), "JPEG", quality=98, exif=exif)
    found, size = images.pixels(content, resize=8, size=8)
    assert size == ((65, 71) if orientation < 5 else (71, 65))
    expected = _without(content, resize=8, size=8)
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], atol=4)
    np.testing.assert_allclose(found, expected, atol=12)


def test_pixels_of_what_is_not_reduced_are_those_of_the_whole_image():
    for form in ("PNG", "JPEG", "WEBP"):
        content = _encode(photo(5, 61, 50), form)
        found, size = images.pixels(content, resize=32, size=28, interpolation="bicubic")
        assert np.array_equal(found, _without(content, resize=32, size=28, interpolation="bicubic"))
        assert (found.shape, found.dtype, size) == ((28, 28, 3), np.uint8, (61, 50))


def test_the_limit_is_on_the_whole_image_not_on_the_reduced_one():
    content = _encode(Image.new("RGB", (400, 300)), "JPEG")
    with pytest.raises(images.TooManyPixels, match=r"^big\.jpg has 400 × 300 pixels, but the limit is 100,000$"):
        images.pixels(content, resize=32, size=32, origin="big.jpg", max_pixels=100_000)
    images.pixels(content, resize=32, size=32, max_pixels=120_000)


def test_an_image_too_thin_is_refused_by_name():
    with pytest.raises(DataError, match=r"^line\.png: an image of 50000 × 1 pixels would become"):
        images.pixels(_encode(Image.new("L", (50_000, 1))), resize=224, size=224, origin="line.png")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0nonsense", b"Exif\0\0"], ids=str)
def test_damaged_exif_data_costs_no_image(exif):
    assert images.decode(_encode(_halves(), "JPEG", exif=exif)).size == (8, 4)


def test_names_of_any_kind_are_told_on_one_line():
    assert images.printable(Path("a\nb\udce9/ Straße 猫.png")) == "a\\nb\\udce9/ Straße 猫.png"


MEASURED = """
import resource, sys
from pathlib import Path
from components.data import images
from components.errors import DataError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        images.pixels(images.file_content(path), resize=32, size=32, origin=images.printable(path))
    except DataError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bad_files_are_refused_in_one_line_each_without_warnings_or_memory(tmp_path):
    bad = broken() | bombs()
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    strange = [content for name, content in odd().items() if name.startswith(("large", "animation"))]
    for number, content in enumerate(strange):
        (tmp_path / f"odd {number}.png").write_bytes(content)
    command = [sys.executable, "-W", "always", "-c", MEASURED, tmp_path]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stderr == ""
    *reasons, mebibytes = done.stdout.splitlines()
    assert len(strange) == 3
    assert len(reasons) == len(bad)
    for name, reason in zip(sorted(bad), reasons, strict=True):
        assert reason.startswith(f"{tmp_path / name} ")
    assert int(mebibytes) < 64
