"""The operation as a whole, with a real Prefect server and worker and a real MLflow.

A schedule retrains, the result is promoted, changed images are noticed, what adapts to them is promoted without a
label, and one step leads back. And whatever is killed meanwhile, nothing is lost, and the next run completes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageFilter, ImageOps

from components import jsonfile, paths
from components.data.datasets import catalogue
from components.monitoring import budget
from components.params import load
from operation_support import LATEST_S, Operation, schedule
from tests_support import all_gone
from whole_support import ROOT, small_workspace, wait_for

ADAPTING = ["source_only", "mcc", "dann"]
PARTS = {"usual": 150, "changed": 200}
"""Images that come in; the others are labelled."""
LABELLED = 900
CAMERA = Path("data/raw/camera")
WINDOW = 100
MONDAYS_AT_THREE = "0 3 * * 1"
DRILL = paths.RUNS / "drill"
STAGES = "stages:\n  one: {cmd: python one.py, deps: [one.py], outs: [out]}\n"
ONE = """
import pathlib, time

pathlib.Path("begun").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.05)
pathlib.Path("out").write_text(pathlib.Path(__file__).read_text())
"""


@pytest.fixture(scope="module")
def operation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operation]:
    root = small_workspace(tmp_path_factory.mktemp("operation") / "workspace")
    images(root)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["data"] |= {"target": {"folder": CAMERA.as_posix()}, "attributes": None, "tasks": []}
    params["data"]["source"]["per_class"] = 30
    params |= {"compare": ["fine_tune"], "students": [], "teacher": None}
    params["prepare"] |= {"labels_per_class": None, "test_fraction": 0.25}
    params["pretrain"] |= {"steps": 60}
    params["train"] |= {"steps": 100, "batch_size": 32, "seeds": [0], "checkpoint_every": 100, "log_every": 50}
    for name in ADAPTING:
        params["strategies"][name]["recipe"] |= {"batch_size": 32}
    params["adapt"] |= {"compare": ADAPTING}
    params["monitor"] |= {"windows": [WINDOW], "permutations": 4000}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    declare(root)
    with schedule(root, params["promote"]["registered_model"]) as up:
        yield up
    shutil.rmtree(root, ignore_errors=True)


def images(root: Path) -> None:
    """The labelled ones, in folders of their classes, and those that come in, in the order in which they do: in order
    of classes, the last ones would be of one kind."""
    digits = root / "digits"
    catalogue.materialise("handwritten_digits", digits, per_class=None, seed=0)
    everything = sorted(digits.glob("*/*.png"))
    order = np.random.default_rng(0).permutation(len(everything))
    *coming, labelled = np.split(order, np.cumsum(list(PARTS.values())))
    for row in labelled[:LABELLED]:
        place = root / CAMERA / everything[row].parent.name
        place.mkdir(parents=True, exist_ok=True)
        everything[row].rename(place / everything[row].name)
    for part, rows in zip(PARTS, coming, strict=True):
        (root / part).mkdir()
        for number, row in enumerate(rows):
            with Image.open(everything[row]) as image:
                picture = image.convert("RGB")
            if part == "changed":
                picture = ImageOps.invert(picture).filter(ImageFilter.GaussianBlur(1.0))
            picture.save(root / part / f"{number:04d}_{everything[row].parent.name}.png")
    shutil.rmtree(digits)


def declare(root: Path) -> None:
    """The repository's prefect.yaml with its schedule switched on, and, on the same terms, a drill: the pipeline in a
    workspace below this one, with a graph of one stage, which waits until it is let go."""
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    by_name = {entry["name"]: entry for entry in declared["deployments"]}
    assert by_name["retrain"]["schedules"][0]["cron"] == MONDAYS_AT_THREE
    by_name["retrain"]["schedules"][0]["active"] = True
    by_name["monitor"]["schedules"][0]["interval"] = 86400  # not in the middle of what follows
    drill = {"name": "drill", "entrypoint": "flows/pipeline.py:pipeline", "schedules": []}
    drill["parameters"] = {"root": DRILL.as_posix(), "promotion": False}
    declared["deployments"].append({**by_name["retrain"], **drill})
    (root / "prefect.yaml").write_text(yaml.safe_dump(declared))
    place = root / DRILL
    (place / ".dvc").mkdir(parents=True)
    for name in ("params.yaml", ".dvc/config"):
        shutil.copy(root / name, place / name)
    (place / "dvc.yaml").write_text(STAGES)


def drill(operation: Operation, name: str) -> Path:
    """A stage that has not run yet; returns what says that it has begun."""
    place = operation.root / DRILL
    for file in ("begun", "go"):
        (place / file).unlink(missing_ok=True)
    (place / "one.py").write_text(f"# {name}\n{ONE}")
    return place / "begun"


def let_go(operation: Operation) -> None:
    (operation.root / DRILL / "go").touch()


def done(operation: Operation) -> str:
    """For which drill its result was made."""
    return (operation.root / DRILL / "out").read_text().splitlines()[0].removeprefix("# ")


def one_after_the_other(first: dict, second: dict) -> bool:
    ended, began = (datetime.fromisoformat(moment) for moment in (first["end_time"], second["start_time"]))
    return ended <= began


def test_a_run_that_dies_with_its_worker_gives_way_to_the_next_which_has_waited(operation: Operation) -> None:
    begun = drill(operation, "worker")
    runs = [operation.start("pipeline/drill") for _ in range(2)]
    wait_for(begun.exists, LATEST_S)
    runs.sort(key=lambda run: operation.state(run) != "RUNNING")
    assert [operation.state(run) for run in runs] == ["RUNNING", "SCHEDULED"], "two at once"
    stages = operation.processes("one.py")
    operation.kill("prefect worker")
    operation.kill("flows.flow_process")
    first = operation.ended(runs[0], "CRASHED")
    assert all_gone(stages, within_s=60), "a stage outlived its run"
    let_go(operation)
    assert one_after_the_other(first, operation.ended(runs[1]))
    assert done(operation) == "worker"


def test_a_run_outlives_the_worker_and_the_server(operation: Operation) -> None:
    begun = drill(operation, "server")
    run = operation.start("pipeline/drill")
    wait_for(begun.exists, LATEST_S)
    operation.kill("prefect worker")
    operation.kill("prefect server")
    assert not operation.answers
    wait_for(lambda: operation.answers, LATEST_S)
    let_go(operation)
    operation.ended(run)
    assert done(operation) == "server"


def test_after_a_reboot_in_the_middle_of_a_stage_one_command_leads_back(operation: Operation) -> None:
    begun = drill(operation, "reboot")
    run = operation.start("pipeline/drill")
    wait_for(begun.exists, LATEST_S)
    before = {entry["id"]: entry["state"]["type"] for entry in operation.runs("drill")}
    operation.kill()
    wait_for(lambda: not operation.processes(), LATEST_S)
    assert "is not up" in operation.graft("schedule", "status")
    assert operation.up().startswith("The schedule is up.")
    operation.ended(run, "CRASHED")
    after = {entry["id"]: entry["state"]["type"] for entry in operation.runs("drill")}
    assert after == before | {run["id"]: "CRASHED"}, "a run was lost"
    let_go(operation)
    operation.ended(operation.start("pipeline/drill"))
    assert done(operation) == "reboot"


def test_a_schedule_a_champion_drift_an_adapted_champion_and_the_way_back(operation: Operation) -> None:
    root, limits = operation.root, load(operation.root).promote
    assert limits == load(ROOT).promote, "what is promoted here would be promoted anywhere"
    # The scheduler has made the runs of the next Mondays. The first is brought forward; nobody starts one beside it.
    (scheduled, *_) = [run for run in operation.runs("retrain") if "auto-scheduled" in run["tags"]]
    moment = datetime.fromisoformat(scheduled["expected_start_time"])
    assert (moment.weekday(), moment.hour, moment.minute) == (0, 3, 0)
    assert moment > datetime.now(UTC)
    now = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
    operation.ask(f"flow_runs/{scheduled['id']}/set_state", {"state": now, "force": True})
    wait_for(lambda: operation.state(scheduled) == "RUNNING", LATEST_S)
    second = operation.start("retrain/retrain", reason="impatience")
    first = operation.ended(scheduled)
    assert first["name"].startswith("retrain 20")
    assert first["name"].endswith(", scheduled")

    # The decision, and the promotion: the first model bootstraps.
    line = operation.decisions()[0]
    assert (line["decision"], line["version"], line["strategy"]) == ("promoted", "1", "fine_tune")
    assert operation.champion() == "1"
    left = {artifact["key"]: artifact["data"] for artifact in operation.ask("artifacts/filter", {"limit": 100})}
    assert {"leaderboard", "report", "decision"} <= left.keys()
    (row,) = json.loads(left["leaderboard"])
    (ranked,) = jsonfile.read(root / paths.LEADERBOARD)
    assert row["strategy"] == "fine_tune (chosen)"
    assert row["test"].startswith(f"{100 * ranked['test']['accuracy']:.1f} % (")

    # What comes in is observed: as usual, no drift; inverted and blurred, the monitor fires and starts a retraining.
    operation.graft("predict", "usual", "--observe", "--keep-images", "4")
    assert "No drift" in operation.graft("monitor")
    operation.graft("predict", "changed", "--observe", "--keep-images", "4")
    second = operation.ended(second)
    assert second["name"].endswith(", impatience")
    assert one_after_the_other(first, second)
    assert len(operation.decisions()) == 1, "the same bundle was decided about twice"
    operation.ended(operation.start("monitor/monitor"))
    assert jsonfile.read(root / paths.MONITOR / "last.json")["drift"]
    (adapting,) = [run for run in operation.runs("retrain") if "drift" in run["tags"]]
    assert [line["kind"] for line in budget.history(root)] == [budget.CHECK, budget.CHECK, budget.RETRAIN]
    assert "drift" in {artifact["key"] for artifact in operation.ask("artifacts/filter", {"limit": 100})}

    # Those that adapt have competed in a workspace of their own, without one new label, and the best of them serves.
    adapted = operation.ended(adapting)
    assert adapted["name"].endswith(", because of drift")
    line = operation.decisions()[-1]
    assert (line["decision"], line["version"]) == ("promoted", "2"), line["reason"]
    assert line["strategy"] in ADAPTING
    assert line["source"].startswith(str(paths.RUNS))
    assert operation.champion() == "2"
    assert jsonfile.read(root / paths.CHAMPION / "bundle.json")["strategy"] == line["strategy"]

    # One step back.
    operation.graft("rollback", "--reason", "to see that it works")
    assert operation.champion() == "1"
    assert operation.decisions()[-1]["decision"] == "rolled back"
    assert jsonfile.read(root / paths.CHAMPION / "bundle.json")["strategy"] == "fine_tune"
    assert "usual/0000" in operation.graft("predict", f"usual/{sorted((root / 'usual').iterdir())[0].name}")


def test_up_is_up_and_one_word_ends_it_all(operation: Operation) -> None:
    assert "was up already" in operation.up()
    assert "monitor/monitor" in operation.graft("schedule", "status")
    assert operation.graft("schedule", "down").startswith("The schedule is down.")
    assert operation.graft("schedule", "down").startswith("The schedule was not up.")
    assert not operation.answers
    assert all_gone(operation.processes(), within_s=15)
