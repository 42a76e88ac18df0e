"""The pipeline's graph and what of it is up to date, asked of DVC. `dvc.yaml` is the only place where it is written."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import GraftError

os.environ.setdefault("DVC_NO_ANALYTICS", "1")

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
            with Repo(str(root), _wait_for_lock=True) as repo:
                yield repo
        except DvcException as error:
            raise GraftError(f"DVC: {error}") from None


def read(root: Path) -> list[Stage]:
    """All stages, each after those it needs."""
    import networkx

    with _repository(root) as repo:
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


def changed(root: Path, address: str | None = None) -> list[str]:
    """Addresses of stages that are not up to date, of all or of the one asked about."""
    with _repository(root) as repo, repo.lock:
        stages = [stage for stage in repo.index.stages if stage.cmd and address in (None, _address(stage))]
        return sorted(_address(stage) for stage in stages if stage.status(check_updates=True))


def _address(stage: Any) -> str:
    """The stage's name for a command that runs in the repository's root (DVC's own is relative to where we are)."""
    file = stage.path_in_repo
    return stage.name if file == "dvc.yaml" else f"{file}:{stage.name}"
