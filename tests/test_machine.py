"""Which GPUs a process may use, as CUDA_VISIBLE_DEVICES says."""

from __future__ import annotations

import pytest

from components import machine
from components.machine import Gpu

TWO = [Gpu("GPU-aaaa1111", "A"), Gpu("GPU-bbbb2222", "B")]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0,1", TWO),
        ("1", TWO[1:]),
        ("1,0", [TWO[1], TWO[0]]),
        ("GPU-bbbb2222", TWO[1:]),
        ("GPU-aa", TWO[:1]),  # CUDA takes the beginning of an identifier too
        ("MIG-cccc", [Gpu("MIG-cccc", "part of A")]),
        ("", []),
        ("-1", []),
        ("0,7,1", TWO[:1]),  # like CUDA: what comes after a wrong one does not count
    ],
)
def test_the_variable_is_read_as_cuda_reads_it(visible: str, expected: list[Gpu]) -> None:
    assert machine._visible(TWO, visible) == expected


def test_the_machine_is_described_in_a_line() -> None:
    assert "\n" not in machine.describe()
    assert machine.describe().startswith(f"{machine.physical_cores()} cores of ")
