"""pretrain, train and evaluate in a toy workspace: what they write is what the next one and a person read."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import torchvision

from components import jsonfile, lineage, paths, tensorfile
from components.data import prepared
from components.errors import DataError, ParamsError
from components.evaluation import metrics
from components.stages.evaluate import evaluate
from components.stages.pretrain import pretrain
from components.stages.train import train
from components.training.predict import predict
from components.training.restore import restore
from stage_support import SEEDS, STRATEGIES, write_params

FEW_SHOT = {"episodes_from": "target", "n_way": 3, "k_shot": 2, "n_query": 2}
TOO_FAST = {"fine_tune": {"recipe": {"lr": 1e30}}, "distillation": {}}


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


@pytest.fixture
def fresh(inside, tmp_path, monkeypatch):
    """A workspace of its own, in which nothing is trained yet."""
    for name in (paths.PREPARED, paths.PRETRAINED):
        shutil.copytree(name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", STRATEGIES)
def test_predictions_hold_the_held_out_source_too(name, inside):
    from components.data.streams import Streams

    arrays = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
    data = prepared.read(paths.PREPARED)
    source = data.domains["source"]
    rows = source.rows("val", labelled=True)
    assert np.array_equal(arrays["source/label/labels"], source.labels["label"][rows])
    model = restore(paths.MODELS / name)
    streams = Streams(data, model.backbone.preprocess, batch_size=16, augment="none", seed=0)
    found, _ = predict(model, streams.split("val", "source"))
    best = SEEDS.index(jsonfile.read(paths.MODELS / name / "model.json")["best_seed"])
    np.testing.assert_allclose(found["label"], arrays["source/label/logits"][best], rtol=1e-4, atol=1e-4)


def test_without_a_source_there_is_no_answer_for_it(fresh):
    folder = fresh / paths.PREPARED
    whole = prepared.read(folder)
    (folder / "source.npy").unlink()
    lines = (folder / prepared.MANIFEST).read_text().splitlines()
    (folder / prepared.MANIFEST).write_text("\n".join(line for line in lines if ",source," not in line) + "\n")
    assert set(whole.domains) - set(prepared.read(folder).domains) == {"source"}
    write_params(fresh)
    train("linear_probe")
    arrays = tensorfile.load(paths.MODELS / "linear_probe" / "predictions.safetensors")
    assert not [name for name in arrays if name.startswith("source")]


def test_few_shot_strategies_are_examined_with_the_same_tasks(fresh):
    other = {"strategy": "matching", **FEW_SHOT}
    write_params(
        fresh,
        strategies={"prototypical": FEW_SHOT, "other": other, "again": other},
        train={"steps": 2, "batch_size": 16, "lr": 0.001, "seeds": SEEDS, "episodes": 200},
    )
    accuracies = {}
    for name in ("prototypical", "other", "again"):
        train(name)
        facts = jsonfile.read(paths.MODELS / name / "model.json")
        assert facts["episodes"] == {"n_way": 3, "k_shot": 2, "n_query": 2, "count": 200}
        accuracies[name] = tensorfile.load(paths.MODELS / name / "predictions.safetensors")["episodes/accuracy"]
        assert accuracies[name].shape == (2, 200)
        assert accuracies[name].dtype == np.float32
        # Of 3 * 2 queries a whole number is right.
        np.testing.assert_allclose(accuracies[name] * 6, np.round(accuracies[name] * 6), atol=1e-5)
        assert accuracies[name].mean() > 0.4  # chance is a third
    assert np.array_equal(accuracies["other"], accuracies["again"])
    # Hard tasks are hard for both, which they could not be if each had its own.
    assert np.corrcoef(accuracies["prototypical"].mean(0), accuracies["other"].mean(0))[0, 1] > 0.3


def test_tasks_that_the_test_images_cannot_fill_are_left_out_and_said_so(fresh, capsys):
    write_params(
        fresh,
        strategies={"prototypical": {**FEW_SHOT, "k_shot": 7}},  # 7 + 2 images, but a class has 8 in the test part
        train={"steps": 2, "batch_size": 16, "seeds": [0]},
    )
    train("prototypical")
    assert jsonfile.read(paths.MODELS / "prototypical" / "model.json")["episodes"] is None
    assert "episodes/accuracy" not in tensorfile.load(paths.MODELS / "prototypical" / "predictions.safetensors")
    assert "prototypical: no few-shot tasks from the test images: an episode needs n_way = 3" in capsys.readouterr().out


def test_others_are_not_examined_with_tasks(inside):
    for name in STRATEGIES:
        assert jsonfile.read(paths.MODELS / name / "model.json")["episodes"] is None
        assert "episodes/accuracy" not in tensorfile.load(paths.MODELS / name / "predictions.safetensors")


def test_a_training_that_diverges_is_written_down_and_so_is_its_student(fresh, capsys):
    write_params(
        fresh,
        strategies=TOO_FAST,
        compare=["fine_tune"],
        students=["distillation"],
        teacher="fine_tune",
        train={"steps": 8, "batch_size": 16, "log_every": 4, "checkpoint_every": 4, "seeds": [3, 4]},
    )
    left_over = paths.MODELS / "fine_tune" / "model.safetensors"  # of a run before
    left_over.parent.mkdir(parents=True)
    left_over.write_bytes(b"old")
    train("fine_tune")
    train("distillation")
    for name in TOO_FAST:
        facts = jsonfile.read(paths.MODELS / name / "model.json")
        assert sorted(path.name for path in (paths.MODELS / name).iterdir()) == ["history.jsonl", "model.json"]
        assert (facts["name"], facts["best_seed"], facts["weights_sha256"]) == (name, None, None)
        assert facts["data_sha256"] == lineage.folder_digest(paths.PREPARED)
        assert (paths.TIMINGS / f"{name}.json").exists()  # DVC wants every output that it was promised
        with pytest.raises(DataError, match="holds no model, because its training failed"):
            restore(paths.MODELS / name)
    reason = jsonfile.read(paths.MODELS / "fine_tune" / "model.json")["failed"]
    assert reason.startswith("seed 3: ")
    assert "try a smaller lr than 1e+30" in reason
    assert jsonfile.read(paths.MODELS / "distillation" / "model.json")["failed"] == (
        f"its teacher 'fine_tune' failed: {reason}"
    )
    assert "fine_tune: failed. seed 3: " in capsys.readouterr().out
    assert not list(paths.CHECKPOINTS.glob("*"))


def test_what_no_random_number_is_in_is_trained_once(fresh, monkeypatch):
    from components.stages import train as stage

    seeds, train_once = [], stage.train_once

    def counted(*arguments, seed, **options):
        seeds.append(seed)
        return train_once(*arguments, seed=seed, **options)

    monkeypatch.setattr(stage, "train_once", counted)
    write_params(fresh, strategies={"linear_probe": {}, "knn_probe": {}, "from_scratch": {"recipe": {"steps": 1}}})
    for name, expected in {"linear_probe": [0], "knn_probe": [0], "from_scratch": [0, 1]}.items():
        train(name)
        assert seeds == expected
        seeds.clear()
        arrays = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
        assert arrays["val/label/logits"].shape == (2, 32, 4)


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
    write_params(tmp_path, strategies={"linear_probe": {}, "from_scratch": {}})
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
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        train("gentle")
    shutil.copytree(toy_folder, paths.PREPARED)
    with pytest.raises(DataError, match="models/pretrained"):
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
    assert found["images"] == {"val": 32, "test": 32, "source": 32}
    for row in rows:
        arrays = tensorfile.load(paths.MODELS / row["strategy"] / "predictions.safetensors")
        labels = arrays["test/label/labels"]
        right = [(logits.argmax(1) == labels).mean() for logits in arrays["test/label/logits"]]
        assert row["test"]["accuracy"] == pytest.approx(np.mean(right))
        assert np.sum(row["confusion"]) == 32
        assert row["seeds"] == 2
    assert len(found["pairs"]) == len(STRATEGIES) * (len(STRATEGIES) - 1) / 2
    assert found["verdict"].startswith(found["chosen"])


def test_evaluate_refuses_models_of_different_data(inside, tmp_path, monkeypatch):
    for name in (paths.PREPARED, paths.MODELS):
        shutil.copytree(inside / name, tmp_path / name)
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


def test_named_weights_bring_their_own_preprocessing(tmp_path, monkeypatch):
    """mobilenet_v2's first weights were made for another resize than its second, which torchvision prefers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    entry = torchvision.models.get_model_weights("mobilenet_v2")["IMAGENET1K_V1"]
    torch.save(torchvision.models.mobilenet_v2(weights=None).state_dict(), tmp_path / "random.pth")
    # A file of torchvision's carries the beginning of its hash in its name; these weights are not its own, so the entry
    # names them by theirs.
    name = f"mobilenet_v2-{lineage.file_digest(tmp_path / 'random.pth')[:8]}.pth"
    monkeypatch.setattr(entry.value, "url", f"https://example.invalid/{name}")
    cached = tmp_path / "torch" / "hub" / "checkpoints" / name
    cached.parent.mkdir(parents=True)
    (tmp_path / "random.pth").rename(cached)
    resize = entry.transforms().resize_size[0]
    assert resize == 256
    write_params(
        tmp_path,
        data={"target": {"folder": "x"}},
        prepare={"size": resize},
        backbone={"name": "mobilenet_v2", "weights": "IMAGENET1K_V1"},
        strategies={"linear_probe": {}},
    )
    pretrain()
    facts = jsonfile.read(paths.PRETRAINED / "model.json")
    assert facts["preprocess"]["resize"] == resize
