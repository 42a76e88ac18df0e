"""How a bundle runs best on each type of machine: `machines.json`, beside bundle.json.

It is no part of what a bundle answers, so neither the bundle's identity nor its hashes know of it: a machine adds its
own entry (`graft tune`), and one that has none takes the defaults.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components import jsonfile, machine
from components.errors import DataError, MachineError
from components.runtimes.options import Options
from components.runtimes.routes import Route

FILE = "machines.json"
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino")
"""Packages whose version is part of a machine's type: another version may be fastest in another way."""


def describe() -> str:
    """This machine's type in words: cores, CPU, GPUs and the versions of what computes."""
    return ", ".join([machine.describe(), *(f"{name} {version}" for name, version in versions().items())])


def versions() -> dict[str, str]:
    """Of those of PACKAGES that are installed."""
    from importlib import metadata

    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def key() -> str:
    """What two machines share where the same settings are fastest on both: the start of a hash of `describe()`."""
    return hashlib.sha256(describe().encode()).hexdigest()[:16]


def read(folder: Path) -> tuple[Route, Options] | None:
    """What was found to be best on machines like this one; None where nothing was, or the bundle in `folder` does not
    hold the file for it. Raises DataError for a machines.json that is damaged."""
    entries = _entries(folder)
    if not entries or (entry := entries.get(key())) is None:  # asking the machine takes milliseconds
        return None
    try:
        route, options = Route.parse(entry["route"]), Options.from_dict(entry["options"])
    except (KeyError, TypeError, AttributeError, MachineError) as error:
        raise DataError(f"{folder / FILE} holds no route and options for {describe()}: {error}") from None
    return (route, options) if (folder / f"model.{route.file}.onnx").is_file() else None


def write(folder: Path, route: Route, options: Options, measured: Mapping[str, Any]) -> Path:
    """Adds this machine's entry, or replaces it, and leaves those of others as they are; returns the file's path.

    `measured`: the figures that speak for it, as a person may want to read them.
    """
    entry = {
        "machine": describe(),
        "route": str(route),
        "options": options.to_dict(),
        "measured": dict(measured),
    }
    path = folder / FILE
    jsonfile.write(path, dict(sorted({**_entries(folder), key(): entry}.items())))
    return path


def _entries(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    if not path.exists():
        return {}
    content = jsonfile.read(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} does not hold an entry for each machine")
    return content
