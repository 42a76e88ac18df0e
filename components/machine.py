"""What this machine has: cores and GPUs. Needs nothing but the standard library (and NVIDIA's, where there is a
GPU)."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path
from typing import NamedTuple


def physical_cores() -> int:
    """Cores this process may run on. Two threads of one core share its arithmetic units, so they count as one."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set()
    for number in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text().strip())
        except OSError:
            cores.add(str(number))
    return max(1, len(cores))


class Gpu(NamedTuple):
    """`identifier`: as CUDA_VISIBLE_DEVICES takes it."""

    identifier: str
    name: str


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that this process may use, asked of the driver and not of a framework; [] without one.

    CUDA_VISIBLE_DEVICES is honoured, whether it holds numbers or identifiers (GPU-…, MIG-…), as schedulers set them.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        ctypes.CDLL("libnvidia-ml.so.1")  # the driver's: where it is missing, importing pynvml would be time lost
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # the package is not installed, or there is no driver: either way, no GPU
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        present = [Gpu(_text(pynvml.nvmlDeviceGetUUID(h)), _text(pynvml.nvmlDeviceGetName(h))) for h in handles]
    finally:
        pynvml.nvmlShutdown()
    return present if visible is None else _visible(present, visible)


def _visible(present: list[Gpu], visible: str) -> list[Gpu]:
    """Those that the variable names, in its order. Like CUDA, the first name that fits nothing ends the list."""
    found: list[Gpu] = []
    for token in (part.strip() for part in visible.split(",")):
        if token.isdigit() and int(token) < len(present):
            found.append(present[int(token)])
        elif token.startswith("MIG-") and present:
            found.append(Gpu(token, f"part of {present[0].name}"))
        elif token.startswith("GPU-") and (same := [gpu for gpu in present if gpu.identifier.startswith(token)]):
            found.append(same[0])
        else:
            break
    return found


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe() -> str:
    """One line for a report: what measured times were measured on."""
    return ", ".join([f"{physical_cores()} cores of {cpu_name()}", *(gpu.name for gpu in gpus())])
