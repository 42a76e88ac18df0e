"""What `monitor` says of a check: its sentences, and what its page shows beside the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.data import images
from components.errors import DataError
from components.monitoring import budget
from components.monitoring.drift import Verdict
from components.monitoring.observations import Window
from components.monitoring.reference import Reference
from components.params import Params
from components.reporting.drift_page import Moved
from components.reporting.page import p_value
from components.types import Preprocess


def told(found: Mapping[str, Any]) -> list[str]:
    """What `watch` returned, for people."""
    lines = [found["sentence"]]
    if found["repeated"] and found["checked"]:
        lines.append(f"These images were compared before, at {found['time']}; --again compares them once more.")
    if found["drift"]:
        start = "A retraining may start" if found["retrain"]["allowed"] else "No retraining may start"
        lines.append(f"{start}: {found['retrain']['reason']}.")
    if found["waiting"]:
        one = found["waiting"] == 1
        checks = "1 check waits" if one else f"{found['waiting']} checks wait"
        lines.append(f"{checks}: {found['away']}. The next check delivers {'it' if one else 'them'}.")
    return lines


def sentence(check: Mapping, compared: int, least: int) -> str:
    model = check["strategy"] + (f" (version {check['version']})" if check["version"] else "")
    seen = check["images"]
    if not check["checked"]:
        when = f" before {check['until']}" if check["until"] else ""
        advice = "" if seen else "; serve or predict with --observe"
        return (
            f"Not checked: {seen} image{'s' * (seen != 1)} of {model} {'was' if seen == 1 else 'were'} observed{when}, "
            f"and the smallest window takes {least}, so {least - seen} {'is' if least - seen == 1 else 'are'} "
            f"missing{advice}."
        )
    if not check["drift"]:
        smallest = min(test["p_adjusted"] for test in check["tests"])
        return (
            f"No drift: the last {_and(check['windows'])} images cannot be told from the {compared} that {model} was "
            f"tested with (smallest adjusted p {p_value(smallest)})."
        )
    drifted = [test for test in check["tests"] if test["drifted"]]
    names = list(dict.fromkeys(test["name"] for test in drifted))
    sizes = sorted({test["window"] for test in drifted})
    smallest = p_value(min(test["p_adjusted"] for test in drifted))
    return (
        f"Drift: the last {_and(sizes)} images differ from the {compared} that {model} was tested with, by "
        f"{_and(names)} (adjusted p {smallest if smallest.startswith('<') else '= ' + smallest})."
    )


def doubt(check: Mapping) -> str | None:
    """Why what was found may not be of the images; None where nothing speaks for that."""
    routes = check.get("routes")  # earlier versions did not say
    if routes is None or routes["window"] in (None, routes["reference"]):
        return None
    return (
        f"the images were answered by {routes['window']}, which this machine cannot run, and the reference by "
        f"{routes['reference']}, so what differs may be the arithmetic: run graft monitor where they were answered"
    )


def _and(parts: Sequence[object]) -> str:
    *first, last = map(str, parts)
    return f"{', '.join(first)} and {last}" if first else last


def moved(root: Path, window: Window, verdict: Verdict, known: Reference, facts: Mapping, count: int) -> list[Moved]:
    """The kept images of the largest window that moved most, each with one of the reference with the same answer."""
    preprocess = Preprocess.from_dict(facts["preprocess"])
    side = preprocess.resize
    scores = dict(enumerate(verdict.scores, start=len(window) - len(verdict.scores)))
    alike = {label: np.flatnonzero(known.sample.label == label).tolist() for label in set(window.label.tolist())}
    shown: list[Moved] = []
    for row in sorted(scores, key=lambda row: -scores[row]):
        path = window.images[row]
        if path is None or len(shown) == count:
            continue
        try:
            pixels, _ = images.pixels(
                path.read_bytes(), resize=side, size=side, interpolation=preprocess.interpolation, origin=str(path)
            )
        except (OSError, DataError):  # the sample goes on changing while it is looked at
            continue
        label = int(window.label[row])
        others, before = alike[label], sum(entry.class_name == known.classes[label] for entry in shown)
        shown.append(
            Moved(
                path=path.relative_to(root).as_posix(),
                time=budget.stamp(float(window.time[row])),
                class_name=known.classes[label],
                confidence=float(window.confidence[row]),
                score=float(scores[row]),
                image=pixels,
                reference=np.asarray(known.images[others[before % len(others)]]) if others else None,
            )
        )
    return shown


def facts(check: Mapping, known: Reference, window: Window, compared: int, params: Params) -> list[tuple[str, str]]:
    limits = params.monitor
    later = [size for size in sorted(limits.windows) if size not in check["windows"]]
    found = [
        ("champion", f"{check['strategy']}{', version ' + check['version'] if check['version'] else ''}"),
        ("bundle", check["bundle"]),
        ("reference", f"{compared} images that it was tested with, answered by {known.route}"),
    ]
    if len(window):
        first, last = (budget.stamp(float(moment)) for moment in (window.time.min(), window.time.max()))
        found.append(("recent images", f"{len(window)}, from {first} to {last}, answered by "
                      f"{_and(sorted(set(window.route.tolist())))}"))  # fmt: skip
    if later:
        found.append(("not compared yet", f"the last {_and(later)}, as soon as there are so many"))
    found.append(
        ("settings", f"windows {_and(limits.windows)}, alpha {limits.alpha:g}, {limits.permutations} permutations, "
         f"seed {params.seed}")
    )  # fmt: skip
    return found
