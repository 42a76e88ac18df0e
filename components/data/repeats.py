"""The same image twice: which copy is used, and what is said about the other.

Exact copies are known by their digests, within a domain and across all; near duplicates by `near_duplicates`. Recent
images always give way: which of the others are used, and for what, must not depend on what comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.data import near_duplicates
from components.data.decoding import Decoded
from components.data.listing.listed import Listed
from components.data.prepared import RECENT

KEPT_FIRST = ("test", "val", "train")
"""Of two images that are the same, the one whose part stands first is kept."""


@dataclass(frozen=True, slots=True)
class Image:
    """A readable image and where it goes. `row`: where its pixels were written, in its domain's file; `thumbnail`: its
    number among all domains'."""

    domain: str
    part: str
    listed: Listed
    decoded: Decoded
    row: int
    thumbnail: int

    @property
    def sha256(self) -> str:
        return self.decoded.sha256

    @property
    def path(self) -> str:
        return self.listed.path.as_posix()

    def facts(self) -> dict[str, str]:
        """As problems.json names it; also a label that strategies may not see, for this is not theirs to read."""
        return {"domain": self.domain, "path": self.path, "split": self.part, "label": self.listed.class_name}


@dataclass(frozen=True)
class Repeat:
    """Two indices of images that are (nearly) the same; `other` is the one that goes."""

    kept: int
    other: int
    similarity: float


def once(images: Sequence[Image]) -> tuple[list[Image], dict[str, list]]:
    """One domain's images, ordered by sha256, each once; and what was left out, as groups of paths.

    Of copies ("duplicates"), one with a label is kept before one without, then test before val before train, then the
    first path. Copies that lie in several parts ("overlaps") are told apart from others. Of copies with different
    labels or answers ("contradictions") none is kept, since no one can say which is right.
    """
    copies: dict[str, list[Image]] = {}
    for image in images:
        copies.setdefault(image.sha256, []).append(image)
    problems: dict[str, list[list[str]]] = {"duplicates": [], "overlaps": [], "contradictions": []}
    kept = []
    for _, same in sorted(copies.items()):
        if len(same) > 1:
            same.sort(key=lambda image: (not image.listed.class_name, KEPT_FIRST.index(image.part), image.path))
            labelled = [image for image in same if image.listed.class_name]
            kind = "overlaps" if len({image.part for image in labelled}) > 1 else "duplicates"
            if any(_said(image) != _said(labelled[0]) for image in labelled):
                kind = "contradictions"
            problems[kind].append([image.path for image in same])
            if kind == "contradictions":
                continue
        kept.append(same[0])
    return kept, {kind: sorted(groups) for kind, groups in problems.items()}


def _said(image: Image) -> tuple[str, dict[str, str]]:
    return image.listed.class_name, dict(image.listed.answers)


def find(images: Sequence[Image], thumbnails: np.ndarray, similarity: float, *, dropping: bool) -> list[Repeat]:
    """Exact copies in several domains, and images of val and train that are nearly the same as one of a part held out
    from theirs: of `similarity` or more; of recent ones that are held out, also those that are nearly the same as what
    is trained on elsewhere. `thumbnails` [K, 16, 16, 3] are those of all images.

    An image is `other` at most once, for what weighs most: a copy, then its likeness to test, then to val. `dropping`:
    nothing is compared with an image that goes.
    """
    found: dict[int, Repeat] = {}
    first: dict[str, int] = {}
    recent = [image.domain == RECENT for image in images]
    order = sorted(range(len(images)), key=lambda i: (recent[i], KEPT_FIRST.index(images[i].part)))
    for index in order:  # the sort is stable: target first
        kept = first.setdefault(images[index].sha256, index)
        if kept != index:
            found[index] = Repeat(kept, index, 1.0)
    numbers = np.array([image.thumbnail for image in images], dtype=np.int64)

    def compare(references: Sequence[int], others: Sequence[int]) -> None:
        references = [i for i in references if not (dropping and i in found)]
        others = [i for i in others if i not in found]
        nearest, alike = near_duplicates.closest(thumbnails, numbers[others], numbers[references], similarity)
        for at in np.flatnonzero(nearest >= 0):
            found[others[at]] = Repeat(references[nearest[at]], others[at], float(alike[at]))

    def of(parts: Sequence[str], *, come_in: bool) -> list[int]:
        return [i for i, image in enumerate(images) if image.part in parts and recent[i] == come_in]

    for held_out, below in (("test", ("val", "train")), ("val", ("train",))):
        compare(of([held_out], come_in=False), of(below, come_in=False))
    if any(recent):
        compare(of(["test", "val"], come_in=False), of(["val", "train"], come_in=True))
        compare(of(["train"], come_in=False), of(["val"], come_in=True))
        compare(of(["val"], come_in=True), of(["train"], come_in=True))
    return [found[index] for index in sorted(found)]


def described(repeats: Sequence[Repeat], images: Sequence[Image], remaining: Sequence[int]) -> dict[str, list[dict]]:
    """Entries of problems.json by the domain of the image that goes. Rows count a domain's remaining images."""
    rows: dict[int, int] = {}
    counts: dict[str, int] = {}
    for index in remaining:
        domain = images[index].domain
        rows[index] = counts.get(domain, 0)
        counts[domain] = rows[index] + 1
    entries: dict[str, list[dict]] = {image.domain: [] for image in images}
    for repeat in repeats:
        other = images[repeat.other]
        entries[other.domain].append(
            {
                "similarity": round(repeat.similarity, 4),
                "kept": images[repeat.kept].facts(),
                "other": other.facts(),
                "dropped": repeat.other not in rows,
                "kept_row": rows.get(repeat.kept),
                "other_row": rows.get(repeat.other),
            }
        )
    return entries
