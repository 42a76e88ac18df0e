"""A version is built again from its commit, data and params, in a real git worktree by a real DVC, and compared."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components import jsonfile, lineage, paths
from components import params as parameters
from components.deployment import bundle
from components.errors import DataError, ParamsError
from components.promotion import rebuild, versions
from components.tracking import registry, store
from promoted_support import ROOT

PIPELINE = """
stages:
  prepare: {cmd: python make.py prepare, deps: [data/raw, make.py], params: [seed], outs: [data/prepared]}
  export: {cmd: python make.py export, deps: [data/prepared, make.py], outs: [bundle]}
"""
MAKE = f"""
import shutil, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
if sys.argv[1] == "prepare":
    shutil.copytree("data/raw", "data/prepared", dirs_exist_ok=True)
else:
    from components import lineage
    from promoted_support import write_bundle
    data = lineage.folder_digest(Path("data/prepared"))
    write_bundle(Path("bundle"), float(Path("data/prepared/green").read_text()),
                 data_sha256=data, git_commit=lineage.git_commit(Path()))
"""


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        jsonfile.write_text(root / name, text)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A pipeline of two stages that git knows and DVC runs. What `green` in the raw data says decides the model; DVC
    tracks other images beside it."""
    root = tmp_path_factory.mktemp("template")
    write(root, {"dvc.yaml": PIPELINE, "make.py": MAKE, "params.yaml": "seed: 0\n", "data/raw/green": "4.0"})
    write(root, {".gitignore": "/data/prepared\n/data/raw/green\n/bundle\n/.graft\n", "data/raw/images/a": "a"})
    write(root, {".dvc/.gitignore": "/config.local\n/tmp\n/cache\n", ".dvc/config": "[core]\n    analytics = false\n"})
    git(root, "init", "-q")
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "data/raw/images"], cwd=root, check=True)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "a pipeline")
    return root


@pytest.fixture
def repository(template, tmp_path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "repository"))


def made(repository: Path, place: Path, root: Path) -> str:
    """The version of what the pipeline makes in `place`, registered where that of the fixture `root` is."""
    for stage in ("prepare", "export"):
        subprocess.run([sys.executable, "make.py", stage], cwd=place, check=True)
    client, _ = store.connect(root, "toy")
    facts = bundle.read(place / paths.BUNDLE)
    run_id = client.get_model_version("toy", "1").run_id
    registry.keep(client, run_id, bundle.identity(facts), versions.origin(repository, place, facts))
    return registry.register(client, "toy", run_id, place / paths.BUNDLE, np.zeros((1, 8, 8, 3), np.uint8))


@pytest.fixture
def version(repository, root, monkeypatch) -> str:
    monkeypatch.setenv(store.URI_VARIABLE, store.uri(root))
    return made(repository, repository, root)


def test_a_version_is_what_its_commit_data_and_params_make(repository, root, version):
    """To the byte, though the workspace has gone on since, and its images as well; then with raw images that DVC does
    not track, and that are no longer the same."""
    params = parameters.load(root)
    write(repository, {"make.py": MAKE + "raise SystemExit('a later commit')\n"})
    write(repository, {"data/raw/images/b": "came later, and DVC was not told"})
    git(repository, "commit", "-qam", "later")
    shutil.rmtree(repository / paths.BUNDLE)
    said: list[str] = []
    found = rebuild.rebuild(repository, params, version, said.append)
    assert found.equal and found.differences == ()
    assert {entry.what for entry in found.compared} >= {"bundle", "model.fp32.onnx", "lineage data_sha256"}
    assert any("Running stage 'export'" in line for line in said)
    assert not (repository / paths.BUNDLE).exists(), "it was built elsewhere"
    assert not (repository / paths.REBUILD).exists() and "rebuild" not in lineage.git(repository, "worktree", "list")

    (repository / "data/raw/green").write_text("4.1")
    with pytest.raises(
        DataError, match=r"made of prepared data [0-9a-f]{16}, but today's raw images make [0-9a-f]{16}"
    ):
        rebuild.rebuild(repository, params, version, said.append)
    assert not (repository / paths.REBUILD).exists()


def test_an_adapted_version_is_built_of_what_its_workspace_was_given(repository, root, monkeypatch):
    """By parameters that are in no commit, of images that nobody but the workspace has."""
    own, params = repository / paths.RUNS / "drift-1", parameters.load(root)
    shutil.copytree(repository / "data", own / "data")
    shutil.copy(repository / "make.py", own)
    recent = "data/raw/recent/images.csv"
    changed = f"seed: 1\ndata: {{recent: {{manifest: {recent}}}}}\n"
    write(own, {"params.yaml": changed, "data/raw/green": "3.0", recent: ""})
    jsonfile.write(own / paths.ORIGIN, {"git_commit": lineage.git_commit(repository)})
    monkeypatch.setenv(store.URI_VARIABLE, store.uri(root))
    version = made(repository, own, root)
    found = rebuild.rebuild(repository, params, version, lambda line: None)
    assert found.equal, found.compared
    shutil.rmtree(own)
    with pytest.raises(DataError, match=f"made of {recent} in the workspace drift-1, which is no longer there"):
        rebuild.rebuild(repository, params, version, lambda line: None)


def test_what_differs_is_named():
    registered = write_facts("1", fp32="a" * 64, int8="b" * 64)
    made = write_facts("1", fp32="c" * 64)
    found = rebuild.Rebuilt("7", "c0ffee", rebuild.compared(registered, made), ())
    assert not found.equal
    assert [entry.what for entry in found.compared if not entry.equal] == ["model.fp32.onnx", "model.int8.onnx"]
    assert rebuild.Rebuilt("7", "c0ffee", rebuild.compared(made, made), ()).equal


def write_facts(weights: str, **models: str) -> dict:
    return {
        "strategy": "dan", "classes": {"label": ["a"]}, "preprocess": {}, "lineage": {"weights_sha256": weights},
        "admission": {"fp32@cpu": {"admitted": True}},
        "models": {key: {"sha256": sha256} for key, sha256 in models.items()},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"commit": None}, "not made in a git repository"),
        ({"changed": ["params.yaml", "components/a.py"]}, r"components/a\.py differed from commit c0ffee"),
    ],
)
def test_what_no_commit_holds_is_refused(changes, why):
    origin = {"commit": "c0ffee", "changed": [], "workspace": None, **changes}
    with pytest.raises(ParamsError, match=f"version 3 cannot be rebuilt: .*{why}"):
        rebuild.buildable("3", {"params.yaml": "", "origin.json": json.dumps(origin)})


def test_changed_params_are_no_obstacle_since_they_were_kept():
    origin = {"commit": "c0ffee", "changed": ["params.yaml"], "workspace": None}
    assert rebuild.buildable("3", {"params.yaml": "", "origin.json": json.dumps(origin)}) == origin


def test_a_version_from_before_is_refused():
    with pytest.raises(ParamsError, match=r"params\.yaml and origin\.json were not kept with it"):
        rebuild.buildable("3", {})
