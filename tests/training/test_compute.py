"""What `auto` means, and that what is not there is refused."""

from __future__ import annotations

import pytest
import torch

from components.errors import MachineError
from components.params import ComputeParams
from components.training.compute import Compute, choose

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@without_gpu
def test_cuda_by_name_is_refused_without_a_gpu():
    with pytest.raises(MachineError, match=r"compute\.device is 'cuda'.*'cpu' or 'auto'") as caught:
        choose(ComputeParams(device="cuda", precision="fp32"))
    assert caught.value.exit_code == 3


@without_gpu
def test_auto_is_the_cpu_without_a_gpu():
    assert choose(ComputeParams(device="auto", precision="fp32")).device.type == "cpu"


@with_gpu
def test_auto_is_the_gpu_where_there_is_one():
    assert choose(ComputeParams(device="auto", precision="fp32")).device.type == "cuda"


def test_precision_and_threads_are_taken_as_given_and_applied():
    compute = choose(ComputeParams(device="cpu", precision="bf16", threads=1))
    assert (compute.precision, compute.threads) == ("bf16", 1)
    assert torch.get_num_threads() == 1
    with compute.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_fp32_does_not_autocast():
    with Compute(torch.device("cpu"), "fp32", 1).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_threads_are_the_cores_divided_by_the_slots(monkeypatch):
    monkeypatch.setattr("components.training.compute.physical_cores", lambda: 8)
    assert choose(ComputeParams(device="cpu", precision="fp32", cpu_slots=3)).threads == 2
    assert choose(ComputeParams(device="cpu", precision="fp32", cpu_slots=20)).threads == 1


def test_auto_precision_is_one_of_the_two():
    assert choose(ComputeParams(device="cpu", precision="auto", threads=1)).precision in ("fp32", "bf16")
