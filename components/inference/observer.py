"""Who wants to know what was answered. Nobody, unless the caller names one: `components.monitoring` has one that
writes it down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Observer(Protocol):
    """Is told of every batch before its answers are given, from any number of threads."""

    @property
    def keeps_images(self) -> bool:
        """Whether it has any use for the images' own bytes."""
        ...

    def add(
        self, features: np.ndarray, probabilities: np.ndarray, contents: Sequence[bytes | None] | None = None
    ) -> None:
        """Features [B, D] and probabilities [B, C] of the prediction's own task, from one run of the model; the content
        of the image files, as they came, where it keeps images and they came as files. Raises nothing that the
        answers should fail for."""
        ...

    def close(self) -> None:
        """Nothing more is added, unless a batch was still under way."""
        ...
