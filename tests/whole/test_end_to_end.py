"""What a newcomer gets: artefacts, one lock from two drivers, a second run that does nothing, and what kills leave."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from whole_support import COMPARED, GRAFT, README, ROOT, STUDENTS, Runs, commands, environment, start

# Needs git, which the test's workspace is without: what it prints there says so.
NEEDS_GIT = {"dvc params diff"}
IDENTITY = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
TIMED = (
    "timings/",
    *(f"reports/{name}" for name in ("benchmark.json", "leaderboard.json", "index.html", "tracking.json")),
)


def graft(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([*GRAFT, *arguments], cwd=root, env=environment(), text=True, capture_output=True)


def hashes(root: Path) -> dict[str, str]:
    """Output -> DVC's hash, for everything but measured times and what depends on them."""
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    return {path: md5 for path, md5 in outs.items() if not path.startswith(TIMED)}


def test_kills_and_the_flow_leave_what_an_undisturbed_dvc_repro_leaves(runs: Runs) -> None:
    assert hashes(runs.workspace) == hashes(runs.reference)
    assert "models/fine_tune" in hashes(runs.workspace)


def test_no_checkpoint_is_left_over(runs: Runs) -> None:
    assert list((runs.workspace / ".graft" / "checkpoints").glob("*.pt")) == []


def test_a_second_run_says_so_at_once_and_changes_nothing(runs: Runs) -> None:
    before = (runs.workspace / "dvc.lock").read_bytes()
    start = time.monotonic()
    again = graft(runs.workspace, "run")
    assert again.returncode == 0, again.stderr
    assert "Nothing to do" in again.stdout
    assert time.monotonic() - start < 20  # four seconds on an idle machine; a Prefect API alone takes ten
    assert (runs.workspace / "dvc.lock").read_bytes() == before


def test_the_artefacts_are_where_others_look_for_them(runs: Runs) -> None:
    board = json.loads((runs.workspace / "reports/leaderboard.json").read_text())
    assert {row["strategy"] for row in board} == {*COMPARED, *STUDENTS}
    assert {row["strategy"]: row["needs"] for row in board}["dan"] == ["source", "unlabelled"]
    assert {row["strategy"]: row["needs"] for row in board}["distillation"] == ["unlabelled", "teacher"]
    for row in board:
        assert row["train_time_s"] > 0
        assert row["parameters"] > 100_000
        for split in ("val", "test"):
            assert row[split]["low"] <= row[split]["accuracy"] <= row[split]["high"]
            assert {"macro_f1", "ece"} <= set(row[split])
    accuracy = [row["val"]["accuracy"] for row in board]
    assert accuracy == sorted(accuracy, reverse=True)
    facts = json.loads((runs.workspace / "models/champion/bundle.json").read_text())
    assert facts["strategy"] == board[0]["strategy"]
    assert facts["parity"]["fp32"]["agreement"] >= 0.999
    assert (runs.workspace / "models/champion/model.fp32.onnx").stat().st_size == facts["models"]["fp32"]["bytes"]
    assert json.loads((runs.workspace / "reports/benchmark.json").read_text())["measurements"]
    assert "<html" in (runs.workspace / "reports/index.html").read_text()


def test_the_terminal_shows_a_leaderboard_that_fits_100_columns(runs: Runs) -> None:
    table = [line for line in runs.output.splitlines() if line[:1] in "┏┃┡│└"]
    assert len(table) >= 9
    assert max(map(len, table)) <= 100
    assert "…" not in "".join(table)
    assert "Champion: " in runs.output


def test_mlflow_holds_one_finished_run_for_each_strategy_and_the_champion(runs: Runs) -> None:
    code = """
import json, sys
from pathlib import Path
from components import paths
from components.tracking import store
client, experiment = store.connect(Path("."), "graft-digits")
runs = client.search_runs([experiment])
version = client.get_model_version_by_alias("graft-digits", "champion")
print(json.dumps({
    "parents": [[run.info.run_id, run.data.metrics] for run in runs if run.data.tags["kind"] == "comparison"],
    "runs": [[run.data.tags, run.data.params, run.data.metrics, run.info.status,
              [entry.dataset.digest for entry in run.inputs.dataset_inputs]]
             for run in runs if run.data.tags["kind"] == "strategy"],
    "steps": {run.data.tags["strategy"]: len(client.get_metric_history(run.info.run_id, "train_cross_entropy"))
              for run in runs if run.data.tags["kind"] == "strategy"},
    "champion": [version.tags, client.get_run(version.run_id).data.tags["strategy"]],
}))
"""
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=runs.workspace, env=environment(), text=True, capture_output=True, check=True
    )
    found = json.loads(shown.stdout.splitlines()[-1])
    by_strategy = {
        tags["strategy"]: (tags, params, metrics, status, data) for tags, params, metrics, status, data in found["runs"]
    }
    assert len(found["runs"]) == len(by_strategy) == len(COMPARED + STUDENTS), "a strategy has no run, or two"
    ((parent, of_the_bundle),) = found["parents"]
    assert "bundle_fp32_agreement" in of_the_bundle
    for strategy, (tags, params, metrics, status, data) in by_strategy.items():
        assert status == "FINISHED"
        assert tags["mlflow.parentRunId"] == parent
        assert params["strategy"] == strategy and "train.lr" in params
        assert {"val_accuracy", "test_accuracy", "train_time_s"} <= set(metrics)
        assert data and all(tags["data_sha256"].startswith(digest) for digest in data)
        assert tags["dvc.data_md5"].endswith(".dir")
    assert found["steps"]["fine_tune"] == 4  # 20 steps, recorded every 5
    assert found["steps"]["linear_probe"] == 0
    chosen = [tags["strategy"] for tags, *_ in found["runs"] if tags["chosen"] == "true"]
    assert chosen == [found["champion"][1]]


