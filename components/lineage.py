"""Which commit, data and parameters made an artefact."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from components import jsonfile, paths


def git_commit(root: Path) -> str | None:
    """The commit of the code, "+changes" behind it when tracked code or params differ; None outside a repository. Of a
    workspace that was made from another one, that of the code which it was given.

    `dvc.lock` does not count: a run writes it, so a run would otherwise make itself dirty.
    """
    if (root / paths.ORIGIN).exists():
        return jsonfile.read(root / paths.ORIGIN)["git_commit"]
    try:
        if Path(git(root, "rev-parse", "--show-toplevel").strip()).resolve() != root.resolve():
            return None
        commit = git(root, "rev-parse", "HEAD").strip()
        changed = changed_files(root)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


def changed_files(root: Path) -> list[str]:
    """Tracked files that differ from the commit, `dvc.lock` left out. Raises OSError or SubprocessError where git or
    the repository is missing."""
    told = git(
        root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=no", "--", ".", ":(exclude)dvc.lock"
    )
    return [entry[3:] for entry in told.split("\0") if entry]


def git(root: Path, *arguments: str, timeout_s: float = 20) -> str:
    """What a git command prints. Raises OSError where there is no git, SubprocessError where it fails."""
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True, timeout=timeout_s
    ).stdout


def digest(content: Any) -> str:
    """sha256 of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """sha256 over names and contents of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest({str(path.relative_to(folder)): file_digest(path) for path in files})


def code_digest(*rooms: str) -> str:
    """sha256 over the Python files of rooms of `components`."""
    home = Path(__file__).parent
    files = sorted(path for room in rooms for path in (home / room).rglob("*.py"))
    return digest({str(path.relative_to(home)): file_digest(path) for path in files})


def versions(*distributions: str) -> dict[str, str]:
    """Installed versions by name, Python's among them; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
