"""Which routes of a bundle's files are admitted: every precision on every provider of this machine, by its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from components.admission import accuracy, proof
from components.admission.accuracy import Rule, Sample
from components.admission.preprocessing import spread
from components.admission.proof import OPTIONAL, Truth
from components.data.prepared import Prepared
from components.data.streams import crop, normalise
from components.deployment.candidates import Candidate, fp16_candidate, int8_candidates
from components.errors import GraftError
from components.params import Params
from components.runtimes.routes import PARENT, Route, routes

if TYPE_CHECKING:
    from onnx import ModelProto

UNCHANGED = {"calibrator": None, "kept_fp32": [], "tried": []}
"""What a verdict says of a file in which no node was changed."""

Assemble = Callable[["ModelProto", str], Path]
"""A network and a file's key -> the whole model's file, not admitted yet."""


def full(file: Path, provider: str, true: Truth, params: Params, *, say: Callable[[str], None]) -> tuple[dict, dict]:
    """The full-precision file on a provider -> what its parity showed, and the verdict.

    Raises ParityError where it is refused. On a provider of OPTIONAL the verdict says so instead, without a number: one
    that reads what it never wrote gives others each time, and a bundle must have equal bytes. `say` is told them.
    """
    route = Route(PARENT, provider)
    try:
        found = proof.answers(file, route, true)
        facts = proof.prove(file, provider, found, true, params.export)
    except GraftError as error:
        if provider not in OPTIONAL:
            raise
        say(f"{route}: {error}")
        return {}, {
            **accuracy.unanswered(f"{provider} does not compute this network rightly", len(true.files)),
            **UNCHANGED,
        }
    reason = (
        f"{facts['agreement']:.2%} of {facts['images']} decisions agree, "
        f"logits within {facts['max_logit_difference']:.1e}"
    )
    return facts, {**_judge(found, true, params), **UNCHANGED, "admitted": True, "reason": reason}


def reduced(
    network: ModelProto,
    file: Path,
    providers: Iterable[str],
    assembled: Assemble,
    true: Truth,
    data: Prepared,
    params: Params,
) -> tuple[dict[str, Path], dict[Route, dict]]:
    """Every precision below the full one on `providers` -> model files by key, those of which a route was admitted; and
    the verdict on every route.

    `network`: from normalised images to logits; `file`: the full-precision model, which some routes run too.
    """
    files: dict[str, Path] = {}
    verdicts: dict[Route, dict] = {}
    by_file: dict[str, list[Route]] = {}
    for provider in providers:
        for route in routes(provider):
            if route.precision != PARENT and (route.file == PARENT or route.precision in params.export.precisions):
                by_file.setdefault(route.file, []).append(route)
    for key, own in by_file.items():
        if key == PARENT:
            verdicts |= {route: {**verdict_of(file, route, true, params), **UNCHANGED} for route in own}
            continue
        calibration = calibration_images(data, true, params)
        path, found = _first_admitted(_candidates(network, key, calibration, params), key, own, assembled, true, params)
        verdicts |= found
        if any(verdict["admitted"] for verdict in found.values()):
            files[key] = path
    return files, verdicts


def _candidates(network: ModelProto, key: str, images: np.ndarray, params: Params) -> Iterable[Candidate]:
    """Models in reduced precision, the one to prefer first. `images`: of the training, which ranges are measured on."""
    if key == "fp16":
        return [fp16_candidate(network, images, params.export)]
    return int8_candidates(network, images, params.export, symmetric=key == "int8_symmetric")


def _first_admitted(
    candidates: Iterable[Candidate], key: str, own: list[Route], assembled: Assemble, true: Truth, params: Params
) -> tuple[Path, dict[Route, dict]]:
    """The first candidate that is admitted on the first of the file's routes, or else the one that agrees most; then
    the verdict on it by every route."""
    tried: list[dict] = []
    best: tuple[Candidate, dict] | None = None
    path = Path()
    for candidate in candidates:
        path = assembled(candidate.model, key)
        verdict = verdict_of(path, own[0], true, params)
        numbers = {name: verdict[name] for name in ("agreement", "accuracy")}
        tried.append({"calibrator": candidate.calibrator, "kept_fp32": len(candidate.kept_fp32), **numbers})
        if best is None or verdict["admitted"] or (verdict["agreement"] or 0) > (best[1]["agreement"] or 0):
            best = candidate, verdict
        if verdict["admitted"]:
            break
    if best is None:
        reason = f"there is nothing in this network that {own[0].precision} could be used for"
        return path, {route: {**accuracy.unanswered(reason, len(true.files)), **UNCHANGED} for route in own}
    candidate, verdict = best
    path = assembled(candidate.model, key)
    found = {own[0]: verdict, **{route: verdict_of(path, route, true, params) for route in own[1:]}}
    how = {"calibrator": candidate.calibrator, "kept_fp32": list(candidate.kept_fp32), "tried": tried}
    return path, {route: {**verdict, **how} for route, verdict in found.items()}


def calibration_images(data: Prepared, true: Truth, params: Params) -> np.ndarray:
    """Training images, evenly spread, as the network sees them: float [N, 3, size, size]."""
    rows = data.target.rows("train")
    chosen = rows[spread(len(rows), params.export.calibration_images)]
    return normalise(crop(torch.from_numpy(data.target.pixels[chosen]), true.preprocess), true.preprocess).numpy()


def verdict_of(file: Path, route: Route, true: Truth, params: Params) -> dict:
    """On a reduced precision; also on one that the provider cannot run at all."""
    try:
        return _judge(proof.answers(file, route, true), true, params)
    except GraftError as error:
        return accuracy.unanswered(str(error), len(true.files))


def _judge(found: dict[str, np.ndarray], true: Truth, params: Params) -> dict:
    """Logits of every task beside torch's."""
    samples = {
        task: Sample(true.labels[task], true.names, names, true.temperature[task])
        for task, names in true.classes.items()
    }
    return accuracy.judge_tasks(true.logits, found, samples, Rule(params.export, params.evaluate, params.seed))
