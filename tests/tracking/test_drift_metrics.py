"""What the monitor found, in a real MLflow store: while it is away, what waits, and all of it when it is back."""

from __future__ import annotations

from html import escape
from pathlib import Path

import pytest
from monitor_support import pictures, serve, workspace

from components import jsonfile, paths
from components.errors import Unreachable
from components.stages import monitor
from components.tracking import drift, store, sync

AWAY = "http://127.0.0.1:9"
"""Nobody listens there."""


def test_the_numbers_of_a_check_have_names_that_mlflow_takes():
    check = {
        "drift": True,
        "images": 60,
        "confidence": {"window": 0.75, "reference": 0.875},
        "tests": [{"name": "features", "window": 20, "effect": 0.5, "p": 0.001, "p_adjusted": 0.004}],
        "answers": {"window": {"cat (big)": 45, "dog": 15}},
    }
    assert drift.metrics(check) == {
        "drift": 1.0,
        "images": 60.0,
        "confidence/mean": 0.75,
        "confidence/reference": 0.875,
        "p/features_20": 0.004,
        "effect/features_20": 0.5,
        "share/cat _big_": 0.75,
        "share/dog": 0.25,
    }
    many = {**check, "answers": {"window": {f"class {place}": 1 for place in range(drift.MANY + 1)}}}
    assert not [name for name in drift.metrics(many) if name.startswith("share/")]


def test_which_store_was_told_is_noted_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv(store.URI_VARIABLE, "http://somebody:secret@127.0.0.1:9")
    jsonfile.write(tmp_path / drift.CURSOR, {AWAY: 3})
    checks = [{"checked": True, "number": number} for number in (3, 4)]
    assert drift.waiting(tmp_path, checks) == checks[1:]


def test_what_mlflow_was_not_told_while_it_was_away_is_delivered_with_the_next_check(tmp_path, monkeypatch):
    identity = workspace(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv(store.URI_VARIABLE, AWAY)
    assert monitor.watch(tmp_path)["waiting"] == 0  # nothing was compared: nothing to tell
    # An interrupted promotion cannot be settled either, which is no reason not to look.
    jsonfile.write(tmp_path / paths.PROMOTION, {"id": "x", "model": "toy", "to": "8"})
    serve(tmp_path, identity, pictures(60, seed=2))
    first = monitor.watch(tmp_path)
    assert (first["checked"], first["drift"], first["waiting"]) == (True, False, 1)
    assert first["away"] == f"MLflow at {AWAY} does not answer"
    (tmp_path / paths.PROMOTION).unlink()
    serve(tmp_path, identity, pictures(20, seed=3, brighter=60))
    second = monitor.watch(tmp_path)
    assert (second["drift"], second["waiting"]) == (True, 2)
    with pytest.raises(Unreachable, match="does not answer"):
        drift.tell(tmp_path, "toy", [second], None)

    monkeypatch.delenv(store.URI_VARIABLE)
    serve(tmp_path, identity, pictures(60, seed=4))
    third = monitor.watch(tmp_path)
    assert (third["drift"], third["waiting"], third["away"]) == (False, 0, None)
    monkeypatch.delenv(store.URI_VARIABLE)  # set by MLflow itself
    client, experiment_id = store.connect(tmp_path, "toy")
    (run,) = client.search_runs([experiment_id])
    assert run.info.run_name == "monitor: version 7"
    assert run.info.status == "FINISHED"
    assert run.data.tags[sync.RUN_TAG] == drift.key(identity)
    assert (run.data.tags["kind"], run.data.tags["drift"]) == ("monitor", "false")
    assert run.data.tags["mlflow.note.content"] == third["sentence"]

    def points(name: str) -> list[tuple[int, float]]:
        return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))

    assert points("drift") == [(2, 0.0), (3, 1.0), (4, 0.0)]
    told = {check["number"]: check for check in (first, second, third)}
    for test in second["tests"]:
        name = f"{test['name']}_{test['window']}"
        assert [step for step, _ in points(f"p/{name}")] == [2, 3, 4]
        assert points(f"p/{name}")[1] == (3, test["p_adjusted"])
        assert points(f"effect/{name}")[1] == (3, pytest.approx(test["effect"]))
    assert points("confidence/mean") == [(step, check["confidence"]["window"]) for step, check in told.items()]
    assert points("share/cat") == [(step, check["answers"]["window"]["cat"] / 60) for step, check in told.items()]
    # Of the page, that of the last drift.
    (artifact,) = client.list_artifacts(run.info.run_id)
    assert artifact.path == monitor.DRIFTED.name
    page = Path(client.download_artifacts(run.info.run_id, artifact.path))
    assert escape(second["sentence"]) in page.read_text(encoding="utf-8")

    # Killed between telling and remembering: told again, nothing is there twice.
    (tmp_path / drift.CURSOR).unlink()
    assert monitor.watch(tmp_path)["waiting"] == 0
    assert points("drift") == [(2, 0.0), (3, 1.0), (4, 0.0)]
    assert len(client.search_runs([experiment_id])) == 1
