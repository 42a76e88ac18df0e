"""Where a workspace's MLflow store is, and that several processes may open it at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import Unreachable
from components.tracking import store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_store(monkeypatch):
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)


# Each of the processes would spend seconds on importing MLflow, so one imports it for all and then becomes them.
FORKING = """
import os, sys, threading
from pathlib import Path
import mlflow, mlflow.store.tracking.sqlalchemy_store
from components.tracking import store

assert threading.active_count() == 1
children = []
for _ in range(3):
    if child := os.fork():
        children.append(child)
        continue
    try:
        client, experiment = store.connect(Path(sys.argv[1]), 'toy')
        client.create_run(experiment)
        os.write(1, f"{experiment}\\n".encode())
        os._exit(0)
    except BaseException as error:
        os.write(2, repr(error).encode())
        os._exit(1)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def test_several_processes_may_open_a_fresh_store_at_once(tmp_path):
    """From a workspace that was made from the one whose store it is: the files lie where that one keeps them."""
    other = tmp_path / ".graft/runs/one"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", store.URI_VARIABLE: store.uri(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", FORKING, str(other)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    *experiments, codes = found.stdout.splitlines()
    assert codes == "[0, 0, 0]", found.stderr[-2000:]
    assert len(experiments) == 3
    assert len(set(experiments)) == 1  # all found the same experiment
    client, experiment = store.connect(tmp_path, "toy")
    assert len(client.search_runs([experiment])) == 3
    assert client.get_experiment(experiment).artifact_location == store.artifacts(tmp_path).as_uri()
    assert not other.exists()


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


def test_a_password_is_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv(store.URI_VARIABLE, "http://somebody:secret@127.0.0.1:9")
    assert store.address(tmp_path) == "http://127.0.0.1:9"
    with pytest.raises(Unreachable) as caught:
        store.connect(tmp_path, "toy")
    assert str(caught.value) == "MLflow at http://127.0.0.1:9 does not answer: [Errno 111] Connection refused"
    monkeypatch.setenv(store.URI_VARIABLE, "http://somebody:sec@ret@127.0.0.1:9")
    assert store.address(tmp_path) == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ("API request to http://a:secret@host/api failed with timeout", "INTERNAL_ERROR",
         "does not answer: API request to http://host/api failed with timeout; nothing was changed"),
        ("Model Version (name=toy, version=7) not found\nand more", "RESOURCE_DOES_NOT_EXIST",
         "refuses: Model Version (name=toy, version=7) not found; nothing was changed"),
        ("", "INTERNAL_ERROR", "does not answer: MlflowException; nothing was changed"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_from_silence_and_neither_tells_a_password(tmp_path, said, code, told):
    from mlflow.exceptions import MlflowException

    error = MlflowException(said)
    error.error_code = code
    with pytest.raises(Unreachable) as caught, store.reached(tmp_path, "nothing was changed"):
        raise error
    assert str(caught.value) == f"MLflow at {store.address(tmp_path)} {told}"
