"""The files of a finished pipeline, as far as tracking reads them: two strategies and one whose training failed; and a
real MLflow server to tell of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from components import jsonfile, paths
from components.tracking import store

PARAMS = {"seed": "0", "data.target.dataset": "toy", "train.seeds": "0, 1"}
NAMES = ("dan", "fine_tune")
FAILED = "adda"
REASON = "seed 1: the loss is not finite at step 20"


def score(accuracy: float) -> dict:
    """What evaluate says of one split."""
    return {
        "accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1, "seed_std": 0.05, "macro_f1": accuracy,
        "macro_f1_low": accuracy - 0.1, "macro_f1_high": accuracy + 0.1, "log_loss": 0.5, "brier": 0.3, "ece": 0.1,
        "log_loss_calibrated": 0.4, "brier_calibrated": 0.2, "ece_calibrated": 0.05, "worst_recall": 0.75,
    }  # fmt: skip


def row(name: str, accuracy: float) -> dict:
    """What evaluate says of one strategy, on eight test images of two classes."""
    return {
        "strategy": name,
        "family": "domain adaptation",
        "needs": ["source", "unlabelled"],
        "teacher": None,
        "val": score(accuracy),
        "test": score(accuracy),
        "seeds": 2,
        "per_seed": [{"seed": 0, "accuracy": accuracy - 0.05}, {"seed": 1, "accuracy": accuracy + 0.05}],
        "letters": "a" if name == NAMES[0] else "b",
        "tied_with_first": name == NAMES[0],
        "chosen_by": "val",
        "oracle": {"seed": 1, "is_chosen": True, "test_accuracy": 0.5},
        "other_tasks": {"loops": 0.75},
        "unseen": None,
        "negative_transfer": {"over": "source_only", "difference": -0.1, "real": True} if name == NAMES[1] else None,
        "parameters": 1000,
        "weights_sha256": f"weights of {name}",
        "per_class": [
            {"class_name": "a", "images": 4, "precision": 1.0, "recall": 0.75, "f1": 0.86, "recall_low": 0.3,
             "recall_high": 0.95},
            {"class_name": "b", "images": 4, "precision": 0.8, "recall": 1.0, "f1": 0.89, "recall_low": 0.5,
             "recall_high": 1.0},
        ],
        "worst_class": {"class_name": "a", "recall": 0.75},
        "temperature": {"label": {"value": 1.5, "fitted_on": "val", "images": 4}},
        "reliability": {
            when: [{"low": 0.8, "high": 0.9, "images": 8, "confidence": confidence, "accuracy": 0.875}]
            for when, confidence in (("before", 0.95), ("after", 0.88))
        },
        "selective": [
            {"coverage": 1.0, "threshold": 0.0, "test_coverage": 1.0, "test_accuracy": accuracy},
            {"coverage": 0.5, "threshold": 0.9, "test_coverage": 0.5, "test_accuracy": 1.0},
        ],
        "aurc": 0.02,
        "slices": [{"column": "camera", "value": "old", "images": 4, "accuracy": 0.5, "low": 0.2, "high": 0.8}],
        "worst_slice": {"column": "camera", "value": "old", "images": 4, "accuracy": 0.5, "low": 0.2, "high": 0.8},
        "episodes": None,
        "confusion": [[3, 1], [0, 4]],
        "mistakes": [{"row": 3, "path": "a/3.png", "label": "a", "answer": "b", "confidence": 0.7}],
    }  # fmt: skip


def evaluation() -> dict:
    """reports/evaluation.json."""
    return {
        "chosen": NAMES[0],
        "verdict": "dan was chosen. Transfer helps.",
        "selected_by": "val.accuracy",
        "confidence": 0.95,
        "classes": ["a", "b"],
        "images": {"val": 4, "test": 8},
        "seeds": [0, 1],
        "transfer": {"finding": "helps", "sentence": "Transfer helps, by 20.0 points.", "strategy": "dan",
                     "over": "from_scratch", "difference": 0.2, "low": 0.1, "high": 0.3, "p": 0.01},
        "failed": [{"strategy": FAILED, "family": "domain adaptation", "needs": ["source", "unlabelled"],
                    "reason": REASON}],
        "pairs": [{"strategy": NAMES[0], "over": NAMES[1], "difference": 0.3, "low": 0.1, "high": 0.5, "p": 0.01,
                   "p_adjusted": 0.01, "real": True, "mcnemar": {"only_first": 3, "only_second": 0, "p": 0.25}}],
        "strategies": [row(NAMES[0], 0.8), row(NAMES[1], 0.5)],
    }  # fmt: skip


def model(name: str) -> dict:
    """models/<name>/model.json."""
    facts = {
        "name": name,
        "strategy": name,
        "family": "domain adaptation",
        "needs": ["source", "unlabelled"],
        "teacher": None,
        "hyper_parameters": {"trade_off": 2.0},
        "recipe": {"steps": 20, "lr": 0.1},
        "backbone": "small_resnet",
        "backbone_weights": "pretrain",
        "seeds": [0, 1],
        "best_seed": 1,
        "chosen_by": "val",
        "parameters": 1000,
        "weights_sha256": f"weights of {name}",
        "data_sha256": "d" * 64,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "failed": None,
    }
    if name == FAILED:
        facts |= {"failed": REASON}
        for unknown in ("best_seed", "chosen_by", "weights_sha256"):
            facts[unknown] = None
    return facts


def bundle_facts() -> dict:
    """bundle.json, of a file that is not there."""
    return {
        "strategy": NAMES[0],
        "classes": {"label": ["a", "b"]},
        "preprocess": {"size": 32},
        "temperature": {"label": 1.5},
        "abstain": row(NAMES[0], 0.8)["selective"],
        "lineage": {"git_commit": "c0ffee", "data_sha256": "d" * 64, "params_sha256": "e" * 64,
                    "weights_sha256": "f" * 64, "seed": 1, "versions": {"python": "3.11.7", "torch": "2.15.0"}},
        "parity": {"fp32": {"images": 4, "agreement": 1.0, "max_logit_difference": 1e-6}},
        "admission": {
            "fp32@cpu": {"admitted": True, "reason": "100.00% of 4 decisions agree", "agreement": 1.0},
            "int8@cpu": {"admitted": False, "reason": "75.00% of 4 decisions agree", "agreement": 0.75},
        },
        "models": {},
    }  # fmt: skip


def benchmark() -> dict:
    """reports/benchmark.json."""
    row = {
        "route": "fp32@cpu", "precision": "fp32", "provider": "cpu", "batch_size": 1, "from": "arrays",
        "latency_ms": 2.0, "latency_p95_ms": 3.0, "latency_p99_ms": 4.0, "images_per_s": 500.0, "cpu_ms_per_image": 1.9,
        "clock": "cpu", "size_mib": 1.5, "peak_mib": 70.0, "cold_start_s": 0.3,
        "over_torch": {"ratio": 2.5, "low": 2.4, "high": 2.6},
    }  # fmt: skip
    return {
        "strategy": NAMES[0],
        "bundle": "f" * 64,
        "machine": "2 cores of a CPU",
        "threads": 1,
        "measurements": [row, {**row, "from": "files", "images_per_s": 400.0}],
        "references": [],
        "accuracy": {"fp32@cpu": 0.8},
        "speed": {"fp32@cpu": {"admitted": True, "reason": "every precision on cpu is held against it"}},
        "fastest": "fp32@cpu",
        "strategies": {name: {"latency_ms": 3.0, "latency_p95_ms": 4.0, "size_mib": 1.2} for name in NAMES},
    }


def history(name: str) -> list[dict]:
    """models/<name>/history.jsonl: the failed one's ends in its second seed."""
    records: list[dict] = [
        {"seed": seed, "step": step, "lr": 0.1, "cross_entropy": seed + 1.0 / step, "mmd": 0.5}
        for seed in (0, 1)
        for step in (10, 20)
        if not (name == FAILED and (seed, step) == (1, 20))
    ]
    if name != FAILED:
        records += [{"seed": seed, "step": 20, "val_accuracy": 0.6 + seed / 10, "val_cross_entropy": 0.7}
                    for seed in (0, 1)]  # fmt: skip
    return records


