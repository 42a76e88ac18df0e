"""The flow that retrains: what it refuses, where it runs, and what it leaves untouched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from components import paths
from components.errors import ParamsError
from flows.stage_process import StageFailed

pytestmark = pytest.mark.usefixtures("api")  # before prefect is imported

GRAPH = """
stages:
  fit:
    cmd: python fit.py
    deps: [fit.py]
    params: [train.steps]
    outs: [reports/leaderboard.json, reports/evaluation.json, told.json]
"""
FIT = """
import json, os, pathlib, yaml

steps = yaml.safe_load(open("params.yaml"))["train"]["steps"]
os.makedirs("reports", exist_ok=True)
row = {"strategy": "dan", "chosen": True, "needs": [], "latency_ms": None, "size_mib": 1.234}
row |= {part: {"accuracy": 0.5, "low": 0.4, "high": 0.6} for part in ("val", "test")}
pathlib.Path("reports/leaderboard.json").write_text(json.dumps([row]))
pathlib.Path("reports/evaluation.json").write_text(json.dumps({"verdict": "dan was chosen"}))
pathlib.Path("told.json").write_text(json.dumps({"steps": steps, "store": os.environ.get("MLFLOW_TRACKING_URI")}))
"""


@pytest.fixture
def place(workspace: Callable[[str], Path]) -> Path:
    root = workspace(GRAPH)
    (root / "fit.py").write_text(FIT)
    return root


def test_overrides_are_parts_of_the_file() -> None:
    from flows.retrain import overlay

    assert overlay({"train.steps": 300, "train.lr": 0.1, "compare": ["dan"]}) == {
        "train": {"steps": 300, "lr": 0.1},
        "compare": ["dan"],
    }
    with pytest.raises(ParamsError, match=r"'train\.steps'"):
        overlay({"train": 3, "train.steps": 300})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"overrides": {"train.stepz": 3}}, r"train\.stepz.*did you mean 'steps'"),
        ({"overrides": {"train.steps": "many"}}, r"train\.steps"),
        ({"overrides": {"train.steps": 3}, "recent": True}, "cannot both be given"),
    ],
)
def test_a_wrong_parameter_fails_the_run_at_once_and_starts_nothing(
    place: Path, parameters: dict, message: str
) -> None:
    from flows.retrain import retrain

    with pytest.raises(ParamsError, match=message):
        retrain(root=str(place), **parameters)
    assert not (place / "told.json").exists()
    assert not [run for run in (place / paths.RUNS).glob("*") if run.is_dir()]


def run_names() -> list[str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return [run.name for run in client.read_flow_runs(limit=200)]


def test_overrides_run_in_a_workspace_of_their_own_with_names_and_artifacts_for_people(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.artifacts import Artifact

    from flows.retrain import retrain

    before, put, really = {path.name for path in place.iterdir()}, [], os.putenv
    monkeypatch.setattr(os, "putenv", lambda name, value: put.append(name) or really(name, value))
    # The graph makes no bundle, so there is nothing to decide about: as far as that, it is the whole flow.
    with pytest.raises(StageFailed, match=r"promote failed \(exit code 2\).*bundle"):
        retrain(root=str(place), overrides={"train.steps": 300}, reason="longer")
    (run,) = [run for run in (place / paths.RUNS).iterdir() if run.is_dir()]
    told = json.loads((run / "told.json").read_text())
    assert told["steps"] == 300
    assert told["store"] == f"sqlite:///{(place / paths.MLFLOW_STORE).resolve()}/mlflow.db"
    assert {path.name for path in place.iterdir()} <= before | {".graft"}
    assert b"MLFLOW_TRACKING_URI" not in put, "other threads read the environment meanwhile"
    names = run_names()
    assert any(name.startswith("retrain 20") and name.endswith(", longer") for name in names), names
    assert f"pipeline in {run.name}" in names
    board = Artifact.get("leaderboard")
    assert board is not None
    (row,) = json.loads(board.data)
    assert (row["validation"], row["ms"], row["MiB"]) == ("50.0 % (40.0 to 60.0)", None, 1.23)
    assert board.description == "dan was chosen"
