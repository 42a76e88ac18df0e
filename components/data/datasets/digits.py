"""Digits in print and digits by hand: the built-in example of transfer, made on this machine with no download.

Beside the handwritten ones lies `attributes.csv`, which says of each digit how a seven-segment display shows it and how
a pen draws it: descriptions for zero-shot, further questions for multi-task; and `metadata.csv`, which says of each
scan how much ink it took.

`printed` is the source domain, drawn from the text faces that matplotlib carries; `handwritten` is the target domain,
the 1,797 UCI scans that scikit-learn carries (Kaynak, 1995, "Methods of combining multiple classifiers and their
applications to handwritten digit recognition", MSc thesis, Bogazici University). Both write `root/<digit>/<nnnn>.png`,
32x32 pixels in grey, bright ink on a dark ground.

The scans were made so: the digit cropped to its box and scaled to the height of a 32x32 bitmap, the ink of each 4x4
block counted, so 8x8 numbers from 0 to 16. Printed digits are put through the same mill, and both are enlarged by one
function, so that what is left between the domains is the writing (a crossed seven, an open four), not the scanner.
"""

from __future__ import annotations

import multiprocessing
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from components.data.datasets.published import publish

SIZE = 32  # pixels a side of a written image and of the bitmap whose ink is counted
BLOCK = 4  # pixels a side of the blocks counted, so a scan is SIZE / BLOCK = 8 numbers a side
INK = BLOCK * BLOCK  # a full block: the largest number in a scan
CANVAS = 128  # pixels a side on which a glyph is drawn and bent, wide enough that no digit leaves it
FONT_SIZE = 84  # pixels an em; a digit is then about 60 high, twice what is left of it in the bitmap
METADATA = "path,ink"  # header of the table of scans; ink is the share of the 8x8 blocks that is covered

# The faces of matplotlib whose ten digits are meant for running text. Others (STIXSiz, STIXNonUni, Display) have
# none, or have TeX's symbols at their code points (cmsy, cmex), or old-style ones that hang below the line (cmmi).
FACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono",
    "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
    "STIXGeneralBolIta", "cmr10", "cmb10", "cmss10", "cmti10", "cmtt10",
)  # fmt: skip


ATTRIBUTES = """\
class,loops,strokes,top,upper_left,upper_right,middle,lower_left,lower_right,bottom,closed_above,closed_below,open_left,\
open_right,straight,curved
0,one,curved,1,1,1,0,1,1,1,0.5,0.5,0,0,0,1
1,none,straight,0,0,1,0,0,1,0,0,0,0,0,1,0
2,none,mixed,1,0,1,1,1,0,1,0,0,1,1,0.5,0.5
3,none,curved,1,0,1,1,0,1,1,0,0,1,0,0,1
4,none,straight,0,1,1,1,0,1,0,0.5,0,0,0,1,0
5,none,mixed,1,1,0,1,0,1,1,0,0,1,1,0.5,0.5
6,one,curved,1,1,0,1,1,1,1,0,1,0,1,0,1
7,none,straight,1,0,1,0,0,1,0,0,0,1,0,1,0
8,two,curved,1,1,1,1,1,1,1,1,1,0,0,0,1
9,one,curved,1,1,1,1,0,1,1,1,0,1,0,0,1
"""
"""`loops` and `strokes` are questions with a few answers; then come the segments of the display, clockwise from the top
and lit or not, and what of the digit is closed, open to a side, straight or curved, by how much."""


def printed(root: Path, per_class: int, seed: int) -> None:
    """Writes `per_class` printed images of each digit below `root`.

    An image depends on (seed, digit, its number) alone: asking for more keeps those there are.
    """
    if per_class < 1:
        raise ValueError(f"per_class is {per_class}; at least one image of each digit is needed")

    def write(folder: Path) -> None:
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
            list(pool.map(partial(_write_digit, folder, per_class, seed), range(10)))

    publish(root, {"digits": "printed", "per_class": per_class, "seed": seed}, write)


