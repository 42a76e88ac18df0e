"""What `prepare` depends on, so that it runs again exactly when the data changed.

dvc.yaml names data/raw once and for all. DVC follows no link to a folder out of it, so data that lie elsewhere get a
line of their own, as a path in the workspace or an absolute one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components import paths
from components.data.listing import Listing
from components.errors import ParamsError
from components.params import ImagesParams
from graft.initial.document import Document
from graft.initial.starting import as_written

FILE = "dvc.yaml"
MANY = 8
"""Folders from which on their common one is named instead."""
STAGE = ("stages", "prepare", "deps")


def of_images(options: ImagesParams, found: Listing) -> list[str]:
    """Files and folders that a domain's parameters name, and folders of images that lie in none of them, because a
    table or a link leads out."""
    named = [path for path in (options.folder, options.manifest, options.metadata) if path is not None]
    known = [Path(path).resolve() for path in named]
    folders = {Path(os.path.realpath(folder)) for folder in {image.path.parent for image in found.images}}
    elsewhere = sorted(folder for folder in folders if not any(folder.is_relative_to(path) for path in known))
    if len(elsewhere) > MANY:
        elsewhere = [Path(os.path.commonpath(elsewhere))]
    return named + [as_written(folder) for folder in elsewhere]


def of_section(data: Any) -> list[str]:
    """Likewise of the whole section `data` of an older params.yaml, as far as it can be read."""
    found = [data.get("attributes")] if hasattr(data, "get") else []
    for name in ("target", "source", "unlabelled"):
        section = data.get(name) if hasattr(data, "get") else None
        if hasattr(section, "get"):
            found += [section.get(key) for key in ("folder", "manifest", "metadata")]
    return [str(path) for path in found if path]


def update(document: Document, wanted: Iterable[str], before: Iterable[str]) -> None:
    """Adds a dependency for what lies outside data/raw, and removes those of `before` that are `wanted` no more."""
    deps = document.get(*STAGE)
    if not isinstance(deps, list):
        raise ParamsError(f"{FILE} has no {'.'.join(STAGE)}: restore it from Graft's repository")
    new = _outermost(_followed(path) for path in wanted)
    new = [path for path in new if not _within(path, paths.RAW.as_posix())]
    for gone in _outermost(_followed(path) for path in before):
        if gone in deps and gone not in new and gone != paths.RAW.as_posix():
            deps.remove(gone)
            document.touched()
    for path in new:
        if not any(isinstance(there, str) and _within(path, there) for there in deps):
            deps.append(path)
            document.touched()


def _outermost(names: Iterable[str]) -> list[str]:
    """Without those that lie in another."""
    every = sorted({Path(name).as_posix() for name in names})
    return [name for name in every if not any(other != name and _within(name, other) for other in every)]


def _followed(path: str) -> str:
    """Where a link below data/raw leads to; any other path as it is."""
    full = Path(path).resolve()
    leads_out = _within(path, paths.RAW.as_posix()) and not full.is_relative_to(paths.RAW.resolve())
    return as_written(full) if leads_out else path


def _within(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)
