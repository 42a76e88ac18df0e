"""The files of a finished pipeline as what its MLflow runs hold: numbers, texts, files and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components import jsonfile, lineage, paths
from components.deployment import bundle
from components.tracking import content
from components.tracking.content import Content

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PER_BATCH = ("latency_ms", "latency_p95_ms", "latency_p99_ms", "images_per_s", "cpu_ms_per_image")
PER_ROUTE = ("size_mib", "peak_mib", "cold_start_s")


@dataclass(frozen=True)
class Files:
    """What a run shows besides numbers: files of the workspace, and pictures that are drawn when they are needed."""

    copies: Sequence[Path]
    pictures: Mapping[str, Callable[[], Figure]]


class Results:
    """The files of a finished pipeline."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.evaluation = jsonfile.read(root / paths.EVALUATION)
        self.rows = {row["strategy"]: row for row in self.evaluation["strategies"]}
        self.failed = {entry["strategy"]: entry for entry in self.evaluation["failed"]}
        self.models = {
            name: jsonfile.read(root / paths.MODELS / name / "model.json") for name in (*self.rows, *self.failed)
        }
        self.timings = {name: jsonfile.read(root / paths.TIMINGS / f"{name}.json") for name in self.models}
        self.benchmark = jsonfile.read(root / paths.BENCHMARK)
        self.audit = jsonfile.read(root / paths.AUDIT)
        commit = lineage.git_commit(root)
        origin = {
            "mlflow.source.name": "dvc.yaml",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": commit,
            "git_commit": commit,
            "data_sha256": next(iter(self.models.values()))["data_sha256"],
            "dvc.data_md5": _dvc_revision(root),
        }
        self.origin = {name: value for name, value in origin.items() if value}
        """Tags that a run is made with: a later commit that changes nothing in it does not change them."""

    def comparison(self, params: Mapping[str, str]) -> Content:
        exported = jsonfile.read(self.root / paths.BUNDLE / bundle.FILE)
        return content.comparison(
            self.evaluation,
            self.models,
            params,
            leaderboard=jsonfile.read(self.root / paths.LEADERBOARD),
            cost=_bundle_metrics(self.benchmark, exported),
            audit=self.audit,
            timings=self.timings,
        )

    def child(self, name: str, parent: Content) -> Content:
        shared = {
            "parent": parent.identity,
            "history": jsonfile.read_lines(self.root / paths.MODELS / name / "history.jsonl"),
            "audit": self.audit,
            "timing": self.timings[name],
        }
        if name in self.failed:
            return content.failure(self.failed[name], self.models[name], self.evaluation, **shared)
        cost = self.benchmark["strategies"].get(name, {})
        return content.strategy(self.rows[name], self.models[name], self.evaluation, cost=cost, **shared)

    def files(self, name: str) -> Files:
        """Of a strategy's run."""
        from components.reporting import figures

        folder = self.root / paths.MODELS / name
        history = jsonfile.read_lines(folder / "history.jsonl")
        pictures = {"losses.png": lambda: figures.losses(history, name)} if history else {}
        if name in self.rows:
            row, classes = self.rows[name], self.evaluation["classes"]
            pictures = {"panels.png": lambda: figures.panels(row, classes, history)}
        return Files([folder / "model.json"], pictures)

    def report(self) -> Files:
        """Of the comparison's run."""
        from components.reporting import figures

        written = (paths.REPORT, paths.LEADERBOARD, paths.EVALUATION, paths.AUDIT, paths.BENCHMARK)
        copies = [self.root / path for path in written]
        return Files(copies, {"accuracy.png": lambda: figures.accuracies(self.evaluation)})


def _bundle_metrics(benchmark: Mapping, exported: Mapping) -> dict[str, float]:
    """Of each route `bundle_int8_cpu_batch1_latency_ms` and the like, and from image files its
    `bundle_int8_cpu_batch1_files_images_per_s`."""
    found = {}
    for row in benchmark["measurements"]:
        prefix = f"bundle_{row['precision']}_{row['provider']}"
        batch = f"{prefix}_batch{row['batch_size']}"
        if row["from"] == "files":
            found[f"{batch}_files_images_per_s"] = row["images_per_s"]
            continue
        found |= {f"{prefix}_{metric}": row[metric] for metric in PER_ROUTE}
        found |= {f"{batch}_{metric}": row[metric] for metric in PER_BATCH}
        found |= {f"{batch}_{name}": row[name]["ratio"] for name in ("over_torch", "over_fp32") if name in row}
        if (accuracy := benchmark["accuracy"].get(row["route"])) is not None:
            found[f"{prefix}_test_accuracy"] = accuracy
    for route, verdict in exported.get("admission", {}).items():
        if verdict.get("agreement") is not None:
            found[f"bundle_{route.replace('@', '_')}_agreement"] = verdict["agreement"]
    for precision, facts in exported["parity"].items():
        found[f"bundle_{precision}_agreement"] = facts["agreement"]
        found[f"bundle_{precision}_max_logit_difference"] = facts["max_logit_difference"]
    return found


def _dvc_revision(root: Path) -> str | None:
    """DVC's own hash of the prepared data, from dvc.lock; None where there is none yet."""
    import yaml

    try:
        text = (root / "dvc.lock").read_text(encoding="utf-8")
        lock = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the former is ten times as fast
        return next(out["md5"] for out in lock["stages"]["prepare"]["outs"] if out["path"] == paths.PREPARED.as_posix())
    except (OSError, KeyError, StopIteration, yaml.YAMLError):
        return None
