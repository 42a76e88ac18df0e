"""A bundle in its place: staged beside it, verified, and swapped whole, so that whoever looks finds one bundle or the
other.

    models/champion           what is in production
    models/.champion.part     a copy that is being written
    models/.champion.new      a whole and verified one that is to take its place
    models/.champion.old      what was in its place before, until the change is complete
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from components import durable, jsonfile
from components.deployment import bundle, exchange
from components.errors import DataError, choices

UNFINISHED, STAGED, REPLACED = "part", "new", "old"


def stage(source: Path, destination: Path, keep: Collection[str] | None = None) -> Path:
    """A verified copy of `source` beside `destination`, on disk, ready to be swapped with it; returns its folder.

    `keep`: keys of the model files that the copy has, by default all of them. Raises DataError when `source` is no
    sound bundle or has no such model.
    """
    facts = bundle.read(source)
    models = _kept(facts["models"], keep, source)
    discard(destination)
    unfinished = _beside(destination, UNFINISHED)
    destination.parent.mkdir(parents=True, exist_ok=True)
    dropped = _files(facts["models"]) - _files(models)
    shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns(*dropped))
    if dropped:
        jsonfile.write(unfinished / bundle.FILE, {**facts, "models": models})
    bundle.read(unfinished)
    durable.flush_tree(unfinished)
    staged = _beside(destination, STAGED)
    unfinished.rename(staged)
    return staged


def swap(destination: Path) -> None:
    """Puts the staged bundle in the place of `destination`, and what was there beside it, until `discard`.

    In one step where kernel and file system can exchange two names: then there is a whole bundle at every moment. Else
    in two renames; a kill between them leaves none in the place, and `recover` puts one there.
    """
    staged, old = _beside(destination, STAGED), _beside(destination, REPLACED)
    if not destination.exists():
        staged.rename(destination)
    elif exchange.exchange(staged, destination):
        staged.rename(old)
    else:
        destination.rename(old)
        _finish(staged, destination)
    durable.flush([destination.parent])


def swap_back(destination: Path) -> None:
    """Undoes a `swap` that was not followed by `discard`; where there was nothing before, there is nothing again. What
    is undone is never called whole in between, so that a kill cannot bring it back."""
    unfinished, old = _beside(destination, UNFINISHED), _beside(destination, REPLACED)
    if not destination.exists() or not old.exists() or not exchange.exchange(old, destination):
        if destination.exists():
            destination.rename(unfinished)
        if old.exists():
            _finish(old, destination)
    durable.flush([destination.parent])


def replaced(destination: Path) -> bool:
    """Whether `swap_back` has something to put back."""
    return _beside(destination, REPLACED).exists()


def discard(destination: Path) -> None:
    """Removes what a staging, finished or not, and a swap leave beside `destination`."""
    for name in (UNFINISHED, STAGED, REPLACED):
        shutil.rmtree(_beside(destination, name), ignore_errors=True)


def recover(destination: Path) -> None:
    """Finishes a `swap` that was killed between its two renames. Otherwise does nothing."""
    staged, old = _beside(destination, STAGED), _beside(destination, REPLACED)
    if old.exists() and not destination.exists():
        _finish(staged if staged.exists() else old, destination)


def _finish(source: Path, destination: Path) -> None:
    """The second of two renames, unless a process that wanted to read `destination` has done it meanwhile."""
    try:
        source.rename(destination)
    except FileNotFoundError:
        if not destination.exists():
            raise


def _beside(destination: Path, name: str) -> Path:
    return destination.with_name(f".{destination.name}.{name}")


def _files(models: Mapping[str, dict]) -> set[str]:
    return {entry["file"] for entry in bundle.entries(models)}


def _kept(models: dict[str, dict], keep: Collection[str] | None, source: Path) -> dict[str, dict]:
    for key in keep or ():
        if key not in models:
            raise DataError(f"{source} has no model {key!r}; {choices(key, models)}")
    return {key: entry for key, entry in models.items() if keep is None or key in keep}
