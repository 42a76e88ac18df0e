"""A session that runs where it was asked to, or not at all.

onnxruntime lists the CUDA provider even where it cannot load it, and then answers from the CPU without a word. Here the
provider is checked after the session is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import (  # ty: ignore[import-not-found]
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
)

from components import local_cache, machine
from components.errors import DataError, MachineError
from components.runtimes import optimised
from components.runtimes.options import DEFAULT, Options
from components.runtimes.providers import PROVIDERS, missing, present, resolve
from components.runtimes.routes import Route

__all__ = ["OnnxSession", "Options", "Session", "open_session", "present", "resolve"]

NO_MODEL = (InvalidArgument, InvalidGraph, InvalidProtobuf)


class Session(Protocol):
    """A loaded model. `provider`: "cpu", "openvino", "cuda" or "tensorrt"; `outputs`: names in the graph's order;
    `metadata`: what the model file says of itself."""

    provider: str
    outputs: tuple[str, ...]
    metadata: dict[str, str]

    def run(self, feed: Mapping[str, np.ndarray], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Inputs by name -> the outputs asked for, or all, by name. Any number of threads may call it at once."""
        ...


class OnnxSession:
    """A session of onnxruntime with arrays in main memory."""

    def __init__(self, session: onnxruntime.InferenceSession, provider: str) -> None:
        self.session = session
        self.provider = provider
        self.outputs = tuple(output.name for output in session.get_outputs())
        self.metadata: dict[str, str] = dict(session.get_modelmeta().custom_metadata_map)

    def run(self, feed: Mapping[str, np.ndarray], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Raises DataError when the inputs are not what the model takes."""
        wanted = list(self.outputs if names is None else names)
        try:
            answers: list[Any] = list(self.session.run(wanted, dict(feed)))
        except (InvalidArgument, ValueError) as error:
            raise DataError(f"the model does not take these inputs: {' '.join(str(error).split())}") from None
        return dict(zip(wanted, answers, strict=True))


def open_session(
    model: bytes | Path | str,
    provider: str = "auto",
    options: Options = DEFAULT,
    *,
    precision: str = "fp32",
    native: int | None = None,
    cache: bool = False,
    brief: bool = False,
    profile: Path | None = None,
) -> Session:
    """Loads a model from its file or content.

    `precision`: what the provider computes in, of those that `routes.FILES` has for it; the file must be the route's.
    `native`: images are exactly so many pixels high and wide: what the graph does for other sizes is dropped at load,
    and another size is an error. On a GPU no node may then run on the CPU, and `run` uses buffers that stay on the
    device (see `cuda.BoundSession`). `cache`: start from the optimised graph that an earlier start left on this
    machine, for a file on "cpu" (see `optimised.py`); `brief`: in the way that suits a few images. `profile`:
    onnxruntime writes there what ran where (see `profile.py`).

    Raises MachineError when the provider asked for is not the one that runs it, and DataError when the file is no
    model.
    """
    name = resolve(provider)
    Route.parse(f"{precision}@{name}")
    lacks = missing(name)
    if lacks:
        raise MachineError(f"provider {name!r} cannot run here: {lacks}")
    if isinstance(model, str):
        model = Path(model)
    if isinstance(model, Path) and not model.is_file():
        raise DataError(f"there is no model at {model}")
    if name == "openvino":
        from components.runtimes.openvino_session import OpenvinoSession

        return OpenvinoSession(model, options, precision=precision, native=native)
    if name != "cpu":
        return _on_gpu(model, name, options, precision, native, profile)
    if cache and isinstance(model, Path) and profile is None:
        shaped_by = f"{options.optimization} {native}"
        found = optimised.open_cached(model, lambda: session_options(options, native), shaped_by=shaped_by, brief=brief)
        if found is not None:
            return OnnxSession(found, name)
    return OnnxSession(load(model, session_options(options, native, profile), [(PROVIDERS[name], {})]), name)


def _on_gpu(
    model: bytes | Path, name: str, options: Options, precision: str, native: int | None, profile: Path | None
) -> Session:
    """For images of one size every node must run on the GPU, and CUDA graphs are captured where the graph allows it.
    For images of any size, or with inputs beside the image, such as a support set, the few nodes that compute with
    sizes stay on the CPU, as onnxruntime places them: arrays are then in main memory, and there is nothing to replay.
    """
    from components.runtimes import cuda

    def start(*, graphs: bool, alone: bool) -> onnxruntime.InferenceSession:
        asked = cuda.cuda_options(precision, fixed=native is not None, graphs=graphs)
        providers = [(PROVIDERS["cuda"], asked)]
        if name == "tensorrt":
            engines = local_cache.own_folder("tensorrt", optimised.key_of(model, machine.describe()))
            providers.insert(0, (PROVIDERS[name], cuda.tensorrt_options(precision, engines)))
        settings = session_options(options, native, profile)
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", str(int(alone)))
        with cuda.TURN if graphs else nullcontext():
            session = load(model, settings, providers)
        for provider, given in providers:
            cuda.verify(session, provider, {key: value for key, value in given.items() if not key.endswith("_path")})
        return session

    if native is None:
        return OnnxSession(start(graphs=False, alone=False), name)
    for graphs in (True, False) if name == "cuda" else (False,):
        try:
            session = start(graphs=graphs, alone=True)
        except MachineError as error:
            refusal = error
            continue
        if _inputs(session) == [cuda.IMAGE]:
            return cuda.BoundSession(session, name, native, graphs=graphs)
        break
    session = start(graphs=False, alone=False)
    if _inputs(session) == [cuda.IMAGE]:
        raise refusal
    return OnnxSession(session, name)


def _inputs(session: onnxruntime.InferenceSession) -> list[str]:
    return [given.name for given in session.get_inputs()]


def session_options(options: Options, native: int | None, profile: Path | None = None) -> onnxruntime.SessionOptions:
    levels = onnxruntime.GraphOptimizationLevel
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads or machine.physical_cores()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # what goes wrong is raised
    settings.enable_cpu_mem_arena = options.arena
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.spinning)))
    settings.graph_optimization_level = {
        "all": levels.ORT_ENABLE_ALL,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "basic": levels.ORT_ENABLE_BASIC,
        "disabled": levels.ORT_DISABLE_ALL,
    }[options.optimization]
    if native is not None:
        settings.add_free_dimension_override_by_name("height", native)
        settings.add_free_dimension_override_by_name("width", native)
    if profile is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile)
    return settings


def load(
    model: bytes | Path, settings: onnxruntime.SessionOptions, providers: list[tuple[str, dict[str, str]]]
) -> onnxruntime.InferenceSession:
    """Raises MachineError when the first provider is not the one that runs the model."""
    wanted = providers[0][0]
    given = str(model) if isinstance(model, Path) else model
    what = model if isinstance(model, Path) else "the content given"
    try:
        # Its own fallback would answer from another provider, also in the middle of its life, where a call fails.
        session = onnxruntime.InferenceSession(given, settings, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's own exceptions share no base with anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if not isinstance(error, NO_MODEL) and wanted != PROVIDERS["cpu"]:
            raise MachineError(f"{wanted} cannot run {what}: {reason}") from None
        raise DataError(f"{what} is not a model that onnxruntime can load: {reason}") from None
    if session.get_providers()[0] != wanted:
        raise MachineError(f"onnxruntime {onnxruntime.__version__} cannot load {wanted} here")
    return session
