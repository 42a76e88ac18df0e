"""What the tests of comparisons share: competitors whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from components.evaluation.predictions import Answers, Entry
from components.types import TASK


def _answers(right: Sequence[float], labels: np.ndarray, confidence: float = 2.0) -> Answers:
    """Of two classes; each seed is right on the first share of the images that `right` names."""
    logits = []
    for share in right:
        answer = np.where(np.arange(len(labels)) < share * len(labels), labels, 1 - labels)
        logits.append(np.where(answer[:, None] == np.arange(2), confidence, 0.0))
    return Answers(np.stack(logits), labels)


def _entry(name: str, splits: dict[str, Answers], strategy: str = "", **facts) -> Entry:
    seeds = list(range(len(splits["test"].logits)))
    known = {"strategy": strategy or name, "needs": ["target_labels"], "seeds": seeds, "best_seed": 0}
    return Entry(name, {**known, **facts}, {TASK: splits})


@pytest.fixture
def answers() -> Callable[..., Answers]:
    """(shares right by seed, labels, confidence=2) -> answers to a question with two classes."""
    return _answers


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """(name, split -> answers, strategy=name, **facts) -> a competitor."""
    return _entry
