"""Which strategies somebody's data allows, why others not, and a comparison to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.strategies import catalogue

MISSING = {
    "source": "labelled images of another kind to transfer from: --source PATH",
    "descriptions": "numbers that describe each class: --attributes CSV",
    "tasks": "further questions about every image: --label A,B of a table, or columns of text in --attributes CSV",
}
"""What a strategy may lack, and how it is given."""

PROBES = ("linear_probe", "knn_probe")
TUNED = ("lp_ft",)
LIGHT_SOURCE = ("source_only", "mcc")
FULL = ("from_scratch", *PROBES, "fine_tune", *TUNED, "wise_ft")
FULL_SOURCE = ("source_only", "dan", "mcc", "prototypical")
TASKS = ("hard_sharing",)


@dataclass(frozen=True)
class Facts:
    """What the choice depends on. `training_images`: of the target, after val and test; `smallest`: how many of them
    the smallest class has; `light`: a machine without a GPU, on which a backbone made for photos takes seconds a batch;
    `own`: the backbone is one of Graft's own small ones."""

    classes: int
    training_images: int
    smallest: int
    source: bool
    descriptions: bool
    tasks: bool
    light: bool
    own: bool
    backbone: str

    def has(self, need: str) -> bool:
        """Whether the data have what a strategy needs; a target has labels, and images to be seen without them."""
        return {"source": self.source, "descriptions": self.descriptions, "tasks": self.tasks}.get(need, True)


def lacks(name: str, given: dict[str, Any], facts: Facts) -> tuple[str, ...]:
    """The needs, out of MISSING, that the strategy with these hyper-parameters has and the data do not meet."""
    needs = list(catalogue.needs(name, given))
    if catalogue.STRATEGIES[name].tasks == "all":
        needs.append("tasks")
    return tuple(need for need in needs if need in MISSING and not facts.has(need))


@dataclass(frozen=True)
class Comparison:
    compare: tuple[str, ...]
    students: tuple[str, ...]
    teacher: str


def comparison(facts: Facts) -> Comparison:
    """Who competes unless somebody says otherwise.

    With a GPU or a small backbone: the baselines and the best known of each family. Else the two that train nothing of
    the backbone, for which every image goes through it once, and one short fine-tuning that starts from their solution.
    """
    if facts.light:
        names = [*PROBES, *TUNED]
        names += LIGHT_SOURCE if facts.source else ()
    else:
        names = list(FULL)
        names += FULL_SOURCE if facts.source else ()
    names += TASKS if facts.tasks else ()
    return Comparison(tuple(names), () if facts.light else ("distillation",), "lp_ft" if facts.light else "fine_tune")


def restricted(
    compare: Sequence[str], students: Sequence[str], teacher: str | None, allowed: Sequence[str]
) -> Comparison:
    """What is left of a comparison when only the `allowed` entries may compete."""
    left = tuple(name for name in compare if name in allowed)
    learning = tuple(name for name in students if name in allowed)
    if teacher is None or (learning and teacher not in (*left, "pretrained")):
        teacher = next((name for name in ("fine_tune", "lp_ft") if name in left), "pretrained")
    return Comparison(left, learning, teacher)
