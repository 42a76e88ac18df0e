"""What prefect.yaml declares, the keeper's lock and ports, and what a check of the input leads to."""

from __future__ import annotations

import fcntl
import inspect
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from components.errors import MachineError, ParamsError
from components.monitoring import budget
from components.params import load
from flows import deployments, keeper, services

pytestmark = pytest.mark.usefixtures("api")  # before prefect is imported

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = {entry["name"]: entry for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}


def test_every_deployment_names_a_flow_and_gives_it_parameters_that_it_has() -> None:
    assert set(deployments.declared(ROOT).names) == {
        "retrain/retrain", "monitor/monitor", "backfill/backfill", "promote/promote"
    }  # fmt: skip
    for entry in ENTRIES.values():
        file, _, name = entry["entrypoint"].partition(":")
        flow = getattr(import_module(file.removesuffix(".py").replace("/", ".")), name)
        known = inspect.signature(flow.fn).parameters
        assert set(entry["parameters"]) <= set(known)
        assert flow.name == name
        for given in entry["parameters"]:
            assert entry["parameters"][given] == known[given].default, given


def test_retraining_waits_for_one_line_and_never_meets_another() -> None:
    (schedule,) = ENTRIES["retrain"]["schedules"]
    assert schedule["active"] is False
    assert ENTRIES["retrain"]["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert ENTRIES["monitor"]["schedules"][0]["active"] is True
    assert ENTRIES["monitor"]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no prefect.yaml"),
        ("deployments: 3", "prefect.yaml is not as Prefect wants it"),
        (
            "deployments:\n- {name: a, entrypoint: 'f.py:a', work_pool: {name: x}}\n"
            "- {name: b, entrypoint: 'f.py:b', work_pool: {name: y}}\n",
            "names 2 work pools, x, y",
        ),
    ],
)
def test_a_prefect_yaml_that_cannot_be_used_says_why(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(ParamsError, match=message):
        deployments.declared(tmp_path)


def test_a_port_that_is_taken_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(MachineError, match=rf"port {port} .*--prefect-port"):
            keeper.up(tmp_path, prefect_port=port, mlflow_port=port)
    services.require_free(port, "--prefect-port")
    assert keeper.state(tmp_path) is None


def test_what_a_keeper_said_of_itself_counts_only_as_long_as_it_lives(tmp_path: Path) -> None:
    assert keeper.state(tmp_path) is None
    assert keeper.down(tmp_path) is False
    hold = (
        "import sys, json, os, pathlib; from flows import keeper; root = pathlib.Path(sys.argv[1])\n"
        "with keeper.alone(root):\n"
        "    (keeper.folder(root) / keeper.STATE).write_text(json.dumps({'pid': os.getpid(), 'ready': True}))\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert keeper.state(tmp_path) == {"pid": process.pid, "ready": True}
        with pytest.raises(MachineError, match="up already"), keeper.alone(tmp_path):
            pass
        process.kill()  # as a power cut: the file that names the process stays
    assert (keeper.folder(tmp_path) / keeper.STATE).exists()
    assert keeper.state(tmp_path) is None


def test_who_asks_for_the_state_does_not_keep_a_keeper_from_starting(tmp_path: Path) -> None:
    with keeper.alone(tmp_path):
        pass
    with (keeper.folder(tmp_path) / keeper.LOCK).open() as asks:
        fcntl.flock(asks, fcntl.LOCK_SH)
        answered = threading.Timer(0.1, fcntl.flock, (asks, fcntl.LOCK_UN))
        answered.start()
        with keeper.alone(tmp_path):
            assert not answered.is_alive()


def test_a_keeper_that_is_told_to_end_while_it_looks_for_dead_runs_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with the server is survived there; this is not."""
    shutil.copy(ROOT / "prefect.yaml", tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    before = signal.signal(signal.SIGTERM, keeper._told_to_stop)
    monkeypatch.setattr(keeper.zombies, "sweep", lambda root: os.kill(os.getpid(), signal.SIGTERM) or [])
    try:
        with pytest.raises(keeper._Stop):
            keeper.Keeper(tmp_path, prefect_port=1, mlflow_port=2)._sweep()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_log_is_begun_anew_and_the_one_before_says_how_it_ended(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        with services.fresh(tmp_path / "worker.log") as log:
            log.write(text)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "worker.log": "third", "worker.log.1": "second"
    }  # fmt: skip


def test_the_password_of_a_store_is_in_no_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody on the machine may read those."""
    address = "postgresql://ada:secret@example.org/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr(services.store, "connect", lambda root, experiment: None)  # nobody answers there
    service = services.mlflow(tmp_path, 1, tmp_path, "digits")
    assert service is not None
    assert "secret" not in " ".join(service._arguments)
    assert service._environment["MLFLOW_BACKEND_STORE_URI"] == address


HOURS = [datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in range(7)]


def test_only_intervals_without_a_check_are_made_up_for() -> None:
    from flows.backfill import missing

    made = [HOURS[1].timestamp(), (HOURS[3] - timedelta(minutes=1)).timestamp(), HOURS[4].timestamp() + 1]
    ends = missing(HOURS[0], HOURS[6], timedelta(hours=1), made)
    # (0, 1] has one at its end, (2, 3] one before it, (4, 5] one that is a second too late for (3, 4].
    assert ends == [budget.stamp(HOURS[hour].timestamp()) for hour in (2, 4, 6)]


@pytest.mark.parametrize(
    ("until", "minutes", "message"),
    [(0, 15, "must lie after since"), (6, 0, "must be positive"), (6, 0.1, "3600 intervals, but one run makes 1000")],
)
def test_a_backfill_that_makes_no_sense_is_refused(until: int, minutes: float, message: str) -> None:
    from flows.backfill import missing

    with pytest.raises(ParamsError, match=message):
        missing(HOURS[0], HOURS[until], timedelta(minutes=minutes), [])


def check(*, drift: bool, allowed: bool, reason: str = "there is no drift") -> dict:
    return {
        "bundle": "b", "observations": "o", "drift": drift, "sentence": "Drift: they differ.",
        "retrain": {"allowed": allowed, "reason": reason},
    }  # fmt: skip


def test_what_a_check_leads_to_is_said_in_a_sentence(tmp_path: Path) -> None:
    from flows.monitor import respond

    params = load(ROOT)
    assert respond(tmp_path, ".", params, check(drift=False, allowed=False)) == "No retraining: there is no drift."
    told = respond(tmp_path, ".", params, check(drift=True, allowed=True))
    assert told.startswith("No retraining, though one is due: 0 images were kept, and 50 are needed")
    assert budget.history(tmp_path) == []
