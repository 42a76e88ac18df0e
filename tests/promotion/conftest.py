"""Workspaces with a champion, made once and copied: a fresh MLflow store costs seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import promoted_support
from colour_support import prepare_colours
from components import params as parameters
from components.promotion import latency, proposals
from components.tracking import store
from promoted_support import CONFUSED, GOOD, set_params, write_bundle


@pytest.fixture(autouse=True)
def own_store(monkeypatch):
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)


@pytest.fixture(autouse=True, scope="session")
def brief():
    """Two measurements of a quarter of a second for each decision would be most of the time of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "SECONDS", 0.03)
        yield


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Prepared images of three colours: no bundle, and no champion yet."""
    prepare_colours(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def reigning(brief, tmp_path_factory) -> Path:
    """Version 1 is champion, which takes green for the least likely colour; a bundle that does not lies ready."""
    root = promoted_support.workspace(tmp_path_factory.mktemp("reigning"), CONFUSED)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(store.URI_VARIABLE, raising=False)
        proposals.propose(root, root, parameters.load(root))
    write_bundle(root / "bundle", GOOD)
    return root


@pytest.fixture(scope="session")
def proposed(reigning, tmp_path_factory) -> Path:
    """The same, and version 2, of that bundle, waits for approval."""
    root = Path(shutil.copytree(reigning, tmp_path_factory.mktemp("proposed") / "workspace"))
    set_params(root, approval="manual")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(store.URI_VARIABLE, raising=False)
        proposals.propose(root, root, parameters.load(root))
    return root


@pytest.fixture
def root(reigning, tmp_path) -> Path:
    return Path(shutil.copytree(reigning, tmp_path / "workspace"))


@pytest.fixture
def waiting(proposed, tmp_path) -> Path:
    return Path(shutil.copytree(proposed, tmp_path / "workspace"))
