"""A promotion is one change: killed after any of its steps it leaves a champion that answers, and registry, files and
log agree again afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components import jsonfile, paths
from components import params as parameters
from components.deployment import bundle, installation
from components.errors import MachineError, ParityError
from components.inference.predictor import Predictor
from components.promotion import decisions, proposals, transaction, verification
from components.tracking import registry, store
from promoted_kills import STEPS, TWICE
from promoted_support import CONFUSED, ROOT, write_bundle

OLD = ["blue", "blue", "blue", "red"]  # of two blue, a green and a red image
NEW = ["blue", "blue", "green", "red"]
SWAP = list(STEPS).index("swap")


@pytest.fixture(scope="module")
def kills(proposed, tmp_path_factory) -> dict:
    home = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    home.pop(store.URI_VARIABLE, None)
    command = [sys.executable, str(ROOT / "tests/promoted_kills.py"), str(proposed), str(tmp_path_factory.mktemp("k"))]
    found = subprocess.run(command, env=home, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_after_a_step_leaves_a_champion_that_answers_and_is_recovered(kills: dict, step: str):
    told, done = kills[step], list(STEPS).index(step) >= SWAP
    assert told["killed"] == [signal.SIGKILL] * (2 if step in TWICE else 1)
    left, recovered, again = told["left"], told["recovered"], told["again"]
    # The champion at that very moment: the old one until the swap, the new one from then on, and whole.
    assert (left["files"], left["answers"]) == (("2", NEW) if done else ("1", OLD))
    # Registry, files and log agree on it once it is recovered, and nothing lies about.
    assert (recovered["files"], recovered["answers"]) == (left["files"], left["answers"])
    assert recovered["alias"] == recovered["files"]
    assert recovered["log"] == (["1", "2"] if done else ["1"])
    assert recovered["tag"] == ("promoted" if done else None)
    assert (recovered["beside"], recovered["journal"]) == ([], False)
    # Doing it again, where it was taken back, ends promoted; the log has each decision once.
    assert (again["files"], again["alias"], again["answers"], again["log"]) == ("2", "2", NEW, ["1", "2"])


def test_the_kills_have_met_every_state(kills: dict):
    """Or they would prove nothing: a journal without a decision, and folders that were left beside."""
    left = {step: told["left"] for step, told in kills.items()}
    assert left["begin"]["journal"] and not left["reference"]["journal"]
    assert left["stage"]["beside"] == [".champion.new"]
    assert left["confirm"]["beside"] == [".champion.old"]
    assert left["confirm"]["log"] == ["1"] and left["log"]["log"] == ["1", "2"]


def _alias(root: Path) -> str | None:
    return registry.pointed(store.connect(root, "toy")[0], "toy", registry.CHAMPION)


def test_a_first_promotion_that_is_interrupted_leaves_no_champion_and_no_alias(waiting, monkeypatch):
    """There was none before: the alias is taken away again, not set to a version that serves nowhere."""
    client, _ = store.connect(waiting, "toy")
    registry.point(client, "toy", registry.CHAMPION, None)
    registry.point(client, "toy", registry.CHAMPION, None)  # again changes nothing
    for path in (waiting / paths.CHAMPION).iterdir():
        path.unlink()
    (waiting / paths.CHAMPION).rmdir()
    monkeypatch.setattr(installation, "swap", lambda place: (_ for _ in ()).throw(KeyboardInterrupt))
    params = parameters.load(waiting)
    with pytest.raises(KeyboardInterrupt):
        proposals.force(waiting, waiting, params, by="test", reason="try")
    assert _alias(waiting) == "2"
    monkeypatch.undo()
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    assert "taken back" in str(transaction.recover(waiting))
    assert _alias(waiting) is None
    assert not (waiting / paths.CHAMPION).exists()
    assert transaction.recover(waiting) is None


def test_what_does_not_answer_as_it_was_judged_is_never_promoted_not_even_by_force(root):
    """A model file that another has replaced, and the description with it."""
    staged = installation.stage(root / paths.BUNDLE, root / paths.CHAMPION)
    write_bundle(root / "other", CONFUSED)
    (staged / "model.fp32.onnx").write_bytes((root / "other" / "model.fp32.onnx").read_bytes())
    jsonfile.write(staged / bundle.FILE, bundle.read(root / "other"))
    images = verification.samples(root)
    with pytest.raises(
        ParityError, match=r"answers sample image 0 with 'blue' \(0\.845\), but .*judged with 'blue' \(0\.7"
    ):
        verification.verify(staged, root / paths.BUNDLE, images)
    (root / paths.BUNDLE / "model.fp32.onnx").write_bytes(b"torn")
    with pytest.raises(Exception, match="not the file that was admitted"):
        proposals.force(root, root, parameters.load(root), by="test", reason="whatever it is")
    assert _alias(root) == "1"


def test_a_champion_that_answers_otherwise_once_it_is_in_place_is_taken_back(root, monkeypatch):
    before = bundle.read(root / paths.CHAMPION)
    confirm = verification.confirm

    def damaged(folder: Path, images: np.ndarray, answers: list) -> None:
        (folder / "model.fp32.onnx").write_bytes(b"torn")
        confirm(folder, images, answers)

    monkeypatch.setattr(verification, "confirm", damaged)
    with pytest.raises(ParityError, match=r"not the file that was admitted: .*it was taken back, and version 1 serves"):
        proposals.propose(root, root, parameters.load(root))
    assert bundle.read(root / paths.CHAMPION) == before
    assert _alias(root) == "1"
    assert transaction.interrupted(root) is None
    assert [line["decision"] for line in decisions.read(root)] == ["promoted"]


def test_a_damaged_champion_that_nobody_confirmed_is_taken_back_when_it_is_recovered(waiting, monkeypatch):
    """Killed between the swap and the confirmation, or while what failed it was being taken back."""

    def damaged(folder: Path, images: np.ndarray, answers: list) -> None:
        (folder / "model.fp32.onnx").write_bytes(b"torn")
        raise KeyboardInterrupt

    monkeypatch.setattr(verification, "confirm", damaged)
    with pytest.raises(KeyboardInterrupt):
        proposals.settle(waiting, parameters.load(waiting), "approve", by="test")
    assert (decisions.champion(waiting)["version"], _alias(waiting)) == ("2", "2")
    assert "has been taken back: version 1 serves" in str(transaction.recover(waiting))
    assert bundle.read(waiting / paths.CHAMPION)
    assert (decisions.champion(waiting)["version"], _alias(waiting)) == ("1", "1")
    assert [path.name for path in (waiting / paths.MODELS).glob(".champion*")] == []


def test_whatever_goes_wrong_while_it_is_confirmed_it_is_taken_back(waiting, monkeypatch):
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(verification, "confirm", full)
    with pytest.raises(ParityError, match="No space left on device: it was taken back, and version 1 serves"):
        proposals.settle(waiting, parameters.load(waiting), "approve", by="test")
    assert (decisions.champion(waiting)["version"], _alias(waiting)) == ("1", "1")


def test_a_full_disk_is_told_with_how_things_stand(waiting, monkeypatch):
    """While it is copied, and when the new champion serves already and the log is written."""
    params = parameters.load(waiting)

    def full(*given: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    for home, name, serves in ((shutil, "copytree", "1"), (jsonfile, "append_line", "2")):
        with monkeypatch.context() as patch, pytest.raises(MachineError) as caught:
            patch.setattr(home, name, full)
            proposals.settle(waiting, params, "approve", by="test")
        assert f"No space left on device; version {serves} serves." in str(caught.value)
        assert decisions.champion(waiting)["version"] == serves
    assert "is complete now" in str(transaction.recover(waiting))
    assert [line["version"] for line in decisions.read(waiting)] == ["1", "2"]


def test_a_lost_alias_comes_back_to_what_is_in_production(waiting, monkeypatch):
    """Somebody took it away in MLflow; the promotion that notes where it was is interrupted, and taken back."""
    client, _ = store.connect(waiting, "toy")
    registry.point(client, "toy", registry.CHAMPION, None)
    monkeypatch.setattr(installation, "swap", lambda place: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        proposals.settle(waiting, parameters.load(waiting), "approve", by="test")
    assert _alias(waiting) == "2"
    assert "taken back" in str(transaction.recover(waiting))
    assert _alias(waiting) == "1"


def test_an_mlflow_that_goes_away_in_the_middle_is_told_and_made_good(root, monkeypatch):
    """After the swap: the new champion serves, the error says what is left to do, and the next command does it."""
    from mlflow.exceptions import MlflowException

    tell = registry.tell

    def away(*given: object) -> None:
        if given[3]:  # the tags of the decision, which come last
            raise MlflowException("API request failed: connection refused\nand more")
        tell(*given)

    params = parameters.load(root)
    monkeypatch.setattr(registry, "tell", away)
    with pytest.raises(MachineError, match=r"connection refused; version 2 serves already\. Nothing is lost") as caught:
        proposals.propose(root, root, params)
    assert "\n" not in str(caught.value)
    assert proposals.pending(root, root, params)
    with pytest.raises(MachineError, match="Nothing is lost"):  # still away
        transaction.recover(root)
    monkeypatch.undo()
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    again = proposals.propose(root, root, params)
    assert again.note == "version 2 is champion: its promotion was interrupted, and is complete now"
    assert again.line == decisions.read(root)[-1], "it is no second decision"
    client, _ = store.connect(root, "toy")
    assert client.get_model_version("toy", "2").tags["graft.decision"] == "promoted"
    assert [line["version"] for line in decisions.read(root)] == ["1", "2"]
    assert not proposals.pending(root, root, params)


def test_before_the_swap_the_old_champion_stays_when_mlflow_goes_away(root, monkeypatch):
    from mlflow.exceptions import MlflowException

    def away(*arguments: object) -> None:
        raise MlflowException("connection refused")

    point = registry.point
    monkeypatch.setattr(registry, "point", lambda *given: away() if given[2] == registry.CHAMPION else point(*given))
    with pytest.raises(MachineError, match=r"version 1 serves, as before\. Nothing is lost"):
        proposals.propose(root, root, parameters.load(root))
    assert decisions.champion(root)["version"] == "1"


def test_the_sample_requests_go_through_the_server_s_own_form_queue_and_batches(root, monkeypatch):
    from components.inference.serving import forms, service

    seen: list[str] = []
    for home, name in ((forms.Form, "feed"), (service.Loaded, "prepare"), (service.Service, "run")):
        method = getattr(home, name)
        monkeypatch.setattr(home, name, lambda *given, method=method, name=name: (seen.append(name), method(*given))[1])
    images = verification.samples(root)
    found = verification.serve(Predictor.load(root / paths.BUNDLE), images)
    assert [answer.class_name for answer in found[::5]] == NEW
    assert seen.count("feed") == 1 and seen.count("prepare") == len(images) and "run" in seen
