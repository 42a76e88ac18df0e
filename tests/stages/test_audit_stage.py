"""audit in a toy workspace: counts, sizes, problems, and labels that were planted wrong."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from components import jsonfile, paths, tensorfile
from components.backbones.build import to_arrays
from components.backbones.small_resnet import SmallResNet
from components.data import prepared
from components.params import Recipe
from components.stages.audit import audit
from components.stages.embed import embed
from components.strategies.source_only import SourceOnly
from components.training import session
from components.training.compute import Compute
from promotion_support import PROMOTE

CLASSES = ("falling", "horizontal", "rising", "vertical")
PLANTED = 7  # of the 120 labelled images of the target


def _params(**changes) -> None:
    content = {
        "data": {"target": {"folder": "raw/target"}, "source": {"folder": "raw/source"}},
        "prepare": {"size": 16},
        "backbone": {"name": "small_resnet"},
        "compute": {"device": "cpu", "threads": 1},
        "compare": ["fine_tune"],
        "students": [],
        "promote": PROMOTE,
        "strategies": {"fine_tune": {}},
    }
    Path("params.yaml").write_text(yaml.safe_dump({**content, **changes}))


@pytest.fixture(scope="module")
def backbone_arrays(toy, tmp_path_factory) -> dict[str, np.ndarray]:
    """A backbone of the catalogue that has learnt the toy's source."""
    torch.set_num_threads(1)
    recipe = Recipe(steps=40, batch_size=32, lr=0.1, augment="none", evaluate_every=1000, checkpoint_every=1000)
    trained = session.train(
        lambda: SourceOnly(SmallResNet(size=16), toy.label_space),
        toy,
        recipe,
        Compute(torch.device("cpu"), "fp32", 1),
        seed=0,
        identity="audit",
        checkpoints=tmp_path_factory.mktemp("checkpoints"),
        log=lambda record: None,
        domain="source",
        splits=("val",),
    )
    return to_arrays(trained.strategy.backbone)


@pytest.fixture
def workspace(toy_folder, backbone_arrays, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_folder, paths.PREPARED)
    for domain in prepared.read(paths.PREPARED).domains.values():  # they are listed, not read
        for path in map(Path, domain.paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    sha256 = tensorfile.save(paths.PRETRAINED / "backbone.safetensors", backbone_arrays)
    preprocess = SmallResNet(size=16).preprocess.to_dict()
    jsonfile.write(paths.PRETRAINED / "model.json", {"preprocess": preprocess, "weights_sha256": sha256})
    _params()
    embed()
    return tmp_path


def _relabel(change) -> None:
    """Rewrites the manifest's labels of the target: `change(label, number of the row)`."""
    path = paths.PREPARED / prepared.MANIFEST
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for number, row in enumerate(rows):
        if row["domain"] == "target" and row["label"]:
            row["label"] = change(row["label"], number)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _next(label: str) -> str:
    return CLASSES[(CLASSES.index(label) + 1) % len(CLASSES)]


def test_what_is_counted(workspace):
    audit()
    found = jsonfile.read(paths.AUDIT)
    target = found["domains"]["target"]
    assert target["images"] == 160
    # 40 of each class: 24 in train, of which those of every third turn are hidden, 8 in val, 8 in test
    assert target["classes"]["rising"] == {"train": 24, "train_labelled": 16, "val": 8, "test": 8}
    assert found["domains"]["source"]["classes"]["rising"] == {"train": 24, "train_labelled": 24, "val": 8, "test": 8}
    assert target["imbalance"] == 1.0
    assert target["sizes"] == [{"width": 16, "height": 16, "images": 160}]
    assert found["problems"] == jsonfile.read(paths.PREPARED / "problems.json")
    assert found["label_suspects"]["images"] == 160 - 4 * 8
    assert target["unlabelled"] == 0


def test_hidden_labels_are_looked_up_where_the_images_come_from(workspace):
    domain = prepared.read(paths.PREPARED).target
    unknown = domain.paths[np.flatnonzero(domain.labels["label"] == prepared.HIDDEN)[0]]
    with Path("labels.csv").open("w", newline="") as stream:  # it calls the folders' classes by the next one's name
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        writer.writerows([path, "" if path == unknown else _next(Path(path).parts[-2])] for path in domain.paths)
    _params(data={"target": {"manifest": "labels.csv"}, "source": {"folder": "raw/source"}})
    audit()
    found = jsonfile.read(paths.AUDIT)["domains"]["target"]
    assert (found["images"], found["unlabelled"]) == (160, 1)
    counts = found["classes"]
    assert sum(count["train"] for count in counts.values()) == 4 * 24 - 1
    # 16 of the class's own, whose labels are given, and 8 of those that the table says are of it
    own = counts[_next(Path(unknown).parts[-2])]
    assert own == {"train": 23, "train_labelled": 16, "val": 8, "test": 8}


def test_planted_label_errors_are_found_and_the_bytes_are_the_same_again(workspace, capsys):
    planted = {}

    def change(label: str, number: int) -> str:
        if number % 13 or len(planted) == PLANTED:
            return label
        planted[number] = label
        return _next(label)

    _relabel(change)
    assert len(planted) == PLANTED
    audit()
    content = paths.AUDIT.read_bytes()
    found = jsonfile.read(paths.AUDIT)["label_suspects"]
    assert found["reliable"]
    rows = [suspect["row"] for suspect in found["suspects"]]
    hits = [row in planted for row in rows]
    assert sum(hits) / PLANTED >= 0.6
    assert np.mean(hits) >= 0.5
    first = found["suspects"][0]
    target = prepared.read(paths.PREPARED).target
    assert first["row"] in planted
    assert first["path"] == target.paths[first["row"]]
    assert first["split"] == target.splits[first["row"]]
    assert (first["label"], first["suggestion"]) == (_next(planted[first["row"]]), planted[first["row"]])
    assert first["given"] < 0.5 < first["suggested"]
    assert f"{len(rows)} label suspects" in capsys.readouterr().out
    audit()
    assert paths.AUDIT.read_bytes() == content
    _params(audit={"suspects": 2})
    audit()
    assert jsonfile.read(paths.AUDIT)["label_suspects"]["suspects"] == found["suspects"][:2]


def test_labels_by_chance_accuse_nobody(workspace):
    rng = np.random.default_rng(0)
    _relabel(lambda label, number: CLASSES[rng.integers(4)])
    audit()
    found = jsonfile.read(paths.AUDIT)["label_suspects"]
    assert (found["reliable"], found["suspects"]) == (False, [])
    assert found["accuracy"] < 0.5


def test_a_class_with_fewer_images_than_folds_is_left_out(workspace):
    _relabel(lambda label, number: label if label != "vertical" or number < 20 else "falling")
    audit()
    found = jsonfile.read(paths.AUDIT)["label_suspects"]
    few = int((prepared.read(paths.PREPARED).target.labels["label"] == 2).sum())
    assert 0 < few < 5
    assert found["images"] == 128 - few
    assert all(suspect["suggestion"] != "vertical" for suspect in found["suspects"])


def test_one_class_leaves_nothing_to_examine(workspace):
    _relabel(lambda label, number: "falling")
    audit()
    found = jsonfile.read(paths.AUDIT)["label_suspects"]
    assert (found["images"], found["accuracy"], found["reliable"], found["suspects"]) == (0, 0.0, False, [])
