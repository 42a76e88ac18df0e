"""Which node ran where, by onnxruntime's own account."""

from __future__ import annotations

import json

import numpy as np
import pytest

from components.errors import DataError
from components.runtimes.options import Options
from components.runtimes.profile import Placement, placement, read

SIDE = 28


def _feed(side: int = SIDE) -> dict[str, np.ndarray]:
    return {"image": np.zeros((2, side, side, 3), np.uint8)}


def test_every_node_of_a_cpu_session_is_found_on_the_cpu(exported):
    found = placement(exported, "cpu", _feed(), Options(threads=1), native=SIDE)
    assert list(found.operators) == ["CPUExecutionProvider"]
    assert found.copies == 0
    assert found.nodes["CPUExecutionProvider"] == sum(found.operators["CPUExecutionProvider"].values())
    # A stem, three pairs of convolutions, and two shortcuts where the width or the size changes.
    assert found.operators["CPUExecutionProvider"]["Conv"] == 9
    assert found.operators["CPUExecutionProvider"]["Gemm"] == 1


def test_images_of_the_stored_size_leave_no_branch_and_no_question_of_shape(exported):
    """What the CUDA provider would run on the CPU, or could not capture: such nodes are gone once the size is known."""
    found = placement(exported, "cpu", _feed(), Options(threads=1), native=SIDE).operators["CPUExecutionProvider"]
    assert not {"If", "Shape", "Size", "Resize", "Loop"} & set(found)
    both = placement(exported, "cpu", _feed(40), Options(threads=1)).operators["CPUExecutionProvider"]
    assert both["If"] == 1
    assert "Resize" in both


def _event(name: str, index: int, provider: str, operator: str, kind: str = "_kernel_time") -> dict:
    arguments = {"node_index": str(index), "provider": provider, "op_name": operator}
    return {"cat": "Node", "name": name + kind, "args": arguments}


def test_copies_between_devices_are_counted(tmp_path):
    """Three nodes on the GPU, called twice, one on the CPU, and a copy each way."""
    gpu, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    run = [
        _event("conv", 0, gpu, "Conv"),
        _event("conv", 0, gpu, "Conv", "_fence_before"),
        _event("conv_2", 1, gpu, "Conv"),
        _event("Memcpy", 2, gpu, "MemcpyToHost"),
        _event("odd", 3, cpu, "NonZero"),
        _event("Memcpy_1", 4, gpu, "MemcpyFromHost"),
        _event("relu", 5, gpu, "Relu"),
        {"cat": "Session", "name": "model_run"},
    ]
    (tmp_path / "profile.json").write_text(json.dumps(run + run))
    found = read(tmp_path / "profile.json")
    assert found == Placement(
        {gpu: {"Conv": 2, "MemcpyToHost": 1, "MemcpyFromHost": 1, "Relu": 1}, cpu: {"NonZero": 1}}
    )
    assert found.nodes == {gpu: 5, cpu: 1}
    assert found.copies == 2


@pytest.mark.parametrize("content", ["", "[1]", '[{"cat": "Node", "name": "a_kernel_time"}]', '{"a": 1}'])
def test_what_is_no_profile_is_refused(content, tmp_path):
    (tmp_path / "profile.json").write_text(content)
    with pytest.raises(DataError, match=r"profile\.json is not a profile of onnxruntime"):
        read(tmp_path / "profile.json")
