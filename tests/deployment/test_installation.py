"""A bundle takes its place whole, in one step where the system can exchange two names, and in two that are finished
after a kill where it cannot."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from components.deployment import bundle, exchange, installation
from components.errors import DataError

FACTS = {
    "strategy": "dan",
    "classes": {"label": ["cat", "dog"]},
    "preprocess": {"size": 32},
    "lineage": {"weights_sha256": "1a"},
}


def make(folder: Path, content: bytes) -> Path:
    bundle.write(folder, {"fp32": content}, FACTS)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a bundle is in production, and another one is staged beside it."""
    bundle.write(tmp_path / "bundle", {"fp32": b"weights", "fp16": b"half"}, FACTS)
    installation.stage(tmp_path / "bundle", tmp_path / "models" / "champion")
    installation.swap(tmp_path / "models" / "champion")
    installation.stage(make(tmp_path / "newer", b"newer"), tmp_path / "models" / "champion")
    return tmp_path / "models" / "champion"


@pytest.fixture(params=["exchanged", "renamed"])
def way(request, monkeypatch) -> str:
    """Both ways of swapping, whatever this system can do by itself."""
    if request.param == "renamed":
        monkeypatch.setattr(exchange, "exchange", lambda first, second: False)
    return request.param


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir())


def test_this_system_exchanges_two_folders(tmp_path: Path):
    """On Linux, which is what Graft's images run; elsewhere two renames take its place."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange.exchange(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["a"]
    with pytest.raises(FileNotFoundError):
        exchange.exchange(tmp_path / "a", tmp_path / "nothing")


def test_a_staged_bundle_takes_the_place_and_the_old_one_stays_beside_until_it_is_discarded(place: Path, way: str):
    installation.swap(place)
    assert bundle.read(place) == bundle.read(place.parents[1] / "newer")
    assert names(place) == [".champion.old", "champion"]
    installation.discard(place)
    assert names(place) == ["champion"]


def test_a_swap_is_undone(place: Path, way: str):
    before = bundle.read(place)
    installation.swap(place)
    installation.swap_back(place)
    assert bundle.read(place) == before
    installation.discard(place)
    assert names(place) == ["champion"]


def killed_after(renames: int) -> Callable[..., None]:
    """`os.rename`, by a process that is killed when it would do one more."""
    rename, left = os.rename, iter(range(renames))

    def dying(*arguments: object) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        rename(*arguments)

    return dying


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_while_a_swap_is_undone_does_not_bring_back_what_was_undone(place: Path, monkeypatch, renames: int):
    old, new = bundle.read(place), bundle.read(place.parents[1] / "newer")
    monkeypatch.setattr(exchange, "exchange", lambda first, second: False)
    installation.swap(place)
    monkeypatch.setattr(os, "rename", killed_after(renames))
    with pytest.raises(KeyboardInterrupt):
        installation.swap_back(place)
    monkeypatch.undo()
    installation.recover(place)
    assert bundle.read(place) == (new if renames == 0 else old)
    assert installation.replaced(place) is (renames == 0), "there is something to undo as long as it is not undone"


def test_a_swap_is_undone_though_what_it_put_there_is_gone(place: Path, way: str):
    before = bundle.read(place)
    installation.swap(place)
    shutil.rmtree(place)
    installation.swap_back(place)
    assert bundle.read(place) == before


def test_a_first_bundle_takes_an_empty_place_and_leaves_it_empty_when_that_is_undone(tmp_path: Path):
    place = tmp_path / "champion"
    installation.stage(make(tmp_path / "bundle", b"first"), place)
    installation.recover(place)
    assert not place.exists(), "what is staged is nobody's decision yet"
    installation.swap(place)
    assert bundle.read(place)["models"]["fp32"]["bytes"] == 5
    installation.swap_back(place)
    assert not place.exists()


def test_there_is_a_bundle_at_every_moment_of_an_exchange(place: Path):
    """A reader that looks all the while: with two renames it finds none now and then."""
    missing, stop = [], threading.Event()

    def look() -> None:
        while not stop.is_set():
            if not (place / bundle.FILE).exists():
                missing.append(True)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(200):
            installation.swap(place)
            (place.parent / ".champion.old").rename(place.parent / ".champion.new")
    finally:
        stop.set()
        reader.join()
    assert not missing


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_between_the_two_renames_is_recovered(place: Path, monkeypatch, renames: int):
    old, new = bundle.read(place), bundle.read(place.parents[1] / "newer")
    monkeypatch.setattr(exchange, "exchange", lambda first, second: False)
    monkeypatch.setattr(os, "rename", killed_after(renames))
    if renames < 2:
        with pytest.raises(KeyboardInterrupt):
            installation.swap(place)
    else:
        installation.swap(place)
    monkeypatch.undo()
    assert place.exists() is (renames != 1)
    installation.recover(place)
    assert bundle.read(place) == (old if renames == 0 else new)
    installation.recover(place)  # again changes nothing
    assert bundle.read(place) == (old if renames == 0 else new)


def test_a_reader_may_finish_what_another_process_is_about_to(place: Path, monkeypatch):
    rename = Path.rename

    def overtaken(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        if target.name == ".champion.old":
            installation.recover(place)
        return moved

    monkeypatch.setattr(exchange, "exchange", lambda first, second: False)
    monkeypatch.setattr(Path, "rename", overtaken)
    installation.swap(place)
    assert bundle.read(place) == bundle.read(place.parents[1] / "newer")


def test_what_is_staged_was_verified_and_a_bad_source_leaves_everything_as_it_was(place: Path, tmp_path: Path):
    before = bundle.read(place)
    with pytest.raises(DataError, match="no model 'int8'; choose from: fp32, fp16"):
        installation.stage(tmp_path / "bundle", place, keep=["fp32", "int8"])
    bad = make(tmp_path / "bad", b"x")
    (bad / "model.fp32.onnx").write_bytes(b"y")
    with pytest.raises(DataError, match="not the file that was admitted"):
        installation.stage(bad, place)
    assert bundle.read(place) == before


def test_recover_where_there_is_nothing_does_nothing(tmp_path: Path):
    installation.recover(tmp_path / "champion")
    assert list(tmp_path.iterdir()) == []