def test_nothing_is_written_beside_the_places_that_git_ignores(runs: Runs) -> None:
    """Above all no ./mlruns, MLflow's default."""
    copied = {"components", "data", "flows", "graft", "params.yaml", "dvc.yaml", ".dvc", ".dvcignore"}
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.startswith("/")}
    made = {entry.name for entry in runs.workspace.iterdir()} - copied
    assert made - ignored == {"dvc.lock"}
    assert any((runs.workspace / ".graft/mlflow/artifacts").rglob("model.json"))


def test_predict_answers_without_torch(runs: Runs) -> None:
    image = next((runs.workspace / "data/raw/handwritten_digits/3").glob("*.png"))
    code = (
        "import sys; sys.argv = ['graft', 'predict', '--json', sys.argv[1]]\n"
        "from graft.cli import app\n"
        "app(standalone_mode=False)\n"
        "heavy = {'torch', 'mlflow', 'prefect', 'dvc'} & set(sys.modules)\n"
        "assert not heavy, f'a serving process needs no {heavy}'\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(image)], cwd=runs.workspace, env=environment(), text=True, capture_output=True
    )
    assert shown.returncode == 0, shown.stderr
    answer = json.loads(shown.stdout)
    assert answer["class"] in answer["probabilities"]
    assert answer["probability"] == pytest.approx(max(answer["probabilities"].values()))
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_predict_on_a_drawing_of_another_size(runs: Runs, tmp_path: Path) -> None:
    from PIL import Image, ImageDraw

    drawing = Image.new("L", (90, 120))
    ImageDraw.Draw(drawing).line([(45, 5), (45, 115)], fill=255, width=14)
    drawing.save(tmp_path / "one.png")
    shown = graft(runs.workspace, "predict", str(tmp_path / "one.png"))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split()[0].endswith("one.png")
    assert shown.stdout.split()[1] in "0123456789"
    assert shown.stdout.strip().endswith("%")


def test_a_folder_is_predicted_into_a_table_with_what_cannot_be_read_in_its_place(runs: Runs, tmp_path: Path) -> None:
    from pyarrow import parquet

    shutil.copytree(runs.workspace / "data/raw/handwritten_digits/3", tmp_path / "images")
    (tmp_path / "images/0.png").write_bytes(b"no image")
    count = len(list((tmp_path / "images").iterdir()))
    told = graft(runs.workspace, "predict", str(tmp_path / "images"), "--out", str(tmp_path / "answers.parquet"))
    assert told.returncode == 5, told.stderr
    rows = parquet.read_table(tmp_path / "answers.parquet").to_pylist()
    assert [Path(row["path"]).name for row in rows] == sorted(path.name for path in (tmp_path / "images").iterdir())
    assert len(rows) == count
    assert rows[0]["class"] is None and "not an image" in rows[0]["error"]
    # The model was trained for seconds only; most of what it was shown are threes all the same.
    assert sum(row["class"] == "3" for row in rows) > count / 2


def test_the_champion_runs_as_the_benchmark_found_best_and_is_served(runs: Runs) -> None:
    import httpx

    champion = runs.workspace / "models/champion"
    (entry,) = json.loads((champion / "machines.json").read_text()).values()
    benchmark = json.loads((runs.workspace / "reports/benchmark.json").read_text())
    assert entry["route"] == benchmark["fastest"]
    for verdicts in (json.loads((champion / "bundle.json").read_text())["admission"], benchmark["speed"]):
        assert verdicts[entry["route"]]["admitted"]
    server = start(runs.workspace, "serve", "--port", "0")
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        assert entry["route"].replace("@", " on ") in said
        image = next((runs.workspace / "data/raw/handwritten_digits/3").glob("*.png"))
        with httpx.Client(base_url=said.split()[0], trust_env=False) as client:
            answer = client.post("/predict", content=image.read_bytes()).json()
    finally:
        server.terminate()
    assert server.wait(30) == 0
    told = graft(runs.workspace, "predict", "--json", str(image))
    assert {
        "class": answer["class"],
        "probability": pytest.approx(answer["probability"], abs=1e-6),
    }.items() <= json.loads(told.stdout).items()


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        ("fine_tune: {body_lr_facto: 1.0}", "strategies.fine_tune.body_lr_facto is not a parameter"),
        ("fine_tune: {strategy: finetune}", "did you mean 'fine_tune'?"),
    ],
)
def test_a_wrong_key_is_refused_before_anything_runs(runs: Runs, tmp_path: Path, edit: str, complaint: str) -> None:
    params = yaml.safe_load((runs.workspace / "params.yaml").read_text())
    params["strategies"] |= yaml.safe_load(edit)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    shown = graft(tmp_path, "run")
    assert shown.returncode == 2
    assert complaint in shown.stderr
    assert shown.stderr.count("\n") == 1 and shown.stderr.startswith("graft: ")


