"""A bundle's routes beside each other, and beside what else answers the same images: time, memory and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components import machine
from components.errors import DataError
from components.inference.predictor import Predictor
from components.paths import external
from components.runtimes import machines
from components.runtimes.options import DEFAULT, Options
from components.runtimes.providers import resolve
from components.runtimes.routes import PARENT, Route
from components.speed import cold_start, gate
from components.speed.timing import Sample, Variant, measure, ratio
from components.types import TASK

ARRAYS, FILES = "arrays", "files"
SHARES = {ARRAYS: 0.75, FILES: 0.25}
"""Of a way's time: decoding is the same for all, so less of it tells enough."""
CHUNK = 64  # images of one call where accuracy is asked and not time


@dataclass(frozen=True)
class Way:
    """Something that answers images. `route`: "int8@cpu" or a name such as "torch eager"; `arrays` takes uint8
    [B, S, S, 3] of the model's own size, `files` the contents of image files."""

    route: str
    precision: str
    provider: str
    arrays: Callable[[np.ndarray], object]
    files: Callable[[Sequence[bytes]], object]


@dataclass(frozen=True)
class Material:
    """The images to answer: `arrays` uint8 [N, S, S, 3] of the model's own size; `files`: contents of image files;
    `labels`: class names of the arrays, None where nobody knows them."""

    arrays: np.ndarray
    files: Sequence[bytes]
    labels: Sequence[str] | None = None


@dataclass(frozen=True)
class Plan:
    """How much to measure, see `BenchmarkParams`, and on how many `threads` all of it: what has more of them than
    another is faster for no merit of its own."""

    batch_sizes: Sequence[int]
    seconds: float
    min_speed_up: float
    threads: int

    @property
    def options(self) -> Options:
        """Of every session."""
        return Options(threads=self.threads)


def admitted(facts: Mapping[str, Any], providers: Sequence[str]) -> list[Route]:
    """The routes of a bundle on these providers that answer accurately enough; of a bundle without `admission`, fp32.

    Raises DataError where there is none.
    """
    if "admission" not in facts:
        return [Route(PARENT, provider) for provider in providers]
    known = [Route.parse(text) for text, verdict in facts["admission"].items() if verdict["admitted"]]
    found = [route for route in known if route.provider in providers and route.file in facts["models"]]
    if not found:
        raise DataError(
            f"the bundle has no admitted route on {' or '.join(providers)}; it has {', '.join(map(str, known))}"
        )
    return found


