"""A look at some of the images: how large they are, in which formats, and whether they open. No pixel is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PIL import Image

SAMPLE = 200


@dataclass(frozen=True)
class Sample:
    """`opened` of `looked` images; `widths` and `heights` in pixels: smallest, middle, largest; `formats` as Pillow
    calls them, the most frequent first; `unreadable`: those that did not open, and why."""

    looked: int
    opened: int
    widths: tuple[int, int, int]
    heights: tuple[int, int, int]
    formats: dict[str, int]
    unreadable: tuple[str, ...]


def look(paths: Sequence[Path], most: int = SAMPLE) -> Sample:
    """Reads the headers of at most so many files, evenly spread over all."""
    step = max(1, len(paths) / most)
    chosen = [paths[int(at * step)] for at in range(min(most, len(paths)))]
    sizes, formats, wrong = [], Counter[str](), []
    for path in chosen:
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
                formats[image.format or "?"] += 1
        except Exception as error:  # Pillow lets all kinds of errors through when a file is damaged
            wrong.append(f"{path}: {(str(error).splitlines() or [type(error).__name__])[0]}")
    return Sample(
        len(chosen),
        len(sizes),
        _spread([width for width, _ in sizes]),
        _spread([height for _, height in sizes]),
        dict(formats.most_common()),
        tuple(wrong),
    )


def _spread(values: list[int]) -> tuple[int, int, int]:
    return (min(values), int(median(values)), max(values)) if values else (0, 0, 0)
