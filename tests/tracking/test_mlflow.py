"""The MLflow store as it is: told twice nothing changes, and several processes may open it at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components import jsonfile, paths, tensorfile
from components.tracking import store, sync

ROOT = Path(__file__).resolve().parents[2]
SCORE = {"accuracy": 0.8, "low": 0.7, "high": 0.9, "macro_f1": 0.8, "ece": 0.1, "log_loss": 0.5}
NAMES = ("dan", "fine_tune")


@pytest.fixture(autouse=True)
def own_store(monkeypatch):
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)


def _workspace(root: Path) -> Path:
    """The files of a finished pipeline, as far as tracking reads them."""
    for name in NAMES:
        folder = root / paths.MODELS / name
        tensorfile.save(folder / "model.safetensors", {})
        jsonfile.write(
            folder / "model.json",
            {
                "name": name,
                "strategy": name,
                "family": "domain adaptation",
                "needs": ["source", "unlabelled"],
                "hyper_parameters": {"trade_off": 2.0},
                "recipe": {"steps": 20, "lr": 0.1},
                "backbone": "small_resnet",
                "backbone_weights": "pretrain",
                "seeds": [0, 1],
                "best_seed": 1,
                "parameters": 1000,
                "weights_sha256": f"weights of {name}",
                "data_sha256": "d" * 64,
                "device": "cpu",
                "precision": "fp32",
                "threads": 1,
            },
        )
        jsonfile.write_lines(
            folder / "history.jsonl",
            [
                {"seed": seed, "step": step, "lr": 0.1, "cross_entropy": seed + 1.0 / step}
                for seed in (0, 1)
                for step in (10, 20)
            ],
        )
        jsonfile.write(root / paths.TIMINGS / f"{name}.json", {"train_time_s": 3.0, "seeds": 2})
    rows = [
        {
            "strategy": name,
            "val": SCORE,
            "test": SCORE,
            "parameters": 1000,
            "confusion": [[3, 1], [0, 4]],
            "chosen_by": "val",
            "oracle": {"seed": 1, "is_chosen": True, "test_accuracy": 0.5},
            "other_tasks": {"loops": 0.75},
            "unseen": None,
            "negative_transfer": {"over": "source_only", "difference": -0.1} if name == NAMES[0] else None,
        }
        for name in NAMES
    ]
    jsonfile.write(root / paths.EVALUATION, {"chosen": "dan", "classes": ["a", "b"], "strategies": rows})
    jsonfile.write(
        root / paths.BENCHMARK,
        {"measurements": [{"precision": "fp32", "provider": "cpu", "batch_size": 1, "size_mib": 1.5,
                           "latency_ms": 2.0, "images_per_s": 500.0}]},
    )  # fmt: skip
    jsonfile.write(
        root / paths.BUNDLE / "bundle.json", {"parity": {"fp32": {"agreement": 1.0, "max_logit_difference": 1e-6}}}
    )
    jsonfile.write_text(root / paths.REPORT, "<!doctype html>")
    return root


@pytest.fixture(scope="module")
def synced(tmp_path_factory):
    """A workspace that was told to MLflow once."""
    root = _workspace(tmp_path_factory.mktemp("tracked"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(store.URI_VARIABLE, raising=False)
        keys = sync.sync(root, "toy")
        client, experiment = store.connect(root, "toy")
    return root, keys, client, experiment


def _copy(synced, folder: Path):
    """The tracked workspace once more, for a test that changes it."""
    root, keys, _, _ = synced
    copy = Path(shutil.copytree(root, folder / "copy"))
    return copy, keys, *store.connect(copy, "toy")


def _everything(client, experiment) -> list:
    """All that the store knows about the runs: every value of every metric, params, tags and files."""
    runs = sorted(client.search_runs([experiment]), key=lambda run: run.info.run_id)
    return [
        (
            run.info.run_id,
            {name: [(m.value, m.step, m.timestamp) for m in client.get_metric_history(run.info.run_id, name)]
             for name in run.data.metrics},
            run.data.params,
            run.data.tags,
            [file.path for file in client.list_artifacts(run.info.run_id)],
        )
        for run in runs
    ]  # fmt: skip


def test_every_strategy_is_one_run_with_all_that_is_known(synced):
    root, keys, client, experiment = synced
    assert set(keys) == set(NAMES)
    runs = {run.data.tags["mlflow.runName"]: run for run in client.search_runs([experiment])}
    assert set(runs) == set(NAMES)
    run = runs["dan"]
    assert run.info.status == "FINISHED"
    assert run.info.run_id == sync.find_run(client, experiment, keys["dan"])
    assert run.data.params["recipe.steps"] == "20"
    assert run.data.params["hyper.trade_off"] == "2.0"
    assert run.data.tags["weights_sha256"] == "weights of dan"
    assert run.data.tags["chosen"] == "true"
    assert runs["fine_tune"].data.tags["chosen"] == "false"
    assert run.data.metrics["test_accuracy"] == 0.8
    assert run.data.metrics["bundle_fp32_cpu_batch1_latency_ms"] == 2.0
    assert "bundle_fp32_cpu_batch1_latency_ms" not in runs["fine_tune"].data.metrics
    history = client.get_metric_history(run.info.run_id, "train_cross_entropy")
    assert [(entry.step, entry.value) for entry in history] == [(10, 1.1), (20, 1.05)]  # of the best seed, 1
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "model.json",
        "evaluation.json",
        "confusion.png",
        "index.html",
    }
    assert (root / paths.MLFLOW_STORE / "mlflow.db").is_file()


def test_telling_twice_changes_nothing_and_new_results_join_their_run(synced, tmp_path):
    root, keys, client, experiment = _copy(synced, tmp_path)
    before = _everything(client, experiment)
    assert sync.sync(root, "toy") == keys
    assert _everything(client, experiment) == before

    jsonfile.write(root / paths.TIMINGS / "dan.json", {"train_time_s": 9.0, "seeds": 2})
    sync.sync(root, "toy")
    runs = client.search_runs([experiment])
    assert len(runs) == 2
    run_id = sync.find_run(client, experiment, keys["dan"])
    assert client.get_run(run_id).data.metrics["train_time_s"] == 9.0

    path = root / paths.MODELS / "dan" / "model.json"
    jsonfile.write(path, {**jsonfile.read(path), "weights_sha256": "trained anew"})
    again = sync.sync(root, "toy")
    assert again["dan"] != keys["dan"]
    assert again["fine_tune"] == keys["fine_tune"]
    assert len(client.search_runs([experiment])) == 3


def test_a_training_that_was_told_halfway_is_told_again(synced, tmp_path):
    """A run without its tag is one whose telling was killed: it counts for nothing."""
    root, _, client, experiment = _copy(synced, tmp_path)
    key = sync.run_key(root / paths.MODELS / "fine_tune")
    run_id = sync.find_run(client, experiment, key)
    count = len(client.search_runs([experiment]))
    client.delete_tag(run_id, sync.RUN_TAG)
    sync.sync(root, "toy")
    assert sync.find_run(client, experiment, key) not in (None, run_id)
    assert len(client.search_runs([experiment])) == count + 1


def test_several_processes_may_open_a_fresh_store_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from components.tracking import store;"
        "client, experiment = store.connect(Path(sys.argv[1]), 'toy');"
        "client.create_run(experiment); print(experiment)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    answers = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], answers[0][1][-2000:]
    assert len({out.strip() for out, _ in answers}) == 1  # all found the same experiment
    client, experiment = store.connect(tmp_path, "toy")
    assert len(client.search_runs([experiment])) == 3


def test_the_store_is_the_workspace_s_own_or_the_one_of_the_environment(tmp_path, monkeypatch):
    assert store.uri(tmp_path) == f"sqlite:///{tmp_path.resolve()}/.graft/mlflow/mlflow.db"
    monkeypatch.setenv(store.URI_VARIABLE, "http://tracking.example.org")
    assert store.uri(tmp_path) == "http://tracking.example.org"
    monkeypatch.setenv(store.URI_VARIABLE, "")
    assert store.uri(tmp_path).startswith("sqlite:///")


def test_a_server_that_does_not_answer_is_named(tmp_path, monkeypatch):
    from components.errors import MachineError

    monkeypatch.setenv(store.URI_VARIABLE, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MachineError, match=r"http://127\.0\.0\.1:9 does not answer") as caught:
        store.connect(tmp_path, "toy")
    assert "\n" not in str(caught.value)
