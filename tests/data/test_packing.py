"""Array files made row by row, and folders that change places only when they are whole."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from components.data import packing
from components.data.packing import Rows, building
from components.errors import MachineError


def _file(path: Path, count: int) -> tuple[Rows, np.ndarray]:
    content = np.random.default_rng(count).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    rows = Rows.create(path, content.shape, np.uint8)
    for number, row in enumerate(content):
        rows.write(number, row)
    return rows, content


def test_a_file_made_row_by_row_is_what_numpy_saves(tmp_path):
    _, content = _file(tmp_path / "rows.npy", 5)
    np.save(tmp_path / "saved.npy", content)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


@pytest.mark.parametrize(
    "order",
    [
        [0, 1, 2, 3, 4],
        [4, 3, 2, 1, 0],
        [1, 2, 0],
        [3, 4],
        [2, 0, 4],
        [1, 0, 3, 4, 2],
        [4, 0],
        [],
    ],
)
def test_rows_are_put_into_any_order_in_place(order, tmp_path):
    rows, content = _file(tmp_path / "rows.npy", 5)
    rows.keep(np.array(order, dtype=np.int64))
    assert np.array_equal(np.load(tmp_path / "rows.npy"), content[order])
    np.save(tmp_path / "saved.npy", content[order])
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_any_choice_of_rows_with_places_for_others(tmp_path):
    """Random orders of random length, some of whose places are filled from another file."""
    rng = np.random.default_rng(0)
    cache, known = _file(tmp_path / "cache.npy", 40)
    for turn in range(20):
        rows, content = _file(tmp_path / f"{turn}.npy", 60)
        order = rng.permutation(60)[: rng.integers(1, 60)]
        foreign = rng.random(len(order)) < 0.4
        theirs = np.sort(rng.permutation(40)[: foreign.sum()])
        foreign[np.flatnonzero(foreign)[len(theirs) :]] = False
        rows.keep(np.where(foreign, -1, order))
        packing.copy(cache, theirs, rows, np.flatnonzero(foreign))
        expected = content[order]
        expected[foreign] = known[theirs]
        assert np.array_equal(np.load(rows.path), expected)
        rows.close()


def test_neighbours_are_copied_in_blocks_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "BLOCK", 3 * 48)  # three rows at once
    source, content = _file(tmp_path / "source.npy", 20)
    to, before = _file(tmp_path / "to.npy", 21)
    rows, places = np.array([0, 1, 2, 3, 4, 10, 11, 15]), np.array([1, 2, 3, 4, 5, 6, 7, 20])
    packing.copy(source, rows, to, places)
    before[places] = content[rows]
    assert np.array_equal(np.load(to.path), before)


@pytest.mark.parametrize("damage", [b"", b"no array", None])
def test_a_torn_file_is_refused(damage, tmp_path):
    _file(tmp_path / "rows.npy", 3)[0].close()
    content = (tmp_path / "rows.npy").read_bytes()
    (tmp_path / "rows.npy").write_bytes(content[:-1] if damage is None else damage)
    with pytest.raises(ValueError, match=r"torn|magic|expected"):
        Rows(tmp_path / "rows.npy")


def _fill(folder: Path, text: str) -> None:
    with building(folder, 10) as new:
        (new / "a").write_text(text)


def test_a_folder_takes_the_place_of_the_previous_one(tmp_path):
    folder = tmp_path / "data" / "prepared"
    for text in ("one", "two"):
        _fill(folder, text)
        assert (folder / "a").read_text() == text
    assert [path.name for path in folder.parent.iterdir()] == ["prepared"]


def test_an_error_leaves_the_previous_folder_and_no_trace(tmp_path):
    _fill(tmp_path / "prepared", "one")
    with pytest.raises(RuntimeError), building(tmp_path / "prepared", 10) as new:
        (new / "a").write_text("two")
        raise RuntimeError
    assert (tmp_path / "prepared" / "a").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_a_new_folder_that_cannot_take_its_place_leaves_the_previous_one_there(tmp_path, monkeypatch):
    _fill(tmp_path / "prepared", "one")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == ".prepared.new":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        _fill(tmp_path / "prepared", "two")
    assert (tmp_path / "prepared" / "a").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_kill_at_any_moment_of_the_exchange_loses_nothing(moment, tmp_path):
    """Killed before the first rename, between the two, and before the previous folder is removed."""
    folder = tmp_path / "prepared"
    _fill(folder, "one")
    code = (
        "import os, shutil, signal, sys\n"
        "from pathlib import Path\n"
        "from components.data.packing import building\n"
        "calls, rename, rmtree = [0], Path.rename, shutil.rmtree\n"
        "def count(*a):\n"
        "    calls[0] += 1\n"
        f"    if calls[0] == {moment}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "def renamed(*a):\n"
        "    count(); return rename(*a)\n"
        "Path.rename = renamed\n"
        "with building(Path(sys.argv[1]), 10) as new:\n"
        "    (new / 'a').write_text('two')\n"
        "count()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -9
    seen = []
    with building(folder, 10) as new:
        seen.append((folder / "a").read_text())
        (new / "a").write_text("three")
    assert seen == ["two" if moment == 3 else "one"]
    assert (folder / "a").read_text() == "three"
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_what_does_not_fit_is_refused_before_it_is_begun(tmp_path, monkeypatch):
    _fill(tmp_path / "prepared", "one")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(100, 91, 9))
    with (
        pytest.raises(MachineError, match=r"prepared needs 10 bytes, but only 9 are free in "),
        building(tmp_path / "prepared", 10),
    ):
        raise AssertionError
    assert (tmp_path / "prepared" / "a").read_text() == "one"


def test_a_disk_that_is_full_is_named_with_what_was_needed(tmp_path):
    with (
        pytest.raises(MachineError, match=r"prepared needs 10 bytes, which .* has no room for \(No space left"),
        building(tmp_path / "prepared", 10),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not any(tmp_path.iterdir())
