"""The pipeline's graph and what of it is up to date, asked of DVC. `dvc.yaml` is the only place where it is written."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import GraftError

os.environ.setdefault("DVC_NO_ANALYTICS", "1")

_log = logging.getLogger(__name__)

_one_at_a_time = threading.Lock()
"""DVC's locks tell processes apart, not threads: two threads of one process would walk past them."""


@dataclass(frozen=True)
class Stage:
    """`address`: as `dvc repro` takes it; `needs`: addresses of the stages it reads from; `meta`: hints for a
    driver."""

    address: str
    needs: tuple[str, ...]
    meta: dict[str, Any]


@contextmanager
def _repository(root: Path) -> Generator[Any]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with _one_at_a_time:
        try:
            with Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
                _mend(repo)
                yield repo
        except DvcException as error:
            raise GraftError(f"DVC: {error}") from None


def _mend(repo: Any) -> None:
    """Sets aside what a kill cut short: DVC rewrites both its files in place, and refuses to work with a torn one.

    Safe while other DVC processes run, because they write both under the lock that is held here. Nothing is lost: the
    first says which processes are busy, and what the second says comes back out of DVC's run cache.
    """
    from dvc.dvcfile import LOCK_FILE, Lockfile
    from dvc.rwlock import RWLOCK_FILE
    from dvc.utils.serialize import ParseError
    from dvc.utils.strictyaml import YAMLValidationError

    busy = Path(repo.tmp_dir, RWLOCK_FILE)
    try:
        json.loads(busy.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except ValueError:
        busy.unlink()
    lock = Path(repo.root_dir, LOCK_FILE)
    try:
        whole = _names_its_hashes(Lockfile(repo, str(lock)).load())
    except (ParseError, YAMLValidationError):
        whole = False
    if not whole:
        aside = lock.replace(lock.with_name(f"{LOCK_FILE}.torn"))
        _log.warning("%s was cut short by a kill: set aside as %s, rebuilt from DVC's cache", lock.name, aside.name)


def _names_its_hashes(lock: dict[str, Any]) -> bool:
    """False if a `hash: md5` ends too early: the one cut that DVC takes for valid and then fails on."""
    stages = lock.get("stages", {}).values()
    entries = [entry for stage in stages for kind in ("deps", "outs") for entry in stage.get(kind) or ()]
    return all(entry.get("hash", "md5") == "md5" for entry in entries)


def read(root: Path) -> list[Stage]:
    """All stages, each after those it needs."""
    with _repository(root) as repo:
        return _stages(repo)


def plan(root: Path) -> tuple[list[Stage], set[str]]:
    """All stages, each after those it needs, and the addresses of those that are up to date and stay it, because all
    that they need is. (To ask about one stage takes as long as to ask about ten.)"""
    with _repository(root) as repo:
        stages, outdated = _stages(repo), _outdated(repo)
    settled: set[str] = set()
    for stage in stages:
        if stage.address not in outdated and settled.issuperset(stage.needs):
            settled.add(stage.address)
    return stages, settled


def changed(root: Path, address: str | None = None) -> list[str]:
    """Addresses of stages that are not up to date, of all or of the one asked about."""
    with _repository(root) as repo:
        return _outdated(repo, address)


def _stages(repo: Any) -> list[Stage]:
    import networkx

    graph = repo.index.graph  # an edge leads from a stage to one it needs
    return [
        Stage(
            address=_address(stage),
            needs=tuple(sorted(_address(other) for other in graph.successors(stage) if other.cmd)),
            meta=stage.meta or {},
        )
        for stage in networkx.dfs_postorder_nodes(graph)
        if stage.cmd
    ]


def _outdated(repo: Any, address: str | None = None) -> list[str]:
    stages = [stage for stage in repo.index.stages if stage.cmd and address in (None, _address(stage))]
    return sorted(_address(stage) for stage in stages if stage.status(check_updates=True))


def _address(stage: Any) -> str:
    """The stage's name for a command that runs in the repository's root (DVC's own is relative to where we are)."""
    file = stage.path_in_repo
    return stage.name if file == "dvc.yaml" else f"{file}:{stage.name}"
