"""Workspaces of their own below `.graft/runs`: the same pipeline with other parameters, while the main one stays as it
is.

What is large, images and arrays, is hard-linked and takes no room, or copied where the file system cannot link; what a
person or a program may change in place while the run goes on, code and tables, is copied. Links that lead somewhere
else would not do: DVC does not follow them. DVC's cache is the main workspace's, so what it has made before is taken
from there, and what is made here is known there.

A workspace is built beside its place and takes it when it is whole: after a kill there is none, and never half of one.
It remembers where it comes from (`.graft/origin.json`), the commit of the code that it was given included.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from components import jsonfile, lineage, paths
from components import params as parameters
from components.deployment.bundle import RELEASE
from components.errors import DataError, ParamsError
from components.filelock import locked

CODE = ("components", "flows", "graft")
GRAPH = ("dvc.yaml", "dvc.lock", ".dvcignore")
DATA = (paths.RAW, paths.PREPARED, paths.FEATURES)
LINKED = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".npy", ".png", ".pt", ".pth", ".safetensors", ".tif", ".tiff",
                    ".webp"})  # fmt: skip
"""Suffixes of files that are replaced when they change, and not written into."""
SKIPPED = ("__pycache__",)
LOCK, PART = "lock", ".part"
WEIGHTS = (".safetensors", ".pth", ".pt", ".bin")


def isolated(
    root: Path, name: str, overlay: Mapping[str, Any], *, files: Mapping[str, Path | str | bytes] | None = None
) -> Path:
    """The workspace `name` with the parameters of the one in `root`, over which `overlay` is laid: a section key by
    key, whatever else as a whole. `files`: path in the workspace -> a file to copy there, or the content to write.

    Raises ParamsError for a name that is taken or no name of a folder, and for parameters that do not go together, with
    the key; DataError when the disk does not hold it.
    """
    root = root.resolve()
    runs = root / paths.RUNS
    if not name or name.startswith(".") or Path(name).name != name or name == LOCK:
        raise ParamsError(f"{name!r} is no name for a workspace: give one that a folder may have")
    content = _merged(_raw(root), overlay)
    _anchor(content, root)
    parameters.parse(content)  # a wrong key is refused before anything is made
    with locked(runs / LOCK):
        _clear(runs)
        place, new = runs / name, runs / f".{name}{PART}"
        if place.exists():
            raise ParamsError(f"there is a workspace {place} already: choose another name")
        try:
            _build(root, new, content)
            for path, source in (files or {}).items():
                _add(new / path, source)
            number = 1 + max((_number(path)[0] for path in _origins(runs)), default=0)
            jsonfile.write(new / paths.ORIGIN, {"number": number, **_origin(root, overlay)})
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            raise DataError(f"cannot make the workspace {place}: {error}") from None
        new.rename(place)
    return place


def environment(root: Path) -> dict[str, str]:
    """Variables for what runs in a workspace that was made from the one in `root`: one history for both."""
    from components.tracking import store

    return {store.URI_VARIABLE: store.uri(root), "PREFECT_HOME": os.environ.get("PREFECT_HOME") or str(_home(root))}


def all_in(root: Path) -> list[Path]:
    """The whole workspaces, newest first: in the order in which they were made, whatever the clock said."""
    return sorted(_origins(root / paths.RUNS), key=lambda path: (_number(path), path.name), reverse=True)


def _origins(runs: Path) -> list[Path]:
    return [path for path in runs.glob("*") if (path / paths.ORIGIN).is_file()] if runs.is_dir() else []


def _number(place: Path) -> tuple[int, str]:
    """By which workspaces are in order; those of earlier versions have a time alone."""
    origin = jsonfile.read(place / paths.ORIGIN)
    return origin.get("number", 0), origin["time"]


def prune(root: Path, keep: int) -> list[str]:
    """Removes all but the newest `keep` workspaces, and returns their names. The last adaptation's stays, and so do
    that of a proposal that nobody has decided about, and the champion's, which is built again from it."""
    root = root.resolve()
    with locked(root / paths.RUNS / LOCK):
        _clear(root / paths.RUNS)
        needed = _needed(root)
        old = [path for path in all_in(root)[max(keep, 0) :] if path.resolve() not in needed]
        for path in old:
            path.rename(path.with_name(f".{path.name}{PART}"))  # at once: what a kill leaves is no workspace any more
        _clear(root / paths.RUNS)
    return [path.name for path in old]


def _home(root: Path) -> Path:
    return (root / paths.PREFECT_HOME).resolve()


def _needed(root: Path) -> set[Path]:
    def said(file: Path, key: str) -> Any:
        return jsonfile.read(root / file).get(key) if (root / file).exists() else None

    champion = said(paths.CHAMPION / RELEASE, "version")
    decided = [line for line in jsonfile.read_lines(root / paths.DECISIONS) if champion and line["version"] == champion]
    named = [said(paths.ADAPTATION, "path"), said(paths.PROPOSAL, "source"), *(line["source"] for line in decided)]
    return {(root / place).resolve() for place in named if place}


def _clear(runs: Path) -> None:
    """What kills left: the lock is held, so nobody is at work there."""
    for left in runs.glob(f".*{PART}"):
        shutil.rmtree(left, ignore_errors=True)


def _raw(root: Path) -> dict[str, Any]:
    """The main workspace's parameters as they are written; checked, so that a fault is not put down to the overlay."""
    parameters.load(root)
    return yaml.safe_load((root / parameters.FILE).read_text(encoding="utf-8"))


