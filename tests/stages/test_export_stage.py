"""export: a bundle that answers like the chosen strategy, or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components import jsonfile, paths, tensorfile
from components.data import prepared
from components.deployment import bundle
from components.errors import DataError, ParamsError, ParityError
from components.inference.predictor import Predictor
from components.lineage import folder_digest
from components.runtimes.routes import routes
from components.runtimes.session import present
from components.stages.export import export, lines
from graft.commands import export as command
from stage_support import SEEDS, write_params


@pytest.fixture(scope="module")
def exported_workspace(trained_workspace, tmp_path_factory):
    """The images of the toy as files, since export answers from files; then export."""
    root = tmp_path_factory.mktemp("exported")
    shutil.copytree(trained_workspace, root, dirs_exist_ok=True)
    target = prepared.read(root / paths.PREPARED).target
    for path, pixels in zip(target.paths, target.pixels, strict=True):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        export()
    return root


def _spoil(name: str) -> None:
    """The model is no longer the one whose answers were evaluated."""
    path = paths.MODELS / name / "predictions.safetensors"
    arrays = tensorfile.load(path)
    arrays["val/label/logits"] = arrays["val/label/logits"] + 1.0
    tensorfile.save(path, arrays)


def test_export_writes_a_bundle_that_answers_like_the_chosen_strategy(exported_workspace, monkeypatch):
    monkeypatch.chdir(exported_workspace)
    facts = bundle.read(paths.BUNDLE)
    chosen = jsonfile.read(paths.EVALUATION)["chosen"]
    model = jsonfile.read(paths.MODELS / chosen / "model.json")
    assert facts["strategy"] == chosen
    assert facts["lineage"]["weights_sha256"] == model["weights_sha256"]
    assert facts["lineage"]["data_sha256"] == model["data_sha256"]
    assert facts["lineage"]["seed"] == model["best_seed"]
    assert facts["parity"]["fp32"]["agreement"] >= 0.999
    assert facts["parity"]["fp32"]["images"] == 32
    predictor = Predictor.load(paths.BUNDLE, provider="cpu")
    target = prepared.read(paths.PREPARED).target
    rows = target.rows("test", labelled=True)
    arrays = tensorfile.load(paths.MODELS / chosen / "predictions.safetensors")
    expected = arrays["test/label/logits"][SEEDS.index(model["best_seed"])]
    found = predictor.logits([Path(target.paths[row]) for row in rows])["label"]
    np.testing.assert_allclose(found * facts["temperature"]["label"], expected, rtol=1e-3, atol=1e-3)
    assert json.dumps(facts["metrics"]["test"])  # the file alone says how good it is


def test_the_bundle_says_what_was_admitted_and_why(exported_workspace, monkeypatch):
    """Eight steps of training give a network whose decisions hang by a thread, so what is admitted is not the point:
    every route has a verdict, and the bundle holds just the files of those that were admitted."""
    monkeypatch.chdir(exported_workspace)
    facts = bundle.read(paths.BUNDLE)
    known = [route for provider in present() for route in routes(provider)]
    assert list(facts["admission"]) == [str(route) for route in known]
    assert facts["admission"]["fp32@cpu"]["admitted"]
    admitted = {route.file for route in known if facts["admission"][str(route)]["admitted"]}
    assert set(facts["models"]) == admitted
    for verdict in facts["admission"].values():
        assert verdict["images"] == 32
        assert verdict["reason"]
        assert verdict["accuracy"] - verdict["parent_accuracy"] == pytest.approx(
            verdict["accuracy_difference"]["value"]
        )
    int8 = facts["admission"]["int8@cpu"]
    assert int8["tried"] and int8["tried"][0]["calibrator"] == "minmax"
    assert int8["calibrator"] in [entry["calibrator"] for entry in int8["tried"]]
    proof = facts["parity"]["fp32"]
    assert proof["preprocessing"]["max_grey_levels"] <= 1.5
    assert proof["raw"]["images"] == proof["preprocessing"]["images"] == 112


def test_the_model_file_carries_the_facts_and_the_threshold(exported_workspace, monkeypatch):
    monkeypatch.chdir(exported_workspace)
    facts = bundle.read(paths.BUNDLE)
    own = Predictor.load(paths.BUNDLE / "model.fp32.onnx", provider="cpu").facts
    assert own == {key: value for key, value in facts.items() if key not in ("models", "admission", "parity")}
    row = next(row for row in facts["abstain"] if row["coverage"] == 0.95)
    assert facts["abstain_below"] == row["threshold"] > 0


def test_what_is_shown_fits_a_terminal(exported_workspace, capsys, monkeypatch):
    monkeypatch.chdir(exported_workspace)
    shown = [line for entry in lines(bundle.read(paths.BUNDLE)) for line in entry.splitlines()]
    assert any(": fp32@cpu admitted, 100.00% of 32 decisions agree, logits within" in line for line in shown)
    assert any(": int8@cpu " in line for line in shown)
    assert max(map(len, shown)) <= 100


def test_a_coverage_without_a_threshold_is_refused_before_anything_is_lost(exported_workspace, tmp_path, monkeypatch):
    root = tmp_path / "refused"
    shutil.copytree(exported_workspace, root)
    monkeypatch.chdir(root)
    write_params(root, export={"coverage": 0.42})
    with pytest.raises(ParamsError, match=r"export.coverage is 0.42.*choose from: 1, 0.95"):
        export()
    assert bundle.read(paths.BUNDLE)


def test_export_leaves_no_bundle_where_parity_fails(exported_workspace, tmp_path, monkeypatch):
    root = tmp_path / "refused"
    shutil.copytree(exported_workspace, root)
    monkeypatch.chdir(root)
    _spoil(jsonfile.read(paths.EVALUATION)["chosen"])
    with pytest.raises(ParityError, match="logits differ"):
        export()
    assert not paths.BUNDLE.exists()


def test_the_command_exports_into_a_folder_of_its_name_and_shows_every_route(exported_workspace, tmp_path, capsys):
    chosen = jsonfile.read(exported_workspace / paths.EVALUATION)["chosen"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(exported_workspace)
        command.export([chosen], out=tmp_path / "out")
    # Equal exports give equal bytes, of everything in the folder.
    assert folder_digest(tmp_path / "out" / chosen) == folder_digest(exported_workspace / paths.BUNDLE)
    shown = capsys.readouterr().out
    assert f"{chosen}: {tmp_path / 'out' / chosen}" in shown
    assert "fp32@cpu" in shown and "int8@cpu" in shown
    assert "1 of 1 passed the gates" in shown


def test_the_command_leaves_no_bundle_of_a_refused_competitor(exported_workspace, tmp_path, monkeypatch, capsys):
    root = tmp_path / "refused"
    shutil.copytree(exported_workspace, root)
    monkeypatch.chdir(root)
    chosen = jsonfile.read(paths.EVALUATION)["chosen"]
    _spoil(chosen)
    with pytest.raises(ParityError, match=f"1 of 1 were refused and have no bundle: {chosen}"):
        command.export([chosen], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert f"- {chosen} refused: logits differ by up to" in " ".join(capsys.readouterr().out.split())


def test_a_competitor_that_is_none_is_refused_with_the_choices(exported_workspace, monkeypatch):
    monkeypatch.chdir(exported_workspace)
    with pytest.raises(DataError, match=r"the last run has no model of 'gentel'; did you mean 'gentle'\?"):
        command.export(["gentel"])
    with pytest.raises(ParamsError, match="--all or names"):
        command.export(["gentle"], everyone=True)
