"""The few shapes that cross rooms.

Importing this module imports neither torch nor numpy, so the rooms that must start fast can share the names too.
Shapes: B images in a batch, C classes of a task, D features, H and W pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

TASK = "label"
"""Name of the task in a data set that has just one: single-task models are multi-task models with one entry."""


class Labelled(NamedTuple):
    """Images with an answer for every task."""

    image: Tensor  # [B, 3, H, W]
    labels: dict[str, Tensor]  # task name -> [B] int64


class Unlabelled(NamedTuple):
    """Images alone."""

    image: Tensor  # [B, 3, H, W]


class Pairs(NamedTuple):
    """Two images each, and whether they show the same class."""

    left: Tensor  # [B, 3, H, W]
    right: Tensor  # [B, 3, H, W]
    same: Tensor  # [B] float, 1 where the classes agree


class Episode(NamedTuple):
    """A few-shot task: classify `query` given `support`.

    Labels count the episode's own classes, 0 to n_way - 1; images lie class by class: n_way * k_shot in the support,
    n_way * n_query in the query.
    """

    support: Labelled
    query: Labelled


@dataclass(frozen=True)
class Sampling:
    """Out of which images, and how, episodes and pairs are drawn: `n_way` classes, `k_shot` support and `n_query` query
    images of each. Pairs fill a batch, half of them of one class."""

    domain: Literal["source", "target"] = "source"
    n_way: int = 5
    k_shot: int = 5
    n_query: int = 10


Outputs = dict[str, "Tensor"]
"""task name -> logits [B, C_task]"""

Losses = dict[str, "Tensor"]
"""term name -> weighted scalar; what is minimised is their sum"""


@dataclass(frozen=True)
class Preprocess:
    """How an RGB image becomes a network's input. It travels with the weights, because they only work with it.

    `resize`: pixels of the shorter side, aspect kept, bilinear with antialias; `size`: side of the centre crop taken
    from that; `mean` and `std`: per channel, on the scale where black is 0 and white is 1.
    """

    size: int
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Preprocess:
        triples: dict[str, Any] = {name: tuple(fields[name]) for name in ("mean", "std")}
        return cls(**{**fields, **triples})


@dataclass(frozen=True)
class LabelSpace:
    """The tasks of a data set and the class names of each, in the order of the logits.

    `descriptions`: for zero-shot classes, task name -> one vector for each class, as long as each other. The first task
    is the one that strategies are compared by.
    """

    classes: dict[str, tuple[str, ...]]
    descriptions: dict[str, tuple[tuple[float, ...], ...]] | None = None

    def sizes(self) -> dict[str, int]:
        return {task: len(names) for task, names in self.classes.items()}

    def only(self, task: str) -> LabelSpace:
        """This task alone."""
        descriptions = {task: self.descriptions[task]} if self.descriptions and task in self.descriptions else None
        return LabelSpace({task: self.classes[task]}, descriptions)

    def to_dict(self) -> dict:
        return {"classes": self.classes, "descriptions": self.descriptions}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> LabelSpace:
        """The inverse of `to_dict`, also after a way through JSON."""
        vectors = fields.get("descriptions")
        return cls(
            {task: tuple(names) for task, names in fields["classes"].items()},
            vectors and {task: tuple(tuple(vector) for vector in rows) for task, rows in vectors.items()},
        )