def workspace(root: Path) -> Path:
    """All of it below `root`."""
    for name in (*NAMES, FAILED):
        folder = root / paths.MODELS / name
        jsonfile.write(folder / "model.json", model(name))
        jsonfile.write_lines(folder / "history.jsonl", history(name))
        jsonfile.write(root / paths.TIMINGS / f"{name}.json", {"train_time_s": 3.0, "seeds": 2})
    found = evaluation()
    jsonfile.write(root / paths.EVALUATION, found)
    jsonfile.write(root / paths.BENCHMARK, benchmark())
    classes = {name: {"train": 9, "train_labelled": 5, "val": 2, "test": 4} for name in ("a", "b")}
    domain = {"images": 30, "classes": classes, "imbalance": 1.0, "sizes": []}
    jsonfile.write(root / paths.AUDIT, {"domains": {"target": domain, "source": domain}})
    jsonfile.write(
        root / paths.LEADERBOARD, [{"strategy": r["strategy"], "test": r["test"]} for r in found["strategies"]]
    )
    jsonfile.write(root / paths.BUNDLE / "bundle.json", bundle_facts())
    jsonfile.write_text(root / paths.REPORT, "<!doctype html>")
    return root


@contextmanager
def serving(root: Path) -> Generator[str]:
    """The address of an MLflow server on the workspace's own store, which must be there already."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store.uri(root), "--default-artifact-root", store.artifacts(root).as_uri()]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    told = root / "server.log"
    with told.open("w") as log:
        process = subprocess.Popen(command, env=quiet, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, told.read_text()
                assert time.monotonic() < until, "the server did not answer"
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
