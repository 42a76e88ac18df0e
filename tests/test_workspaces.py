"""Workspaces of their own: what they share with the main one, what they do not, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components import jsonfile, lineage, paths, workspaces
from components import params as parameters
from components.errors import ParamsError
from stage_support import write_params

DVC = """
stages:
  copy:
    cmd: python -m components.copy
    deps: [components, data/raw, mine/photos, ../outside]
    outs: [copied.txt]
"""
CODE = "import pathlib; pathlib.Path('copied.txt').write_text(pathlib.Path('data/raw/a.csv').read_text())\n"


def _git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A workspace with code, raw images, a table, images of its own elsewhere, and some that lie outside."""
    root = tmp_path / "main"
    for file, content in {
        "components/copy.py": CODE,
        "components/__pycache__/copy.pyc": "",
        "data/raw/cat/1.png": "pixels",
        "data/raw/a.csv": "path,label\n",
        "data/prepared/target.npy": "array",
        "data/prepared/manifest.csv": "path\n",
        "mine/photos/1.jpg": "more pixels",
        "mine/weights.pth": "numbers",
        "dvc.yaml": DVC,
        "dvc.lock": "schema: '2.0'\n",
        ".dvc/config": "[core]\n    analytics = false\n[cache]\n    dir = ../../cache\n",
        "../outside/1.png": "pixels from outside",
    }.items():
        jsonfile.write_text(root / file, content)
    data = {"target": {"folder": "mine/photos"}, "source": {"folder": "../outside"}}
    write_params(root, data=data, backbone={"weights": "mine/weights.pth"})
    return root


def test_images_are_linked_and_what_people_edit_is_copied(main):
    place = workspaces.isolated(main, "one", {})
    assert place == main / ".graft/runs/one"
    for file in ("data/raw/cat/1.png", "data/prepared/target.npy", "mine/photos/1.jpg", "mine/weights.pth"):
        assert (place / file).samefile(main / file), file
    for file in ("components/copy.py", "data/raw/a.csv", "data/prepared/manifest.csv", "dvc.lock"):
        assert (place / file).read_text() == (main / file).read_text()
        assert not (place / file).samefile(main / file), file
    assert not (place / "components/__pycache__").exists()
    assert not [path for path in place.rglob("*") if path.is_symlink()]
    (main / "components/copy.py").write_text("changed in the middle of the run")
    assert (place / "components/copy.py").read_text() == CODE


def test_where_nothing_can_be_linked_all_is_copied(main, monkeypatch):
    def refused(*_) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    place = workspaces.isolated(main, "one", {})
    assert (place / "data/raw/cat/1.png").read_text() == "pixels"
    assert not (place / "data/raw/cat/1.png").samefile(main / "data/raw/cat/1.png")


def test_a_link_of_the_users_own_leads_to_the_same_place(main):
    (main / "data/raw/elsewhere").symlink_to("../../../outside")
    place = workspaces.isolated(main, "one", {})
    assert (place / "data/raw/elsewhere/1.png").read_text() == "pixels from outside"


def test_the_overlay_lies_over_the_parameters_key_by_key(main):
    before = parameters.load(main)
    place = workspaces.isolated(main, "one", {"train": {"steps": 3}, "compare": ["from_scratch"], "teacher": None})
    after = parameters.load(place)
    assert (after.train.steps, after.compare) == (3, ("from_scratch",))
    assert after.train.seeds == before.train.seeds  # the section's other keys stay
    assert after.strategies == before.strategies
    assert parameters.load(main) == before


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"trian": {"steps": 3}}, "trian is not a parameter; did you mean 'train'"),
        ({"train": {"step": 3}}, r"train\.step is not a parameter; did you mean 'steps'"),
        ({"train": {"steps": "many"}}, r"train\.steps is 'many'"),
        ({"compare": ["nobody"]}, "nobody"),
    ],
)
def test_a_wrong_key_is_refused_before_anything_is_made(main, overlay, message):
    with pytest.raises(ParamsError, match=message):
        workspaces.isolated(main, "one", overlay)
    assert not (main / paths.RUNS).exists()


def test_a_name_must_be_one_and_free(main):
    for name in ("", "a/b", "..", ".hidden", "lock"):
        with pytest.raises(ParamsError, match="no name for a workspace"):
            workspaces.isolated(main, name, {})
    workspaces.isolated(main, "one", {})
    with pytest.raises(ParamsError, match="already: choose another name"):
        workspaces.isolated(main, "one", {})


def test_a_path_that_leads_out_leads_to_the_same_place(main):
    place = workspaces.isolated(main, "one", {"data": {"unlabelled": {"folder": str(main / "mine/photos")}}})
    data = parameters.load(place).data
    assert data.source is not None and data.source.folder == str(main.parent / "outside")
    assert data.target.folder == "mine/photos"  # inside: linked
    assert data.unlabelled is not None and data.unlabelled.folder == str(main / "mine/photos")
    deps = yaml.safe_load((place / "dvc.yaml").read_text())["stages"]["copy"]["deps"]
    assert deps == ["components", "data/raw", "mine/photos", str(main.parent / "outside")]


