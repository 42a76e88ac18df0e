"""Which images are for training, validation and test.

An image's part follows from its own content, or from the name of the group that it is in, so images that arrive later
never move an earlier one: what was a test image yesterday is not trained on tomorrow, and copies of one image, like all
images of a group, share a part. What the data itself divides stays as it is divided.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

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


def group_digest(group: str) -> str:
    """Stands for the content of all images of a group."""
    return hashlib.sha256(group.encode()).hexdigest()


def within(
    given: str | None, present: Collection[str], content: str, *, val_fraction: float, test_fraction: float, seed: int
) -> str:
    """The part of an image that the data puts into the part `given` (None: nowhere), where some of the data's images
    are given the parts `present`. Val and test are as given; a part that the data does not know is cut from train, by
    `content`: the digest of the image or of its group."""
    if given in ("val", "test"):
        return given
    if given == "train":
        val_fraction = 0.0 if "val" in present else val_fraction
        test_fraction = 0.0 if "test" in present else test_fraction
    return part(content, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)


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