def test_status_promote_and_rollback(runs: Runs) -> None:
    shown = graft(runs.workspace, "status")
    assert shown.returncode == 0 and "train@fine_tune" in shown.stdout and "to run" not in shown.stdout
    again = graft(runs.workspace, "promote")
    assert again.returncode == 0 and "already decided" in again.stdout
    nowhere = graft(runs.workspace, "rollback")
    assert nowhere.returncode == 1 and "no earlier champion" in nowhere.stderr
    wrong = graft(runs.workspace, "rollback", "77")
    assert wrong.returncode == 1 and "no version 77" in wrong.stderr
    model = runs.workspace / "models/champion/model.fp32.onnx"
    good = model.read_bytes()
    model.write_bytes(b"damaged")
    restored = graft(runs.workspace, "rollback", "1")
    assert restored.returncode == 0, restored.stderr
    assert model.read_bytes() == good


def _told(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, env=environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _dvc(root: Path, *arguments: str) -> str:
    return _told(root, sys.executable, "-m", "dvc", *arguments)


@pytest.fixture(scope="module")
def experiment(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose commit holds the undisturbed run, after an experiment that chooses by another metric."""
    root = tmp_path_factory.mktemp("views") / "repository"
    shutil.copytree(runs.reference, root, ignore=shutil.ignore_patterns(".graft", "tmp"))
    shutil.copy(ROOT / ".gitignore", root)
    config = root / ".dvc/config"
    config.write_text(config.read_text().replace("    no_scm = true\n", ""))
    (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    _told(root, "git", "init", "-q")
    _told(root, "git", "add", "-A")
    _told(root, "git", *IDENTITY, "commit", "-qm", "a run")
    _dvc(root, "exp", "run", "-S", "evaluate.confidence=0.9", "-n", "bolder", "evaluate")
    return root


def test_an_experiment_runs_what_its_parameter_touches_and_is_kept_by_name(experiment: Path) -> None:
    shown = json.loads(_dvc(experiment, "exp", "show", "--json"))
    names = {
        entry["name"] for baseline in shown for entry in [e for x in baseline["experiments"] or [] for e in x["revs"]]
    }
    assert names == {"bolder"}
    assert json.loads((experiment / "reports/evaluation.json").read_text())["confidence"] == 0.9


def test_params_diff_names_the_parameter(experiment: Path) -> None:
    changed = json.loads(_dvc(experiment, "params", "diff", "--json"))
    ((name, values),) = changed["params.yaml"].items()
    assert (name, values["old"], values["new"]) == ("evaluate.confidence", 0.95, 0.9)


def test_metrics_are_few_enough_to_read_and_can_be_compared(experiment: Path) -> None:
    table = _dvc(experiment, "metrics", "show").splitlines()
    assert len(table) <= 3 and "chosen" in table[0] and "worst_recall" in table[0]
    by_strategy = ["metrics", "diff", "--all", "--targets", "reports/plots/accuracy.json"]
    rows = json.loads(_dvc(experiment, *by_strategy, "--json"))["reports/plots/accuracy.json"]
    assert set(rows) == {*COMPARED, *STUDENTS}
    assert {row["diff"] for row in rows.values()} == {0.0}  # the confidence of an interval moves no accuracy


def test_plots_are_drawn_from_the_tables_of_the_run(experiment: Path) -> None:
    _dvc(experiment, "plots", "show")
    page = (experiment / "dvc_plots/index.html").read_text()
    for title in ("Test accuracy of every strategy", "Confusion matrix", "Reliability", "losses/fine_tune.csv"):
        assert title in page


@pytest.mark.parametrize("command", [c for c in commands() if not c.startswith(("make ", "source "))])
def test_the_command_works(runs: Runs, command: str) -> None:
    told = subprocess.run(
        shlex.split(command), cwd=runs.workspace, env=environment(), capture_output=True, text=True, timeout=120
    )
    if command in NEEDS_GIT:
        assert "Git" in told.stdout + told.stderr
    else:
        assert told.returncode == 0, told.stdout + told.stderr


def test_every_file_the_readme_names_is_there_or_made_by_a_run(runs: Runs) -> None:
    named = re.findall(r"`((?:components|flows|graft|benchmarks|reports|models)/[\w./]*)`", README)
    assert len(named) > 10
    for name in named:
        assert (ROOT / name).exists() or (runs.workspace / name).exists(), name
