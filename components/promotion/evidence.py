"""What a promotion is decided on: champion and challenger beside each other on the same, current images.

Both are bundles, and both answer in the code that serves them, by the route that they are or would be served by. The
champion's old figures are not used: the test images may have changed since, and figures of two runs are not paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import jsonfile, machine, paths
from components.data import prepared
from components.deployment import bundle
from components.errors import DataError
from components.evaluation import slices
from components.evaluation.intervals import Interval
from components.evaluation.paired import share_difference
from components.promotion import decisions, latency, recents
from components.promotion.answers import Answers, Served, answer
from components.promotion.comparison import Difference, calibration_error, calibration_gain, differences
from components.promotion.recents import Recent
from components.speed import shipping
from components.speed.shipping import Shipping
from components.types import TASK

if TYPE_CHECKING:
    from components.data.prepared import Domain, Prepared
    from components.params import EvaluateParams, Params


@dataclass(frozen=True)
class Candidate:
    """One of the two. `route`: how it is served here; `answered`: the share of test images that it gives probabilities
    for; `accuracy`, `ece` (calibration error of the probabilities as they are served): on those; `latency_ms`: of one
    image, None where there was nothing to measure it beside; `size_mib`: of the file of its route; `agreement`: the
    share of images on which its files decide as the trained model does, the least of all that the bundle tells."""

    strategy: str
    bundle: str
    route: str
    answered: float
    accuracy: float
    ece: float
    latency_ms: float | None
    size_mib: float
    agreement: float | None


@dataclass(frozen=True)
class Evidence:
    """All that the rule reads. Without a champion there is nothing to compare, and what compares is None or empty.

    `images`: labelled test images of the source workspace; `lead`: challenger's accuracy minus champion's; `ece_gain`:
    likewise of the calibration error; `speed_up`: how many times as fast the challenger is; `recent`: on the recent
    images of the run, or, where it has none, on those that the champion was adapted to; `earlier`: on the latter, where
    the run has some of its own; `new_routes`: where both are the same model, what the challenger runs by beyond the
    champion; `same_bundle`: it is the champion's own; `classes_gone`: those that the champion knows and the challenger
    does not, `classes_new` the other way round; `confidence`: of every interval but the speed's, which is 95 %."""

    challenger: Candidate
    champion: Candidate | None
    images: int
    confidence: float
    machine: str
    lead: Interval | None = None
    classes: tuple[Difference, ...] = ()
    slices: tuple[Difference, ...] = ()
    ece_gain: Interval | None = None
    speed_up: Interval | None = None
    recent: Recent | None = None
    earlier: Recent | None = None
    new_routes: tuple[str, ...] = ()
    same_bundle: bool = False
    classes_gone: tuple[str, ...] = ()
    classes_new: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Intervals as {value, low, high}."""
        return _plain(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Evidence:
        found: dict[str, Any] = dict(content)
        for name, read in _READ.items():
            if found.get(name) is not None:
                found[name] = read(found[name])
        return cls(**found)


def gather(root: Path, source: Path, params: Params) -> Evidence:
    """Compares the bundle of `source` with the champion of `root` on the current test images of `source`, which is
    `root` itself or a workspace beside it. `params`: of `source`.

    Raises DataError when a bundle, the prepared data or the reports cannot be used, MachineError when one of the two
    does not run here by its route.
    """
    data = prepared.read(source / paths.PREPARED)
    rows = data.target.rows("test", labelled=True)
    if not len(rows):
        raise DataError(f"{source / paths.PREPARED} has no labelled test images, so there is nothing to decide on")
    images = _images(source, data, data.target, rows)
    confidence = params.evaluate.confidence
    champion = _champion(root)
    challenger = Served.load(source / paths.BUNDLE, shipped(source))
    own = answer(challenger, *images)
    if champion is None:
        return Evidence(_candidate(challenger, own), None, len(rows), confidence, machine.describe())
    others = answer(champion, *images)
    classes, groups = _classes(data, rows), _groups(data, rows, params.evaluate)
    known = _declared_source(source, data, params.evaluate)
    shared = {"confidence": confidence, "comparisons": max(len(classes) + len(groups) + (known is not None), 1)}
    sliced = differences(groups, own, others, **shared)
    if known is not None:
        everything = {f"{slices.DOMAIN} source": np.ones(len(known[0]), dtype=bool)}
        sliced += differences(everything, answer(challenger, *known), answer(champion, *known), **shared)
    of_run, of_champion = recents.judge(root, source, data, challenger, champion, confidence=confidence)
    timed = latency.compare(challenger, champion, images[0][0])
    return Evidence(
        _candidate(challenger, own, timed.challenger_ms),
        _candidate(champion, others, timed.champion_ms),
        len(rows),
        confidence,
        machine.describe(),
        lead=share_difference(own.right, others.right, confidence=confidence),
        classes=differences(classes, own, others, **shared),
        slices=sliced,
        ece_gain=calibration_gain(own, others, params.evaluate, params.seed),
        speed_up=timed.speed_up,
        recent=of_run or of_champion,
        earlier=of_champion if of_run else None,
        new_routes=tuple(shipping.new_routes(challenger.facts, challenger.shipping, champion.facts)),
        same_bundle=challenger.identity == champion.identity,
        classes_gone=tuple(name for name in champion.classes if name not in challenger.classes),
        classes_new=tuple(name for name in challenger.classes if name not in champion.classes),
    )


def shipped(source: Path) -> Shipping:
    """What of the bundle of `source` would go into production on this machine, and how it would be run."""
    benchmark = source / paths.BENCHMARK
    return shipping.decide(
        jsonfile.read(source / paths.BUNDLE / bundle.FILE), jsonfile.read(benchmark) if benchmark.exists() else None
    )


def _candidate(served: Served, answers: Answers, latency_ms: float | None = None) -> Candidate:
    return Candidate(
        strategy=served.facts["strategy"],
        bundle=served.identity,
        route=str(served.route),
        answered=float(answers.answered.mean()),
        accuracy=float(answers.right.mean()),
        ece=calibration_error(answers),
        latency_ms=latency_ms,
        size_mib=served.size_mib,
        agreement=served.agreement,
    )


def _champion(root: Path) -> Served | None:
    """None where there never was one. Files that are gone or damaged are an error: without them, whatever is proposed
    would be a first champion, however bad."""
    place = root / paths.CHAMPION
    if (version := decisions.gone(root)) is not None:
        raise DataError(
            f"{place} is gone, though version {version} is champion: graft rollback {version} puts it back, and "
            "graft promote --force --reason TEXT begins without it"
        )
    if not decisions.installed(root):
        return None
    try:
        return Served.load(place)
    except DataError as error:
        raise DataError(f"the champion is damaged: {error}; graft rollback VERSION puts one back") from error


Images = tuple[np.ndarray, list[Path], np.ndarray]
"""Pixels uint8 [N, S, S, 3], the files that they were read from, and the names of their classes [N]."""


def _images(source: Path, data: Prepared, domain: Domain, rows: np.ndarray) -> Images:
    names, labels = np.array(data.label_space.classes[TASK]), domain.labels[TASK][rows]
    return np.asarray(domain.pixels[rows]), [source / domain.paths[row] for row in rows], names[labels]


def _classes(data: Prepared, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> bool [N], of the test images."""
    labels = data.target.labels[TASK][rows]
    return {
        name: labels == number for number, name in enumerate(data.label_space.classes[TASK]) if (labels == number).any()
    }


