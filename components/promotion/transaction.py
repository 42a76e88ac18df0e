"""Who is champion, changed as one: the registry's alias, the files in production and the decision log.

1. stage     a copy of the bundle beside the champion, on disk, with its routes and release.json
2. verify    it answers sample requests in the server's own code as the bundle that was judged; the monitor's reference
3. begin     the journal, .graft/promotion.json
4. point     the registry's alias `champion` to the new version
5. swap      the files, in one step
6. confirm   what is in the champion's place now answers as the copy did; else all is undone
7. log       the decision's line
8. tell      the version's tags and description; the alias `challenger` goes
9. end       the old files, then the journal

A kill before 5 leaves the old champion serving, one after it the new one; `recover` then makes registry and log agree
with the files: back to the old version before the swap, forward after it, unless what was put there is damaged and the
old one is still beside it. It may itself be killed and run again. All that changes the champion, `recover` included,
does so within `exclusive`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import durable, jsonfile, paths
from components.deployment import bundle, installation
from components.errors import DataError, MachineError, ParityError
from components.filelock import locked
from components.promotion import decisions, verification
from components.speed import shipping
from components.speed.shipping import Shipping

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK = paths.STATE / "promote.lock"


@dataclass(frozen=True)
class Change:
    """What is to become champion. `model`: its name in the registry; `line`: the decision, as the log will have it;
    `tags`, `description`: those that its version gets, the latter None where the one that it has is to stay."""

    model: str
    version: str
    line: Mapping[str, Any]
    tags: Mapping[str, str]
    description: str | None = None


@contextmanager
def exclusive(root: Path) -> Generator[str | None]:
    """Holds the workspace's promotions for this process, once what an interrupted one has left was recovered; gives a
    sentence on that, or None."""
    with locked(root / LOCK):
        yield recover(root)


def carry_out(
    root: Path,
    client: MlflowClient,
    change: Change,
    folder: Path,
    shipped: Shipping,
    images: np.ndarray,
    keep_reference: Callable[[Path], object],
) -> None:
    """Makes the bundle in `folder` champion. `images`: for the sample requests; `keep_reference`: is given the staged
    copy, to keep what later images are compared with.

    Raises ParityError when it does not verify, MachineError when MLflow does not answer or the disk is full; each says
    how things stand.
    """
    with _room(root, change):
        place = root / paths.CHAMPION
        staged = _stage(place, folder, shipped, change)
        try:
            answers = verification.verify(staged, folder, images)
            keep_reference(staged)
        except BaseException:
            installation.discard(place)
            raise
        journal = _begin(root, client, change)
        with _mlflow(root, journal, f"{_serving(root)} serves, as before"):
            _point(client, journal)
        installation.swap(place)
        try:
            verification.confirm(place, images, answers)
        except Exception as error:  # whatever it is: nobody has seen it answer there
            installation.swap_back(place)
            _back(root, client, journal)
            raise ParityError(f"{error}: it was taken back, and {_serving(root)} serves") from error
        _forward(root, client, journal)


@contextmanager
def _room(root: Path, change: Change) -> Generator[None]:
    """A full disk inside is one error that says how things stand."""
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"version {change.version} cannot be put into production: {error}; {_serving(root)} serves. Once there is "
            "room, graft promote goes on from there"
        ) from error


def recover(root: Path) -> str | None:
    """Makes registry, files and log agree after a change was interrupted; a sentence on what was done, None where there
    was nothing to do. Raises MachineError when that needs MLflow and it does not answer: then nothing has changed."""
    place = root / paths.CHAMPION
    installation.recover(place)
    journal = interrupted(root)
    if journal is None:
        installation.discard(place)  # of one that was interrupted before it began
        return None
    from components.tracking import store

    with _mlflow(root, journal, f"{_serving(root)} serves"):
        client, _ = store.connect(root, journal["model"])
    if _released(place) == journal["id"] and installation.replaced(place) and not _whole(place):
        installation.swap_back(place)  # killed before it was confirmed, or while it was taken back
    if _released(place) == journal["id"]:
        _forward(root, client, journal)
        return f"version {journal['to']} is champion: its promotion was interrupted, and is complete now"
    _back(root, client, journal)
    return f"the promotion of version {journal['to']} was interrupted and has been taken back: {_serving(root)} serves"


def interrupted(root: Path) -> dict[str, Any] | None:
    """The journal of a change that is under way or was interrupted. Asks nobody and changes nothing."""
    path = root / paths.PROMOTION
    return jsonfile.read(path) if path.exists() else None


def _stage(place: Path, folder: Path, shipped: Shipping, change: Change) -> Path:
    staged = shipping.stage(folder, place, shipped)
    release = {"version": change.version, "model": change.model, "id": change.line["id"], "since": change.line["time"]}
    jsonfile.write(staged / decisions.RELEASE, release)
    durable.flush_tree(staged)
    return staged


def _begin(root: Path, client: MlflowClient, change: Change) -> dict[str, Any]:
    from components.tracking import registry, store

    serving = decisions.champion(root)
    with store.reached(root, f"nothing was changed, and {_serving(root)} serves"):
        # Of what is in production, not whatever has the alias: that may have been lost, or given to another by hand.
        known = serving and serving["bundle"] and registry.find_version(client, change.model, serving["bundle"])
        before = known or registry.pointed(client, change.model, registry.CHAMPION)
    journal = {
        "id": change.line["id"],
        "model": change.model,
        "from": before,
        "to": change.version,
        "line": dict(change.line),
        "tags": dict(change.tags),
        "description": change.description,
    }
    path = root / paths.PROMOTION
    unfinished = path.with_name(f"{path.name}.new")
    jsonfile.write(unfinished, journal)
    durable.flush([unfinished])  # before it has its name: half a journal would be in the way of all that follows
    unfinished.rename(path)
    durable.flush([path.parent])
    return journal


def _point(client: MlflowClient, journal: Mapping[str, Any]) -> None:
    from components.tracking import registry

    registry.point(client, journal["model"], registry.CHAMPION, journal["to"])


def _forward(root: Path, client: MlflowClient, journal: Mapping[str, Any]) -> None:
    """What is left to do once the files are in place; each step may be repeated."""
    from components.tracking import registry

    with _mlflow(root, journal, f"version {journal['to']} serves already"):
        _point(client, journal)
        decisions.append(root, dict(journal["line"]))
        registry.tell(client, journal["model"], journal["to"], journal["tags"], journal["description"])
        if registry.pointed(client, journal["model"], registry.CHALLENGER) == journal["to"]:
            registry.point(client, journal["model"], registry.CHALLENGER, None)
    _end(root)


def _back(root: Path, client: MlflowClient, journal: Mapping[str, Any]) -> None:
    from components.tracking import registry

    with _mlflow(root, journal, f"{_serving(root)} serves"):
        registry.point(client, journal["model"], registry.CHAMPION, journal["from"])
    _end(root)


def _end(root: Path) -> None:
    installation.discard(root / paths.CHAMPION)
    (root / paths.PROMOTION).unlink(missing_ok=True)


@contextmanager
def _mlflow(root: Path, journal: Mapping[str, Any], standing: str) -> Generator[None]:
    from components.tracking import store

    with store.reached(
        root,
        f"{standing}. Nothing is lost: the promotion of version {journal['to']} is noted in {paths.PROMOTION}, and the "
        "next graft promote, rollback or monitor that reaches MLflow makes all agree",
    ):
        yield


def _released(place: Path) -> str | None:
    """The id of the decision that put the champion there."""
    return decisions.release(place).get("id")


def _whole(place: Path) -> bool:
    try:
        bundle.read(place)
    except DataError:
        return False
    return True


def _serving(root: Path) -> str:
    found = decisions.champion(root)
    if found is None:
        return "no champion"
    return "the old champion" if found["version"] is None else f"version {found['version']}"