def test_files_are_added_and_the_origin_is_known(main):
    files = {"data/raw/recent/1.png": main / "mine/photos/1.jpg", "data/raw/recent/images.csv": "path\n1.png\n"}
    place = workspaces.isolated(main, "one", {"seed": 3}, files=files)
    assert (place / "data/raw/recent/1.png").read_text() == "more pixels"
    assert (place / "data/raw/recent/images.csv").read_text() == "path\n1.png\n"
    origin = jsonfile.read(place / paths.ORIGIN)
    assert (origin["workspace"], origin["overlay"], origin["git_commit"]) == (str(main), {"seed": 3}, None)


def test_the_commit_of_the_code_reaches_the_workspace(main):
    _git(main, "init", "-q")
    (main / ".gitignore").write_text(".graft\n")
    _git(main, "add", ".")
    _git(main, "commit", "-qm", "first")
    clean = workspaces.isolated(main, "clean", {"seed": 1})
    commit = lineage.git_commit(main)
    assert commit is not None
    assert lineage.git_commit(clean) == commit
    (main / "components/copy.py").write_text("changed")
    assert lineage.git_commit(workspaces.isolated(main, "dirty", {})) == f"{commit}+changes"
    assert lineage.git_commit(clean) == commit  # its code is that of the commit still


def test_dvc_runs_there_with_the_cache_of_the_main_workspace(main):
    place = workspaces.isolated(main, "one", {})
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro", "-q", "copy"]
    done = subprocess.run(command, cwd=place, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (place / "copied.txt").read_text() == "path,label\n"
    assert not (place / ".dvc/cache").exists()
    assert list((main.parent / "cache/files").rglob("*"))
    assert not (main / "copied.txt").exists()


def test_a_kill_leaves_no_half_workspace_and_the_next_clears_up(main):
    script = (
        "import os, shutil, signal, sys\n"
        "from pathlib import Path\n"
        "from components import workspaces\n"
        "copy, done = shutil.copy2, []\n"
        "def dying(source, target):\n"
        "    done.append(source)\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if len(done) > 2 else copy(source, target)\n"
        "workspaces.shutil.copy2 = dying\n"
        "workspaces.isolated(Path(sys.argv[1]), 'one', {})\n"
    )
    died = subprocess.run([sys.executable, "-c", script, str(main)], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert workspaces.all_in(main) == []
    assert (main / ".graft/runs/.one.part/components").is_dir()  # it was at work
    place = workspaces.isolated(main, "one", {})
    assert (place / "dvc.yaml").exists()
    assert sorted(path.name for path in place.parent.iterdir()) == ["lock", "one"]


def test_prune_keeps_the_newest_and_those_that_are_needed(main):
    names = ["adapted last", "proposed", "champion's", "champion's before", "first", "last"]
    for name in names:
        workspaces.isolated(main, name, {})
    assert [path.name for path in workspaces.all_in(main)] == names[::-1]
    jsonfile.write(main / paths.ADAPTATION, {"path": ".graft/runs/adapted last"})
    jsonfile.write(main / paths.PROPOSAL, {"source": ".graft/runs/proposed"})
    jsonfile.write(main / paths.CHAMPION / "release.json", {"version": "2"})
    for version, source in (("1", ".graft/runs/champion's before"), ("2", ".graft/runs/champion's"), ("2", None)):
        jsonfile.append_line(main / paths.DECISIONS, {"version": version, "source": source})
    assert workspaces.prune(main, 1) == ["first", "champion's before"]
    assert [path.name for path in workspaces.all_in(main)] == ["last", "champion's", "proposed", "adapted last"]
    assert (main / "data/raw/cat/1.png").read_text() == "pixels"  # of several names of a file one is gone


def test_after_the_clock_was_set_back_the_one_that_was_just_made_stays(main):
    for name in ("first", "second"):
        file = workspaces.isolated(main, name, {}) / paths.ORIGIN
        jsonfile.write(file, {**jsonfile.read(file), "time": "2999-01-01T00:00:00.000+00:00"})
    workspaces.isolated(main, "third", {})
    assert workspaces.prune(main, 2) == ["first"]
    assert [path.name for path in workspaces.all_in(main)] == ["third", "second"]


def test_what_runs_there_writes_into_the_history_of_the_main_workspace(main, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert workspaces.environment(main) == {
        "MLFLOW_TRACKING_URI": f"sqlite:///{main / paths.MLFLOW_STORE}/mlflow.db",
        "PREFECT_HOME": str(main / paths.PREFECT_HOME),
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert workspaces.environment(main)["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
