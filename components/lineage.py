"""Which commit, data and parameters made an artefact."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def git_commit(root: Path) -> str | None:
    """The commit of the code, "+changes" behind it when tracked code or params differ; None outside a repository.

    `dvc.lock` does not count: a run writes it, so a run would otherwise make itself dirty.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True, timeout=20
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)dvc.lock")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


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