def _merged(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(dict(base))
    for key, value in overlay.items():
        known = found.get(key)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        found[key] = _merged(known, value) if both else copy.deepcopy(value)
    return found


def named_paths(content: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where parameters hold a path: the section and the key."""
    data = content.get("data")
    if isinstance(data, dict):
        for name in ("target", "source", "unlabelled", "recent"):
            images = data.get(name)
            if isinstance(images, dict):
                yield from ((images, key) for key in ("folder", "manifest", "metadata") if _text(images.get(key)))
        if _text(data.get("attributes")):
            yield data, "attributes"
    backbone = content.get("backbone")
    if isinstance(backbone, dict) and _text(backbone.get("weights")) and backbone["weights"].endswith(WEIGHTS):
        yield backbone, "weights"


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _anchor(content: dict[str, Any], root: Path) -> None:
    """A path that leads out of the workspace leads to the same place from anywhere."""
    for section, key in named_paths(content):
        section[key] = _from_anywhere(section[key], root)


def _from_anywhere(path: str, root: Path) -> str:
    lexical = Path(os.path.normpath(root / path))
    return path if not Path(path).is_absolute() and lexical.is_relative_to(root) else str(lexical)


def _build(root: Path, new: Path, content: dict[str, Any]) -> None:
    new.mkdir(parents=True)
    for name in (*CODE, *GRAPH):
        bring(root / name, new / name)
    with locked(root / paths.STATE / "prepare.lock"):  # what takes the place of prepared data meanwhile would tear it
        for folder in DATA:
            bring(root / folder, new / folder)
    graph = _graph(new / "dvc.yaml", root)
    inside = [Path(section[key]) for section, key in named_paths(content) if not Path(section[key]).is_absolute()]
    for path in [*inside, *graph]:
        bring(root / path, new / path)
        bring(_sidecar(root / path), _sidecar(new / path))
    header = f"# {root / parameters.FILE}, with what this run changes.\n"
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    jsonfile.write_text(new / parameters.FILE, header + text)
    _write_dvc_config(root, new)


def _sidecar(path: Path) -> Path:
    """What DVC keeps beside data that it tracks."""
    return path.with_name(f"{path.name}.dvc")


def bring(source: Path, target: Path) -> None:
    """A file or a folder with all below it; what is there already stays, and what is not there is left out."""
    if source.is_symlink() and not source.exists():
        return
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        with os.scandir(source) as entries:
            for entry in entries:
                if entry.name in SKIPPED or entry.name.endswith(".pyc"):
                    continue
                below = target / entry.name
                if not entry.is_symlink():
                    bring(Path(entry.path), below)
                elif not os.path.lexists(below):  # the user's own link: it is followed there as it is here
                    below.symlink_to((source / Path(entry.path).readlink()).resolve())
    elif source.is_file() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _file(source, target)


def _file(source: Path, target: Path) -> None:
    if source.suffix.lower() in LINKED:
        try:
            target.hardlink_to(source)
            return
        except OSError:  # another file system, or one without links, or too many of them
            pass
    shutil.copy2(source, target)


def _add(target: Path, source: Path | str | bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, Path):
        shutil.copy2(source, target)
    elif isinstance(source, bytes):
        target.write_bytes(source)
    else:
        target.write_text(source, encoding="utf-8")


def _graph(file: Path, root: Path) -> list[Path]:
    """What stages depend on that lies in the workspace; in `file`, what lies outside is led to from anywhere."""
    if not file.exists():
        return []
    graph = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    stages = [stage.get("do", stage) for stage in (graph.get("stages") or {}).values() if isinstance(stage, dict)]
    outputs = {_name(out) for stage in stages for key in ("outs", "metrics", "plots") for out in stage.get(key) or ()}
    changed, inside = False, []
    for stage in stages:
        for index, entry in enumerate(stage.get("deps") or ()):
            path = _name(entry)
            if "${" in path:  # one stage's output for each competitor
                continue
            anywhere = _from_anywhere(path, root)
            if anywhere != path:
                stage["deps"][index] = anywhere
                changed = True
            elif not any(Path(path).is_relative_to(out) or Path(out).is_relative_to(path) for out in outputs):
                inside.append(Path(path))
    if changed:
        jsonfile.write_text(file, yaml.safe_dump(graph, sort_keys=False, allow_unicode=True, width=120))
    return inside


def _name(entry: str | Mapping) -> str:
    """A dependency or output is written as its path, or as its path with options."""
    return entry if isinstance(entry, str) else next(iter(entry))


def _write_dvc_config(root: Path, new: Path) -> None:
    """No git, since none is asked: the repository around is the main workspace's. The same cache, linked alike."""
    kinds = _cache_config(root).get("type")
    lines = ["[core]", "    no_scm = true", "    analytics = false", "    check_update = false", "[cache]"]
    lines += [f"    dir = {cache(root)}"]
    lines += [f"    type = {','.join(kinds) if isinstance(kinds, list | tuple) else kinds}"] if kinds else []
    jsonfile.write_text(new / ".dvc" / "config", "\n".join(lines) + "\n")


def cache(root: Path) -> Path:
    """Where DVC keeps the contents of what it tracks in a workspace."""
    return Path(root / ".dvc", _cache_config(root).get("dir") or "cache").resolve()


def _cache_config(root: Path) -> dict[str, Any]:
    from dvc.config import Config

    return Config(str(root / ".dvc")).get("cache", {}) if (root / ".dvc").is_dir() else {}


def _origin(root: Path, overlay: Mapping[str, Any]) -> dict:
    return {
        "workspace": str(root),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "git_commit": lineage.git_commit(root),
        "overlay": copy.deepcopy(dict(overlay)),
    }
