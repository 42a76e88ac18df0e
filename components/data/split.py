"""Which images are for training, validation and test.

An image's part follows from its own content, so images that arrive later never move an earlier one: what was a test
image yesterday is not trained on tomorrow, and copies of one image always share a part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

SPLITS = ("train", "val", "test")


def position(sha256: str, seed: int) -> float:
    """A number in [0, 1) that depends on the image's content and the seed alone, evenly spread over images."""
    mixed = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    return int.from_bytes(mixed[:8], "big") / 2**64


def part(sha256: str, *, val_fraction: float, test_fraction: float, seed: int) -> str:
    """ "test", "val" or "train"."""
    at = position(sha256, seed)
    if at < test_fraction:
        return "test"
    return "val" if at < test_fraction + val_fraction else "train"


def labelled(positions: Sequence[float], labels: Sequence[str], per_class: int | None) -> list[bool]:
    """Which training images keep their label: in each class the `per_class` images of lowest position (None: all)."""
    if per_class is None:
        return [True] * len(labels)
    kept = [False] * len(labels)
    taken: dict[str, int] = {}
    for index in sorted(range(len(labels)), key=lambda i: positions[i]):
        if taken.get(labels[index], 0) < per_class:
            taken[labels[index]] = taken.get(labels[index], 0) + 1
            kept[index] = True
    return kept
