"""prepare on a user's own folders: what is wrong with them is found, reported and kept out."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from components import jsonfile, lineage, paths
from components.data import prepared
from components.errors import DataError, GraftError
from components.stages.prepare import prepare
from components.stages.pretrain import pretrain

COLOURS = {"cat": (200, 30, 30), "dog": (30, 200, 30), "owl": (30, 30, 200)}


def _fill(folder: Path, classes=COLOURS, count: int = 30, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = rng.integers(-30, 30, (18, 24, 3))
            image = Image.fromarray((np.array(COLOURS.get(name, (9, 9, 9))) + noise).clip(0, 255).astype(np.uint8))
            image.save(folder / name / f"{number:02d}.png")
    return folder


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _fill(tmp_path / "images")
    _params()
    return tmp_path


def _params(**changes) -> None:
    content = {
        "data": {"target": {"folder": "images"}},
        "prepare": {"size": 16, "val_fraction": 0.25, "test_fraction": 0.25, "labels_per_class": 4},
        "backbone": {"name": "resnet18", "weights": "IMAGENET1K_V1"},
        "compare": ["fine_tune"],
        "students": [],
        "strategies": {"fine_tune": {}},
    }
    Path("params.yaml").write_text(yaml.safe_dump({**content, **changes}))


def _manifest() -> list[dict]:
    with (paths.PREPARED / prepared.MANIFEST).open(newline="") as stream:
        return list(csv.DictReader(stream))


def _problems() -> dict:
    return json.loads((paths.PREPARED / "problems.json").read_text())


def test_every_image_is_a_row_with_its_pixels(workspace):
    prepare()
    rows, data = _manifest(), prepared.read(paths.PREPARED)
    assert len(rows) == 90
    assert data.label_space.classes == {"label": ("cat", "dog", "owl")}
    assert data.target.pixels.shape == (90, 16, 16, 3)
    for number in (0, 40, 89):
        row = rows[number]
        assert (row["domain"], row["width"], row["height"]) == ("target", "24", "18")
        assert row["sha256"] == lineage.file_digest(Path(row["path"]))
        colour = COLOURS[Path(row["path"]).parent.name]
        assert np.abs(data.target.pixels[number].mean((0, 1)) - colour).max() < 12
    assert _problems() == {"target": {"unreadable": [], "duplicates": [], "contradictions": []}}


def test_hidden_labels_are_not_in_the_manifest_at_all(workspace):
    prepare()
    rows = _manifest()
    train = [row for row in rows if row["split"] == "train"]
    assert Counter(row["label"] for row in train if row["label"]) == {"cat": 4, "dog": 4, "owl": 4}
    assert len(train) > 12
    assert all(row["label"] for row in rows if row["split"] != "train")
    columns = set(rows[0])
    assert columns == {*prepared.COLUMNS, "label"}


def test_the_same_data_gives_the_same_bytes_and_another_seed_another_split(workspace):
    prepare()
    first = lineage.folder_digest(paths.PREPARED)
    shutil.rmtree(paths.PREPARED)
    prepare()
    assert lineage.folder_digest(paths.PREPARED) == first
    splits = [row["split"] for row in _manifest()]
    _params(seed=1)
    prepare()
    assert [row["split"] for row in _manifest()] != splits


def test_images_that_arrive_later_move_no_earlier_one(workspace):
    prepare()
    before = {row["path"]: row["split"] for row in _manifest()}
    _fill(workspace / "later", count=10, seed=9)
    for path in sorted((workspace / "later").rglob("*.png")):
        path.rename(workspace / "images" / path.parent.name / f"a{path.name}")
    prepare()
    after = {row["path"]: row["split"] for row in _manifest()}
    assert len(after) == 120
    assert {path: after[path] for path in before} == before


def test_what_is_wrong_is_reported_and_left_out(workspace, capsys):
    images = workspace / "images"
    (images / "cat" / "broken.png").write_bytes(b"not an image")
    (images / "dog" / "empty.jpg").write_bytes(b"")
    shutil.copy(images / "cat" / "03.png", images / "cat" / "again.png")
    shutil.copy(images / "cat" / "05.png", images / "owl" / "really_a_cat.png")
    prepare()
    problems = _problems()["target"]
    assert len(problems["unreadable"]) == 2
    assert "broken.png" in problems["unreadable"][0]
    assert problems["duplicates"] == [["images/cat/03.png", "images/cat/again.png"]]
    assert problems["contradictions"] == [["images/cat/05.png", "images/owl/really_a_cat.png"]]
    found = {row["path"] for row in _manifest()}
    assert len(found) == 89
    assert "images/cat/03.png" in found
    assert not found & {"images/cat/again.png", "images/cat/05.png", "images/owl/really_a_cat.png"}
    line = capsys.readouterr().out
    assert "2 unreadable" in line
    assert "1 duplicates" in line
    assert "1 contradictions" in line


def test_a_source_s_labels_are_all_kept(workspace):
    _fill(workspace / "drawings", classes=("cat", "dog"), count=40, seed=1)
    _params(data={"target": {"folder": "images"}, "source": {"folder": "drawings"}})
    prepare()
    rows = [row for row in _manifest() if row["domain"] == "source"]
    assert len(rows) == 80
    assert all(row["label"] for row in rows)
    assert {row["split"] for row in rows} == {"train", "val"}
    assert set(prepared.read(paths.PREPARED).domains) == {"target", "source"}


def test_a_class_that_the_target_lacks_is_refused(workspace):
    _fill(workspace / "drawings", classes=("cat", "unicorn"), count=5, seed=1)
    _params(data={"target": {"folder": "images"}, "source": {"folder": "drawings"}})
    with pytest.raises(DataError, match=r"data\.source has classes that data\.target lacks: unicorn"):
        prepare()
    assert not paths.PREPARED.exists()


def test_one_class_is_refused(workspace):
    shutil.rmtree(workspace / "images" / "cat")
    shutil.rmtree(workspace / "images" / "dog")
    with pytest.raises(DataError, match="holds 1 class folder"):
        prepare()


def test_a_missing_folder_is_refused(workspace):
    _params(data={"target": {"folder": "imagse"}})
    with pytest.raises(DataError, match="no folder imagse"):
        prepare()


def test_folders_without_a_readable_image_are_refused(workspace):
    shutil.rmtree(workspace / "images")
    for name in ("a", "b"):
        (workspace / "images" / name).mkdir(parents=True)
        (workspace / "images" / name / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"data\.target: no readable image in images"):
        prepare()


def test_a_class_too_small_for_every_part_is_refused_with_what_to_change(workspace):
    for path in list((workspace / "images" / "owl").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match=r"no labelled image of class 'owl'.*prepare\.val_fraction"):
        prepare()


def test_a_source_without_validation_images_is_refused_before_it_is_trained_on(workspace):
    """A twentieth of a few images may be none; the mean over none would be NaN, after minutes of training."""
    _fill(workspace / "drawings", classes=("cat", "dog"), count=1, seed=1)
    _params(
        data={"target": {"folder": "images"}, "source": {"folder": "drawings"}},
        prepare={"size": 16, "source_val_fraction": 0.001},
        backbone={"name": "small_resnet", "weights": "pretrain"},
        pretrain={"steps": 2, "batch_size": 2},
        compute={"device": "cpu", "precision": "fp32", "threads": 1},
    )
    with pytest.raises(GraftError, match="source"):
        prepare()
        pretrain()


def test_a_file_name_that_is_no_text_does_not_end_the_run(workspace):
    """Archives from other systems hold such names."""
    name = b"images/cat/caf\xe9.png"
    Path("images/cat/00.png").rename(Path(name.decode("utf-8", "surrogateescape")))
    try:
        prepare()
    except GraftError:
        return  # refusing it by name is fine too
    assert len(prepared.read(paths.PREPARED).target.paths) == 89
    assert "caf" in jsonfile.read(paths.PREPARED / "problems.json")["target"]["unreadable"][0]


def test_the_built_in_digits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _params(
        data={"target": {"dataset": "printed_digits", "per_class": 16}},
        prepare={"size": 16, "val_fraction": 0.3, "test_fraction": 0.3, "labels_per_class": 1},
    )
    prepare()
    data = prepared.read(paths.PREPARED)
    assert len(data.target.paths) == 160
    assert data.label_space.classes["label"] == tuple("0123456789")
    assert len(data.target.rows("train", labelled=True)) == 10
    assert "target: 160 images of 10 classes" in capsys.readouterr().out
