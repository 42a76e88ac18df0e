"""pretrain, train, evaluate and export in a toy workspace: what they write is what the next one and a person read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml

from components import jsonfile, lineage, paths, tensorfile
from components.data import prepared
from components.deployment import bundle
from components.errors import DataError, ParamsError
from components.evaluation import metrics
from components.inference.predictor import Predictor
from components.stages.evaluate import evaluate
from components.stages.pretrain import pretrain
from components.stages.train import train
from components.training.predict import predict
from components.training.restore import restore

STRATEGIES = {
    "linear_probe": {"l2": [0.01, 1.0]},
    "gentle": {"strategy": "fine_tune", "body_lr_factor": 0.5, "recipe": {"steps": 6}},
    "from_scratch": {},
}
SEEDS = [0, 1]


def _params(folder: Path, **changes) -> None:
    content = {
        "data": {"target": {"folder": "raw/target"}, "source": {"folder": "raw/source"}},
        "prepare": {"size": 16},
        "pretrain": {"steps": 8, "batch_size": 16, "log_every": 4},
        "train": {"steps": 8, "batch_size": 16, "log_every": 4, "evaluate_every": 4, "seeds": SEEDS},
        "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
        "evaluate": {"resamples": 100},
        "students": [],
        "strategies": STRATEGIES,
    }
    content |= changes
    content.setdefault("compare", [name for name in content["strategies"] if name not in content["students"]])
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def workspace(toy_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("workspace")
    shutil.copytree(toy_folder, root / paths.PREPARED)
    _params(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        torch.set_num_threads(1)
        pretrain()
        for name in STRATEGIES:
            train(name)
        evaluate()
    return root


@pytest.fixture
def inside(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    return workspace


def test_pretrain_writes_weights_facts_history_and_time(inside):
    facts = jsonfile.read(paths.PRETRAINED / "model.json")
    assert facts["backbone"] == "small_resnet"
    assert facts["weights"] == "pretrain"
    assert facts["weights_sha256"] == lineage.file_digest(paths.PRETRAINED / "backbone.safetensors")
    assert facts["preprocess"]["size"] == 16
    assert 0 <= facts["source_val_accuracy"] <= 1
    assert (facts["device"], facts["precision"], facts["threads"]) == ("cpu", "fp32", 1)
    history = jsonfile.read_lines(paths.PRETRAINED / "history.jsonl")
    assert [record["step"] for record in history if "lr" in record] == [4, 8]
    assert jsonfile.read(paths.TIMINGS / "pretrain.json")["train_time_s"] > 0


@pytest.mark.parametrize("name", STRATEGIES)
def test_train_writes_what_it_trained(name, inside):
    facts = jsonfile.read(paths.MODELS / name / "model.json")
    entry = STRATEGIES[name]
    assert facts["name"] == name
    assert facts["strategy"] == entry.get("strategy", name)
    assert facts["hyper_parameters"] == {k: v for k, v in entry.items() if k not in ("strategy", "recipe")}
    assert facts["recipe"]["steps"] == entry.get("recipe", {}).get("steps", 8)
    assert facts["seeds"] == SEEDS
    assert facts["classes"] == {"label": ["horizontal", "rising", "vertical", "falling"]}
    assert facts["weights_sha256"] == lineage.file_digest(paths.MODELS / name / "model.safetensors")
    assert facts["data_sha256"] == lineage.folder_digest(paths.PREPARED)
    assert facts["backbone_weights"] == ("random" if name == "from_scratch" else "pretrain")
    model = restore(paths.MODELS / name)
    assert facts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    timing = jsonfile.read(paths.TIMINGS / f"{name}.json")
    assert timing["seeds"] == 2
    assert timing["train_time_s"] > 0


@pytest.mark.parametrize("name", STRATEGIES)
def test_predictions_hold_every_seed_in_the_order_of_the_manifest(name, inside):
    arrays = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
    target = prepared.read(paths.PREPARED).target
    for split in ("val", "test"):
        rows = target.rows(split, labelled=True)
        assert arrays[f"{split}/label/logits"].shape == (2, len(rows), 4)
        assert np.array_equal(arrays[f"{split}/label/labels"], target.labels["label"][rows])


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_restored_model_gives_the_best_seed_s_predictions(name, inside):
    from components.data.streams import Streams

    facts = jsonfile.read(paths.MODELS / name / "model.json")
    arrays = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
    model = restore(paths.MODELS / name)
    data = Streams(
        prepared.read(paths.PREPARED), model.backbone.preprocess, batch_size=16, augment="none", seed=0, device="cpu"
    )
    found, _ = predict(model, data.split("val"))
    expected = arrays["val/label/logits"][SEEDS.index(facts["best_seed"])]
    np.testing.assert_allclose(found["label"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", STRATEGIES)
def test_validation_chooses_the_seed(name, inside):
    facts = jsonfile.read(paths.MODELS / name / "model.json")
    arrays = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
    labels = arrays["val/label/labels"]
    quality = [
        ((logits.argmax(1) == labels).mean(), -metrics.log_loss(logits, labels))
        for logits in arrays["val/label/logits"]
    ]
    assert facts["best_seed"] == SEEDS[max(range(2), key=lambda index: quality[index])]


def test_seeds_differ_and_history_tells_them_apart(inside):
    arrays = tensorfile.load(paths.MODELS / "gentle" / "predictions.safetensors")
    one, other = arrays["val/label/logits"]
    assert not np.array_equal(one, other)
    history = jsonfile.read_lines(paths.MODELS / "gentle" / "history.jsonl")
    assert {record["seed"] for record in history} == set(SEEDS)
    for seed in SEEDS:
        steps = [record["step"] for record in history if record["seed"] == seed and "lr" in record]
        assert steps == [4, 6]


def test_pretrained_weights_are_where_training_starts(inside, tmp_path, monkeypatch):
    """Without a step at all the backbone is still the pretrained one."""
    for name in (paths.PREPARED, paths.PRETRAINED):
        shutil.copytree(name, tmp_path / name)
    _params(tmp_path, strategies={"linear_probe": {}, "from_scratch": {}})
    monkeypatch.chdir(tmp_path)
    train("linear_probe")
    start = tensorfile.load(paths.PRETRAINED / "backbone.safetensors")
    found = tensorfile.load(paths.MODELS / "linear_probe" / "model.safetensors")
    assert all(np.array_equal(found[f"backbone.{key}"], value) for key, value in start.items())


def test_training_again_gives_the_same_bytes(inside, tmp_path, monkeypatch):
    for name in (paths.PREPARED, paths.PRETRAINED):
        shutil.copytree(name, tmp_path / name)
    shutil.copy("params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    train("gentle")
    for name in ("model.safetensors", "predictions.safetensors", "history.jsonl", "model.json"):
        assert (paths.MODELS / "gentle" / name).read_bytes() == (inside / paths.MODELS / "gentle" / name).read_bytes()


def test_no_checkpoint_is_left_over(inside):
    assert not list(paths.CHECKPOINTS.glob("*"))


def test_training_needs_what_comes_before_it(tmp_path, monkeypatch, toy_folder):
    _params(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        train("gentle")
    shutil.copytree(toy_folder, paths.PREPARED)
    with pytest.raises(DataError, match=r"backbone\.safetensors"):
        train("gentle")
    with pytest.raises(ParamsError, match="no entry 'gentel'; did you mean 'gentle'"):
        train("gentel")


def test_evaluate_ranks_every_strategy(inside):
    found = jsonfile.read(paths.EVALUATION)
    rows = found["strategies"]
    assert {row["strategy"] for row in rows} == set(STRATEGIES)
    assert found["chosen"] == rows[0]["strategy"]
    accuracies = [row["val"]["accuracy"] for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert found["classes"] == ["horizontal", "rising", "vertical", "falling"]
    assert found["images"] == {"val": 32, "test": 32}
    for row in rows:
        arrays = tensorfile.load(paths.MODELS / row["strategy"] / "predictions.safetensors")
        labels = arrays["test/label/labels"]
        right = [(logits.argmax(1) == labels).mean() for logits in arrays["test/label/logits"]]
        assert row["test"]["accuracy"] == pytest.approx(np.mean(right))
        assert np.sum(row["confusion"]) == 32
        assert row["seeds"] == 2
    against_baseline = {lead["strategy"] for lead in found["leads"] if lead["over"] == "from_scratch"}
    assert against_baseline == set(STRATEGIES) - {"from_scratch"} or found["chosen"] == "from_scratch"
    assert found["verdict"].startswith(found["chosen"])


def test_evaluate_refuses_models_of_different_data(inside, tmp_path, monkeypatch):
    shutil.copytree(inside / paths.MODELS, tmp_path / paths.MODELS)
    shutil.copy("params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    path = paths.MODELS / "gentle" / "model.json"
    jsonfile.write(path, {**jsonfile.read(path), "data_sha256": "other"})
    with pytest.raises(DataError, match="different data"):
        evaluate()


def test_restore_refuses_parts_that_do_not_belong_together(inside, tmp_path):
    shutil.copytree(paths.MODELS / "gentle", tmp_path / "model")
    facts = jsonfile.read(tmp_path / "model" / "model.json")
    jsonfile.write(tmp_path / "model" / "model.json", {**facts, "classes": {"label": ["a", "b"]}})
    with pytest.raises(DataError, match="belong to another model"):
        restore(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors"):
        restore(tmp_path / "model")


@pytest.fixture(scope="module")
def exported_workspace(workspace, tmp_path_factory):
    """The images of the toy as files, since export answers from files; then export."""
    from PIL import Image

    from components.stages.export import export

    root = tmp_path_factory.mktemp("exported")
    shutil.copytree(workspace, root, dirs_exist_ok=True)
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
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert json.dumps(facts["metrics"]["test"])  # the file alone says how good it is


def test_export_leaves_no_bundle_where_parity_fails(exported_workspace, tmp_path, monkeypatch):
    from components.errors import ParityError
    from components.stages.export import export

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


def test_named_weights_bring_their_own_preprocessing(tmp_path, monkeypatch):
    """mobilenet_v2's first weights were made for another resize than its second, which torchvision prefers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    entry = torchvision.models.get_model_weights("mobilenet_v2")["IMAGENET1K_V1"]
    cached = tmp_path / "torch" / "hub" / "checkpoints" / entry.url.rsplit("/", 1)[-1]
    cached.parent.mkdir(parents=True)
    torch.save(torchvision.models.mobilenet_v2(weights=None).state_dict(), cached)
    resize = entry.transforms().resize_size[0]
    assert resize == 256
    _params(
        tmp_path,
        data={"target": {"folder": "x"}},
        prepare={"size": resize},
        backbone={"name": "mobilenet_v2", "weights": "IMAGENET1K_V1"},
        strategies={"linear_probe": {}},
    )
    pretrain()
    facts = jsonfile.read(paths.PRETRAINED / "model.json")
    assert facts["preprocess"]["resize"] == resize
