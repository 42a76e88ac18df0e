"""machines.json: an entry for each type of machine, which no other part of a bundle knows of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from components import jsonfile, machine
from components.deployment import bundle
from components.errors import DataError
from components.inference.predictor import Predictor
from components.runtimes import machines
from components.runtimes.options import Options
from components.runtimes.routes import Route

FP32 = Route("fp32", "cpu")
TUNED = Options(threads=1, optimization="extended")


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    facts = {
        "strategy": "fine_tune", "classes": {"label": ["cat", "dog", "owl"]},
        "preprocess": {"size": 24, "resize": 28, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
        "lineage": {"weights_sha256": "of the test"},
    }  # fmt: skip
    bundle.write(tmp_path / "bundle", {"fp32": exported}, facts)
    return tmp_path / "bundle"


def test_what_was_written_is_read_on_the_same_type_of_machine_alone(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert machines.read(folder) is None
    machines.write(folder, FP32, TUNED, {"latency_ms": 0.25})
    assert machines.read(folder) == (FP32, TUNED)
    monkeypatch.setattr(machine, "cpu_name", lambda: "another CPU")
    assert machines.read(folder) is None
    machines.write(folder, FP32, Options(threads=3), {})
    assert machines.read(folder) == (FP32, Options(threads=3))
    monkeypatch.undo()
    assert machines.read(folder) == (FP32, TUNED)  # the other's entry stands beside it
    written = jsonfile.read(folder / machines.FILE)
    assert len(written) == 2
    assert written[machines.key()]["measured"] == {"latency_ms": 0.25}
    assert "another CPU" in "".join(entry["machine"] for entry in written.values())


@pytest.mark.parametrize("change", ["cores", "gpus", "versions"])
def test_a_type_is_cores_gpus_and_versions_too(change: str, monkeypatch: pytest.MonkeyPatch):
    before = machines.key()
    if change == "cores":
        monkeypatch.setattr(machine, "physical_cores", lambda: 63)
    elif change == "gpus":
        monkeypatch.setattr(machine, "gpus", lambda: [machine.Gpu("GPU-0", "H200")])
        assert "H200" in machines.describe()
    else:
        monkeypatch.setattr(machines, "versions", lambda: {"onnxruntime": "0.1"})
    assert machines.key() != before
    monkeypatch.undo()
    assert machines.key() == before


def test_the_bundle_stays_what_it_is(folder: Path):
    before = bundle.identity(bundle.read(folder))
    machines.write(folder, FP32, TUNED, {})
    assert bundle.identity(bundle.read(folder)) == before


def test_a_predictor_that_is_told_nothing_takes_what_was_tuned(folder: Path):
    shutil.copy(folder / "model.fp32.onnx", folder / "model.int8.onnx")
    facts = jsonfile.read(folder / bundle.FILE)
    models = {**facts["models"], "int8": {**facts["models"]["fp32"], "file": "model.int8.onnx"}}
    jsonfile.write(folder / bundle.FILE, {**facts, "models": models})
    assert Predictor.load(folder).precision == "fp32"
    machines.write(folder, Route("int8", "cpu"), TUNED, {})
    predictor = Predictor.load(folder)
    assert (predictor.precision, predictor.model.selection.options) == ("int8", TUNED)
    assert Predictor.load(folder, provider="cpu", precision="fp32").precision == "fp32"


def test_an_entry_for_a_file_that_was_not_shipped_counts_for_nothing(folder: Path):
    machines.write(folder, Route("int8", "cpu"), TUNED, {})
    assert machines.read(folder) is None


@pytest.mark.parametrize(
    "damage", [{"route": "int9@cpu"}, {"options": {"thread": 1}}, {"options": None}, {"route": None}]
)
def test_a_damaged_entry_is_an_error_that_names_the_file(folder: Path, damage: dict):
    machines.write(folder, FP32, TUNED, {})
    content = jsonfile.read(folder / machines.FILE)
    content[machines.key()] |= damage
    jsonfile.write(folder / machines.FILE, content)
    with pytest.raises(DataError, match=r"machines\.json"):
        machines.read(folder)
    jsonfile.write(folder / machines.FILE, [])
    with pytest.raises(DataError, match=r"machines\.json"):
        machines.read(folder)
