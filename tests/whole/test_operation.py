"""The operation as a whole, with a real Prefect server and worker and a real MLflow.

A schedule retrains, the result is promoted, changed images are noticed, what adapts to them is promoted without a
label, and one step leads back.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageFilter, ImageOps

from components import jsonfile, paths
from components.data import prepared
from components.monitoring import budget
from whole_support import GRAFT, ROOT, environment, small_workspace, wait_for

ADAPTING = ["source_only", "mcc"]
WINDOW = 60
MODEL = "graft-digits"


@dataclass(frozen=True)
class Operation:
    """A workspace whose schedule is up, and the two servers as programs see them."""

    root: Path
    prefect: str
    mlflow: str

    def graft(self, *arguments: str) -> str:
        done = subprocess.run(
            [*GRAFT, *arguments], cwd=self.root, env=environment(), text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def ask(self, path: str, body: dict | None = None) -> Any:
        """Prefect's API: GET, or POST of `body`."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.prefect}/api/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def champion(self) -> str:
        """Its version, as MLflow's server says."""
        query = f"name={MODEL}&alias=champion"
        with urllib.request.urlopen(
            f"{self.mlflow}/api/2.0/mlflow/registered-models/alias?{query}", timeout=30
        ) as answer:
            return json.load(answer)["model_version"]["version"]

    def runs(self, deployment: str) -> list[dict]:
        """Its flow runs, in the order in which they were to start."""
        asked = {"deployments": {"name": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 200}
        return self.ask("flow_runs/filter", asked)

    def completed(self, run: dict, within_s: float = 400) -> dict:
        """The run, once it has completed; shows the worker's log when it ends otherwise."""

        def ended() -> dict | None:
            now = self.ask(f"flow_runs/{run['id']}")
            return now if now["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        now = wait_for(ended, within_s)
        assert isinstance(now, dict)
        log = (self.root / paths.SCHEDULE / "worker.log").read_text()
        assert now["state"]["type"] == "COMPLETED", f"{now['name']}: {now['state']}\n{log[-6000:]}"
        return now

    def start(self, deployment: str, **parameters: Any) -> dict:
        known = self.ask(f"deployments/name/{deployment}/{deployment}")
        return self.ask(f"deployments/{known['id']}/create_flow_run", {"parameters": parameters})

    def decisions(self) -> list[dict]:
        return jsonfile.read_lines(self.root / paths.DECISIONS)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def operation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operation]:
    root = small_workspace(tmp_path_factory.mktemp("operation") / "workspace")
    params = yaml.safe_load((root / "params.yaml").read_text())
    params |= {"compare": ["fine_tune"], "students": [], "teacher": "fine_tune"}
    params["train"]["seeds"] = [0]
    params["adapt"] |= {"compare": ADAPTING}
    params["monitor"] |= {"windows": [WINDOW], "permutations": 500}
    # Models of twenty steps are noise: what is tested here is who is asked and what follows, not how good they are.
    params["promote"] |= {"registered_model": MODEL, "min_gain": -0.99, "max_class_loss": 1.0, "max_slice_loss": 1.0}
    params["promote"] |= {"max_ece_gain": 1.0, "max_latency_ratio": 100.0, "max_size_ratio": 100.0}
    params["promote"] |= {"min_agreement": 0.01, "max_known_loss": 1.0}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    declared = (ROOT / "prefect.yaml").read_text()
    every_minute = declared.replace("active: false", "active: true").replace('"0 3 * * 1"', '"* * * * *"')
    assert every_minute.count("active: true") == 2
    assert '"* * * * *"' in every_minute
    (root / "prefect.yaml").write_text(every_minute)
    prefect, mlflow = free_ports(2)
    made = Operation(root, f"http://127.0.0.1:{prefect}", f"http://127.0.0.1:{mlflow}")
    try:
        told = made.graft("schedule", "up", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow))
        assert made.prefect in told
        assert made.mlflow in told
        yield made
    finally:
        subprocess.run([*GRAFT, "schedule", "down"], cwd=root, env=environment(), check=False)
        shutil.rmtree(root, ignore_errors=True)


