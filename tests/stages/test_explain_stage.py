"""explain in a toy workspace: what it writes is what the report shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from components import jsonfile, paths, tensorfile
from components.data import prepared
from components.evaluation import metrics
from components.explanation import embedding
from components.stages.embed import embed
from components.stages.explain import explain
from components.stages.pretrain import pretrain
from components.stages.train import train
from promotion_support import PROMOTE

TEMPERATURE = 1.5
CLASSES = ("horizontal", "rising", "vertical", "falling")


def _params(**changes) -> None:
    content = {
        "data": {"target": {"folder": "raw/target"}, "source": {"folder": "raw/source"}},
        "prepare": {"size": 16},
        "pretrain": {"steps": 12, "batch_size": 16, "lr": 0.1},
        "train": {"steps": 6, "batch_size": 16, "seeds": [0]},
        "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
        "strategies": {"beginner": {"strategy": "from_scratch", "recipe": {"steps": 4, "lr": 0.02}}, "dan": {}},
        "compare": ["beginner", "dan"],
        "students": [],
        "promote": PROMOTE,
        "explain": {"images": 4, "points": 20},
    }
    Path("params.yaml").write_text(yaml.safe_dump(content | changes))


def _evaluated(chosen: str, mistakes: int = 24) -> None:
    """The part of reports/evaluation.json that explain reads."""
    target = prepared.read(paths.PREPARED).target
    rows, found = target.rows("test", labelled=True), []
    for name in dict.fromkeys((chosen, "beginner", "dan")):
        arrays = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
        chances = metrics.probabilities(arrays["test/label/logits"][0] / TEMPERATURE)
        answers = chances.argmax(1)
        wrong = sorted(np.flatnonzero(answers != target.labels["label"][rows]), key=lambda place: -chances[place].max())
        found.append(
            {
                "strategy": name,
                "needs": jsonfile.read(paths.MODELS / name / "model.json")["needs"],
                "temperature": {"label": {"value": TEMPERATURE, "fitted_on": "val", "images": 32}},
                "mistakes": [
                    {
                        "row": int(rows[place]),
                        "path": target.paths[rows[place]],
                        "label": CLASSES[target.labels["label"][rows[place]]],
                        "answer": CLASSES[answers[place]],
                        "confidence": float(chances[place].max()),
                    }
                    for place in wrong[:mistakes]
                ],
            }
        )
    jsonfile.write(paths.EVALUATION, {"chosen": chosen, "strategies": found})


@pytest.fixture(scope="module")
def workspace(toy_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("explained")
    shutil.copytree(toy_folder, root / paths.PREPARED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        torch.set_num_threads(1)
        _params()
        pretrain()
        embed()
        for name in ("beginner", "dan"):
            train(name)
    return root


@pytest.fixture
def inside(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    _params()


@pytest.fixture
def undrawn(monkeypatch):
    """Without t-SNE, which takes its time however few the images."""
    monkeypatch.setattr(embedding, "in_the_plane", lambda features, seed: features[:, :2])


def _read() -> tuple[dict, dict[str, np.ndarray]]:
    folder = paths.EXPLANATIONS
    return jsonfile.read(folder / "explanations.json"), tensorfile.load(folder / "explanations.safetensors")


def test_answers_and_what_they_looked_at(inside, undrawn):
    _evaluated("beginner")
    explain()
    facts, arrays = _read()
    assert facts["strategy"] == "beginner"
    assert facts["method"] == "Grad-CAM"
    assert [image["right"] for image in facts["images"]] == [False, False, True, True]
    assert arrays["cam"].shape == (4, 16, 16)
    assert arrays["cam"].dtype == np.float32
    assert (arrays["cam"].max((1, 2)) == 1).all()
    target = prepared.read(paths.PREPARED).target
    rows = target.rows("test", labelled=True)
    chances = metrics.probabilities(
        tensorfile.load(paths.MODELS / "beginner" / "predictions.safetensors")["test/label/logits"][0] / TEMPERATURE
    )
    for image in facts["images"]:
        assert image.keys() == {"row", "path", "label", "answer", "confidence", "right"}
        assert image["path"] == target.paths[image["row"]]
        assert image["label"] == CLASSES[target.labels["label"][image["row"]]]
        place = list(rows).index(image["row"])
        assert image["answer"] == CLASSES[chances[place].argmax()]
        assert image["confidence"] == pytest.approx(chances[place].max())
        assert image["right"] == (image["label"] == image["answer"])
    assert facts["images"][2]["label"] != facts["images"][3]["label"]


def test_both_domains_before_and_after(inside, undrawn):
    _evaluated("beginner")
    explain()
    facts, arrays = _read()
    assert [(entry["key"], entry["strategy"]) for entry in facts["embeddings"]] == [
        ("before", "pretrained"),
        ("after", "beginner"),
        ("adapted", "dan"),  # the chosen one does not adapt
    ]
    assert [arrays[f"embedding/{entry['key']}"].shape for entry in facts["embeddings"]] == [(40, 2)] * 3
    assert all(0 <= entry["domain_accuracy"] <= 1 for entry in facts["embeddings"])
    assert arrays["embedding/domain"].tolist() == [0] * 20 + [1] * 20
    data = prepared.read(paths.PREPARED)
    for number, (name, split) in enumerate({"target": "test", "source": "val"}.items()):
        mine = arrays["embedding/domain"] == number
        rows, labels = arrays["embedding/row"][mine], arrays["embedding/label"][mine]
        assert set(data.domains[name].splits[rows]) == {split}
        assert np.array_equal(data.domains[name].labels["label"][rows], labels)
        assert np.bincount(labels).tolist() == [5, 5, 5, 5]
    assert not np.array_equal(arrays["embedding/before"], arrays["embedding/after"])


def test_the_same_files_to_the_byte(inside):
    _evaluated("dan")
    contents = []
    for _ in range(2):
        shutil.rmtree(paths.EXPLANATIONS, ignore_errors=True)
        explain()
        contents.append({path.name: path.read_bytes() for path in paths.EXPLANATIONS.iterdir()})
    assert contents[0].keys() == {"explanations.json", "explanations.safetensors"}
    assert contents[0] == contents[1]
    # An adaptation that was chosen needs no other one beside it.
    assert [entry["key"] for entry in _read()[0]["embeddings"]] == ["before", "after"]


def test_few_mistakes_leave_room_for_right_answers_and_none_asked_for_are_none(inside, undrawn):
    _evaluated("beginner", mistakes=1)
    explain()
    assert [image["right"] for image in _read()[0]["images"]] == [False, True, True, True]
    _params(explain={"images": 0, "points": 10})
    explain()
    facts, arrays = _read()
    assert (facts["images"], facts["method"], arrays["cam"].shape) == ([], "Grad-CAM", (0, 16, 16))


def test_without_a_source_there_is_the_target_alone(inside, undrawn, workspace, tmp_path, monkeypatch):
    shutil.copytree(workspace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (paths.PREPARED / "source.npy").unlink()
    manifest = paths.PREPARED / prepared.MANIFEST
    lines = [line for line in manifest.read_text().splitlines() if ",source," not in line]
    manifest.write_text("\n".join(lines) + "\n")
    _evaluated("beginner")
    explain()
    facts, arrays = _read()
    assert [(entry["key"], entry["domain_accuracy"]) for entry in facts["embeddings"]] == [("after", None)]
    assert arrays["embedding/after"].shape == (20, 2)
    assert not arrays["embedding/domain"].any()


def test_a_model_without_gradients_has_no_heat_map_and_no_crash(inside, undrawn, monkeypatch):
    from components.strategies.from_scratch import FromScratch

    monkeypatch.setattr(FromScratch, "forward", torch.no_grad()(FromScratch.forward))
    _evaluated("beginner")
    explain()
    facts, arrays = _read()
    assert (facts["method"], facts["images"], arrays["cam"].shape) == (None, [], (0, 16, 16))
    assert len(facts["embeddings"]) == 3
