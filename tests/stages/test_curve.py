"""The learning curve as a command, on raw images in a toy workspace: whole, interrupted and asked again."""

from __future__ import annotations

import html
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from components import jsonfile, paths, tensorfile
from components import params as parameters
from components.backbones.build import to_arrays
from components.backbones.small_resnet import SmallResNet
from components.data import prepared
from components.errors import DataError, GraftError, ParamsError
from components.stages import curve as stage
from components.stages import curve_points
from components.stages.prepare import prepare
from components.training.compute import Compute
from components.types import TASK
from graft.cli import app
from promotion_support import PROMOTE
from tests_support import alive, all_gone

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("blue", "green", "red")
STRATEGIES = {
    "linear_probe": {},
    "tune": {"strategy": "fine_tune"},
    "source_only": {"recipe": {"steps": 2}},
    "distillation": {},
    "from_target": {"strategy": "prototypical", "episodes_from": "target", "n_way": 2, "k_shot": 1, "n_query": 1},
}
ARGUMENTS = ("--labels", "2,1", "--strategies", "linear_probe,tune", "--seeds", "0,1", "--goal", "0.9")
ASKED = {"labels": "2,1", "strategies": "linear_probe,tune", "seeds": "0,1", "goal": 0.9}
POINTS, CHECKPOINTS = curve_points.POINTS, curve_points.CHECKPOINTS
CPU = Compute(torch.device("cpu"), "fp32", 1)
STEPS = 24


def write_params(root: Path, steps: int = 4, **changes) -> None:
    content = {
        "data": {"target": {"folder": "raw/target"}, "source": {"folder": "raw/source"}},
        "prepare": {"size": 16, "labels_per_class": 1, "val_fraction": 0.3, "test_fraction": 0.3},
        "train": {"steps": steps, "batch_size": 8, "log_every": 2, "checkpoint_every": 2, "seeds": [0]},
        "compute": {"device": "cpu", "precision": "fp32", "threads": 1, "cpu_slots": 1},
        "evaluate": {"resamples": 100},
        "compare": ["linear_probe"],
        "students": [],
        "promote": PROMOTE,
        "teacher": "tune",
        "strategies": STRATEGIES,
    }
    (root / "params.yaml").write_text(yaml.safe_dump(content | changes))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose class is their colour, prepared with one label per class, and untrained weights to start from."""
    root = tmp_path_factory.mktemp("curve")
    rng = np.random.default_rng(0)
    for domain, per_class in (("target", 24), ("source", 40)):
        for number, name in enumerate(CLASSES):
            folder = root / "raw" / domain / name
            folder.mkdir(parents=True)
            for index in range(per_class):
                pixels = rng.integers(0, 160, (16, 16, 3), dtype=np.uint8)
                pixels[..., 2 - number] += 60
                Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    write_params(root)
    torch.manual_seed(0)
    backbone = SmallResNet(size=16)
    tensorfile.save(root / paths.PRETRAINED / "backbone.safetensors", to_arrays(backbone))
    jsonfile.write(root / paths.PRETRAINED / "model.json", {"preprocess": backbone.preprocess.to_dict()})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        prepare()
    return root


@pytest.fixture
def workspace(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("raw", "data", "models", "params.yaml"):
        (tmp_path / name).symlink_to(template / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study() -> curve_points.Study:
    params = parameters.load(Path())
    stage._prepare(params)
    return curve_points.Study(params, CPU, stage.DATA)


def untimed(folder: Path) -> dict[str, dict]:
    """The points by file name; only measured times may differ between equal runs."""
    return {path.name: {**jsonfile.read(path), "seconds": 0} for path in folder.glob("*.json")}


@pytest.fixture(scope="module")
def undisturbed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every point computed in this process, one after the other."""
    root = tmp_path_factory.mktemp("undisturbed")
    for name in ("raw", "data", "models"):
        (root / name).symlink_to(template / name)
    write_params(root, steps=STEPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        shared = study()
        for name in ("linear_probe", "tune"):
            for labels in (1, 2):
                for seed in (0, 1):
                    curve_points.measure(shared, curve_points.Point(name, labels, seed))
        stage.curve(**ASKED)
    return root


def killed(root: Path) -> None:
    """`graft curve`, SIGKILLed in the middle of a training: its worker must notice."""
    output = root / "output.txt"
    with output.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "graft", "curve", *ARGUMENTS],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    until = time.monotonic() + 60
    while not (list((root / POINTS).glob("*.json")) and list((root / CHECKPOINTS).glob("*.pt"))):
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            pytest.fail(f"waited in vain: {output.read_text()}")
        time.sleep(0.005)
    workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    assert any(alive(pid) for pid in workers)
    process.wait()
    outlived = not all_gone(workers, within_s=2)
    for pid in workers if outlived else []:
        os.kill(pid, signal.SIGKILL)
    assert not outlived, "a training outlived the command"


