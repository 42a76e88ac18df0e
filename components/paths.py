"""Where things lie in a workspace, relative to its root. `dvc.yaml` names the same places; a test compares the two."""

from __future__ import annotations

from pathlib import Path

RAW = Path("data/raw")  # image folders of the built-in data sets
PREPARED = Path("data/prepared")  # manifest.csv, label_space.json, problems.json, <domain>.npy
FEATURES = Path("data/features")  # the pretrained backbone's features of the target images, by view
MODELS = Path("models")  # one folder per trained strategy
PRETRAINED = MODELS / "pretrained"  # the backbone that strategies start from
BUNDLE = Path("bundle")  # the exported winner: what may be promoted
CHAMPION = MODELS / "champion"  # what is in production
REPORTS = Path("reports")
TIMINGS = Path("timings")  # measured seconds: the only outputs that differ between equal runs

AUDIT = REPORTS / "audit.json"
EVALUATION = REPORTS / "evaluation.json"
METRICS = REPORTS / "metrics.json"  # the numbers that `dvc metrics` shows
PLOTS = REPORTS / "plots"  # the tables that `dvc plots` draws
EXPLANATIONS = REPORTS / "explanations"  # explanations.json and explanations.safetensors
BENCHMARK = REPORTS / "benchmark.json"
LEADERBOARD = REPORTS / "leaderboard.json"
REPORT = REPORTS / "index.html"
CURVE = REPORTS / "curve"  # of `graft curve`: curve.json and index.html; no stage reads it
BACKBONES = REPORTS / "backbones"  # of `graft backbones --rank`: backbones.json and index.html; no stage reads it
TRACKING = REPORTS / "tracking.json"

STATE = Path(".graft")  # the workspace's own memory, known to neither git nor DVC
CHECKPOINTS = STATE / "checkpoints"
DECISIONS = STATE / "decisions.jsonl"
MLFLOW_STORE = STATE / "mlflow"
PREFECT_HOME = STATE / "prefect"


def external(model: Path) -> Path:
    """Where the weights of a model lie that is too large for one ONNX file. Most models have none."""
    return model.with_name(f"{model.name}.data")
