"""A point of a learning curve: one strategy, trained with so many labels of each class, which a seed draws.

A point's file is named by a fingerprint of everything the point depends on, so a finished one is never trained again
and one of other data, code or parameters is never found. Workers write the files themselves: what is finished stays,
however the command ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, cast

import numpy as np

from components import jsonfile, lineage, paths, tensorfile
from components import params as parameters
from components.data import prepared, split
from components.data.features import CONTENTS, Features
from components.data.features import read as read_features
from components.errors import DataError, GraftError
from components.params import ComputeParams, Params
from components.strategies import catalogue
from components.strategies.base import Strategy
from components.strategies.teacher import Teacher
from components.training.compute import Compute, choose
from components.training.session import TRAINING_CODE, Trained, train
from components.training.untrained import maker, pretrained_teacher
from components.types import TASK, LabelSpace, Preprocess

CURVE = paths.STATE / "curve"
POINTS = CURVE / "points"
CHECKPOINTS = CURVE / "checkpoints"


@dataclass(frozen=True)
class Point:
    """`labels`: target training labels of each class; None for a strategy that uses none, however many there are."""

    name: str
    labels: int | None
    seed: int

    def describe(self) -> str:
        many = "without labels" if self.labels is None else f"{self.labels} label{'s' * (self.labels > 1)} per class"
        return f"{self.name}, {many}, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """What all points share. `folder`: prepared data in which no training label is hidden."""

    params: Params
    compute: Compute
    folder: Path

    @cached_property
    def preprocess(self) -> Preprocess:
        return Preprocess.from_dict(jsonfile.read(paths.PRETRAINED / "model.json")["preprocess"])

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of what lies on disk: the starting weights, the data, the code and, where there are any, the features."""
        return {
            "start": lineage.file_digest(paths.PRETRAINED / "backbone.safetensors"),
            "data": lineage.folder_digest(self.folder),
            "code": lineage.code_digest(*TRAINING_CODE),
            "features": lineage.file_digest(table) if (table := paths.FEATURES / CONTENTS).exists() else "",
        }

    @cached_property
    def features(self) -> Features | None:
        """The pretrained backbone's, whichever labels are hidden."""
        return read_features(paths.FEATURES)

    def needs(self, name: str) -> tuple[str, ...]:
        competitor = self.params.competitor(name)
        return catalogue.needs(competitor.strategy, competitor.hyper_parameters)

    def uses_labels(self, name: str) -> bool:
        """Whether target labels change anything: for the strategy itself, or for its teacher."""
        needs, teacher = self.needs(name), self.params.teacher
        if "target_labels" in needs:
            return True
        return catalogue.TEACHER in needs and teacher not in (None, parameters.PRETRAINED) and self.uses_labels(teacher)

    def identity(self, point: Point) -> dict[str, Any]:
        """Everything that the point's result depends on."""
        competitor = self.params.competitor(point.name)
        teacher = None
        if catalogue.TEACHER in self.needs(point.name):
            assert self.params.teacher is not None  # params.yaml was checked
            pretrained = self.params.teacher == parameters.PRETRAINED
            teacher = self.digests["start"] if pretrained else self.identity(replace(point, name=self.params.teacher))
        return {
            "competitor": repr(competitor),
            "recipe": repr(self.params.recipe(point.name)),
            "backbone": self.params.to_dict()["backbone"],
            "start": self.digests["start"] if catalogue.load(competitor.strategy).pretrained else None,
            "preprocess": self.preprocess.to_dict(),
            "teacher": teacher,
            "data": self.digests["data"],
            "code": self.digests["code"],
            "features": self.digests["features"],
            "compute": str(self.compute),
            "labels": point.labels,
            "seed": point.seed,
        }

    def path(self, point: Point) -> Path:
        return POINTS / f"{lineage.digest(self.identity(point))[:32]}.json"

    def read(self, point: Point) -> dict | None:
        """What is known of the point; None where it has yet to be trained."""
        try:
            return jsonfile.read(self.path(point))
        except DataError:  # not there, or damaged: training again is always right
            return None

    def maker(self, name: str, space: LabelSpace, teacher: Teacher | None = None) -> Callable[[], Strategy]:
        """What builds the entry's strategy, untrained."""
        return maker(
            self.params,
            name,
            space=space,
            preprocess=self.preprocess,
            start=self.start,
            teacher=lambda: cast(Teacher, teacher),  # asked for only where there is one
        )

    def start(self) -> dict[str, np.ndarray]:
        """The pretrained backbone's weights."""
        return tensorfile.load(paths.PRETRAINED / "backbone.safetensors")


