"""`graft init` and DVC: `prepare` runs again exactly when an image changed, came or went, wherever the images lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from components.errors import ParamsError
from init_support import PARAMS, PIPELINE, SOURCE, init, photos

ROOT = Path(__file__).parents[1]


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """A workspace of DVC without git, as the current folder, whose `prepare` only notes that it ran."""
    root = tmp_path / "clone"
    (root / "data/raw").mkdir(parents=True)
    (root / "data/raw/README.md").write_text("Images.\n")
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text((ROOT / ".dvc/config").read_text() + "    no_scm = true\n")
    (root / "params.yaml").write_text(PARAMS)
    (root / "dvc.yaml").write_text(PIPELINE)
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    return root


def _dependencies() -> list[str]:
    return yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["prepare"]["deps"]


def _runs() -> bool:
    """Whether `dvc repro prepare` finds something to do."""
    from dvc.repo import Repo

    with Repo(".") as repo:
        return "prepare" in {stage.addressing for stage in repo.reproduce(targets=["prepare"])}


def _stale() -> bool:
    """Whether `dvc status prepare` does."""
    from dvc.repo import Repo

    with Repo(".") as repo:
        return bool(repo.status(targets=["prepare"]))


def test_prepare_follows_images_outside_the_workspace_and_tracked_ones_in_it(workspace, tmp_path):
    photos(workspace / "shots", "a", "b", count=2)
    outside = photos(tmp_path / "outside", "a", "b", count=2)
    assert "commit shots.dvc" in init("shots", *SOURCE, outside, "--track", "--yes")
    assert _dependencies() == ["data/raw", str(outside), "shots"]
    before = Path("shots.dvc").read_text()
    assert _runs()
    assert not _stale()
    (outside / "a/0.png").write_bytes((outside / "b/1.png").read_bytes())
    assert _stale()
    assert _runs(), "changed"
    (outside / "a/new.png").write_bytes((outside / "b/0.png").read_bytes())
    assert _runs(), "new"
    (outside / "a/new.png").unlink()
    assert _runs(), "removed"
    assert not _runs()
    assert Path("shots.dvc").read_text() == before
    Path("shots/a/0.png").unlink()
    assert _runs()
    assert Path("shots.dvc").read_text() != before  # the digest that git knows follows the images


def test_prepare_follows_imported_images_and_those_behind_links(workspace, tmp_path, monkeypatch):
    from dvc.cli import main as dvc

    # Another process takes seconds to import DVC; that it is started and heard is seen where images are added.
    monkeypatch.setattr("graft.initial.origins.run_dvc", lambda *arguments: dvc(list(arguments)))
    upstream = photos(tmp_path / "upstream", "a", "b", count=2)
    elsewhere = photos(tmp_path / "elsewhere", "b", count=2)
    mixed = photos(workspace / "data/raw/mixed", "a", count=2)
    (mixed / "b").symlink_to(elsewhere / "b")
    init(upstream, *SOURCE, "data/raw/mixed", "--import", "--yes")
    assert yaml.safe_load(Path("params.yaml").read_text())["data"]["target"]["folder"] == "data/raw/upstream"
    assert _dependencies() == ["data/raw", str(elsewhere / "b")]
    assert yaml.safe_load(Path("data/raw/upstream.dvc").read_text())["deps"][0]["path"] == str(upstream)
    assert _runs()
    Path("data/raw/upstream/a/0.png").unlink()
    assert _runs()
    (elsewhere / "b/0.png").unlink()
    assert _runs()
    assert not _runs()


def test_a_link_below_raw_is_followed_to_its_end(workspace, tmp_path):
    elsewhere = photos(tmp_path / "elsewhere", "a", "b", count=1)
    Path("data/raw/linked").symlink_to(elsewhere)
    init("data/raw/linked", *SOURCE, photos(workspace / "data/raw/own", "a", "b", count=1), "--yes")
    assert _dependencies() == ["data/raw", str(elsewhere)]


def test_only_what_lies_in_the_workspace_can_be_tracked_in_it(workspace, tmp_path):
    with pytest.raises(ParamsError, match=r"lies outside of the workspace; --import"):
        init(photos(tmp_path / "outside", "a", "b", count=1), "--track", "--yes")
