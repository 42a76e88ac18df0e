"""What this machine has: cores and GPUs. Needs nothing but the standard library (and NVIDIA's, where there is a
GPU)."""

from __future__ import annotations

import os
import platform
from pathlib import Path


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


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs that this process may use, asked of the driver and not of a framework; [] without
    one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return []
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # the package is not installed, or there is no driver: either way, no GPU
        return []
    try:
        names = [
            pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())
        ]
    finally:
        pynvml.nvmlShutdown()
    if visible is None:
        return names
    return [names[int(i)] for i in visible.split(",") if i.strip().isdigit() and int(i) < len(names)]


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
    return ", ".join([f"{physical_cores()} cores of {cpu_name()}", *gpus()])
