"""A registered version is built again from what made it, its commit, its data and its params, and held against what
was registered: file by file, byte by byte.

It is built in a git worktree beside everything else, with a DVC cache of its own, so that nothing that was computed
before can stand in for a computation. Only raw images and given weights come from the workspace that it was made in,
or, where DVC tracks them, from its cache; their digest, once they are prepared, must be the version's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components import jsonfile, lineage, machine, paths, workspaces
from components.deployment import bundle
from components.errors import DataError, MachineError, ParamsError, StageError
from components.filelock import locked
from components.params import FILE, Params
from components.promotion import versions

LAST = "export"
"""The stage that makes the bundle."""
GIT_S = 600
"""How long git may take to write the files of a commit."""


@dataclass(frozen=True)
class Compared:
    """One thing of a version, as it was registered and as it was built again; None where it is not there."""

    what: str
    registered: str | None
    rebuilt: str | None

    @property
    def equal(self) -> bool:
        return self.registered == self.rebuilt


@dataclass(frozen=True)
class Rebuilt:
    """`differences`: in what the two were made under other conditions, which may explain a difference in bytes."""

    version: str
    commit: str
    compared: tuple[Compared, ...]
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return all(entry.equal for entry in self.compared)


def rebuild(root: Path, params: Params, version: str, say: Callable[[str], None]) -> Rebuilt:
    """Builds the version of the registered model anew; `say` is given the lines of the stages as they come.

    Raises GraftError for a version that there is none of, ParamsError for one that cannot be built from a commit,
    DataError when the raw images are not those that it was made of, StageError when a stage fails.
    """
    from components.tracking import registry, store

    name = params.promote.registered_model
    client, _ = store.connect(root, name)
    with store.reached(root, "nothing was changed"), registry.fetched(client, name, version) as folder:
        registered = bundle.read(folder)
        kept = registry.kept(client, name, version)
    origin = buildable(version, kept)
    with _worktree(root, origin["commit"]) as tree:
        (tree / FILE).write_text(kept[FILE], encoding="utf-8")
        (tree / versions.LOCK_FILE).unlink(missing_ok=True)
        # Of a tree whose params.yaml is not the commit's, git would say that it was changed.
        jsonfile.write(tree / paths.ORIGIN, {"git_commit": registered["lineage"].get("git_commit")})
        _bring_data(root, tree, yaml.safe_load(kept[FILE]), origin, version)
        _set_cache(tree, tree.parent / "cache")
        _repro(tree, "prepare", say)
        _require_data(tree, origin, version)
        _repro(tree, LAST, say)
        made = bundle.read(tree / paths.BUNDLE)
    return Rebuilt(version, origin["commit"], compared(registered, made), _differences(origin, made))


def buildable(version: str, kept: Mapping[str, str]) -> dict[str, Any]:
    """What is known of its origin. Raises ParamsError, with the reason, where that is not enough."""
    missing = [file for file in (FILE, versions.ORIGIN) if file not in kept]
    if missing:
        raise ParamsError(
            f"version {version} cannot be rebuilt: {' and '.join(missing)} were not kept with it, as of every version "
            "that was registered before Graft kept them"
        )
    origin = json.loads(kept[versions.ORIGIN])
    if origin["commit"] is None:
        raise ParamsError(f"version {version} cannot be rebuilt: it was not made in a git repository")
    changed = [file for file in origin["changed"] if file != FILE]  # params.yaml itself was kept
    if changed:
        raise ParamsError(
            f"version {version} cannot be rebuilt: {', '.join(changed)} differed from commit {origin['commit'][:12]} "
            "when it was made; commit before a run that should be repeatable"
        )
    return origin


@contextmanager
def _worktree(root: Path, commit: str) -> Generator[Path]:
    """The files of a commit in a folder of their own, which git forgets again. One at a time: what a killed one has
    left is cleared."""
    place = root.resolve() / paths.REBUILD
    with locked(place.with_name("rebuild.lock")):
        tree = place / "workspace"
        _clear(root, place)
        try:
            lineage.git(root, "worktree", "add", "--quiet", "--detach", str(tree), commit, timeout_s=GIT_S)
        except (OSError, subprocess.SubprocessError) as error:
            told = getattr(error, "stderr", None) or str(error)
            raise MachineError(f"git cannot check out commit {commit[:12]}: {told.strip().splitlines()[-1]}") from None
        try:
            yield tree
        finally:
            _clear(root, place)


def _clear(root: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    lineage.git(root, "worktree", "prune")


def _bring_data(root: Path, tree: Path, content: dict[str, Any], origin: Mapping[str, Any], version: str) -> None:
    """Raw images, and what else the params in `content` name: from the workspace of its own that the version was made
    in, which keeps them as they were, if it is still there. Else what DVC tracks at that commit comes from its cache,
    and the rest is today's. The digest of what is prepared of them must be the version's."""
    own = root / paths.RUNS / (origin["workspace"] or "")
    place = own if origin["workspace"] and own.exists() else root
    named = [Path(section[key]) for section, key in workspaces.named_paths(content)]
    named = [path for path in named if not path.is_absolute()]
    for path in named:
        if not (place / path).resolve().is_relative_to(place.resolve()):
            raise ParamsError(f"{path} lies outside of the workspace: only an absolute path leads there from elsewhere")
    needed = [paths.RAW, *named]
    tracked = _tracked(tree, needed) if place is root else []
    lost = [path for path in named if not any((home / path).exists() for home in (place, tree)) and path not in tracked]
    if lost and place is root and origin["workspace"]:
        raise DataError(
            f"version {version} was made of {' and '.join(map(str, lost))} in the workspace {origin['workspace']}, "
            f"which is no longer there, and no commit holds that: put it back into {own}. Only the last of "
            f"{paths.RUNS} stay; copy what is to stay for longer"
        )
    if tracked:
        _set_cache(tree, workspaces.cache(root))
        told = _dvc(tree, "checkout", *(f"{path}.dvc" for path in tracked))
        if told.returncode:
            raise DataError(
                f"DVC's cache lacks images of that commit ({_last(told)}): fetch them with dvc pull, or dvc fetch "
                "--all-commits"
            )
    for path in needed:
        _bring(place / path, tree / path, {tree / known for known in tracked})


def _tracked(tree: Path, needed: Sequence[Path]) -> list[Path]:
    """What DVC tracks by a file of its own, of all that is needed."""
    known = [path.relative_to(tree).with_suffix("") for path in sorted(tree.rglob("?*.dvc")) if path.is_file()]
    return [path for path in known if any(path.is_relative_to(one) or one.is_relative_to(path) for one in needed)]


def _bring(source: Path, target: Path, tracked: Set[Path]) -> None:
    """What is tracked is there already, and is not mixed with what is there today."""
    if any(target.is_relative_to(known) for known in tracked):
        return
    if source.is_dir() and any(known.is_relative_to(target) for known in tracked):
        for entry in source.iterdir():
            _bring(entry, target / entry.name, tracked)
    else:
        workspaces.bring(source, target)


def _set_cache(tree: Path, folder: Path) -> None:
    (tree / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {folder}\n", encoding="utf-8")


def _repro(tree: Path, stage: str, say: Callable[[str], None]) -> None:
    """Runs a stage and all that it needs. Raises StageError with its last lines."""
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--no-run-cache", stage],
        cwd=tree, env=_environment(), text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            say(line.rstrip())
    if process.returncode:
        shown = "\n".join(f"  | {line}" for line in lines[-10:])
        raise StageError(f"the version cannot be built again: stage {stage} failed; its last lines:\n{shown}")


def _dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, env=_environment(), text=True, capture_output=True
    )


def _last(told: subprocess.CompletedProcess[str]) -> str:
    lines = (told.stderr or told.stdout).strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def _environment() -> dict[str, str]:
    """The interpreter's folder comes first, so that the `python` in dvc.yaml is this one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}


