"""Which file of a bundle answers here, and how: what was asked for by name, what `graft tune` found, or plain fp32."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from components import jsonfile
from components.errors import DataError, choices
from components.runtimes.options import Options
from components.runtimes.providers import missing, resolve
from components.runtimes.routes import FILES, PARENT, Route, routes

BUNDLE = "bundle.json"
MACHINES = "machines.json"
AUTO = "auto"


class Selection(NamedTuple):
    """`file` was verified, if its folder says what it must be."""

    file: Path
    route: Route
    options: Options


def select(bundle: Path, provider: str, precision: str, options: Options | None) -> Selection:
    """`bundle`: a bundle's folder, or one model file; `provider`, `precision`: by name, or "auto"; `options`: those
    given, or what was tuned, or the defaults.

    A folder's model file is compared with its sha256 in bundle.json, the others are not read. Raises DataError when
    the bundle lacks the file, has another in its place or was refused that route, MachineError for a provider or a
    precision that nothing runs.
    """
    if not bundle.is_dir():
        route = _route_of(bundle, provider, precision)
        return Selection(bundle, route, options or Options())
    facts = read(bundle)
    tuned = _tuned(bundle)
    if tuned and provider in (AUTO, tuned[0].provider) and precision in (AUTO, tuned[0].precision):
        route, found = tuned
    else:
        route, found = _parse(PARENT if precision == AUTO else precision, resolve(provider)), Options()
    _require_admitted(bundle, facts, route)
    return Selection(verified(bundle, facts, route.file), route, options or found)


def read(bundle: Path) -> dict[str, Any]:
    """What bundle.json says. Raises DataError when it is missing or describes no bundle."""
    path = bundle / BUNDLE
    if not path.is_file():
        raise DataError(f"{bundle} is not a bundle: there is no {BUNDLE} in it")
    facts = jsonfile.read(path)
    try:
        for entry in facts["models"].values():
            str(entry["file"]), str(entry["sha256"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} does not describe a bundle ({type(error).__name__} {error})") from None
    return facts


def verified(bundle: Path, facts: Mapping[str, Any], key: str) -> Path:
    """The model file of that key, which is the one that was admitted, as are its external weights."""
    models = facts["models"]
    if key not in models:
        raise DataError(f"{bundle} has no model file {key!r}; {choices(key, models)}")
    for entry in (models[key], models[key].get("external")):
        if entry:
            _verify(bundle / entry["file"], entry["sha256"])
    return bundle / models[key]["file"]


def _verify(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise DataError(f"{path.parent} is incomplete: {path.name} is missing")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise DataError(
            f"{path} is not the file that was admitted: its sha256 is {found[:12]}…, but {BUNDLE} says {sha256[:12]}…"
        )


def _tuned(bundle: Path) -> tuple[Route, Options] | None:
    if not (bundle / MACHINES).exists():
        return None
    from components.runtimes import machines

    tuned = machines.read(bundle)
    # What was tuned may have been uninstalled since: nobody asked for it by name, so the defaults answer.
    return tuned if tuned and missing(tuned[0].provider) is None else None


def _route_of(file: Path, provider: str, precision: str) -> Route:
    """How to run one file, whose name says what it holds: model.int8.onnx; another name stands for fp32."""
    name = resolve(provider)
    key = file.name.removesuffix(".onnx").rpartition(".")[2]
    if key not in {known for files in FILES.values() for known in files.values()}:
        key = PARENT
    fitting = [known for known, holds in FILES[name].items() if holds == key]
    if precision != AUTO:
        route = _parse(precision, name)
        if route.file != key:
            raise DataError(f"{file} holds {key}, so it cannot run as {route}; {choices(precision, fitting)}")
        return route
    if not fitting:
        can = [str(route) for other in FILES for route in routes(other) if route.file == key]
        raise DataError(f"{file} holds {key}, which {name} does not run; {choices(name, can)}")
    return Route(fitting[0], name)


def _parse(precision: str, provider: str) -> Route:
    return Route.parse(f"{precision}@{provider}")


def _require_admitted(bundle: Path, facts: Mapping[str, Any], route: Route) -> None:
    """The file must be there, and the route must not be one that the export measured and refused."""
    verdicts = facts.get("admission", {})
    verdict = verdicts.get(str(route), {})
    if route.file in facts["models"] and verdict.get("admitted", True):
        return
    held = [
        str(other)
        for name in FILES
        for other in routes(name)
        if other.file in facts["models"] and verdicts.get(str(other), {}).get("admitted", True)
    ]
    why = f": {verdict['reason']}" if verdict.get("reason") else ""
    raise DataError(f"{bundle} does not run as {route}{why}; it has {', '.join(held)}")
