"""What of a bundle goes into production on this machine: the files that are worth it, and how to run them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import jsonfile
from components.deployment import bundle, installation
from components.errors import DataError
from components.runtimes import machines
from components.runtimes.options import DEFAULT, Options
from components.runtimes.routes import PARENT, Route

ALWAYS = (PARENT, "support")
"""Files that are shipped whatever their speed: what every machine can run, and what answers among new classes."""


@dataclass(frozen=True)
class Shipping:
    """`files`: keys of bundle.json's `models`, None for all of them; `route`: how this machine runs it fastest, None
    where nothing was measured; `options`: of its session; `measured`: the figures that speak for the route, and on how
    many threads routes were compared, which is not on how many one runs alone: that is for `options` to say."""

    files: tuple[str, ...] | None = None
    route: Route | None = None
    options: Options = DEFAULT
    measured: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """With the type of this machine, since it holds for no other."""
        return {
            "machine": machines.key(),
            "files": None if self.files is None else list(self.files),
            "route": None if self.route is None else str(self.route),
            "options": self.options.to_dict(),
            "measured": None if self.measured is None else dict(self.measured),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Shipping:
        """The inverse of `to_dict`; everything and no route where it was written on another type of machine."""
        if content["machine"] != machines.key() or content["route"] is None:
            return cls()
        files = None if content["files"] is None else tuple(content["files"])
        options = Options.from_dict(content["options"])
        return cls(files, Route.parse(content["route"]), options, content["measured"])


def decide(facts: Mapping[str, Any], benchmark: Mapping[str, Any] | None) -> Shipping:
    """`facts`: bundle.json; `benchmark`: reports/benchmark.json, or None.

    Files with a route that was admitted for its accuracy and for its speed. Where another bundle was measured, or this
    one on another type of machine, nothing is known of its speed here: then all of it is shipped.
    """
    if (
        benchmark is None
        or benchmark.get("bundle") != bundle.identity(dict(facts))
        or benchmark["machine_key"] != machines.key()
    ):
        return Shipping()
    worthy = {Route.parse(text).file for text, verdict in benchmark["speed"].items() if verdict["admitted"]}
    files = tuple(key for key in facts["models"] if key in worthy or key in ALWAYS)
    fastest = benchmark["fastest"]
    rows = [row for row in benchmark["measurements"] if row["route"] == fastest and row["from"] == "arrays"]
    row = min(rows, key=lambda row: row["batch_size"])
    names = ("batch_size", "latency_ms", "images_per_s")
    return Shipping(
        files,
        Route.parse(fastest),
        Options.from_dict(benchmark["options"][fastest]),
        {**{name: row[name] for name in names}, "threads": benchmark["threads"]},
    )


def new_routes(facts: Mapping[str, Any], shipping: Shipping, champion: Mapping[str, Any]) -> list[str]:
    """The routes that a bundle would ship and the champion's, exported from the same model, does not have; none where
    their models differ. `facts`, `champion`: their bundle.json."""
    if not bundle.same_model(dict(facts), dict(champion)):
        return []
    files = facts["models"] if shipping.files is None else shipping.files
    known = _routes(champion, champion["models"])
    return [route for route in _routes(facts, files) if route not in known]


def _routes(facts: Mapping[str, Any], files: Collection[str]) -> list[str]:
    """Those that were admitted and whose file is there. A bundle of version 0.3 has no `admission`: what it holds ran
    on the CPU."""
    if "admission" not in facts:
        return [f"{key}@cpu" for key in files]
    admitted = [route for route, verdict in facts["admission"].items() if verdict["admitted"]]
    return [route for route in admitted if Route.parse(route).file in files]


def stage(source: Path, destination: Path, shipping: Shipping) -> Path:
    """A bundle as it is to run in production, ready to be swapped with `destination`; returns its folder. What `graft
    tune` found for the same bundle stays."""
    tuned = destination / machines.FILE
    known = tuned.read_text(encoding="utf-8") if tuned.exists() and _same(source, destination) else None
    staged = installation.stage(source, destination, keep=shipping.files)
    if known is not None:
        jsonfile.write_text(staged / machines.FILE, known)
    if shipping.route is not None and machines.read(staged) is None:
        machines.write(staged, shipping.route, shipping.options, shipping.measured or {})
    return staged


def _same(source: Path, destination: Path) -> bool:
    """Whether both say that they are the same bundle; what is in production may be damaged, which is why it goes."""
    try:
        first, second = (bundle.identity(jsonfile.read(folder / bundle.FILE)) for folder in (source, destination))
    except (DataError, KeyError, TypeError, AttributeError):
        return False
    return first == second