def images(root: Path, folder: str, *, changed: bool) -> Path:
    """As many test images as a window takes; `changed`: inverted and blurred."""
    target = prepared.read(root / paths.PREPARED).target
    rows = np.random.default_rng(int(changed)).choice(target.rows("test", labelled=True), WINDOW, replace=False)
    (root / folder).mkdir()
    for place, row in enumerate(rows):
        image = Image.fromarray(np.asarray(target.pixels[row]))
        if changed:
            image = ImageOps.invert(image).filter(ImageFilter.GaussianBlur(1.0))
        image.save(root / folder / f"{place:03}.png")
    return Path(folder)


def test_a_schedule_a_champion_drift_an_adapted_champion_and_the_way_back(operation: Operation) -> None:
    root = operation.root
    # The schedule: the scheduler makes runs by itself, and the first one starts. Nobody starts a second beside it.
    scheduled = wait_for(
        lambda: [run for run in operation.runs("retrain") if "auto-scheduled" in run["tags"]], within_s=60
    )
    assert isinstance(scheduled, list)
    assert scheduled[0]["state"]["type"] in ("SCHEDULED", "PENDING", "RUNNING")
    wait_for(lambda: operation.runs("retrain")[0]["state"]["type"] == "RUNNING", within_s=180)
    second = operation.start("retrain", reason="impatience")
    deployment = operation.ask("deployments/name/retrain/retrain")
    operation.ask(
        f"deployments/{deployment['id']}/pause_deployment", {}
    )  # its schedule alone: runs can still be started
    first = operation.completed(scheduled[0])
    assert first["name"].startswith("retrain 20")
    assert first["name"].endswith(", scheduled")

    # The decision, and the promotion: the first model bootstraps.
    line = operation.decisions()[0]
    assert (line["decision"], line["version"], line["strategy"]) == ("promoted", "1", "fine_tune")
    assert operation.champion() == "1"
    left = {artifact["key"] for artifact in operation.ask("artifacts/filter", {"limit": 100})}
    assert {"leaderboard", "report", "decision"} <= left
    second = operation.completed(second)
    assert second["name"].endswith(", impatience")
    ended, began = (datetime.fromisoformat(moment) for moment in (first["end_time"], second["start_time"]))
    assert ended <= began, "two ran at once"
    assert len(operation.decisions()) == 1, "the same bundle was decided about twice"

    # What comes in is observed: as usual, no drift; inverted and blurred, the monitor fires and starts a retraining.
    operation.graft("predict", str(images(root, "usual", changed=False)), "--observe", "--keep-images", "1")
    assert "No drift" in operation.graft("monitor")
    operation.graft("predict", str(images(root, "changed", changed=True)), "--observe", "--keep-images", "1")
    operation.completed(operation.start("monitor"))
    assert jsonfile.read(root / paths.MONITOR / "last.json")["drift"]
    (adapting,) = [run for run in operation.runs("retrain") if "drift" in run["tags"]]
    assert [line["kind"] for line in budget.history(root)] == [budget.CHECK, budget.CHECK, budget.RETRAIN]
    assert "drift" in {artifact["key"] for artifact in operation.ask("artifacts/filter", {"limit": 100})}

    # Those that adapt have competed in a workspace of their own, without one new label, and the best of them serves.
    adapted = operation.completed(adapting)
    assert adapted["name"].endswith(", because of drift")
    line = operation.decisions()[-1]
    assert (line["decision"], line["version"]) == ("promoted", "2")
    assert line["strategy"] in ADAPTING
    assert line["source"].startswith(str(paths.RUNS))
    assert operation.champion() == "2"
    assert jsonfile.read(root / paths.CHAMPION / "bundle.json")["strategy"] == line["strategy"]

    # One step back.
    operation.graft("rollback", "--reason", "to see that it works")
    assert operation.champion() == "1"
    assert operation.decisions()[-1]["decision"] == "rolled back"
    assert jsonfile.read(root / paths.CHAMPION / "bundle.json")["strategy"] == "fine_tune"
    assert "usual/000.png" in operation.graft("predict", "usual/000.png")

    # Up is up, and one word ends it all.
    assert "was up already" in operation.graft("schedule", "up")
    status = operation.graft("schedule", "status")
    assert "monitor/monitor" in status
    assert operation.graft("schedule", "down").startswith("The schedule is down.")
    assert operation.graft("schedule", "down").startswith("The schedule was not up.")
    with pytest.raises(OSError, match="refused"):
        operation.champion()
