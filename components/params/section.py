"""What the sections of `params.yaml` have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Augment = Literal["none", "shift", "light", "strong", "flip", "appearance", "trivial_augment", "rand_augment"]
"""Policies of `components.data.augmentation`: how training images are changed at random."""


@dataclass(frozen=True)
class Section:
    """What all sections share: unknown keys and wrong types are refused."""

    __pydantic_config__ = {"extra": "forbid"}


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