def _groups(data: Prepared, rows: np.ndarray, params: EvaluateParams) -> dict[str, np.ndarray]:
    """The slices of the test images that evaluate looks at, name -> bool [N]."""
    columns = {name: [values[row] for row in rows] for name, values in data.target.columns.items()}
    groups = slices.choose(columns, params.slices)
    return {f"{column} {value}": mask for column, values in groups.items() for value, mask in values.items()}


def _declared_source(source: Path, data: Prepared, params: EvaluateParams) -> Images | None:
    """The held-out images of the source, where `evaluate.slices` names the domain. Only then are they a slice: by
    themselves they are not what comes in. (The other slice of the domain is the test images, which have the lead.)"""
    domain = data.domains.get("source")
    if domain is None or slices.DOMAIN not in (params.slices or ()):
        return None
    rows = domain.rows("val", labelled=True)
    return _images(source, data, domain, rows) if len(rows) else None


def _plain(found: Any) -> Any:
    if isinstance(found, Interval):
        return found._asdict()
    if is_dataclass(found):
        return {field.name: _plain(getattr(found, field.name)) for field in fields(found)}
    return [_plain(entry) for entry in found] if isinstance(found, tuple) else found


def _interval(content: Mapping[str, float]) -> Interval:
    return Interval(**content)


def _candidate_of(content: Mapping[str, Any]) -> Candidate:
    return Candidate(**content)


def _difference(content: Mapping[str, Any]) -> Difference:
    found: dict[str, Any] = {**content, "difference": _interval(content["difference"])}
    return Difference(**found)


def _differences(content: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    return tuple(map(_difference, content))


def _recent(content: Mapping[str, Any]) -> Recent:
    found: dict[str, Any] = {**content, "lead": _interval(content["lead"])}
    return Recent(**found)


_READ: dict[str, Callable[[Any], Any]] = {
    "challenger": _candidate_of, "champion": _candidate_of, "lead": _interval, "classes": _differences,
    "slices": _differences, "ece_gain": _interval, "speed_up": _interval, "recent": _recent, "earlier": _recent,
    "new_routes": tuple, "classes_gone": tuple, "classes_new": tuple,
}  # fmt: skip
"""Field of `Evidence` -> what makes it of its JSON."""
