"""prepare on a user's own folders: what is wrong with them is found, reported and kept out."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from components import jsonfile, lineage, paths
from components.data import prepared, split
from components.data.near_duplicates import edges, thumbnails
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
    kinds = ("unreadable", "duplicates", "contradictions", "near_duplicates", "unmatched_metadata")
    assert _problems() == {"target": {kind: [] for kind in kinds}}


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


def _plant(image: Image.Image, path: Path, part: str, **fractions: float) -> str:
    """Saves the image as a JPEG of whatever quality puts the file into this part; returns its path."""
    fractions = fractions or {"val_fraction": 0.25, "test_fraction": 0.25}
    for quality in range(98, 60, -1):
        content = io.BytesIO()
        image.save(content, "JPEG", quality=quality, subsampling=0)
        if split.part(hashlib.sha256(content.getvalue()).hexdigest(), **fractions, seed=0) == part:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.getvalue())
            return path.as_posix()
    raise AssertionError(f"no quality puts it into {part}")


@pytest.mark.parametrize("policy", ["drop", "keep"])
def test_a_planted_near_duplicate_is_reported_and_the_training_image_goes(policy, workspace, picture, capsys):
    """One picture in three files: test is kept before val, val before train."""
    _params(prepare={"size": 16, "val_fraction": 0.25, "test_fraction": 0.25, "near_duplicates": policy})
    image = Image.fromarray(picture(48, 64))
    test = _plant(image, Path("images/cat/x.jpg"), "test")
    val = _plant(image.resize((52, 39)), Path("images/cat/y.jpg"), "val")
    train = _plant(image.resize((96, 72)), Path("images/dog/z.jpg"), "train")
    prepare()
    rows = {row["path"]: number for number, row in enumerate(_manifest())}
    found = {entry["other"]["path"]: entry for entry in _problems()["target"]["near_duplicates"]}
    assert set(found) == {val, train}
    for path, part, label in ((val, "val", "cat"), (train, "train", "dog")):
        entry = found[path]
        assert entry["kept"] == {"domain": "target", "path": test, "split": "test", "label": "cat"}
        assert entry["other"] == {"domain": "target", "path": path, "split": part, "label": label}
        assert 0.99 <= entry["similarity"] <= 1
        assert entry["dropped"] == (policy == "drop")
        assert (entry["kept_row"], entry["other_row"]) == (rows[test], rows.get(path))
        assert (path in rows) == (policy == "keep")
    assert len(prepared.read(paths.PREPARED).target.pixels) == len(rows) == (91 if policy == "drop" else 93)
    assert "2 near duplicates" in capsys.readouterr().out


def test_what_only_a_dropped_image_resembles_stays(workspace, picture):
    """A picture fades into another. The first frame (test) is like the second (val), the second like the third (train),
    the first unlike the third: when the second is gone, nothing held out is like the third."""
    first, last = picture(16, 16, 0).astype(float), picture(16, 16, 1).astype(float)
    frames = [(first + share * (last - first)).astype(np.uint8) for share in (0.0, 0.11, 0.2)]
    vectors = edges(thumbnails(np.stack(frames)))
    first_second, second_third, first_third = (vectors @ vectors.T)[[0, 1, 0], [1, 2, 2]]
    assert min(first_second, second_third) > 0.985 > 0.975 > first_third
    for frame, (name, part) in zip(frames, (("x", "test"), ("y", "val"), ("z", "train")), strict=True):
        _plant(Image.fromarray(frame), Path(f"images/cat/{name}.jpg"), part)
    options = {"size": 16, "val_fraction": 0.25, "test_fraction": 0.25, "near_duplicate_similarity": 0.98}
    for policy, others in (("drop", ["y"]), ("keep", ["y", "z"])):
        _params(prepare={**options, "near_duplicates": policy})
        prepare()
        found = [Path(entry["other"]["path"]).stem for entry in _problems()["target"]["near_duplicates"]]
        assert found == others


def test_the_label_budget_is_filled_after_near_duplicates_went(workspace, picture):
    """The four cats of lowest position have twins in test: four others get their labels. JPEG spoils noise, so the
    similarity asked for is lower."""
    options = {"size": 16, "val_fraction": 0.25, "test_fraction": 0.25, "labels_per_class": 4}
    _params(prepare={**options, "near_duplicate_similarity": 0.8})
    prepare()
    before = [row["path"] for row in _manifest() if row["split"] == "train" and row["label"] == "cat"]
    assert len(before) == 4
    for number, path in enumerate(before):
        _plant(Image.open(path), Path(f"images/cat/twin{number}.jpg"), "test")
    prepare()
    after = [row["path"] for row in _manifest() if row["split"] == "train" and row["label"] == "cat"]
    assert len(after) == 4
    assert not set(after) & set(before)
    assert {entry["other"]["path"] for entry in _problems()["target"]["near_duplicates"]} == set(before)


def test_the_source_is_held_against_the_target_too(workspace, picture):
    """An exact copy, and a picture of the target's test part among the source's training images."""
    _fill(workspace / "drawings", classes=("cat", "dog"), count=40, seed=1)
    _params(data={"target": {"folder": "images"}, "source": {"folder": "drawings"}})
    image = Image.fromarray(picture(48, 64))
    test = _plant(image, Path("images/cat/x.jpg"), "test")
    source = {"val_fraction": 0.05, "test_fraction": 0.0}
    twin = _plant(image.resize((80, 60)), Path("drawings/cat/x.jpg"), "train", **source)
    shutil.copy("images/cat/07.png", "drawings/cat/copy.png")
    prepare()
    found = {entry["other"]["path"]: entry for entry in _problems()["source"]["near_duplicates"]}
    assert set(found) == {twin, "drawings/cat/copy.png"}
    assert found[twin]["kept"]["path"] == test
    assert found["drawings/cat/copy.png"]["kept"]["path"] == "images/cat/07.png"
    assert found["drawings/cat/copy.png"]["similarity"] == 1.0
    assert _problems()["target"]["near_duplicates"] == []
    assert len([row for row in _manifest() if row["domain"] == "source"]) == 80


def test_a_source_that_is_all_held_out_images_is_refused_with_what_to_change(workspace):
    shutil.copytree("images", "again")
    _params(data={"target": {"folder": "images"}, "source": {"folder": "again"}})
    with pytest.raises(DataError, match=r"data\.source: every image.*prepare\.near_duplicates to 'keep'"):
        prepare()


def test_blank_images_are_no_twins(workspace):
    for grey in range(40):
        Image.new("RGB", (20, 20), (grey, grey, grey)).save(f"images/owl/blank{grey}.png")
    prepare()
    assert _problems()["target"]["near_duplicates"] == []
    assert len(_manifest()) == 130


def test_metadata_become_columns(workspace):
    _fill(workspace / "drawings", classes=("cat", "dog"), count=40, seed=1)
    Path("target.csv").write_text("path,site\ncat/00.png,garden\nowl/99.png,roof\ndog/01.png,street\n")
    Path("source.csv").write_text("pen,path\nred,dog/00.png\n")
    target, source = {"folder": "images", "metadata": "target.csv"}, {"folder": "drawings", "metadata": "source.csv"}
    _params(data={"target": target, "source": source})
    prepare()
    rows = {row["path"]: row for row in _manifest()}
    assert list(rows["images/cat/00.png"]) == [*prepared.COLUMNS[:4], "width", "height", "label", "site", "pen"]
    assert (rows["images/cat/00.png"]["site"], rows["images/dog/01.png"]["site"]) == ("garden", "street")
    assert rows["images/cat/01.png"]["site"] == rows["images/cat/00.png"]["pen"] == ""
    assert (rows["drawings/dog/00.png"]["site"], rows["drawings/dog/00.png"]["pen"]) == ("", "red")
    assert _problems()["target"]["unmatched_metadata"] == ["owl/99.png"]
    assert _problems()["source"]["unmatched_metadata"] == []
    data = prepared.read(paths.PREPARED)
    assert data.target.columns["site"][data.target.paths.index("images/dog/01.png")] == "street"


def test_metadata_may_not_hide_a_column_of_the_manifest(workspace):
    Path("target.csv").write_text("path,split\ncat/00.png,test\n")
    _params(data={"target": {"folder": "images", "metadata": "target.csv"}})
    with pytest.raises(DataError, match=r"data\.target\.metadata: target\.csv has a column 'split'"):
        prepare()


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
