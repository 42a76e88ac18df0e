"""distil: as train, for an entry that learns from another's model, and so waits for it."""

from __future__ import annotations

from components.stages.command import main
from components.stages.train import train


def distil(name: str) -> None:
    """Trains the entry `strategies.<name>` of params.yaml, one of `students`."""
    train(name)


if __name__ == "__main__":
    main(distil)
