"""What the sections of `params.yaml` have in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """What all sections share: unknown keys and wrong types are refused."""

    __pydantic_config__ = {"extra": "forbid"}


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