def test_a_killed_curve_and_an_interrupted_one_go_on_and_end_alike(workspace, undisturbed, monkeypatch, capsys):
    (workspace / "params.yaml").unlink()
    write_params(workspace, steps=STEPS)
    killed(workspace)
    finished = {path.name: path.stat().st_mtime_ns for path in (workspace / POINTS).glob("*.json")}
    assert 1 <= len(finished) < 8
    assert list((workspace / CHECKPOINTS).glob("*.pt"))

    def interrupted(jobs: dict) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "as_completed", interrupted)
        stage.curve(**ASKED)
    assert all_gone([child.pid or 0 for child in multiprocessing.active_children()], within_s=5)

    capsys.readouterr()
    stage.curve(**ASKED)
    output = capsys.readouterr().out
    assert f"8 trainings, {len(finished)} finished before; 1 at a time" in output
    assert f"[{len(finished) + 1}/8] " in output
    assert " (resumed)" in output
    for name, written in finished.items():
        assert (workspace / POINTS / name).stat().st_mtime_ns == written, "a finished point was trained again"
    assert not list((workspace / CHECKPOINTS).glob("*.pt"))
    assert untimed(workspace / POINTS) == untimed(undisturbed / POINTS)
    for name in ("curve.json", "index.html"):
        assert (workspace / paths.CURVE / name).read_bytes() == (undisturbed / paths.CURVE / name).read_bytes()


def test_what_it_says_and_writes(undisturbed, monkeypatch):
    monkeypatch.chdir(undisturbed)
    result = CliRunner().invoke(app, ["curve", *ARGUMENTS])  # all is known: nothing is trained
    assert result.exit_code == 0, result.output
    assert max(len(line) for line in result.output.splitlines()) <= 100
    assert "Goal: 90% (given)." in result.output
    found = jsonfile.read(paths.CURVE / "curve.json")
    assert (found["labels"], found["seeds"], found["goal"]) == ([1, 2], [0, 1], 0.9)
    contents = untimed(POINTS).values()
    for row in found["strategies"]:
        assert [point["labels"] for point in row["points"]] == [1, 2]
        assert row["sentence"] in " ".join(result.output.split())
        for point in row["points"]:
            own = [c for c in contents if (c["strategy"], c["labels"]) == (row["strategy"], point["labels"])]
            assert point["accuracy"] == pytest.approx(np.mean([1 - len(c["wrong"]) / c["images"] for c in own]))
    page = (paths.CURVE / "index.html").read_text()
    assert page.count('<svg class="chart') == 1
    assert all(row["sentence"] in html.unescape(page) for row in found["strategies"])
    assert "https://" not in page


def test_a_call_for_less_trains_nothing(undisturbed, monkeypatch, capsys):
    monkeypatch.chdir(undisturbed)
    found = stage.curve(labels="1", strategies="tune", seeds="1")
    assert "1 training, 1 finished before\n" in capsys.readouterr().out
    assert "there is one seed" in found["band"]
    stage.curve(**ASKED)


def test_label_free_strategies_students_and_those_that_fail(workspace):
    shared = study()
    asked = {"labels": "1,3", "strategies": "source_only,distillation,from_target", "seeds": "0", "goal": 0.9}
    for name, labels in (
        ("source_only", None),
        ("distillation", 1),
        ("distillation", 3),
        ("from_target", 1),
        ("from_target", 3),
    ):
        curve_points.measure(shared, curve_points.Point(name, labels, 0))
    source_only, student, few_shot = stage.curve(**asked)["strategies"]
    assert len(list(POINTS.glob("*.json"))) == 5
    assert not source_only["uses_labels"]
    assert [point["labels"] for point in source_only["points"]] == [None]
    assert [point["labels"] for point in student["points"]] == [1, 3]  # it uses no label, but its teacher does
    assert [failure["labels"] for failure in few_shot["failed"]] == [1]
    assert "k_shot + n_query = 2 labelled images each" in few_shot["failed"][0]["reason"]
    assert [point["labels"] for point in few_shot["points"]] == [3]
    with pytest.raises(GraftError, match=r"every training failed; the first one: .*k_shot"):
        stage.curve(labels="1", strategies="from_target", seeds="0")


