"""pretrain, embed and train where images come in: what adapts is trained for them, and everyone answers them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import recent_support
import torch

from components import jsonfile, paths, tensorfile
from components.data import features, prepared
from components.data.prepared import HIDDEN, RECENT
from components.data.streams import Streams
from components.evaluation import label_free
from components.stages.embed import embed
from components.stages.pretrain import pretrain
from components.stages.train import train
from components.training.predict import predict
from components.training.restore import restore
from components.types import TASK
from stage_support import SEEDS, write_params

ADAPTING = ("source_only", "adabn", "dan", "dann", "cdan", "mcc", "deep_coral", "adda", "drcn")
COMPARE = ("dan", "linear_probe", "fine_tune")


def _workspace(root, data, monkeypatch, names, **changes) -> None:
    monkeypatch.chdir(root)
    recent_support.write(paths.PREPARED, data)
    sections = {name: {"folder": f"raw/{name}"} for name in ("target", "source")}
    recent = {"folder": "raw/recent", "layout": None}
    write_params(root, data={**sections, "recent": recent}, strategies={name: {} for name in names}, **changes)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def workspace(toy, tmp_path_factory):
    root = tmp_path_factory.mktemp("recent")
    with pytest.MonkeyPatch.context() as patch:
        _workspace(root, recent_support.with_recent(toy, labelled=3), patch, COMPARE)
        pretrain()
        embed()
        for name in COMPARE:
            train(name)
    return root


@pytest.fixture
def inside(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    return workspace


@pytest.mark.parametrize("name", COMPARE)
def test_every_competitor_answers_all_held_out_recent_images(name, inside):
    arrays = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
    data = prepared.read(paths.PREPARED)
    rows = data.recent.rows("val")
    labels = arrays[f"{RECENT}/{TASK}/labels"]
    assert arrays[f"{RECENT}/{TASK}/logits"].shape == (len(SEEDS), len(rows), 4)
    assert np.array_equal(labels, data.recent.labels[TASK][rows])
    assert (labels == HIDDEN).sum() == len(rows) - 3
    facts = jsonfile.read(paths.MODELS / name / "model.json")
    model = restore(paths.MODELS / name)
    streams = Streams(data, model.backbone.preprocess, batch_size=16, augment="none", seed=0)
    found, _ = predict(model, streams.split("val", RECENT))
    expected = arrays[f"{RECENT}/{TASK}/logits"][SEEDS.index(facts["best_seed"])]
    np.testing.assert_allclose(found[TASK], expected, rtol=1e-4, atol=1e-4)


def test_without_target_labels_the_recent_answers_choose_the_seed(inside):
    facts = {name: jsonfile.read(paths.MODELS / name / "model.json") for name in COMPARE}
    assert facts["fine_tune"]["chosen_by"] == facts["linear_probe"]["chosen_by"] == "val"
    assert facts["dan"]["chosen_by"] == "recent.information_maximisation"
    arrays = tensorfile.load(paths.MODELS / "dan" / "predictions.safetensors")
    scores = [label_free.information_maximisation(logits) for logits in arrays[f"{RECENT}/{TASK}/logits"]]
    assert facts["dan"]["best_seed"] == SEEDS[int(np.argmax(scores))]


def test_the_recent_images_features_are_computed_once(inside):
    data, table = prepared.read(paths.PREPARED), features.read(paths.FEATURES)
    assert table is not None
    assert set(data.recent.sha256) <= set(table.layout.images)


def test_the_starting_weights_know_nothing_of_what_comes_in(workspace, toy_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_folder, paths.PREPARED)
    write_params(tmp_path, strategies={"dan": {}})
    pretrain()
    place = paths.PRETRAINED / "backbone.safetensors"
    assert (workspace / place).read_bytes() == place.read_bytes()


@pytest.mark.parametrize("source", [True, False])
def test_every_adapting_strategy_reads_them_and_nobody_needs_a_source(source, toy, workspace, tmp_path, monkeypatch):
    data = recent_support.with_recent(toy)
    if not source:
        del data.domains["source"]
    _workspace(tmp_path, data, monkeypatch, ADAPTING, train={"steps": 2, "batch_size": 8, "seeds": [0]})
    shutil.copytree(workspace / paths.PRETRAINED, paths.PRETRAINED)
    for name in ADAPTING if source else ("mcc", "adabn"):
        train(name)
        arrays = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
        assert arrays[f"{RECENT}/{TASK}/logits"].shape == (1, len(data.recent.rows("val")), 4)
        assert (f"source/{TASK}/logits" in arrays) == source
        assert jsonfile.read(paths.MODELS / name / "model.json")["failed"] is None
