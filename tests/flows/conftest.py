"""Workspaces with a small graph of their own, and one Prefect API for all tests of the flow."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.server import Api

ROOT = Path(__file__).resolve().parents[2]
NO_SCM = "[core]\n    analytics = false\n    check_update = false\n    no_scm = true\n"


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A running Prefect API, which PREFECT_API_URL names while the tests run: one process runs those of this room."""
    with Api(tmp_path_factory.mktemp("prefect")) as running:
        running.wait()
        yield running
        running.drain()


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a DVC workspace without git out of the text of a dvc.yaml."""

    def make(graph: str, name: str = "workspace") -> Path:
        root = tmp_path / name
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc" / "config").write_text(NO_SCM)
        shutil.copy(ROOT / "params.yaml", root)
        (root / "dvc.yaml").write_text(graph)
        return root

    return make


@pytest.fixture
def pipeline(api: Api) -> Callable[..., dict[str, str]]:
    """The flow. Imported here and not above: prefect reads PREFECT_API_URL when it is first imported."""
    from flows.pipeline import pipeline

    return pipeline
