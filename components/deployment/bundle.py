"""A bundle: the folder that is deployed. `bundle.json` says what is in it, and the files are checked against that.

bundle.json        classes, preprocessing, lineage, metrics, parity, and sha256 and size of every model file
model.fp32.onnx    see `components.deployment.onnx_export`
"""

from __future__ import annotations

import shutil
from pathlib import Path

from components import jsonfile, lineage
from components.errors import DataError

FILE = "bundle.json"


def write(folder: Path, models: dict[str, bytes], facts: dict) -> None:
    """`models`: precision -> file content; `facts`: whatever else belongs into bundle.json."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for precision, content in models.items():
        path = folder / f"model.{precision}.onnx"
        path.write_bytes(content)
        files[precision] = {"file": path.name, "sha256": lineage.file_digest(path), "bytes": len(content)}
    jsonfile.write(folder / FILE, {**facts, "models": files})


def read(folder: Path) -> dict:
    """The facts of a bundle. Raises DataError when a model file is missing or is not the one that was admitted."""
    facts = jsonfile.read(folder / FILE)
    try:
        files = {folder / entry["file"]: entry["sha256"] for entry in facts["models"].values()}
        identity(facts)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / FILE} does not describe a bundle ({type(error).__name__} {error})") from None
    for path, sha256 in files.items():
        if not path.is_file():
            raise DataError(f"{folder} is incomplete: {path.name} is missing")
        if lineage.file_digest(path) != sha256:
            raise DataError(f"{path} is not the file that was admitted: its sha256 differs from bundle.json's")
    return facts


def identity(facts: dict) -> str:
    """What tells one bundle from another: what it answers. The commit that exported it does not count, so exporting the
    same model again makes nothing new of it."""
    answers = ("strategy", "classes", "preprocess")
    return lineage.digest(
        [
            *(facts[name] for name in answers),
            facts.get("temperature"),  # a bundle of version 0.2 has none
            facts["lineage"]["weights_sha256"],
            sorted(facts["models"]),
        ]
    )


def install(source: Path, destination: Path) -> None:
    """Puts a verified copy of `source` in the place of `destination`, which until then stays whole.

    Two renames swap the folders; a kill between them leaves the new one beside, and `recover` finishes the swap.
    """
    read(source)
    staged, old = _staged(destination), destination.with_name(f".{destination.name}.old")
    shutil.rmtree(staged, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    unfinished = destination.with_name(f".{destination.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, unfinished)
    read(unfinished)
    unfinished.rename(staged)
    if destination.exists():
        destination.rename(old)
    staged.rename(destination)
    shutil.rmtree(old, ignore_errors=True)


def recover(destination: Path) -> None:
    """Finishes an `install` that was killed between its renames. Otherwise does nothing."""
    staged = _staged(destination)
    if staged.exists() and not destination.exists():
        staged.rename(destination)


def _staged(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}.new")
