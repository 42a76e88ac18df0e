"""One check after another of a champion that serves, from its observations to the log, the page and the exit code."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from monitor_support import CLASSES, make_bundle, network, pictures, serve, workspace
from typer.testing import CliRunner

from components import jsonfile, paths
from components.deployment import bundle
from components.errors import DataError, ParamsError
from components.inference.predictor import Predictor
from components.monitoring import budget, reference
from components.stages import monitor, monitor_words
from graft.cli import app

NOW = 1_800_000_000.0


@pytest.fixture
def champion(tmp_path) -> str:
    return workspace(tmp_path)


def checks(root) -> list[dict]:
    return [line for line in budget.history(root) if line["kind"] == budget.CHECK]


def test_too_few_images_are_not_compared_and_it_says_how_many_are_missing(tmp_path, champion):
    found = monitor.check(tmp_path)
    assert (found["checked"], found["drift"], found["tests"], found["images"]) == (False, False, [], 0)
    assert found["sentence"] == (
        "Not checked: 0 images of fine_tune (version 7) were observed, and the smallest window takes 20, so 20 are "
        "missing; serve or predict with --observe."
    )
    assert found["retrain"] == {"allowed": False, "reason": "nothing was compared"}
    serve(tmp_path, champion, pictures(19, seed=2))
    assert "19 images of fine_tune (version 7) were observed" in monitor.check(tmp_path)["sentence"]
    assert monitor.check(tmp_path)["sentence"].endswith("so 1 is missing.")
    assert "As soon as there are 20, they are compared." in (tmp_path / paths.DRIFT_REPORT).read_text()
    assert len(checks(tmp_path)) == 2


def test_a_window_that_is_not_full_yet_is_told_on_the_page(tmp_path, champion):
    serve(tmp_path, champion, pictures(40, seed=2))
    monitor.check(tmp_path)
    assert "the last 60, as soon as there are so many" in (tmp_path / paths.DRIFT_REPORT).read_text()


def test_images_like_those_it_was_tested_with_are_no_drift(tmp_path, champion):
    serve(tmp_path, champion, pictures(40, seed=2))
    found = monitor.check(tmp_path)
    assert (found["checked"], found["drift"], found["windows"], found["images"]) == (True, False, [20], 20)
    assert re.fullmatch(
        r"No drift: the last 20 images cannot be told from the 80 that fine_tune \(version 7\) was tested with "
        r"\(smallest adjusted p [01]\.\d{3}\)\.",
        found["sentence"],
    )
    assert found["retrain"] == {"allowed": False, "reason": "there is no drift"}
    serve(tmp_path, champion, pictures(40, seed=3))
    both = monitor.check(tmp_path)
    assert (both["drift"], both["windows"], both["images"]) == (False, [20, 60], 60)
    assert {(test["name"], test["window"]) for test in both["tests"]} == {
        (name, size) for name in ("features", "classifier", "confidence", "classes") for size in (20, 60)
    }
    # What it says of the window is what was served last.
    predictor = Predictor.load(tmp_path / paths.CHAMPION)
    served = list(predictor.predict(np.concatenate([pictures(40, seed=2), pictures(40, seed=3)])[-60:]))
    assert both["confidence"]["window"] == pytest.approx(np.mean([answer.probability for answer in served]), abs=1e-5)
    assert both["answers"]["window"] == {name: sum(a.class_name == name for a in served) for name in CLASSES}
    assert jsonfile.read(tmp_path / monitor.LAST) == both
    assert [check["number"] for check in checks(tmp_path)] == [1, 2]


def test_a_shift_is_found_within_one_window_and_may_start_one_retraining(tmp_path, champion):
    serve(tmp_path, champion, pictures(60, seed=2))
    serve(tmp_path, champion, pictures(20, seed=3, brighter=60), keep=True)
    found = monitor.check(tmp_path)
    assert found["drift"]
    assert found["sentence"].startswith(
        "Drift: the last 20 and 60 images differ from the 80 that fine_tune (version 7)"
    )
    assert found["retrain"]["allowed"]
    # All of the last 20 are brighter, and a third of the last 60.
    effects = {(test["name"], test["window"]): test["effect"] for test in found["tests"]}
    assert effects["features", 20] > 2 * effects["features", 60]
    assert effects["classifier", 20] > 0.99 > effects["classifier", 60]
    # Those shown are of the 20 that were kept and are brighter, the most moved first.
    assert len(found["moved"]) == 3
    assert all(entry["path"].startswith(".graft/observations/") for entry in found["moved"])
    assert all((tmp_path / entry["path"]).exists() for entry in found["moved"])
    scores = [entry["score"] for entry in found["moved"]]
    assert scores == sorted(scores, reverse=True)
    text = (tmp_path / paths.DRIFT_REPORT).read_text()
    assert (tmp_path / monitor.DRIFTED).read_text() == text
    assert text.count("data:image/webp") == 2 * 3  # each with one of the reference, as all answers occur there

    same = monitor.check(tmp_path)
    assert same["repeated"]
    assert same["retrain"]["allowed"]
    assert len(checks(tmp_path)) == 1
    assert monitor_words.told({**same, "waiting": 0})[1].startswith("These images were compared before, at ")
    budget.note(tmp_path, found["sentence"])
    assert monitor.check(tmp_path)["retrain"] == {
        "allowed": False, "reason": "these very images have started one already"
    }  # fmt: skip
    serve(tmp_path, champion, pictures(1, seed=9, brighter=60))
    later = monitor.check(tmp_path)
    assert later["drift"]
    assert later["retrain"]["reason"].endswith("(monitor.cool_down_h is 24)")
    again = monitor.check(tmp_path, again=True)
    assert not again["repeated"]
    assert again["tests"] == later["tests"]
    assert [check["number"] for check in checks(tmp_path)] == [1, 2, 3]


def test_a_look_back_ends_where_it_is_told_and_starts_nothing(tmp_path, champion):
    serve(tmp_path, champion, pictures(60, seed=2, brighter=60), clock=lambda: NOW - 3600)
    serve(tmp_path, champion, pictures(60, seed=3), clock=lambda: NOW)
    now = monitor.check(tmp_path)
    page = (tmp_path / paths.DRIFT_REPORT).read_text()
    assert not now["drift"]
    until = budget.stamp(NOW - 1800)
    found = monitor.check(tmp_path, until)
    assert jsonfile.read(tmp_path / monitor.LAST) == now, "whoever acts on it would act on the past"
    assert (found["drift"], found["until"], found["images"]) == (True, until, 60)
    assert found["retrain"] == {"allowed": False, "reason": "a look back starts none"}
    assert found["page"] == f"reports/drift/{until.replace(':', '')}.html"
    assert "drift" in (tmp_path / found["page"]).read_text()
    assert (tmp_path / paths.DRIFT_REPORT).read_text() == page
    assert monitor.check(tmp_path, until)["repeated"]
    early = monitor.check(tmp_path, budget.stamp(NOW - 7200))
    assert "were observed before 2027-01-15T06:00:00Z" in early["sentence"]
    assert early["page"] is None
    assert len(list((tmp_path / paths.DRIFT_REPORT.parent).iterdir())) == 2
    with pytest.raises(ParamsError, match="--until is 'noon'"):
        monitor.check(tmp_path, "noon")


def test_what_an_earlier_champion_served_says_nothing_about_this_one(tmp_path, champion):
    serve(tmp_path, champion, pictures(60, seed=2, brighter=60))
    assert monitor.check(tmp_path)["drift"]
    shutil.rmtree(tmp_path / paths.CHAMPION)
    folder = make_bundle(tmp_path / paths.CHAMPION, strategy="dan")
    with pytest.raises(DataError, match="graft promote keeps them when it promotes one"):
        monitor.check(tmp_path)
    reference.write(tmp_path, folder, pictures(80, seed=2, brighter=60))
    found = monitor.check(tmp_path)
    assert (found["checked"], found["strategy"], found["version"]) == (False, "dan", None)
    shutil.rmtree(tmp_path / paths.CHAMPION)
    with pytest.raises(DataError, match="there is no champion"):
        monitor.check(tmp_path)


def test_what_is_served_by_another_precision_is_no_drift(tmp_path, champion):
    """Half the features, of the same images: enough to be found, were it not for the route."""
    shutil.rmtree(tmp_path / paths.CHAMPION)
    folder = make_bundle(tmp_path / paths.CHAMPION, {"fp32": network(), "int8": network(0.5)})
    identity = reference.write(tmp_path, folder, pictures(80, seed=1))
    serve(tmp_path, identity, pictures(60, seed=2), route=("int8", "cpu"))
    found = monitor.check(tmp_path)
    assert (found["checked"], found["drift"]) == (True, False)
    assert identity == bundle.identity(bundle.read(folder))


def test_what_was_answered_as_this_machine_cannot_starts_no_retraining(tmp_path, champion):
    serve(tmp_path, champion, pictures(20, seed=2, brighter=60))
    (rows,) = (tmp_path / paths.OBSERVATIONS).glob("*/*.rows")
    rows.write_bytes(rows.read_bytes().replace(b"fp32@cpu", b"fp16@npu"))
    found = monitor.check(tmp_path)
    assert (found["drift"], found["retrain"]["allowed"]) == (True, False)
    assert found["retrain"]["reason"] == (
        "the images were answered by fp16@npu, which this machine cannot run, and the reference by fp32@cpu, so what "
        "differs may be the arithmetic: run graft monitor where they were answered"
    )
    assert "fp16@npu, which this machine cannot run" in (tmp_path / paths.DRIFT_REPORT).read_text()


def test_the_command_prints_the_verdict_and_ends_with_4_for_drift(tmp_path, champion, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    serve(tmp_path, champion, pictures(19, seed=2))
    # Nothing was compared, so MLflow is not asked.
    done = CliRunner().invoke(app, ["monitor"])
    assert done.exit_code == 0
    assert done.output.startswith("Not checked: 19 images")
    assert "Page: reports/drift/index.html" in done.output
    done = CliRunner().invoke(app, ["monitor", "--json"])
    assert (done.exit_code, json.loads(done.output)["images"]) == (0, 19)
    serve(tmp_path, champion, pictures(60, seed=2, brighter=60))
    (tmp_path / paths.MONITOR / "told.json").write_text('{"http://127.0.0.1:9": 99}')
    done = CliRunner().invoke(app, ["monitor"])
    assert done.exit_code == 4
    assert done.output.startswith("Drift: the last 20 and 60 images")
    assert all(len(line) <= 100 for line in done.output.splitlines())
    done = CliRunner().invoke(app, ["monitor", "--until", "2020-01-01T00:00:00Z", "--json"])
    assert (done.exit_code, json.loads(done.output)["until"]) == (0, "2020-01-01T00:00:00Z")
