"""DVC's graph as the flow reads it, and the repository's own graph."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components import params as parameters
from components import paths
from components.errors import GraftError
from flows import graph

ROOT = Path(__file__).resolve().parents[2]

CUT_EVERY = 13  # bytes; every one of them was tried once
FAN = """
stages:
  a: {cmd: echo a > a, outs: [a]}
  b:
    foreach: [x, y]
    do: {cmd: "cat a > b/${item}", deps: [a], outs: ["b/${item}"], meta: {accelerator: true}}
  c: {cmd: cat b/x b/y > c, deps: [b], outs: [c]}
"""


def test_needs_follow_files_through_folders_and_every_stage_comes_after_them(workspace) -> None:
    stages = graph.read(workspace(FAN))
    assert {stage.address: stage.needs for stage in stages} == {
        "a": (),
        "b@x": ("a",),
        "b@y": ("a",),
        "c": ("b@x", "b@y"),
    }
    order = [stage.address for stage in stages]
    assert all(order.index(need) < order.index(stage.address) for stage in stages for need in stage.needs)
    assert {stage.address for stage in stages if stage.meta.get("accelerator")} == {"b@x", "b@y"}


def test_changed_names_what_a_run_would_run(workspace) -> None:
    root = workspace(FAN)
    assert graph.changed(root) == ["a", "b@x", "b@y", "c"]
    assert graph.changed(root, "b@x") == ["b@x"]


def test_settled_is_what_is_up_to_date_and_needs_nothing_that_is_not(workspace) -> None:
    root = workspace(FAN)
    (root / "b").mkdir()
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=root, check=True)
    stages, settled = graph.plan(root)
    assert [stage.address for stage in stages] == [stage.address for stage in graph.read(root)]
    assert settled == {"a", "b@x", "b@y", "c"}
    (root / "b" / "x").unlink()
    assert graph.plan(root)[1] == {"a", "b@y"}, "what c reads may be made anew"


def test_a_broken_graph_is_one_clear_error(workspace) -> None:
    root = workspace("stages:\n  a: {cmd: echo, outs: [x]}\n  b: {cmd: echo, outs: [x]}\n")
    with pytest.raises(GraftError, match=r"DVC: .*x"):
        graph.read(root)


def test_files_that_a_kill_cut_short_are_mended_wherever_they_were_cut(workspace) -> None:
    root = workspace(FAN)
    (root / "b").mkdir()
    reproduce = [sys.executable, "-m", "dvc", "repro", "-q"]
    subprocess.run(reproduce, cwd=root, check=True)
    lock, busy = root / "dvc.lock", root / ".dvc" / "tmp" / "rwlock"
    whole = lock.read_bytes()
    assert graph.changed(root) == []
    assert not list(root.glob("*.torn")), "a whole file was set aside"
    for cut in range(0, len(whole), CUT_EVERY):
        lock.write_bytes(whole[:cut])
        busy.write_text('{"write": {"/some'[: cut % 17])
        assert graph.changed(root) or cut > len(whole) - 50, "half a lock says that all is up to date"
    subprocess.run(reproduce, cwd=root, check=True)
    assert graph.changed(root) == []
    assert hashes(lock.read_bytes()) == hashes(whole)


def hashes(lock: bytes) -> dict[str, list[str]]:
    return {name: [out["md5"] for out in stage["outs"]] for name, stage in yaml.safe_load(lock)["stages"].items()}


def test_the_pipelines_graph_is_the_documented_one(tmp_path: Path) -> None:
    needs = {stage.address: set(stage.needs) for stage in graph.read(ROOT)}
    params = parameters.load(ROOT)
    trained = {f"train@{name}" for name in params.compare}
    students = {f"distil@{name}" for name in params.students}
    assert needs["prepare"] == set()
    assert needs["pretrain"] == {"prepare"}
    assert needs["embed"] == {"prepare", "pretrain"}
    assert all(needs[address] == {"prepare", "pretrain", "embed"} for address in trained)
    teacher = "pretrain" if params.teacher == parameters.PRETRAINED else f"train@{params.teacher}"
    assert all(needs[address] == {"prepare", "pretrain", teacher} for address in students)
    assert needs["audit"] == {"prepare", "pretrain", "embed"}
    assert trained | students <= needs["evaluate"]
    assert {"embed", "evaluate", *trained, *students} <= needs["explain"]
    assert {"evaluate", *trained, *students} <= needs["export"]
    assert "export" in needs["benchmark"]
    assert {"audit", "evaluate", "explain", "export", "benchmark"} <= needs["report"]
    assert "report" in needs["track"]
    alone = {"prepare", "pretrain", "embed", "audit", "evaluate", "export", "explain", "benchmark", "report", "track"}
    assert set(needs) == alone | trained | students


def test_a_verb_is_spelled_alike_as_stage_module_and_section() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    sections = parameters.load(ROOT).to_dict()
    for verb, body in stages.items():
        command = body.get("do", body)["cmd"]
        assert command.startswith(f"python -m components.stages.{verb}")
        assert importlib.util.find_spec(f"components.stages.{verb}")
        used = {re.split(r"[.]", str(name))[0] for name in body.get("do", body).get("params", [])}
        assert used <= set(sections), f"{verb} reads sections that params.yaml does not have"


def test_dvc_yaml_and_paths_name_the_same_places() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outs = {
        out if isinstance(out, str) else next(iter(out))
        for body in stages.values()
        for kind in ("outs", "metrics", "plots")
        for out in body.get("do", body).get(kind, [])
    }
    expected = {
        paths.PREPARED,
        paths.PRETRAINED,
        paths.TIMINGS / "pretrain.json",
        paths.FEATURES,
        paths.TIMINGS / "embed.json",
        paths.MODELS / "${item}",
        paths.TIMINGS / "${item}.json",
        paths.AUDIT,
        paths.EVALUATION,
        paths.METRICS,
        paths.PLOTS,
        paths.EXPLANATIONS,
        paths.BUNDLE,
        paths.BENCHMARK,
        paths.LEADERBOARD,
        paths.REPORT,
        paths.TRACKING,
    }
    assert outs == {path.as_posix() for path in expected}


def test_every_file_that_a_stage_depends_on_exists() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    code = {dep for body in stages.values() for dep in body.get("do", body)["deps"] if dep.startswith("components/")}
    assert code
    assert [dep for dep in sorted(code) if not (ROOT / dep).exists()] == []


# Where messages, file formats and places are kept: a change there changes no result.
SILENT = {
    "components", "components.errors", "components.filelock", "components.jsonfile", "components.lineage",
    "components.paths", "components.stages", "components.stages.command", "components.stages.progress",
}  # fmt: skip


def modules_behind(module: str, seen: set[str]) -> set[str]:
    """The project's own modules that a module imports, directly or not, wherever in its text; type hints left out."""
    file = ROOT / Path(*module.split("."))
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    if module in seen or not file.exists():
        return seen
    seen.add(module)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    hints = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    hidden = {id(inner) for block in hints for inner in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("components"):
                modules_behind(name, seen)
    return seen


@pytest.mark.parametrize(
    "verb",
    [
        "prepare",
        "pretrain",
        "embed",
        "train",
        "distil",
        "audit",
        "evaluate",
        "export",
        "explain",
        "benchmark",
        "report",
        "track",
    ],
)
def test_a_stage_runs_again_when_code_that_it_uses_changes(verb: str) -> None:
    body = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][verb]
    deps = body.get("do", body)["deps"]
    # params only reads the catalogue, to refuse wrong names; data sets are read by `prepare` alone.
    behind = modules_behind(f"components.stages.{verb}", {"components.strategies.catalogue"})
    behind -= {"components.strategies.catalogue", "components.strategies"}
    missing = []
    for module in sorted(behind - SILENT):
        path = module.replace(".", "/")
        if not any(f"{path}.py".startswith(dep) or f"{path}/".startswith(f"{dep}/") for dep in deps):
            missing.append(path)
    assert [path for path in missing if not (ROOT / path).is_dir()] == []