def _require_data(tree: Path, origin: Mapping[str, Any], version: str) -> None:
    found = lineage.folder_digest(tree / paths.PREPARED)
    if found != origin["data_sha256"]:
        raise DataError(
            f"version {version} was made of prepared data {origin['data_sha256'][:16]}, but today's raw images make "
            f"{found[:16]} of the same commit and params: put the images of that time into {paths.RAW}. (Of what DVC "
            "tracks, those of the commit were taken)"
        )


def compared(registered: dict[str, Any], made: dict[str, Any]) -> tuple[Compared, ...]:
    files = {
        key: tuple(facts["models"].get(key, {}).get("sha256") for facts in (registered, made))
        for key in dict.fromkeys([*registered["models"], *made["models"]])
    }
    return (
        Compared("bundle", bundle.identity(registered), bundle.identity(made)),
        *(
            Compared(f"lineage {key}", registered["lineage"].get(key), made["lineage"].get(key))
            for key in ("data_sha256", "params_sha256", "weights_sha256")
        ),
        *(Compared(bundle.model_name(key), *pair) for key, pair in files.items()),
    )


def _differences(origin: Mapping[str, Any], made: Mapping[str, Any]) -> tuple[str, ...]:
    here = {**made["lineage"].get("versions", {}), "machine": machine.describe()}
    then = {**origin.get("versions", {}), "machine": origin.get("machine")}
    return tuple(
        f"{name}: {then.get(name)} then, {here.get(name)} now"
        for name in dict.fromkeys([*then, *here])
        if then.get(name) != here.get(name)
    )