def handwritten(root: Path) -> None:
    """Writes the 1,797 handwritten images below `root`, each named by its row in `sklearn.datasets.load_digits`."""

    def write(folder: Path) -> None:
        from sklearn.datasets import load_digits

        scans, labels = load_digits(return_X_y=True)
        lines = [METADATA]
        for index, (scan, digit) in enumerate(zip(scans, labels, strict=True)):
            name = f"{digit}/{index:04d}.png"
            _save(scan.reshape(SIZE // BLOCK, SIZE // BLOCK), folder / name)
            lines.append(f"{name},{scan.mean() / INK:.3f}")
        (folder / "attributes.csv").write_text(ATTRIBUTES, encoding="utf-8")
        (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    attributes = zlib.crc32(ATTRIBUTES.encode())
    publish(root, {"digits": "handwritten", "attributes": attributes, "metadata": METADATA}, write)


def _write_digit(folder: Path, per_class: int, seed: int, digit: int) -> None:
    for index in range(per_class):
        scan = _printed_scan(digit, np.random.default_rng((seed, digit, index)))
        _save(scan, folder / str(digit) / f"{index:04d}.png")


def _printed_scan(digit: int, rng: np.random.Generator) -> np.ndarray:
    """One printed digit as the scanner would have seen it -> [8, 8], ink from 0 to 16."""
    face = FACES[rng.integers(len(FACES))]
    glyph = _draw(str(digit), face, stroke=rng.uniform(0.0, 4.0))
    bitmap = _fit(_bend(glyph, rng), stretch=rng.uniform(0.65, 1.2))
    scan = bitmap.reshape(SIZE // BLOCK, BLOCK, SIZE // BLOCK, BLOCK).sum(axis=(1, 3))
    # Only where ink begins or ends does a scanner err: empty and full blocks stay as they are.
    edge = (scan > 0) & (scan < INK)
    return np.clip(scan + edge * rng.normal(0.0, 1.5, scan.shape).round(), 0, INK)


def _draw(text: str, face: str, stroke: float) -> np.ndarray:
    """Text in the middle of the canvas, its outline pushed out by `stroke` pixels -> [128, 128] bool."""
    canvas = Image.new("L", (CANVAS, CANVAS))
    middle = (CANVAS / 2, CANVAS / 2)
    ImageDraw.Draw(canvas).text(middle, text, fill=255, font=_font(face), anchor="mm", stroke_width=stroke)
    return np.asarray(canvas) > 127


@cache
def _font(face: str) -> ImageFont.FreeTypeFont:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    # The basic layout is in every build of Pillow; raqm, the default where present, is not.
    return ImageFont.truetype(path, FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)


def _bend(glyph: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The glyph slanted, turned and warped as a hand would: [128, 128] bool -> [128, 128] bool."""
    shear, turn = rng.normal(0.0, 0.2), np.radians(rng.normal(0.0, 8.0))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    affine = rotation @ np.array([[1.0, shear], [0.0, 1.0]])
    xy = np.stack(np.meshgrid(np.arange(CANVAS), np.arange(CANVAS))) - CANVAS / 2
    warp = np.stack([_smooth_noise(rng, amplitude=5.0) for _ in range(2)])
    x, y = np.rint(np.einsum("ij,jhw->ihw", affine, xy) + warp + CANVAS / 2).astype(int).clip(0, CANVAS - 1)
    return glyph[y, x]


def _smooth_noise(rng: np.random.Generator, amplitude: float, knots: int = 5) -> np.ndarray:
    """A displacement in pixels that changes slowly over the canvas -> [128, 128]."""
    coarse = rng.normal(0.0, amplitude, (knots, knots)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC))


def _fit(glyph: np.ndarray, stretch: float) -> np.ndarray:
    """Cropped to its box, scaled to the bitmap's height and `stretch` times as wide: [128, 128] -> [32, 32], bool."""
    rows, columns = np.flatnonzero(glyph.any(axis=1)), np.flatnonzero(glyph.any(axis=0))
    box = Image.fromarray(glyph[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8) * 255)
    width = min(SIZE, max(1, round(box.width * SIZE / box.height * stretch)))
    bitmap = np.zeros((SIZE, SIZE), bool)
    left = (SIZE - width) // 2
    bitmap[:, left : left + width] = np.asarray(box.resize((width, SIZE), Image.Resampling.BOX)) > 127
    return bitmap


def _save(scan: np.ndarray, path: Path) -> None:
    """[8, 8], ink from 0 to 16 -> a 32x32 PNG, 0 where there is none and 255 where a block is full."""
    small = Image.fromarray(np.rint(scan * (255 / INK)).astype(np.uint8))
    path.parent.mkdir(exist_ok=True)
    small.resize((SIZE, SIZE), Image.Resampling.BILINEAR).save(path)
