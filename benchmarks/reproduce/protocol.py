"""What a reproduced experiment is, and how its figures are kept, averaged and held against their goals.

A protocol is a module with

    TITLE: str                          what is repeated, and whose result it is
    PROTOCOL: str                       data, network, steps, what is tuned on what, how it differs from the paper
    SEEDS: tuple[int, ...]              at least three
    ROWS: dict[str, Row]                the lines of its table, by key
    run(data: Path, seed: int)          -> {key of a row: value in the row's metric}, for this seed
    NOTES: str                          optional: why a goal was missed
    FILES: tuple[str, ...]              optional: what it reads below the data folder

and one line in `PROTOCOLS`. Its figures are in docs/results/<name>.json: what each seed gave, on what machine, with
which text of the protocol's own module. A seed's figures are kept until that text changes; titles, notes and published
figures may change freely.
"""

from __future__ import annotations

import ast
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from components.lineage import digest

PROTOCOLS = {
    "mnist_usps": "benchmarks.reproduce.mnist_usps",
    "omniglot": "benchmarks.reproduce.omniglot",
    "mnist_distillation": "benchmarks.reproduce.mnist_distillation",
    "ants_and_bees": "benchmarks.reproduce.ants_and_bees",
    "row_lstm": "benchmarks.reproduce.row_lstm",
    "selection": "benchmarks.reproduce.selection",
}
"""Name -> module, in the order of the page of results."""

# Two-sided 95 % points of Student's t for 1, 2, ... degrees of freedom; scipy takes longer to import than this to read.
T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
ONLY_WORDS = ("TITLE", "PROTOCOL", "NOTES", "SEEDS", "ROWS", "FILES")
"""Names in a protocol's module that no figure depends on."""


@dataclass(frozen=True)
class Row:
    """A line of a protocol's table.

    `published`: the figure of `source`, or "-"; `goal`: what ours must reach, in the unit of the row's values. A goal
    is a number to reach ("98.6", ">= 98.6"), one not to pass ("<= 2.1"), another row to beat by the interval of the
    paired differences ("> key_of_the_row"), or to beat by more than so much ("> key_of_the_row + 5"), words, or "-".
    """

    method: str
    setting: str
    metric: str
    published: str = "-"
    source: str = "-"
    goal: str = "-"


class Mean(NamedTuple):
    """A mean over seeds, half the width of its 95 % interval (None for one seed), and the number of seeds."""

    value: float
    half: float | None
    count: int

    def __str__(self) -> str:
        digits = 4 if abs(self.value) < 1.5 else 2
        spread = "" if self.half is None else f" ± {self.half:.{digits}f}"
        return f"{self.value:.{digits}f}{spread} ({self.count} seed{'s' * (self.count != 1)})"


def mean(values: Sequence[float]) -> Mean:
    """Student's t-interval: seeds are few, and their spread is estimated from themselves."""
    count = len(values)
    if count < 2:
        return Mean(statistics.fmean(values), None, count)
    factor = T_95[min(count - 1, len(T_95)) - 1]
    return Mean(statistics.fmean(values), factor * statistics.stdev(values) / math.sqrt(count), count)


def met(goal: str, key: str, values: Mapping[str, Sequence[float]]) -> bool | None:
    """Whether the row `key` reaches its goal, given each row's values seed by seed; None where the goal is in words."""
    sign = next((sign for sign in (">=", "<=", ">", "<") if goal.startswith(sign)), "")
    wanted = goal.removeprefix(sign).strip()
    other, _, more = (part.strip() for part in wanted.partition("+"))
    own = values[key]
    if other in values:
        bound, difference = _number(more or "0"), mean([a - b for a, b in zip(own, values[other], strict=True)])
        if bound is None or not sign:
            return None
        half = difference.half or 0.0
        return difference.value - half > bound if sign.startswith(">") else difference.value + half < -bound
    bound, value = _number(wanted), mean(own).value
    if bound is None:
        return None
    # A figure is as exact as the goal is written: 98.6 is not missed by the last bit of a mean.
    return value <= bound + 1e-9 if sign.startswith("<") else value >= bound - 1e-9


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def code_of(source: str) -> str:
    """sha256 of what a protocol's module does: of its statements without comments, docstrings and the names that are
    only read to render its page."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
    tree.body = [node for node in tree.body if not _is_words(node)]
    return digest(ast.dump(tree))


def _is_words(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id in ONLY_WORDS for target in targets)
