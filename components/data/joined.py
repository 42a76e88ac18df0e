"""Training images of several domains as one list, for those who learn from all of them alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.data.prepared import Domain


class JoinedPixels:
    """Rows of several arrays, one part after the other. Nothing is read until rows are asked for, and then these alone:
    each array may be a file that is larger than the memory."""

    def __init__(self, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Of each part the array [N, S, S, 3] and which of its rows it gives."""
        self._parts = parts
        self._ends = np.cumsum([len(rows) for _, rows in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """rows int64 [M] of the whole -> uint8 [M, S, S, 3], in the order of the rows."""
        whose = np.searchsorted(self._ends, rows, side="right")
        pixels = np.empty((len(rows), *self._parts[0][0].shape[1:]), self._parts[0][0].dtype)
        for number, (array, own) in enumerate(self._parts):
            mine = whose == number
            pixels[mine] = array[own[rows[mine] - (self._ends[number] - len(own))]]
        return pixels


@dataclass(frozen=True)
class Joined:
    """What `Domain` says of its images, of several domains': `pixels` of N images, `labels` [N] by task, `sha256`
    [N]; and how many of them are of each domain, one after the other."""

    pixels: JoinedPixels
    labels: dict[str, np.ndarray]
    sha256: list[str]
    sizes: list[int]


def joined(parts: Sequence[tuple[Domain, np.ndarray]]) -> Joined:
    """These rows of each domain, one domain after the other."""
    return Joined(
        pixels=JoinedPixels([(domain.pixels, rows) for domain, rows in parts]),
        labels={
            task: np.concatenate([domain.labels[task][rows] for domain, rows in parts]) for task in parts[0][0].labels
        },
        sha256=[domain.sha256[row] for domain, rows in parts for row in rows],
        sizes=[len(rows) for _, rows in parts],
    )
