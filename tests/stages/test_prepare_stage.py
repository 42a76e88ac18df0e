"""prepare on a user's own folders: what is wrong with them is found, reported and kept out."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from components import jsonfile, lineage, paths
from components.data import prepared
from components.errors import DataError, GraftError
from components.stages.prepare import prepare
from components.stages.pretrain import pretrain
from prepare_support import COLOURS, fill, manifest_rows, reported, set_params


def test_every_image_is_a_row_with_its_pixels(workspace):
    prepare()
    rows, data = manifest_rows(), prepared.read(paths.PREPARED)
    assert len(rows) == 90
    assert data.label_space.classes == {"label": ("cat", "dog", "owl")}
    assert data.target.pixels.shape == (90, 16, 16, 3)
    for number in (0, 40, 89):
        row = rows[number]
        assert (row["domain"], row["width"], row["height"]) == ("target", "24", "18")
        assert row["sha256"] == lineage.file_digest(Path(row["path"]))
        colour = COLOURS[Path(row["path"]).parent.name]
        assert np.abs(data.target.pixels[number].mean((0, 1)) - colour).max() < 12
    assert [row["sha256"] for row in rows] == sorted(row["sha256"] for row in rows)
    kinds = ("unreadable", "duplicates", "overlaps", "contradictions", "near_duplicates")
    assert reported() == {"target": {kind: [] for kind in kinds}}


def test_hidden_labels_are_not_in_the_manifest_at_all(workspace):
    prepare()
    rows = manifest_rows()
    train = [row for row in rows if row["split"] == "train"]
    assert Counter(row["label"] for row in train if row["label"]) == {"cat": 4, "dog": 4, "owl": 4}
    assert len(train) > 12
    assert all(row["label"] for row in rows if row["split"] != "train")
    columns = set(rows[0])
    assert columns == {*prepared.COLUMNS, "label"}


def test_what_is_wrong_is_reported_and_left_out(workspace, capsys):
    images = workspace / "images"
    (images / "cat" / "broken.png").write_bytes(b"not an image")
    (images / "dog" / "empty.jpg").write_bytes(b"")
    shutil.copy(images / "cat" / "03.png", images / "cat" / "again.png")
    shutil.copy(images / "cat" / "05.png", images / "owl" / "really_a_cat.png")
    prepare()
    problems = reported()["target"]
    assert len(problems["unreadable"]) == 2
    assert "broken.png" in problems["unreadable"][0]
    assert problems["duplicates"] == [["images/cat/03.png", "images/cat/again.png"]]
    assert problems["contradictions"] == [["images/cat/05.png", "images/owl/really_a_cat.png"]]
    found = {row["path"] for row in manifest_rows()}
    assert len(found) == 89
    assert "images/cat/03.png" in found
    assert not found & {"images/cat/again.png", "images/cat/05.png", "images/owl/really_a_cat.png"}
    line = capsys.readouterr().out
    assert "2 unreadable" in line
    assert "1 duplicates" in line
    assert "1 contradictions" in line


def test_a_source_s_labels_are_all_kept(workspace):
    fill(workspace / "drawings", classes=("cat", "dog"), count=40, seed=1)
    set_params(data={"target": {"folder": "images"}, "source": {"folder": "drawings"}})
    prepare()
    rows = [row for row in manifest_rows() if row["domain"] == "source"]
    assert len(rows) == 80
    assert all(row["label"] for row in rows)
    assert {row["split"] for row in rows} == {"train", "val"}
    assert set(prepared.read(paths.PREPARED).domains) == {"target", "source"}


def test_a_class_that_the_target_lacks_is_refused(workspace):
    fill(workspace / "drawings", classes=("cat", "unicorn"), count=5, seed=1)
    set_params(data={"target": {"folder": "images"}, "source": {"folder": "drawings"}})
    with pytest.raises(DataError, match=r"data\.source has classes that data\.target lacks: unicorn"):
        prepare()
    assert not paths.PREPARED.exists()


def test_one_class_is_refused(workspace):
    shutil.rmtree(workspace / "images" / "cat")
    shutil.rmtree(workspace / "images" / "dog")
    with pytest.raises(DataError, match=r"data\.target: .*holds 1 class.*at least 2 are needed"):
        prepare()


def test_a_missing_folder_is_refused(workspace):
    set_params(data={"target": {"folder": "imagse"}})
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
    with pytest.raises(
        DataError,
        match=r"no labelled image of class 'owl', which has 1 usable image \(.*\), but .*"
        r"add images of it or leave the class out.*prepare\.val_fraction",
    ):
        prepare()


def test_a_source_without_validation_images_is_refused_before_it_is_trained_on(workspace):
    """A twentieth of a few images may be none; the mean over none would be NaN, after minutes of training."""
    fill(workspace / "drawings", classes=("cat", "dog"), count=1, seed=1)
    set_params(
        data={"target": {"folder": "images"}, "source": {"folder": "drawings"}},
        prepare={"size": 16, "source_val_fraction": 0.001},
        backbone={"name": "small_resnet", "weights": "pretrain"},
        pretrain={"steps": 2, "batch_size": 2},
        compute={"device": "cpu", "precision": "fp32", "threads": 1},
    )
    with pytest.raises(GraftError, match="source"):
        prepare()
        pretrain()


def test_metadata_become_columns(workspace):
    fill(workspace / "drawings", classes=("cat", "dog"), count=40, seed=1)
    Path("target.csv").write_text("path,site\ncat/00.png,garden\nowl/99.png,roof\ndog/01.png,street\n")
    Path("source.csv").write_text("pen,path\nred,dog/00.png\n")
    target, source = {"folder": "images", "metadata": "target.csv"}, {"folder": "drawings", "metadata": "source.csv"}
    set_params(data={"target": target, "source": source})
    prepare()
    rows = {row["path"]: row for row in manifest_rows()}
    assert list(rows["images/cat/00.png"]) == [*prepared.COLUMNS[:4], "width", "height", "label", "site", "pen"]
    assert (rows["images/cat/00.png"]["site"], rows["images/dog/01.png"]["site"]) == ("garden", "street")
    assert rows["images/cat/01.png"]["site"] == rows["images/cat/00.png"]["pen"] == ""
    assert (rows["drawings/dog/00.png"]["site"], rows["drawings/dog/00.png"]["pen"]) == ("", "red")
    assert reported()["target"]["unmatched_metadata"] == ["owl/99.png"]
    assert reported()["source"]["unmatched_metadata"] == []
    data = prepared.read(paths.PREPARED)
    assert data.target.columns["site"][data.target.paths.index("images/dog/01.png")] == "street"


def test_metadata_may_not_hide_a_column_of_the_manifest(workspace):
    Path("target.csv").write_text("path,split\ncat/00.png,test\n")
    set_params(data={"target": {"folder": "images", "metadata": "target.csv"}})
    with pytest.raises(DataError, match=r"data\.target\.metadata: target\.csv has a column 'split'"):
        prepare()


def test_a_file_name_that_is_no_text_does_not_end_the_run(workspace):
    """Archives from other systems hold such names."""
    name = b"images/cat/caf\xe9.png"
    Path("images/cat/00.png").rename(Path(name.decode("utf-8", "surrogateescape")))
    prepare()
    assert len(prepared.read(paths.PREPARED).target.paths) == 89
    assert "caf" in jsonfile.read(paths.PREPARED / "problems.json")["target"]["unreadable"][0]


def test_the_built_in_digits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    set_params(
        data={"target": {"dataset": "printed_digits", "per_class": 16}},
        prepare={"size": 16, "val_fraction": 0.3, "test_fraction": 0.3, "labels_per_class": 1},
    )
    prepare()
    data = prepared.read(paths.PREPARED)
    assert len(data.target.paths) == 160
    assert data.label_space.classes["label"] == tuple("0123456789")
    assert len(data.target.rows("train", labelled=True)) == 10
    assert "target: 160 images of 10 classes" in capsys.readouterr().out
