"""benchmark in a toy workspace: the bundle's routes beside torch, every competitor, and the command that measures any
bundle."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from components import jsonfile, machine, paths
from components.data import prepared
from components.deployment import bundle
from components.deployment.onnx_export import export
from components.errors import DataError
from components.runtimes import machines
from components.speed import references, subjects
from components.speed.measurement import Plan
from components.stages.benchmark import benchmark
from components.stages.pretrain import pretrain
from components.stages.train import train
from components.training.restore import restore
from components.types import TASK
from graft.commands import benchmark as command
from graft.console import WIDTH
from promotion_support import PROMOTE

HIDDEN = """
import sys
for name in ("torch", "torchvision", "onnx", "onnxscript", "openvino", "yaml", "pydantic", "jinja2", "scipy", "mlflow"):
    sys.modules[name] = None  # makes an import of it fail
"""
PLAN = Plan(batch_sizes=(1,), seconds=0.02, min_speed_up=1.05, threads=1)
STRATEGIES = {"fine_tune": {}, "dann": {}, "diverging": {"strategy": "fine_tune", "recipe": {"lr": 1e30}}}


@pytest.fixture(scope="module")
def made(toy_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("benchmarked")
    shutil.copytree(toy_folder, root / paths.PREPARED)
    content = {
        "data": {"target": {"folder": "raw/target"}, "source": {"folder": "raw/source"}},
        "prepare": {"size": 16},
        "pretrain": {"steps": 2, "batch_size": 16},
        "train": {"steps": 2, "batch_size": 16, "seeds": [0]},
        "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
        "benchmark": {"seconds": 0.04, "batch_sizes": [1, 3], "providers": ["cpu"]},
        "strategies": STRATEGIES,
        "compare": list(STRATEGIES),
        "students": [],
        "promote": PROMOTE,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        Path("params.yaml").write_text(yaml.safe_dump(content))
        torch.set_num_threads(1)
        pretrain()
        for name in STRATEGIES:
            train(name)
        strategy = restore(paths.MODELS / "fine_tune")
        facts = {"classes": strategy.label_space.classes, "preprocess": strategy.backbone.preprocess.to_dict()}
        refused = {"admitted": False, "reason": "91.00% of 32 decisions agree"}
        more = {
            "strategy": "fine_tune",
            "lineage": {"weights_sha256": jsonfile.read(paths.MODELS / "fine_tune" / "model.json")["weights_sha256"]},
            "admission": {"fp32@cpu": {"admitted": True, "reason": "it is fp32"}, "int8@cpu": refused},
        }
        bundle.write(paths.BUNDLE, {"fp32": export(strategy, facts)}, {**facts, **more})
        target = prepared.read(paths.PREPARED).target
        for path, pixels in zip(target.paths, target.pixels, strict=True):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        benchmark()
    return root


@pytest.fixture
def workspace(made, monkeypatch) -> Path:
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def found(workspace) -> dict:
    return jsonfile.read(paths.BENCHMARK)


def test_the_admitted_route_and_torch_are_timed_for_every_batch_size_and_source(found):
    assert found["strategy"] == "fine_tune"
    assert found["bundle"] == bundle.identity(bundle.read(paths.BUNDLE))
    every = [("arrays", 1), ("arrays", 3), ("files", 1), ("files", 3)]
    for rows, route in ((found["measurements"], "fp32@cpu"), (found["references"], "torch eager")):
        assert [(row["route"], row["from"], row["batch_size"]) for row in rows] == [(route, *each) for each in every]
        for row in rows:
            assert 0 < row["latency_ms"] <= row["latency_p95_ms"] <= row["latency_p99_ms"]
            assert row["images_per_s"] == pytest.approx(1e3 * row["batch_size"] / row["latency_ms"])
            assert row["cpu_ms_per_image"] > 0
    assert all("over_torch" not in row for row in found["references"])


def test_what_a_route_costs_beside_time(found, workspace):
    row = found["measurements"][0]
    assert row["size_mib"] == (workspace / paths.BUNDLE / "model.fp32.onnx").stat().st_size / 2**20
    assert 20 < row["peak_mib"] < 300  # onnxruntime, and far from what this process holds
    assert 0 < row["load_s"] < row["cold_start_s"] < 60
    assert row["over_torch"]["low"] <= row["over_torch"]["ratio"] <= row["over_torch"]["high"]


def test_the_machine_and_what_computes_are_named(found):
    assert found["machine"] == machine.describe()
    assert found["threads"] == 1
    assert found["machine_key"] == machines.key()
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert any(name.startswith("onnxruntime") for name in found["versions"])


def test_accuracy_is_measured_on_the_test_images(found, workspace):
    target = prepared.read(paths.PREPARED).target
    rows = target.rows("test", labelled=True)
    answer = references.eager(restore(paths.MODELS / "fine_tune"), torch.device("cpu"))
    decided = answer(np.array(target.pixels[rows])).argmax(1)
    expected = float((decided == target.labels[TASK][rows]).mean())
    assert found["accuracy"] == {"fp32@cpu": pytest.approx(expected), "torch eager": pytest.approx(expected)}


def test_verdicts_and_the_fastest(found):
    assert found["speed"].keys() == {"fp32@cpu"}  # what was refused for its answers is not timed
    assert found["speed"]["fp32@cpu"]["admitted"]
    assert found["fastest"] == "fp32@cpu"
    assert found["options"] == {"fp32@cpu": {"threads": None, "spinning": False, "arena": True, "optimization": "all"}}


def test_a_provider_that_has_no_admitted_route_is_an_error(workspace):
    with pytest.raises(DataError, match="no admitted route on openvino; it has fp32@cpu"):
        subjects.measured(
            paths.BUNDLE, subjects.material(prepared.read(paths.PREPARED)), PLAN, providers=["openvino"], say=print
        )


def test_every_competitor_with_a_model_is_timed_by_the_same_means(found):
    assert found["strategies_by"] == "torch on cpu, batch 1, CPU time of one thread"
    assert list(found["strategies"]) == ["fine_tune", "dann"]  # the one that diverged has nothing to time
    for row in found["strategies"].values():
        assert row.keys() == {"latency_ms", "latency_p95_ms", "size_mib"}
        assert 0 < row["latency_ms"] <= row["latency_p95_ms"]


def test_a_competitor_s_size_is_that_of_what_would_be_deployed(found, workspace):
    sizes = {name: row["size_mib"] for name, row in found["strategies"].items()}
    assert sizes["dann"] == sizes["fine_tune"]  # its discriminator stays behind
    bytes_of_weights = (workspace / paths.MODELS / "fine_tune" / "model.safetensors").stat().st_size
    assert sizes["fine_tune"] == pytest.approx(bytes_of_weights / 2**20, rel=0.02)  # but for the names in the file


def test_the_command_tells_it_in_a_hundred_columns(workspace, tmp_path, capsys):
    command.benchmark(paths.BUNDLE, seconds=0.02, batch_sizes="1,2", threads=1, as_json=tmp_path / "found.json")
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= WIDTH
    for words in (
        "fp32@cpu",
        "torch eager",
        "int8@cpu",
        "refused: 91.00% of 32",
        "fastest: every precision",
        "1 thread",
    ):
        assert words in " ".join(told.split()), words
    written = jsonfile.read(tmp_path / "found.json")
    assert {row["batch_size"] for row in written["measurements"]} == {1, 2}


def test_the_command_measures_a_bundle_alone_where_there_is_no_torch_and_no_workspace(workspace, tmp_path):
    shutil.copytree(paths.BUNDLE, tmp_path / "bundle")
    images = str(Path("raw/target").resolve())
    code = (
        HIDDEN
        + """
from pathlib import Path
from graft.commands.benchmark import benchmark
benchmark(Path("bundle"), images=Path(sys.argv[1]), seconds=0.02, batch_sizes="1", providers="cpu")
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(command.__file__).parents[2])}
    ran = subprocess.run(
        [sys.executable, "-c", code, images], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    told = " ".join(ran.stdout.split())
    assert "torch is not installed" in told
    assert "nobody says what they show" in told
    assert "fp32@cpu" in told and "torch eager" not in told


def test_images_of_another_model_are_refused(workspace, tmp_path):
    shutil.copytree(paths.BUNDLE, tmp_path / "bundle")
    facts = jsonfile.read(tmp_path / "bundle" / bundle.FILE)
    jsonfile.write(tmp_path / "bundle" / bundle.FILE, {**facts, "classes": {TASK: ["cat", "dog"]}})
    with pytest.raises(DataError, match="are not this bundle's: give a folder"):
        command.benchmark(tmp_path / "bundle")
