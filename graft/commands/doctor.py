"""graft doctor: what is right and wrong with this machine and installation, found by trying."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import typer

from components import machine
from components.errors import GraftError
from graft.console import console

PACKAGES = ("torch", "torchvision", "onnx", "onnxruntime-gpu", "onnxruntime", "openvino", "prefect", "mlflow", "dvc")
BROKEN = {
    # Found by bisection: with these, Prefect 3.8 does not start, or its schedules never run.
    "fastapi": ((0, 151), "keeps Prefect 3.8 from starting"),
    "sqlalchemy": ((2, 1), "stops Prefect's schedules without a word"),
}
SPACE_GIB = 2


class Finding(NamedTuple):
    """`good`: True, False, or None where there is nothing to judge."""

    good: bool | None
    what: str
    found: str


def doctor() -> None:
    """Check versions, the GPU, onnxruntime's providers and what can be written."""
    from rich.table import Table

    findings = examine(Path())
    table = Table("", "what", "found", show_header=False, box=None)
    for finding in findings:
        mark = {True: "[green]ok[/]", False: "[red]bad[/]", None: "-"}[finding.good]
        table.add_row(mark, finding.what, finding.found)
    console().print(table)
    if any(finding.good is False for finding in findings):
        raise typer.Exit(1)


def examine(root: Path) -> list[Finding]:
    """All findings, in the order of a person's questions."""
    version = platform.python_version_tuple()
    findings = [Finding(("3", "11") <= version[:2] < ("3", "13"), "Python", platform.python_version())]
    findings += [Finding(None, name, found) for name in PACKAGES if (found := _version(name))]
    for name, (limit, harm) in BROKEN.items():
        found = _version(name)
        if found:
            good = tuple(int(part) for part in found.split(".")[:2]) < limit
            findings.append(
                Finding(good, name, found if good else f"{found}, which {harm}: install below {_dots(limit)}")
            )
    if _version("onnxruntime") and _version("onnxruntime-gpu"):
        findings.append(Finding(False, "onnxruntime", "installed twice, with and without GPU: uninstall one"))
    findings.append(Finding(None, "CPU", f"{machine.physical_cores()} cores, {machine.cpu_name()}"))
    gpus = machine.gpus()
    findings.append(Finding(None, "GPU", ", ".join(gpu.name for gpu in gpus) or "none found by the driver"))
    if importlib.util.find_spec("torch"):
        findings.append(_torch(bool(gpus)))
    findings += _providers(bool(gpus))
    findings.append(_writable(root))
    free = shutil.disk_usage(root).free / 2**30
    findings.append(Finding(free > SPACE_GIB, "free space", f"{free:.0f} GiB"))
    return findings


def _dots(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _torch(has_gpu: bool) -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding(True, "torch on GPU", f"CUDA {torch.version.cuda}")
    return Finding(False if has_gpu else None, "torch on GPU", "no usable GPU")


def _providers(has_gpu: bool) -> list[Finding]:
    """What a model can run on here. Without a GPU it is no fault that CUDA does not load, but it is said why: in a
    container that was started without access to its GPU this is how it shows."""
    from components.runtimes.providers import missing, present

    findings = [_provider(name) for name in present()]
    lacks = missing("cuda")
    if not has_gpu and lacks:
        findings.append(Finding(None, "runs on cuda", f"no: {lacks}"))
    return findings


def _provider(provider: str) -> Finding:
    """Whether a model is answered by this provider: a session is made, since a list of names proves nothing."""
    from components.runtimes.session import open_session

    what = f"runs on {provider}"
    if not importlib.util.find_spec("onnx"):
        return Finding(None, what, "not tried: the onnx package is not installed")
    import numpy as np
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    try:
        session = open_session(model.SerializeToString(), provider)
        answer = session.run({"x": np.array([-1], np.float32)})["y"]
    except GraftError as error:
        return Finding(False, what, str(error))
    return Finding(bool(answer == 0), what, "yes" if answer == 0 else f"yes, but max(-1, 0) is {answer[0]} there")


def _writable(root: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=root):
            return Finding(True, "workspace", f"{root.resolve()} can be written")
    except OSError as error:
        return Finding(False, "workspace", f"{root.resolve()}: {error.strerror}")