def with_labels(data: prepared.Prepared, per_class: int | None, seed: int) -> prepared.Prepared:
    """The data as if only the first `per_class` training images of each class, in an order that the seed draws, had
    been labelled (None: not one). More labels are those of fewer and others: subsets of a seed are nested."""
    target = data.target
    rows = target.rows("train", labelled=True)
    positions = [split.position(target.sha256[row], seed) for row in rows]
    kept = split.labelled(positions, [str(label) for label in target.labels[TASK][rows]], per_class or 0)
    labels = {task: values.copy() for task, values in target.labels.items()}
    for values in labels.values():
        values[rows[~np.array(kept)]] = prepared.HIDDEN
    return replace(data, domains={**data.domains, "target": replace(target, labels=labels)})


@lru_cache(maxsize=1)
def _data(folder: Path) -> prepared.Prepared:
    return prepared.read(folder)


def begin(compute: ComputeParams) -> None:
    """In a worker, first of all: as many threads as are its share, and an end as soon as whoever started it is gone,
    however that died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started the workers ends them
    parent = multiprocessing.parent_process()

    def lifeline() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=lifeline, daemon=True).start()
    choose(compute)


def measure(study: Study, point: Point) -> tuple[dict, bool]:
    """Trains the point and writes its file; returns what is in it, and whether an earlier attempt was gone on with.

    A training that cannot be done, or whose numbers are no longer finite, is a finding: the reason is in "failed".
    """
    data = with_labels(_data(study.folder), point.labels, point.seed)
    trainings: list[Trained] = []
    resumed: list[bool] = []
    facts: dict[str, Any] = {"strategy": point.name, "labels": point.labels, "seed": point.seed}
    try:
        trained = _train(study, point, data, trainings, resumed)
    except GraftError as error:
        content = {**facts, "failed": str(error)}
    else:
        answers = trained.logits["test"][TASK].argmax(1)
        val = trained.logits["val"][TASK].argmax(1) == trained.labels["val"][TASK]
        content = {
            **facts,
            "failed": None,
            "val": float(val.mean()),
            "images": len(answers),
            "wrong": np.flatnonzero(answers != trained.labels["test"][TASK]).tolist(),
            "seconds": sum(training.seconds for training in trainings),
        }
    jsonfile.write(study.path(point), content)
    for training in trainings:
        training.checkpoint.clear()
    return content, bool(resumed)


def _train(
    study: Study, point: Point, data: prepared.Prepared, trainings: list[Trained], resumed: list[bool]
) -> Trained:
    """Trains the point's strategy, its teacher first; every training made is added to `trainings`."""
    params = study.params

    def teacher() -> Teacher:
        assert params.teacher is not None  # params.yaml was checked
        if params.teacher == parameters.PRETRAINED:
            return pretrained_teacher(params, study.preprocess, study.start())
        taught = _train(study, replace(point, name=params.teacher), data, trainings, resumed)
        return Teacher(taught.strategy, study.preprocess)

    # Trained before the student: `train` sets the student's seed, and then builds it.
    known = teacher() if catalogue.TEACHER in study.needs(point.name) else None
    trained = train(
        study.maker(point.name, data.label_space, known),
        data,
        params.recipe(point.name),
        study.compute,
        seed=point.seed,
        identity=study.identity(point),
        checkpoints=CHECKPOINTS,
        log=lambda record: resumed.append(True) if "resumed" in record else None,
        features=study.features,
        own=params.competitor(point.name).recipe,
    )
    trainings.append(trained)
    return trained
