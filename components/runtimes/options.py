"""How a session uses the machine: what `graft tune` searches and a bundle remembers for each machine type."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from components.errors import MachineError, choices

OPTIMIZATIONS = ("all", "extended", "basic", "disabled")
"""Of the graph at load, onnxruntime's names; OpenVINO and TensorRT always optimise in their own way."""


@dataclass(frozen=True)
class Options:
    """`threads`: of one call; None is one for each physical core. `spinning`: whether idle threads wait in a busy loop
    for the next piece of work; `arena`: whether freed memory is kept for the next call; `optimization`: see
    OPTIMIZATIONS. Raises MachineError for a value that is none of these.

    The defaults, measured in turns with two threads on two busy cores: spinning made a small 32-pixel net 1.13
    to 1.15 times as fast, but ResNet-18 at batch 1 took 1.28 times as long and 1.29 times the processor time, so it is
    for hosts that have nothing else to do. Without the arena the small net took up to 1.18 times as long, and no peak
    was lower. Level "all" alone lays convolutions out for the processor, which is 1.3 to 3 times as fast as "extended".
    """

    threads: int | None = None
    spinning: bool = False
    arena: bool = True
    optimization: str = "all"

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise MachineError(f"threads is {self.threads}, but must be at least 1")
        if self.optimization not in OPTIMIZATIONS:
            raise MachineError(
                f"optimization {self.optimization!r} is not known; {choices(self.optimization, OPTIMIZATIONS)}"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Options:
        """The inverse of `to_dict`. Raises MachineError for a key that is no option."""
        names = [field.name for field in fields(cls)]
        for key in content:
            if key not in names:
                raise MachineError(f"{key!r} is not an option of a session; {choices(key, names)}")
        return cls(**content)


DEFAULT = Options()
