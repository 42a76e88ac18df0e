"""ranking: which backbone suits the prepared images, without training any. A command, not a DVC stage.

Each candidate answers a sample of the training images and the validation images once. From these features come LogME
and a ridge probe's accuracy, and beside them stands the time that the network takes. Test images take no part: what
helps to choose must not report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components import jsonfile, machine, paths
from components import params as parameters
from components.backbones import local_weights
from components.backbones.build import build, load_weights, preprocess_of, stored_size
from components.backbones.catalogue import BACKBONES, require
from components.data import prepared
from components.data.features import weights_digest
from components.data.prepared import Domain
from components.errors import DataError, GraftError, MachineError, ParamsError, choices
from components.evaluation.intervals import paired_interval, wilson
from components.evaluation.transferability import log_me, ridge_probe
from components.params import Params
from components.reporting import backbones_page
from components.reporting.scatter import pareto_front
from components.speed import gate, timing
from components.stages import ranking_features as features
from components.stages.command import say
from components.training.compute import Compute, choose
from components.types import TASK

PRETRAIN = "pretrain"
"""Stands for weights that are trained here, as in `backbone.weights`."""
ENGINES = ("auto", "onnxruntime", "torch")


@dataclass(frozen=True)
class Candidate:
    """`weights`: as `backbone.weights` takes it; None: the first of the backbone's own that are on this machine."""

    name: str
    weights: str | None = None


@dataclass(frozen=True)
class Sample:
    """Images that all candidates answer: rows of a domain."""

    domain: Domain
    train: np.ndarray
    val: np.ndarray

    def labels(self, rows: np.ndarray) -> np.ndarray:
        return self.domain.labels[TASK][rows]


@dataclass(frozen=True)
class Asked:
    """What came of a candidate: its `facts` for backbones.json, which validation images its probe answers rightly,
    and the network with a batch to time it with."""

    facts: dict[str, Any]
    correct: np.ndarray
    network: features.Network
    batch: np.ndarray


def parse(texts: Sequence[str]) -> list[Candidate]:
    """Entries NAME or NAME=WEIGHTS, also several in one text with commas between them. Raises ParamsError for a name
    that is no backbone."""
    found = []
    for word in filter(None, (part.strip() for text in texts for part in text.split(","))):
        name, given, weights = word.partition("=")
        require(name)
        if given and not weights:
            raise ParamsError(f"{word!r} names no weights: write {name}=PATH, or {name} alone")
        found.append(Candidate(name, weights or None))
    return list(dict.fromkeys(found))


def rank(asked: Sequence[Candidate] = (), *, images: int = 2000, seconds: float = 1.0, engine: str = "auto") -> dict:
    """Ranks the candidates, by default all whose weights are on this machine, and writes reports/backbones/; returns
    the content of backbones.json, whose "backbones" are those ranked, the most accurate first.

    `images`: how many training images are asked, and how many of validation, at most; `seconds`: of timing for each
    candidate and size of batch; `engine`: what computes, onnxruntime (as what is shipped does), torch, or by default
    the first on a CPU and the second on a GPU. A candidate that cannot take part is in "left_out" with the reason.
    """
    if engine not in ENGINES:
        raise ParamsError(f"--engine is {engine!r}; {choices(engine, ENGINES)}")
    if images < 2 or seconds <= 0:
        raise ParamsError(f"--images is {images} and --seconds {seconds:g}: at least 2, and above 0")
    params = parameters.load(Path())
    if not (paths.PREPARED / prepared.MANIFEST).exists():
        raise DataError(f"there are no prepared images in {paths.PREPARED}: make them with `dvc repro prepare` first")
    domain = prepared.read(paths.PREPARED).target
    sample = _sample(domain, images, params.seed)
    compute = choose(replace(params.compute, precision="fp32"))
    if engine == "auto":
        engine = "onnxruntime" if compute.device.type == "cpu" else "torch"
    found, left_out = _ask_all(asked or on_this_machine(params), sample, params, compute, engine)
    content = {
        "images": {
            "train": len(sample.train), "train_of": len(domain.rows("train", labelled=True)),
            "val": len(sample.val), "val_of": len(domain.rows("val", labelled=True)), "size": domain.pixels.shape[1],
        },
        "engine": engine,
        "machine": machine.describe(),
        "device": compute.describe(),
        "confidence": params.evaluate.confidence,
        **_compared(found, params, compute, seconds),
        "left_out": left_out,
    }  # fmt: skip
    jsonfile.write(paths.BACKBONES / "backbones.json", content)
    jsonfile.write_text(paths.BACKBONES / "index.html", backbones_page.render(content))
    return content


def on_this_machine(params: Params) -> list[Candidate]:
    """This workspace's own backbone, and every other one with published weights in a cache here."""
    own = Candidate(params.backbone.name, params.backbone.weights)
    if own.weights == PRETRAIN and not (paths.PRETRAINED / "model.json").exists():
        return [Candidate(name) for name in local_weights.cached()]
    return [own, *(Candidate(name) for name in local_weights.cached() if name != own.name)]


def _sample(domain: Domain, most: int, seed: int) -> Sample:
    parts = []
    for part in ("train", "val"):
        rows = domain.rows(part, labelled=True)
        parts.append(rows[features.stratified(domain.labels[TASK][rows], most, seed)])
    if len(np.unique(domain.labels[TASK][parts[0]])) < 2:
        raise DataError("backbones are ranked by how well they tell classes apart: two classes need labels in train")
    return Sample(domain, *parts)


