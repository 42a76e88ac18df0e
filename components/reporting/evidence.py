"""Everything that was found out in a run, as the page takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Evidence:
    """The contents of the files of a run: `evaluation`, `benchmark`, `bundle`, `audit` and `explanations` are those
    JSON files; `leaderboard` its rows; `heat` the arrays beside the explanations; `histories` the training records of
    each strategy and `best_seeds` the seed whose model stands for it; `pixels` uint8 [N, S, S, 3] by domain."""

    evaluation: Mapping
    leaderboard: Sequence[Mapping]
    benchmark: Mapping
    bundle: Mapping
    audit: Mapping
    explanations: Mapping
    heat: Mapping[str, np.ndarray]
    histories: Mapping[str, Sequence[Mapping]]
    best_seeds: Mapping[str, int]
    pixels: Mapping[str, np.ndarray]

    @property
    def chosen(self) -> Mapping:
        """The chosen strategy's row of the evaluation."""
        return next(row for row in self.evaluation["strategies"] if row["strategy"] == self.evaluation["chosen"])

    @property
    def classes(self) -> Sequence[str]:
        return self.evaluation["classes"]