def benchmark(
    folder: Path,
    routes: Sequence[Route],
    material: Material,
    plan: Plan,
    *,
    references: Callable[[Predictor], Sequence[Way]] = lambda predictor: (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measures the routes of the bundle in `folder` and the references in one interleaved run.

    `references`: makes the ways to compare with, given a predictor that decodes files as all of them do. Returns what
    `reports/benchmark.json` holds of a bundle.
    """
    predictors, ways = {}, []
    for route in routes:
        predictors[route], way = load(folder, route, plan.options)
        ways.append(way)
    others = list(references(next(iter(predictors.values()))))
    samples = _timed([*ways, *others], material, plan)
    known = {str(route): _cost(folder, route, material, plan.options) for route in routes}
    rows = {way: _rows(way, samples, [*ways, *others], plan, known.get(way.route, {})) for way in [*ways, *others]}
    for way, found in rows.items():
        for row in (row for row in found if row["from"] == ARRAYS):
            say(
                f"{way.route}, batch {row['batch_size']}: {row['latency_ms']:.2f} ms, "
                f"{row['images_per_s']:,.0f} images/s"
            )
    by_route = {(way.route, size): samples[way, ARRAYS, size] for way in ways for size in plan.batch_sizes}
    speed = gate.judge(by_route, routes, plan.batch_sizes, plan.min_speed_up, plan.threads)
    worthy = [route for route in routes if speed[str(route)]["admitted"]]
    best = gate.fastest(by_route, worthy, min(plan.batch_sizes), _default(worthy or routes), plan.threads)
    say(f"fastest at batch {min(plan.batch_sizes)}: {best}")
    return {
        "machine": machine.describe(),
        "machine_key": machines.key(),
        "versions": machines.versions(),
        "threads": plan.threads,
        "measurements": [row for way in ways for row in rows[way]],
        "references": [row for way in others for row in rows[way]],
        "accuracy": {} if material.labels is None else {
            str(route): accuracy(predictor, material.arrays, material.labels)
            for route, predictor in predictors.items()
        },
        "speed": speed,
        "fastest": str(best),
        "options": {str(route): DEFAULT.to_dict() for route in routes},
    }  # fmt: skip


def accuracy(predictor: Predictor, arrays: np.ndarray, labels: Sequence[str]) -> float:
    """The share of right answers to the first task."""
    names, output = np.array(predictor.classes[TASK]), predictor.output("logits")
    chunks = [arrays[start : start + CHUNK] for start in range(0, len(arrays), CHUNK)]
    answers = np.concatenate([names[predictor.run(chunk)[output].argmax(1)] for chunk in chunks])
    return float((answers == np.asarray(labels)).mean())


def load(folder: Path, route: Route, options: Options) -> tuple[Predictor, Way]:
    """A route of the bundle in `folder`, ready to answer with the probabilities of every task."""
    predictor = Predictor.load(folder, provider=route.provider, precision=route.precision, options=options)
    names = [predictor.output("probabilities", task) for task in predictor.classes]

    def arrays(batch: np.ndarray) -> object:
        return predictor.run(batch, names)

    def files(contents: Sequence[bytes]) -> object:
        return arrays(np.stack([predictor.pixels(content) for content in contents]))

    return predictor, Way(str(route), route.precision, route.provider, arrays, files)


def _timed(ways: Sequence[Way], material: Material, plan: Plan) -> dict[tuple[Way, str, int], Sample]:
    """Everything that is to be compared, in one interleaved run."""
    wanted = {
        f"{way.route} {way.provider} {source} {size}": (way, source, size)
        for way in ways
        for source in (ARRAYS, FILES)
        for size in plan.batch_sizes
    }
    variants = {
        name: Variant(_call(way, source, material, size), size, SHARES[source])
        for name, (way, source, size) in wanted.items()
    }
    samples = measure(variants, plan.seconds)
    return {wanted[name]: sample for name, sample in samples.items()}


def _call(way: Way, source: str, material: Material, size: int) -> Callable[[], object]:
    if source == ARRAYS:
        batch = np.ascontiguousarray(np.resize(material.arrays[:size], (size, *material.arrays.shape[1:])))
        return lambda: way.arrays(batch)
    files = [material.files[index % len(material.files)] for index in range(size)]
    return lambda: way.files(files)


def _cost(folder: Path, route: Route, material: Material, options: Options) -> dict[str, float]:
    """Of a route whatever the batch: size, and memory and time of a fresh process."""
    file = folder / f"model.{route.file}.onnx" if folder.is_dir() else folder
    size = sum(path.stat().st_size for path in (file, external(file)) if path.exists())
    return {"size_mib": size / 2**20, **cold_start.measure(folder, route, material.files[0], options)}


def _rows(way: Way, samples: Mapping, ways: Sequence[Way], plan: Plan, cost: Mapping[str, float]) -> list[dict]:
    torch = next((other for other in ways if other.route == "torch eager" and _together(way, other)), None)
    parent = next((other for other in ways if other.route == f"{PARENT}@{way.provider}"), None)
    clock = gate.clock(way.provider, plan.threads)
    rows = []
    for source in (ARRAYS, FILES):
        for size in plan.batch_sizes:
            sample = samples[way, source, size]
            row = {
                "route": way.route,
                "precision": way.precision,
                "provider": way.provider,
                "batch_size": size,
                "from": source,
                **sample.figures(),
                "clock": clock,
                **cost,
            }
            for name, other in (("over_torch", torch), ("over_fp32", parent)):
                if other is not None and other is not way:
                    row[name] = ratio(sample, samples[other, source, size], clock).to_dict()
            rows.append(row)
    return rows


def _together(way: Way, reference: Way) -> bool:
    """Whether both compute on the same kind of processor."""
    return (way.provider in ("cuda", "tensorrt")) == (reference.provider == "cuda")


def _default(routes: Sequence[Route]) -> Route:
    """What a predictor takes that is told nothing, or the first where that was not measured."""
    usual = Route(PARENT, resolve("auto"))
    return usual if usual in routes else routes[0]
