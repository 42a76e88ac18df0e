"""What of a bundle goes into production, and how it runs there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components import machine
from components.deployment import bundle, installation
from components.inference.predictor import Predictor
from components.runtimes import machines
from components.runtimes.options import DEFAULT, Options
from components.runtimes.routes import Route
from components.speed import shipping
from components.speed.shipping import Shipping

INT8 = Route("int8", "cpu")


def installed(source: Path, destination: Path, shipped: Shipping) -> None:
    shipping.stage(source, destination, shipped)
    installation.swap(destination)
    installation.discard(destination)


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A bundle of two files, which differ in their names alone, and one that answers among new classes."""
    facts = {
        "strategy": "fine_tune", "classes": {"label": ["cat", "dog", "owl"]},
        "preprocess": {"size": 24, "resize": 28, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
        "lineage": {"weights_sha256": "of the test"},
        "admission": {"fp32@cpu": {"admitted": True}, "int8@cpu": {"admitted": True}},
    }  # fmt: skip
    content = exported.read_bytes()
    bundle.write(tmp_path / "bundle", {"fp32": content, "int8": content, "support": content}, facts)
    return tmp_path / "bundle"


def benchmark(folder: Path, *, int8: bool) -> dict:
    """reports/benchmark.json, where int8 is the fastest or not worth it."""
    return {
        "bundle": bundle.identity(bundle.read(folder)),
        "machine_key": machines.key(),
        "threads": 1,
        "speed": {"fp32@cpu": {"admitted": True}, "int8@cpu": {"admitted": int8}},
        "fastest": "int8@cpu" if int8 else "fp32@cpu",
        "options": {"fp32@cpu": DEFAULT.to_dict(), "int8@cpu": Options(threads=1).to_dict()},
        "measurements": [
            {"route": route, "from": source, "batch_size": size, "latency_ms": 0.5 * size, "images_per_s": 2000.0}
            for route in ("fp32@cpu", "int8@cpu")
            for source in ("files", "arrays")
            for size in (32, 1)
        ],
    }


def test_the_fastest_route_is_shipped_and_is_what_answers(folder: Path, tmp_path: Path):
    found = shipping.decide(bundle.read(folder), benchmark(folder, int8=True))
    assert found == Shipping(
        ("fp32", "int8", "support"), INT8, Options(threads=1),
        {"batch_size": 1, "latency_ms": 0.5, "images_per_s": 2000.0, "threads": 1},
    )  # fmt: skip
    installed(folder, tmp_path / "champion", found)
    predictor = Predictor.load(tmp_path / "champion")
    assert (predictor.precision, predictor.model.selection.options) == ("int8", Options(threads=1))
    assert not (folder / machines.FILE).exists()


def test_a_precision_that_is_not_faster_stays_behind(folder: Path, tmp_path: Path):
    found = shipping.decide(bundle.read(folder), benchmark(folder, int8=False))
    assert found.files == ("fp32", "support")
    installed(folder, tmp_path / "champion", found)
    assert not (tmp_path / "champion" / "model.int8.onnx").exists()
    assert (folder / "model.int8.onnx").exists()
    champion, whole = bundle.read(tmp_path / "champion"), bundle.read(folder)
    assert set(champion["models"]) == {"fp32", "support"}
    assert bundle.identity(champion) == bundle.identity(whole)  # it is the same bundle
    assert Predictor.load(tmp_path / "champion").precision == "fp32"


@pytest.mark.parametrize("change", [{"bundle": "another"}, {"machine_key": "another"}, None])
def test_where_its_speed_here_is_not_known_all_of_it_is_shipped(folder: Path, tmp_path: Path, change: dict | None):
    found = None if change is None else {**benchmark(folder, int8=False), **change}
    shipped = shipping.decide(bundle.read(folder), found)
    assert shipped == Shipping()
    installed(folder, tmp_path / "champion", shipped)
    assert set(bundle.read(tmp_path / "champion")["models"]) == {"fp32", "int8", "support"}
    assert not (tmp_path / "champion" / machines.FILE).exists()


def test_routes_that_a_champion_of_the_same_model_lacks(folder: Path):
    facts = bundle.read(folder)
    only_fp32 = {"fp32": facts["models"]["fp32"]}
    refused = {"fp32@cpu": {"admitted": True}, "int8@cpu": {"admitted": False}}
    before = {**facts, "models": only_fp32, "admission": refused}
    assert shipping.new_routes(facts, Shipping(), before) == ["int8@cpu"]
    assert shipping.new_routes(facts, Shipping(), {**facts, "models": only_fp32}) == ["int8@cpu"]
    assert shipping.new_routes(facts, Shipping(("fp32",)), before) == []  # it would stay behind
    assert shipping.new_routes(before, Shipping(), facts) == []
    assert shipping.new_routes(facts, Shipping(), facts) == []
    assert shipping.new_routes(facts, Shipping(), {**before, "lineage": {"weights_sha256": "another"}}) == []
    without = {name: value for name, value in before.items() if name != "admission"}  # as version 0.3 wrote it
    assert shipping.new_routes(facts, Shipping(), without) == ["int8@cpu"]


def test_a_rollback_ships_it_as_before_on_the_same_type_of_machine(folder: Path, monkeypatch: pytest.MonkeyPatch):
    shipped = shipping.decide(bundle.read(folder), benchmark(folder, int8=True))
    noted = json.loads(json.dumps(shipped.to_dict()))
    assert Shipping.from_dict(noted) == shipped
    monkeypatch.setattr(machine, "cpu_name", lambda: "another CPU")
    assert Shipping.from_dict(noted) == Shipping()
    assert Shipping.from_dict(Shipping().to_dict()) == Shipping()


def test_what_was_tuned_stays_with_the_same_bundle_alone(folder: Path, tmp_path: Path):
    champion = tmp_path / "champion"
    shipped = shipping.decide(bundle.read(folder), benchmark(folder, int8=True))
    installed(folder, champion, shipped)
    tuned = Options(threads=1, arena=False)
    machines.write(champion, Route("fp32", "cpu"), tuned, {})
    installed(folder, champion, shipped)
    assert machines.read(champion) == (Route("fp32", "cpu"), tuned)
    facts = bundle.read(folder)
    models = {key: folder / entry["file"] for key, entry in facts.pop("models").items()}
    bundle.write(tmp_path / "other", models, {**facts, "lineage": {"weights_sha256": "others"}})
    installed(tmp_path / "other", champion, shipped)
    assert machines.read(champion) == (INT8, Options(threads=1))


@pytest.mark.parametrize("file", ["model.fp32.onnx", "bundle.json"])
def test_a_damaged_champion_is_replaced(folder: Path, tmp_path: Path, file: str):
    champion = tmp_path / "champion"
    shipped = shipping.decide(bundle.read(folder), benchmark(folder, int8=True))
    installed(folder, champion, shipped)
    (champion / file).write_bytes(b"damaged")
    installed(folder, champion, shipped)
    assert set(bundle.read(champion)["models"]) == {"fp32", "int8", "support"}
    assert machines.read(champion) == (INT8, Options(threads=1))
