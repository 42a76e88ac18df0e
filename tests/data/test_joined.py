"""Several arrays as one: rows by their number in the whole, read from the files only when they are asked for."""

from __future__ import annotations

import numpy as np

from components.data.joined import JoinedPixels, joined
from components.data.prepared import HIDDEN, Domain


def _file(path, count: int, first: int) -> np.ndarray:
    """Memory-mapped; image number i is filled with first + i."""
    numbers = np.arange(first, first + count, dtype=np.uint8)
    np.save(path, np.broadcast_to(numbers[:, None, None, None], (count, 2, 2, 3)))
    return np.load(path, mmap_mode="r")


def test_rows_count_through_the_parts_in_any_order_and_as_often_as_asked(tmp_path):
    one, other = _file(tmp_path / "one.npy", 5, 0), _file(tmp_path / "other.npy", 4, 100)
    whole = JoinedPixels([(one, np.array([4, 1])), (other, np.array([], dtype=int)), (other, np.array([0, 3, 2]))])
    assert len(whole) == 5
    for rows in ([0, 1, 2, 3, 4], [4, 0, 4, 2], [3], []):
        found = whole[np.array(rows, dtype=int)]
        assert (found.shape, found.dtype) == ((len(rows), 2, 2, 3), np.uint8)
        assert found[:, 1, 0, 2].tolist() == [(4, 1, 100, 103, 102)[row] for row in rows]


def test_the_arrays_stay_files(tmp_path):
    parts = [(_file(tmp_path / f"{first}.npy", 3, first), np.arange(3)) for first in (0, 50)]
    whole = JoinedPixels(parts)
    held = [value for value in vars(whole).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in held) < 100, "pixels were copied"
    found = whole[np.array([5])]
    assert not isinstance(found, np.memmap)
    assert found.flags.owndata


def _domain(count: int, first: int) -> Domain:
    pixels = np.full((count, 2, 2, 3), first, np.uint8)
    labels = {"label": np.arange(count) % 3, "loops": np.full(count, HIDDEN)}
    names = [f"{first}-{row}" for row in range(count)]
    return Domain(pixels, labels, np.array(["train"] * count), names, names)


def test_labels_and_digests_go_with_the_rows():
    found = joined([(_domain(4, 10), np.array([3, 1])), (_domain(3, 20), np.array([2]))])
    assert found.sha256 == ["10-3", "10-1", "20-2"]
    assert found.labels["label"].tolist() == [0, 1, 2]
    assert found.labels["loops"].tolist() == [HIDDEN] * 3
    assert found.pixels[np.arange(3)][:, 0, 0, 0].tolist() == [10, 10, 20]
