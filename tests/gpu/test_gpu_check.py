"""The GPU check passes: on a GPU where there is one, and anywhere as far as a CPU can take it."""

from __future__ import annotations

import check
import numpy as np
import pytest
import torch
from subject import Subject

from components.errors import MachineError

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no usable GPU here")


@pytest.mark.gpu
@needs_gpu
def test_the_gpu_does_what_it_says(tmp_path):
    page = tmp_path / "gpu.md"
    asked = ["--model", "resnet18", "--batch-sizes", "1", "32", "--seconds", "0.5", "--no-compile", "--out", str(page)]
    assert check.main(asked) == 0, page.read_text()


def test_without_a_gpu_the_same_steps_are_taken_on_the_cpu(tmp_path, capsys):
    small = ["--device", "cpu", "--model", "small_resnet", "--size", "32", "--batch-sizes", "3", "--seconds", "0.03"]
    assert check.main([*small, "--no-compile", "--out", str(tmp_path / "cpu.md")]) == 0
    page = (tmp_path / "cpu.md").read_text()
    assert capsys.readouterr().out == page + "\n"
    assert page.count("| ok |") == 8
    assert "### small_resnet at 32 pixels, batch 3" in page
    assert "| onnxruntime fp16, channels last |" in page


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(MachineError, match="no usable GPU"):
        check.main([])


def test_a_wrong_answer_fails_the_check():
    """Four classes, one image: the spread is the norm of (-1.5, -0.5, 0.5, 1.5), the square root of 5."""
    expected = np.array([[0.0, 1.0, 2.0, 3.0]])
    assert check._near("", expected, expected, "fp32").passed
    found = check._near("", expected + np.array([0, 0, 0, 5**0.5 / 10]), expected, "fp16")
    assert not found.passed
    assert found.found == "error 1.0e-01 of the spread, 100.0% same decisions"


def test_the_work_of_a_network_is_counted():
    """conv4 at 32 pixels: 3x3 convolutions to 64 channels on maps of 32, 16, 8 and 4 pixels, and the head from
    4 * 64 features to 10 classes. Two operations for each multiplication; every map written and read in two bytes."""
    maps = [32, 16, 8, 4]
    products = sum(side**2 * 64 * 9 * (3 if side == 32 else 64) for side in maps) + 4 * 64 * 10
    flops, moved = Subject.make("conv4", 32, count=2).work()
    assert flops == 2 * products
    assert moved == 2 * 2 * 64 * sum(side**2 for side in maps)
