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
from components.errors import ParityError
from components.inference.predictor import Predictor
from components.stages.export import export
from stage_support import SEEDS


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
    predictor = Predictor(paths.BUNDLE, provider="cpu")
    target = prepared.read(paths.PREPARED).target
    rows = target.rows("test", labelled=True)
    arrays = tensorfile.load(paths.MODELS / chosen / "predictions.safetensors")
    expected = arrays["test/label/logits"][SEEDS.index(model["best_seed"])]
    found = predictor.logits([Path(target.paths[row]) for row in rows])["label"]
    np.testing.assert_allclose(found * facts["temperature"]["label"], expected, rtol=1e-3, atol=1e-3)
    assert json.dumps(facts["metrics"]["test"])  # the file alone says how good it is


def test_export_leaves_no_bundle_where_parity_fails(exported_workspace, tmp_path, monkeypatch):
    root = tmp_path / "refused"
    shutil.copytree(exported_workspace, root)
    monkeypatch.chdir(root)
    chosen = jsonfile.read(paths.EVALUATION)["chosen"]
    path = paths.MODELS / chosen / "predictions.safetensors"
    arrays = tensorfile.load(path)
    arrays["val/label/logits"] = arrays["val/label/logits"] + 1.0
    tensorfile.save(path, arrays)
    with pytest.raises(ParityError, match="logits differ"):
        export()
    assert not paths.BUNDLE.exists()
