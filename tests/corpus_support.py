"""Image files written byte by byte, as the formats' specifications say, and a corpus of what goes wrong with a user's
data: so that what is read is tested against something other than the library that reads it."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""PNG's colour types."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(samples: np.ndarray, depth: int, colour: int, *chunks: bytes) -> bytes:
    """`samples` [height, width, channels] of `depth` bits; `chunks` stand before the pixels (PLTE, tRNS)."""
    height, width, channels = samples.shape
    if depth == 16:
        rows = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        weights = 1 << np.arange(depth)[::-1]
        bits = (samples.reshape(height, width * channels, 1) & weights).astype(bool).reshape(height, -1)
        rows = np.packbits(bits, axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"".join(chunks) + chunk(b"IDAT", zlib.compress(raw))
    return SIGNATURE + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def tiff(pages: list[np.ndarray], bits: int, photometric: int, *, order: str = "<", kind: int = 1, extra: int = -1):
    """Uncompressed, one strip a page, `pages` [height, width, channels] in the strip's own type and byte order.

    `kind`: SampleFormat (1 unsigned, 2 signed, 3 float); `extra`: ExtraSamples (1 associated alpha, 2 unassociated).
    """
    content = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    for number, page in enumerate(pages):
        height, width, channels = page.shape
        strip = _twelve_bits(page) if bits == 12 else np.ascontiguousarray(page).tobytes()
        tags = [(256, 3, [width]), (257, 3, [height]), (258, 3, [bits] * channels), (259, 3, [1])]
        tags += [(262, 3, [photometric]), (273, 4, [0]), (277, 3, [channels]), (278, 3, [height])]
        tags += [(279, 4, [len(strip)])] + ([(338, 3, [extra])] if extra >= 0 else []) + [(339, 3, [kind] * channels)]
        start = len(content)
        free = start + 2 + 12 * len(tags) + 4
        values = {tag: struct.pack(f"{order}{len(v)}{'HI'[form == 4]}", *v) for tag, form, v in tags}
        long = b"".join(value for value in values.values() if len(value) > 4)
        values[273] = struct.pack(f"{order}I", free + len(long))
        entries, at = b"", free
        for tag, form, numbers in tags:
            value = values[tag]
            if len(value) > 4:
                at, value = at + len(value), struct.pack(f"{order}I", at)
            entries += struct.pack(f"{order}HHI", tag, form, len(numbers)) + value.ljust(4, b"\0")
        end = free + len(long) + len(strip)
        after = end + end % 2 if number + 1 < len(pages) else 0
        content += struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", after) + long + strip
        content += b"\0" * (end % 2)
    return content


def _twelve_bits(page: np.ndarray) -> bytes:
    """Two samples in three bytes, each row beginning with a whole byte."""
    pairs = page.reshape(len(page), -1, 2).astype(np.uint32)
    packed = np.stack([pairs[..., 0] >> 4, (pairs[..., 0] & 15) << 4 | pairs[..., 1] >> 8, pairs[..., 1] & 255], -1)
    return packed.astype(np.uint8).tobytes()


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def photo(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    """Coarse noise: no two of them are nearly the same, however small they are made."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def bombs() -> dict[str, bytes]:
    """Small files that would fill gigabytes."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, RGB, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(2_000_000)))
    large = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    frame = large.index(b"\xff\xc0")
    large[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    screen = b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0x80, 0, 0) + bytes(6)
    return {
        "bomb.png": SIGNATURE + chunk(b"IHDR", header) + rows,
        "bomb.jpg": bytes(large),
        "bomb.gif": screen + b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x44\x01\x00;",
        "text-bomb.png": SIGNATURE
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, GREY, 0, 0, 0))
        + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000), 1)),
    }


def broken() -> dict[str, bytes]:
    """Files with the names of images that are none, or are cut off."""
    noise = Image.fromarray(np.random.default_rng(7).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    cut = {
        "cut.jpg": encoded(noise, "JPEG"),
        "cut.png": encoded(noise, "PNG"),
        "cut.webp": encoded(noise, "WEBP"),
        "cut.tif": encoded(noise, "TIFF", compression="tiff_lzw"),
        "cut.gif": encoded(noise, "GIF"),
        "cut.bmp": encoded(noise, "BMP"),
    }
    garbled = bytearray(encoded(noise, "TIFF", compression="tiff_lzw"))
    garbled[200:230] = b"\xff" * 30
    return {
        **{name: content[: len(content) // 2] for name, content in cut.items()},
        "cut up.tif": bytes(garbled),
        "bands.tif": tiff([np.zeros((4, 4, 93), np.uint8)], 8, 2),
        "empty.jpg": b"",
        "text.jpeg": b"This is a text.\nOf two lines.\n",
        "page.png": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "phone.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "vector.bmp": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "header.png": SIGNATURE,
    }


def odd() -> dict[str, bytes]:
    """Files with something strange about them that can be read all the same: name -> content."""
    one = photo(900)
    frames = [photo(901 + number, 20, 20).quantize(16) for number in range(2)]
    animation = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:] * 60)
    jpeg = encoded(photo(910), "JPEG", quality=95)
    exif = b"\xff\xe1" + struct.pack(">H", 65_000) + b"Exif\0\0" + b"II*\0\xff\xff\xff\x7f".ljust(64_992, b"\xee")
    noted = encoded(photo(911), "PNG")
    text = chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000)
    return {
        "animation.gif": animation,
        "large-exif.JPG": jpeg[:2] + exif + jpeg[2:],
        "large-text.png": noted[:33] + text + noted[33:],
        "a png in truth.jpeg": encoded(one, "PNG"),
        f"{'long ' * 49}name.png": encoded(photo(912), "PNG"),
        "Straße 猫 🐈.png": encoded(photo(913), "PNG"),
        "two\nlines.png": encoded(photo(914), "PNG"),
        ".hidden but a folder.d/inside.png": encoded(photo(915), "PNG"),
    }


@dataclass
class Corpus:
    """Folders of classes below `folder`. `good`: path relative to it -> class, of what is to be prepared; `reasons`:
    path -> a part of the one line that is to say why it is not; `copies`: pairs of which one is kept; `contradictions`:
    groups of which none is."""

    folder: Path
    good: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    copies: list[list[str]] = field(default_factory=list)
    contradictions: list[list[str]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def build(folder: Path, per_class: int = 12) -> Corpus:
    """Two classes with good images of every format and everything that may lie between them."""
    corpus = Corpus(folder)
    forms = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]
    for number in range(2 * per_class):
        form, name = forms[number % len(forms)], ("cat", "dog")[number // per_class]
        path = f"{name}/{number:03}.{form.lower()}"
        corpus.write(path, encoded(photo(number), form))
        corpus.good[path] = name
    for name, content in odd().items():
        hidden = name.startswith(".")
        corpus.write(f"cat/{name}", content)
        if not hidden:
            corpus.good[f"cat/{name}"] = "cat"
    for name, content in {**broken(), **bombs()}.items():
        corpus.write(f"dog/{name}", content)
        corpus.reasons[f"dog/{name}"] = (
            "decoded" if name.startswith(("cut", "header", "bomb", "text-", "bands")) else "not an image"
        )
    corpus.reasons["dog/empty.jpg"] = "it is empty"
    _strange_entries(corpus)
    copy = encoded(photo(0), "JPEG")
    corpus.write("cat/copy of 000.jpg", copy)
    corpus.copies.append(["cat/000.jpeg", "cat/copy of 000.jpg"])
    both = encoded(photo(950), "PNG")
    for name in ("cat", "dog"):
        corpus.write(f"{name}/both.png", both)
    corpus.contradictions.append(["cat/both.png", "dog/both.png"])
    return corpus


def _strange_entries(corpus: Corpus) -> None:
    """What is no regular file, and what the file system makes hard to read."""
    dog = corpus.folder / "dog"
    corpus.write("dog/folder.jpg/inside.png", encoded(photo(960), "PNG"))
    corpus.good["dog/folder.jpg/inside.png"] = "dog"
    os.mkfifo(dog / "pipe.png")
    corpus.reasons["dog/pipe.png"] = "not a file"
    (dog / "device.png").symlink_to("/dev/zero")
    corpus.reasons["dog/device.png"] = "not a file"
    (dog / "dangling.png").symlink_to(dog / "gone.png")
    corpus.reasons["dog/dangling.png"] = "No such file"
    (dog / "loop.png").symlink_to(dog / "loop.png")
    corpus.reasons["dog/loop.png"] = "Too many levels of symbolic links"
    (dog / "round").symlink_to(corpus.folder)
    corpus.links.append("dog/round")
    name = os.fsdecode(b"latin-\xe9.png")
    corpus.write(f"dog/{name}", encoded(photo(961), "PNG"))
    corpus.reasons["dog/latin-\\udce9.png"] = "is not UTF-8"
    if os.geteuid() != 0:  # who may read everything cannot be kept from it
        corpus.write("dog/locked.png", encoded(photo(962), "PNG"))
        (dog / "locked.png").chmod(0)
        corpus.reasons["dog/locked.png"] = "Permission denied"
