"""An onnxruntime session that runs where it was asked to, or not at all.

onnxruntime lists the CUDA provider even where it cannot load it, and then answers from the CPU without a word. Here the
provider is checked after the session is made.
"""

from __future__ import annotations

import onnxruntime

from components import machine
from components.errors import MachineError, choices

OPTIONS = {"cpu": {}, "cuda": {"use_tf32": "0"}}  # fp32 means fp32: TF32 would keep ten bits of it
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def resolve(provider: str) -> str:
    """ "cpu" or "cuda" for a provider's name, where "auto" is CUDA on a machine with an NVIDIA GPU."""
    if provider == "auto":
        return "cuda" if machine.gpus() else "cpu"
    if provider not in PROVIDERS:
        raise MachineError(f"provider {provider!r} is not known; {choices(provider, ['auto', *PROVIDERS])}")
    return provider


def present() -> list[str]:
    """The providers that this machine should have: "cpu", and "cuda" where there is an NVIDIA GPU."""
    return ["cpu", "cuda"] if machine.gpus() else ["cpu"]


def open_session(
    model: bytes | str, provider: str = "auto", threads: int | None = None
) -> onnxruntime.InferenceSession:
    """Loads a model. Raises MachineError when the provider asked for is not the one that runs it."""
    name = resolve(provider)
    wanted = PROVIDERS[name]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or machine.physical_cores()
    options.log_severity_level = 3
    if wanted == PROVIDERS["cuda"]:
        if not machine.gpus():
            raise MachineError("provider 'cuda' was asked for, but the driver reports no NVIDIA GPU here")
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
    session = onnxruntime.InferenceSession(model, options, providers=[(wanted, OPTIONS[name])])
    if session.get_providers()[0] != wanted:
        raise MachineError(
            f"onnxruntime {onnxruntime.__version__} cannot load {wanted} here; `graft doctor` shows what is missing"
        )
    return session
