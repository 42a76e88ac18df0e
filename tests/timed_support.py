"""A bundle as export wrote it and the benchmark measured it, made up: routes of every kind of verdict."""

from __future__ import annotations

from collections.abc import Sequence

TIMES = {"fp32@cpu": 1.2, "int8@cpu": 0.4, "fp32@openvino": 1.1, "bf16@openvino": 1.3, "torch eager": 4.8}
ACCURACY = {"fp32@cpu": 0.97, "int8@cpu": 0.968, "fp32@openvino": 0.97, "bf16@openvino": 0.97, "torch eager": 0.97}


def timed(route: str, batch_size: int, source: str) -> dict:
    """A row of reports/benchmark.json, of a time that grows with the batch."""
    precision, _, provider = route.partition("@")
    latency_ms = TIMES[route] * batch_size + (0.5 if source == "files" else 0)
    row = {
        "route": route, "precision": precision if provider else "fp32", "provider": provider or "cpu",
        "batch_size": batch_size, "from": source, "latency_ms": latency_ms, "latency_p95_ms": 1.2 * latency_ms,
        "latency_p99_ms": 1.5 * latency_ms, "images_per_s": 1e3 * batch_size / latency_ms,
        "cpu_ms_per_image": latency_ms / batch_size, "calls": 300, "clock": "cpu",
    }  # fmt: skip
    if provider:
        ratio = TIMES["torch eager"] / TIMES[route]
        row |= {"load_s": 0.05, "size_mib": 0.33 if precision == "int8" else 1.18, "cold_start_s": 0.31,
                "cold_start_cpu_s": 0.3, "peak_mib": 71.0,
                "over_torch": {"ratio": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio}}  # fmt: skip
    return row


def faster(route: str, over: str, *, admitted: bool, reason: str) -> dict:
    ratio = TIMES[over] / TIMES[route]
    found = {"ratio": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio}
    return {"over": over, "batch_size": 1, **found, "admitted": admitted, "reason": reason}


def benchmark(names: Sequence[str]) -> dict:
    measured = [timed(route, size, source) for route in TIMES for source in ("arrays", "files") for size in (1, 32)]
    slow = "0.85 (0.76 to 0.93) at batch 1 times as fast as fp32@openvino; benchmark.min_speed_up asks for 1.05"
    return {
        "strategy": names[0],
        "bundle": "ef" * 32,
        "machine": "2 cores of a CPU",
        "machine_key": "0123456789abcdef",
        "versions": {"onnxruntime": "1.31.1", "openvino": "2026.4.1", "torch": "2.15.0"},
        "threads": 1,
        "measurements": [row for row in measured if row["route"] != "torch eager"],
        "references": [row for row in measured if row["route"] == "torch eager"],
        "accuracy": ACCURACY,
        "speed": {
            "fp32@cpu": faster("fp32@cpu", "fp32@cpu", admitted=True, reason="others are held against it"),
            "int8@cpu": faster("int8@cpu", "fp32@cpu", admitted=True, reason="3.00 times as fast as fp32@cpu"),
            "fp32@openvino": faster("fp32@openvino", "fp32@openvino", admitted=True, reason="held against it too"),
            "bf16@openvino": faster("bf16@openvino", "fp32@openvino", admitted=False, reason=slow),
        },
        "fastest": "int8@cpu",
        "options": {},
        "strategies": {
            name: {"latency_ms": 1.5 + 0.6 * (7 * rank % 5), "latency_p95_ms": 4.0, "size_mib": 1.18 + 0.1 * (rank % 3)}
            for rank, name in enumerate(names)
        },
        "strategies_by": "torch on cpu, batch 1",
    }


def admitted(agreement: float) -> dict:
    return {"admitted": True, "reason": f"{agreement:.2%} of 345 decisions agree", "agreement": agreement}


def bundle(classes: Sequence[str]) -> dict:
    return {
        "classes": {"label": list(classes)},
        "parity": {"fp32": {"images": 345, "agreement": 1.0, "max_logit_difference": 1e-5, "near_ties": []}},
        "admission": {
            "fp32@cpu": admitted(1.0),
            "int8@cpu": admitted(0.997),
            "fp32@openvino": admitted(1.0),
            "bf16@openvino": admitted(1.0),
            "int8@openvino": {**admitted(0.98), "admitted": False, "reason": "98.00% of 345 decisions agree <too few>"},
        },
        "lineage": {"git_commit": None, "data_sha256": "cd" * 32, "seed": 0, "versions": {"python": "3.12"}},
    }
