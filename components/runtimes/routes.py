"""Routes: which precision runs on which provider, and out of which file of a bundle.

A precision is not a file: OpenVINO computes the fp32 file in bf16 when told to, and TensorRT wants another int8 than
the CPU does.
"""

from __future__ import annotations

from typing import NamedTuple

from components.errors import MachineError, choices

FILES = {
    "cpu": {"fp32": "fp32", "int8": "int8"},
    "openvino": {"fp32": "fp32", "bf16": "fp32", "int8": "int8"},
    "cuda": {"fp32": "fp32", "fp16": "fp16"},
    "tensorrt": {"fp32": "fp32", "fp16": "fp16", "int8": "int8_symmetric"},
}
"""provider -> precision -> the file's own name: `model.<name>.onnx`, a key of bundle.json's `models`.

The CUDA provider has no int8 convolution and no bf16 pooling; the CPU provider computes fp16 in fp32. Int8 on x86 wants
unsigned activations; TensorRT takes symmetric ones only."""

PARENT = "fp32"
"""The precision that every other one on its provider must come up to in accuracy, and beat in speed."""


class Route(NamedTuple):
    """Written as `int8@cpu`."""

    precision: str
    provider: str

    def __str__(self) -> str:
        return f"{self.precision}@{self.provider}"

    @property
    def file(self) -> str:
        """Key of the model file in bundle.json's `models`."""
        return FILES[self.provider][self.precision]

    @classmethod
    def parse(cls, text: str) -> Route:
        """The inverse of `str`. Raises MachineError for a pair that nothing runs."""
        precision, _, provider = text.partition("@")
        if provider not in FILES:
            raise MachineError(f"provider {provider!r} is not known; {choices(provider, FILES)}")
        if precision not in FILES[provider]:
            raise MachineError(
                f"{provider} does not run precision {precision!r}; {choices(precision, FILES[provider])}"
            )
        return cls(precision, provider)


def routes(provider: str) -> list[Route]:
    """Every route of a provider, its fp32 first."""
    return [Route(precision, provider) for precision in FILES[provider]]
