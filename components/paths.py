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
DRIFT_REPORT = REPORTS / "drift" / "index.html"  # of `graft monitor`; no stage reads it
TRACKING = REPORTS / "tracking.json"

STATE = Path(".graft")  # the workspace's own memory, known to neither git nor DVC
CHECKPOINTS = STATE / "checkpoints"
DECISIONS = STATE / "decisions.jsonl"
PROPOSAL = STATE / "proposal.json"  # a decision that is still to be carried out
REBUILD = STATE / "rebuild"  # a version that is being built again
PROMOTION = STATE / "promotion.json"  # the journal of a promotion that is under way
OBSERVATIONS = STATE / "observations"  # what was served: features, confidences, answers, and a sample of images
MONITOR = STATE / "monitor"  # history.jsonl, last.json, and references/<bundle>/: what each champion was tested with
RUNS = STATE / "runs"  # workspaces of their own, for runs with other parameters
ADAPTATION = STATE / "adaptation.json"  # the last of them that drift has started
ORIGIN = STATE / "origin.json"  # of such a workspace: where it comes from
UNTOLD = STATE / "untold"  # there while MLflow has not been told of the last results
MLFLOW_STORE = STATE / "mlflow"
PREFECT_HOME = STATE / "prefect"
SCHEDULE = STATE / "schedule"  # of `graft schedule`: its lock, what it says of itself, and logs


def external(model: Path) -> Path:
    """Where the weights of a model lie that is too large for one ONNX file. Most models have none."""
    return model.with_name(f"{model.name}.data")
