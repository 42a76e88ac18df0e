"""An onnxruntime session that runs where it was asked to, or not at all.

onnxruntime lists the CUDA provider even where it cannot load it, and then answers from the CPU without a word. Here the
provider is checked after the session is made.
"""

from __future__ import annotations

import onnxruntime

from components import machine
from components.errors import MachineError, choices

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def resolve(provider: str) -> str:
    """ "cpu" or "cuda" for a provider's name, where "auto" is CUDA on a machine with an NVIDIA GPU."""
    if provider == "auto":
        return "cuda" if machine.gpus() else "cpu"
    if provider not in PROVIDERS:
        raise MachineError(f"provider {provider!r} is not known; {choices(provider, ['auto', *PROVIDERS])}")
    return provider


def open_session(
    model: bytes | str, provider: str = "auto", threads: int | None = None
) -> onnxruntime.InferenceSession:
    """Loads a model. Raises MachineError when the provider asked for is not the one that runs it."""
    wanted = PROVIDERS[resolve(provider)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or machine.physical_cores()
    options.log_severity_level = 3
    if wanted == PROVIDERS["cuda"]:
        if not machine.gpus():
            raise MachineError("provider 'cuda' was asked for, but the driver reports no NVIDIA GPU here")
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
    session = onnxruntime.InferenceSession(model, options, providers=[wanted])
    if session.get_providers()[0] != wanted:
        raise MachineError(
            f"onnxruntime {onnxruntime.__version__} cannot load {wanted} here; `graft doctor` shows what is missing"
        )
    return session
