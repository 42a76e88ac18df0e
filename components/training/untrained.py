"""A strategy of params.yaml before its training: the backbone it starts from, and what the entry makes of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from components.backbones.build import build, from_arrays
from components.params import Params
from components.strategies import catalogue
from components.strategies.base import Strategy
from components.strategies.teacher import Teacher
from components.training.restore import hyper_parameters
from components.types import TASK, LabelSpace, Preprocess

Arrays = dict[str, np.ndarray]


def tasks_of(params: Params, name: str, space: LabelSpace) -> LabelSpace:
    """Of a data set's tasks those that the entry answers: all, or the first alone."""
    entry = catalogue.STRATEGIES[params.competitor(name).strategy]
    return space if entry.tasks == "all" else space.only(TASK)


def maker(
    params: Params,
    name: str,
    *,
    space: LabelSpace,
    preprocess: Preprocess,
    start: Callable[[], Arrays],
    teacher: Callable[[], Teacher],
) -> Callable[[], Strategy]:
    """What builds the entry `strategies.<name>`; a seed that is set before decides what is random in it.

    `start`: the pretrained backbone's weights, asked for where the strategy starts from them; `teacher`: asked for
    where it learns from one.
    """
    competitor = params.competitor(name)
    kind = catalogue.load(competitor.strategy)
    needs = catalogue.needs(competitor.strategy, competitor.hyper_parameters)
    own = tasks_of(params, name, space)
    arrays = start() if kind.pretrained else None

    def make() -> Strategy:
        backbone = build(params.backbone.name, preprocess=preprocess)
        if arrays is not None:
            from_arrays(backbone, arrays)
        more = {catalogue.TEACHER: teacher()} if catalogue.TEACHER in needs else {}
        return kind(backbone, own, **hyper_parameters(competitor.hyper_parameters), **more)

    return make


def pretrained_teacher(params: Params, preprocess: Preprocess, arrays: Arrays) -> Teacher:
    """The pretrained backbone as a teacher: features, but no answers."""
    backbone = build(params.backbone.name, preprocess=preprocess)
    from_arrays(backbone, arrays)
    return Teacher(backbone, preprocess)
