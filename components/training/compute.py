"""On what, with how many threads and in which precision a model trains. Asked for what is not there, it refuses."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from components.errors import MachineError
from components.machine import physical_cores
from components.params import ComputeParams

WORTH_IT = 1.25
"""bf16 is taken when it is this much faster than fp32. CPUs with bf16 units are about twice as fast, those that
emulate it many times slower. A ratio between the two bounds below is noise, and measured again: the same machine must
choose alike every time, or equal runs would end with different weights."""
CLEARLY_NOT, CLEARLY = 0.8, 1.6
TRIES = 5


@dataclass(frozen=True)
class Compute:
    """`precision`: "fp32" or "bf16" (autocast: weights and sums stay fp32)."""

    device: torch.device
    precision: str
    threads: int

    def autocast(self) -> AbstractContextManager:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def describe(self) -> str:
        where = (
            torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else f"{self.threads} CPU thread(s)"
        )
        return f"{where}, {self.precision}"


def choose(params: ComputeParams) -> Compute:
    """Settles what `auto` means on this machine and applies it to this process.

    Raises MachineError when CUDA is asked for by name and cannot be used.
    """
    available = torch.cuda.is_available()
    if params.device == "cuda" and not available:
        raise MachineError("compute.device is 'cuda', but torch finds no usable GPU here; set it to 'cpu' or 'auto'")
    device = torch.device("cuda" if available and params.device != "cpu" else "cpu")
    precision = params.precision
    if precision == "auto":
        precision = "bf16" if _bf16_pays(device) else "fp32"
    threads = max(1, physical_cores() // params.cpu_slots) if params.threads == "auto" else params.threads
    torch.set_num_threads(threads)
    # Same machine, same bytes: cuDNN would otherwise pick algorithms by timing them.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # fp32 means fp32: the exported model is held against these numbers, and TF32 keeps ten bits of them.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return Compute(device, precision, threads)


def _bf16_pays(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    layer = nn.Conv2d(128, 128, 3, padding=1).to(memory_format=torch.channels_last)
    image = torch.ones(16, 128, 16, 16).to(memory_format=torch.channels_last)
    torch.set_num_threads(1)  # what a thread costs while it waits for another would drown the difference

    def cpu_seconds(enabled: bool) -> float:
        start = time.process_time()  # not wall time: other processes must not decide
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = layer(image).float().sum()
        loss.backward()
        return time.process_time() - start

    for enabled in (False, True):
        cpu_seconds(enabled)  # the first call of each kind compiles its kernels
    rounds: list[tuple[float, float]] = []
    ratio = 1.0
    for _ in range(TRIES):
        rounds += [(cpu_seconds(False), cpu_seconds(True)) for _ in range(5)]
        # The fastest round of each: what else the machine does can only slow one down.
        ratio = min(r[0] for r in rounds) / min(r[1] for r in rounds)
        if not CLEARLY_NOT < ratio < CLEARLY:
            break
    return ratio > WORTH_IT