def test_labels_are_nested_and_each_seed_draws_its_own(workspace, template):
    params = parameters.load(workspace)
    data = stage._prepare(params)
    target = data.target
    assert len(target.rows("train", labelled=False)) == 0
    chosen = {
        (count, seed): set(curve_points.with_labels(data, count, seed).target.rows("train", labelled=True))
        for count in (1, 2, 4)
        for seed in (0, 1)
    }
    for seed in (0, 1):
        assert chosen[1, seed] < chosen[2, seed] < chosen[4, seed]
        for count in (1, 2, 4):
            assert np.bincount(target.labels[TASK][sorted(chosen[count, seed])]).tolist() == [count] * 3
    assert chosen[2, 0] != chosen[2, 1]
    # The seed of the data draws the very labels that the pipeline's strategies see.
    own = prepared.read(template / paths.PREPARED).target
    assert {own.sha256[row] for row in own.rows("train", labelled=True)} == {
        target.sha256[row] for row in chosen[1, params.seed]
    }
    none = curve_points.with_labels(data, None, 0)
    assert not len(none.target.rows("train", labelled=True))
    assert np.array_equal(none.target.rows("val", labelled=True), target.rows("val", labelled=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": "0,5"}, "--labels: '0' is not a whole number of at least 1"),
        ({"labels": "1,,5"}, "--labels: '' is not"),
        ({"labels": "1", "seeds": "-1"}, "--seeds: '-1' is not a whole number of at least 0"),
        ({"labels": "1", "goal": 95}, "--goal is 95, but an accuracy to reach lies between 0 and 1"),
        ({"labels": "1", "strategies": "tuna"}, "strategies has no entry 'tuna'; did you mean 'tune'"),
        ({"labels": "1", "strategies": ","}, "--strategies is empty; choose from: distillation"),
        ({"labels": "1"}, "give --strategies"),
        (
            {"labels": "1,500", "strategies": "tune"},
            r"500 of each class .* '(red|green|blue)' has \d+ training images; ",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(arguments, message, workspace):
    with pytest.raises(ParamsError, match=message):
        stage.curve(**arguments)
    assert not POINTS.exists()


def test_what_the_classes_refuse_is_refused_before_anything_is_trained(workspace):
    (workspace / "params.yaml").unlink()
    write_params(workspace, strategies={**STRATEGIES, "from_target": {**STRATEGIES["from_target"], "n_query": 0}})
    with pytest.raises(ParamsError, match="n_query is 0, but an episode needs at least 1"):
        stage.curve(labels="1", strategies="tune,from_target")
    assert not POINTS.exists()


def test_it_needs_what_pretrain_makes(workspace):
    (workspace / "models").unlink()
    with pytest.raises(DataError, match=r"pretrained/backbone\.safetensors does not exist: .*dvc repro pretrain"):
        stage.curve(labels="1", strategies="tune")


def test_points_of_other_parameters_are_others(workspace):
    stage._prepare(parameters.load(workspace))
    (workspace / "params.yaml").unlink()
    point = curve_points.Point("tune", 2, 0)
    found = set()
    other = {**STRATEGIES, "tune": {"strategy": "fine_tune", "body_lr_factor": 0.3}}
    for changes in ({}, {"compare": ["tune"]}, {"strategies": other}):
        write_params(workspace, **changes)
        shared = curve_points.Study(parameters.load(workspace), CPU, stage.DATA)
        found |= {shared.path(point), shared.path(curve_points.Point("tune", 2, 1))}
        found.add(shared.path(curve_points.Point("distillation", 2, 0)))  # its teacher is `tune`
    assert len(found) == 6


def test_images_that_came_after_the_pipeline_ran_are_refused(template, workspace):
    params = parameters.load(workspace)
    (workspace / "data").unlink()
    own = prepared.read(template / paths.PREPARED)
    rows = [
        {
            "path": "x",
            "domain": "target",
            "split": part,
            TASK: name,
            "sha256": f"{part}{name}",
            "width": 16,
            "height": 16,
        }
        for part in ("train", "val", "test")
        for name in CLASSES
    ]
    pixels = {"target": np.zeros((len(rows), 16, 16, 3), np.uint8)}
    prepared.write(paths.PREPARED, rows, pixels, own.label_space, {})
    with pytest.raises(DataError, match="made of other images than those of now"):
        stage._prepare(params)