def _ask_all(
    candidates: Sequence[Candidate], sample: Sample, params: Params, compute: Compute, engine: str
) -> tuple[list[Asked], list[dict]]:
    found, left_out = [], []
    for candidate in candidates:
        try:
            found.append(_ask(candidate, sample, params, compute, engine))
        except GraftError as error:
            left_out.append({"name": candidate.name, "weights": candidate.weights, "reason": str(error)})
            say(f"{candidate.name} is left out: {error}")
            continue
        facts = found[-1].facts
        say(f"{facts['name']}: LogME {facts['log_me']:.3f}, validation {facts['val']['accuracy']:.1%}")
    if not found:
        raise MachineError(
            "no backbone could be ranked: give candidates with a file of weights, as resnet50=weights/resnet50.pth "
            "(`graft backbones` says which weights are on this machine)"
        )
    return found, left_out


def _ask(candidate: Candidate, sample: Sample, params: Params, compute: Compute, engine: str) -> Asked:
    weights = candidate.weights or _own_weights(candidate.name)
    stored = sample.domain.pixels.shape[1]
    size, interpolation = stored, params.prepare.interpolation
    if candidate.name not in BACKBONES:
        size, _, interpolation = stored_size(candidate.name, weights)
    preprocess = preprocess_of(candidate.name, weights, size=size, interpolation=interpolation)
    backbone = build(candidate.name, preprocess=preprocess)
    load_weights(backbone, str(_pretrained(candidate.name)) if weights == PRETRAIN else weights)
    digest = weights_digest(backbone)
    network = features.on(backbone, engine, compute)
    train, val = (features.of(network, sample.domain.pixels, rows, preprocess) for rows in (sample.train, sample.val))
    labels = sample.labels(sample.train)
    probe = ridge_probe(train, labels)
    correct = probe.answers(val) == sample.labels(sample.val)
    accuracy = wilson(int(correct.sum()), len(correct), confidence=params.evaluate.confidence)
    facts = {
        "name": candidate.name,
        "weights": weights,
        "weights_sha256": digest,
        "parameters": sum(parameter.numel() for parameter in backbone.parameters()),
        "features": train.shape[1],
        "size": size,
        "input_size": preprocess.size,
        "interpolation": interpolation,
        "enlarged": size > stored,
        "resized": size != stored,
        "log_me": log_me(train, labels),
        "leave_one_out": float(probe.correct.mean()),
        "l2": probe.l2,
        "val": {"accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high},
    }
    rows = np.resize(sample.train, features.BATCH)
    return Asked(facts, correct, network, features.batch(sample.domain.pixels, rows, preprocess))


def _own_weights(name: str) -> str:
    """The name of the first of a backbone's weights that are here. Raises MachineError saying what is missing."""
    known = local_weights.published(name)
    for weights in known:
        if weights.path is not None:
            return weights.name
    if not known:
        raise MachineError(f"{name} has no published weights: give a file, {name}=PATH")
    raise MachineError(f"the weights {known[0].name} of {name} are not on this machine: {known[0].remedy}")


def _pretrained(name: str) -> Path:
    """The weights that `pretrain` left. Raises DataError where they are not this backbone's."""
    path = paths.PRETRAINED / "model.json"
    if not path.exists() or jsonfile.read(path)["backbone"] != name:
        raise DataError(f"{paths.PRETRAINED} has no weights of {name}: make them with `dvc repro pretrain`")
    return paths.PRETRAINED / "backbone.safetensors"


def _compared(found: Sequence[Asked], params: Params, compute: Compute, seconds: float) -> dict[str, Any]:
    """Times all in turns, orders them, and draws the conclusion."""
    variants = {
        f"{index} {size}": timing.Variant(_call(asked, size), size)
        for index, asked in enumerate(found)
        for size in (1, features.BATCH)
    }
    samples = timing.measure(variants, seconds)
    clock = gate.clock(compute.device.type, compute.threads)
    rows: list[dict[str, Any]] = []
    for index, asked in enumerate(found):
        latency = {}
        for size in (1, features.BATCH):
            figures = samples[f"{index} {size}"].figures(clock)
            latency[str(size)] = {name: figures[name] for name in ("latency_ms", "latency_p95_ms", "images_per_s")}
        rows.append({**asked.facts, "latency": latency})
    points = [{"x": float(row["latency"]["1"]["latency_ms"]), "y": float(row["val"]["accuracy"])} for row in rows]
    front = pareto_front(points)
    names = [row["name"] for row in rows]
    for row in rows:
        row["label"] = f"{row['name']} ({Path(row['weights']).name})" if names.count(row["name"]) > 1 else row["name"]
    order = sorted(range(len(rows)), key=lambda index: (-points[index]["y"], points[index]["x"]))
    best = order[0]
    for index, row in enumerate(rows):
        row["front"] = index in front
        behind = paired_interval(
            found[best].correct.astype(float),
            found[index].correct.astype(float),
            confidence=params.evaluate.confidence,
            resamples=params.evaluate.resamples,
            seed=params.seed,
        )
        row["behind"] = behind._asdict()
        row["times_as_fast"] = timing.ratio(samples[f"{index} 1"], samples[f"{best} 1"], clock).to_dict()
    rows = [rows[index] for index in order]
    return {"clock": clock, "batch": features.BATCH, "backbones": rows, "advice": advice(rows[0])}


def _call(asked: Asked, size: int) -> Callable[[], object]:
    batch = np.ascontiguousarray(asked.batch[:size])
    return lambda: asked.network(batch)


def advice(row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of params.yaml that take this backbone."""
    return {
        "backbone": {"name": row["name"], "weights": row["weights"]},
        "prepare": {"size": row["size"], "interpolation": row["interpolation"]},
    }
