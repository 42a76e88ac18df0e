"""What a machine remembers for all workspaces: where it lies, and how long."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from components import local_cache


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("GRAFT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_it_lies_where_the_environment_says(unset):
    unset.setenv("HOME", "/home/someone")
    assert local_cache.folder("optimised") == Path("/home/someone/.cache/graft/optimised")
    unset.setenv("XDG_CACHE_HOME", "/scratch")
    assert local_cache.folder("optimised") == Path("/scratch/graft/optimised")
    unset.setenv("GRAFT_CACHE", "/mine")
    assert local_cache.folder("optimised") == Path("/mine/optimised")


def test_a_user_without_a_home_has_none(unset):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    unset.setattr(Path, "home", homeless)
    assert local_cache.own_folder("tensorrt", "key") is None
    with pytest.raises(RuntimeError):
        local_cache.folder("optimised")


def test_a_folder_of_one_s_own_is_made_and_counts_as_used(unset, tmp_path):
    unset.setenv("GRAFT_CACHE", str(tmp_path))
    place = local_cache.own_folder("tensorrt", "key")
    assert place is not None
    os.utime(place, (0, 0))
    assert local_cache.own_folder("tensorrt", "key") == place
    assert time.time() - place.stat().st_mtime < 60


def test_only_what_was_used_last_is_kept(tmp_path):
    now = time.time()
    for number in range(5):
        path = tmp_path / f"{number}.ort"
        path.write_bytes(b"")
        os.utime(path, (now, now - 100 * number))
    for name, age in (("killed.part", 2 * local_cache.STALE_S), ("running.part", 10)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (now, now - age))
    local_cache.prune(tmp_path, "*.ort", keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.ort", "1.ort", "running.part"]
