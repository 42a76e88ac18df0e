"""Architectures without their weights: traced once, and then filled with whatever weights a training gives.

Tracing a network takes seconds, filling one in a fraction of one. Both ways end in the same filling, so a model that
was exported through a remembered skeleton has the bytes of one that was exported afresh.

A skeleton is found by everything that a trace depends on: the code, the versions of what traces, and a description of
the module, all but the values of its parameters and buffers. What cannot be described (see
`components.deployment.description`) is traced anew each time; so is what is damaged, or does not fit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from torch import Tensor, nn

from components import lineage, local_cache
from components.deployment import fold
from components.deployment.description import Indescribable, describe
from components.errors import DataError

OPSET = 18
"""The newest whose Resize and Shape the CUDA provider of onnxruntime runs; from 19 and 21 on they fall to the CPU."""
ROOMS = ("strategies", "backbones", "losses", "layers", "explanation")
MODULES = ("tracing.py", "description.py", "skeleton.py", "onnx_export.py", "support_export.py")
"""The code that a trace depends on: rooms of `components`, and modules beside this one."""


ENTRIES = 100
"""How many architectures this machine remembers; a skeleton takes some hundred kilobytes."""


class Form(NamedTuple):
    """How a module is called: `inputs`, examples by name; `dynamic`: of an input, which axes have which free size;
    `outputs`: names of what it gives."""

    inputs: dict[str, Tensor]
    dynamic: dict[str, dict[int, str]]
    outputs: tuple[str, ...]


def remembered() -> Path | None:
    """Where this machine keeps its skeletons, for all workspaces: a trace depends on none. None without a place."""
    try:
        return local_cache.folder("skeletons")
    except RuntimeError:
        return None


def model(module: nn.Module, form: Form, outputs: Collection[str], folder: Path | None) -> onnx.ModelProto:
    """The module in ONNX with its weights, giving those of its outputs that are named.

    `folder`: where skeletons are kept, made if it is missing; None traces without a look, and what cannot be written
    is traced again the next time.
    """
    arrays = tensors(module)
    path = None if folder is None else _path(folder, module, form)
    architecture = None if path is None else _read(path)
    if architecture is not None:
        try:
            return fold.fill(architecture, arrays, inputs=form.inputs, outputs=outputs)
        except DataError:
            pass  # not this module's, whatever its name says
    from components.deployment.tracing import trace  # imports torch's exporter, which takes seconds

    architecture = trace(module, form)
    if path is not None:
        with contextlib.suppress(OSError):
            _write(path, architecture)
    return fold.fill(architecture, arrays, inputs=form.inputs, outputs=outputs)


def tensors(module: nn.Module) -> dict[str, np.ndarray]:
    """Parameters and buffers by name, those that are not saved among them."""
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in named}


def key(module: nn.Module, form: Form) -> str:
    """What tells a skeleton from others. Raises Indescribable."""
    return lineage.digest(
        {
            "code": lineage.code_digest(*ROOMS),
            "modules": [lineage.file_digest(Path(__file__).with_name(name)) for name in MODULES],
            "versions": lineage.versions("torch", "torchvision", "onnx", "onnxscript", "onnx-ir", "numpy"),
            "module": describe(module),
            "inputs": {name: list(example.shape) for name, example in form.inputs.items()},
            "dynamic": [[name, axis, size] for name, axes in form.dynamic.items() for axis, size in axes.items()],
            "outputs": form.outputs,
        }
    )


def _path(folder: Path, module: nn.Module, form: Form) -> Path | None:
    try:
        return folder / f"{key(module, form)}.skeleton"
    except Indescribable:
        return None


def _read(path: Path) -> onnx.ModelProto | None:
    """A skeleton that is whole and was written under this name; anything else counts as none."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    body = content[_SUM:]
    if content[:_SUM] != _sum(path, body):
        return None
    with contextlib.suppress(OSError):  # one that may be read and not written
        os.utime(path)
    return onnx.load_model_from_string(body)


def _write(path: Path, architecture: onnx.ModelProto) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = architecture.SerializeToString(deterministic=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    unfinished.write_bytes(_sum(path, body) + body)
    unfinished.replace(path)
    local_cache.prune(path.parent, "*.skeleton", keep=ENTRIES)


_SUM = 32


def _sum(path: Path, body: bytes) -> bytes:
    return hashlib.sha256(path.stem.encode() + body).digest()
