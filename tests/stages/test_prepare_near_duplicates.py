"""prepare and pictures that are nearly the same: what is held out stays, what would be trained on goes."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components import paths
from components.data import prepared, split
from components.data.near_duplicates import edges, thumbnails
from components.errors import DataError
from components.stages.prepare import prepare
from prepare_support import fill, manifest_rows, reported, set_params


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
    set_params(prepare={"size": 16, "val_fraction": 0.25, "test_fraction": 0.25, "near_duplicates": policy})
    image = Image.fromarray(picture(48, 64))
    test = _plant(image, Path("images/cat/x.jpg"), "test")
    val = _plant(image.resize((52, 39)), Path("images/cat/y.jpg"), "val")
    train = _plant(image.resize((96, 72)), Path("images/dog/z.jpg"), "train")
    prepare()
    rows = {row["path"]: number for number, row in enumerate(manifest_rows())}
    found = {entry["other"]["path"]: entry for entry in reported()["target"]["near_duplicates"]}
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
        set_params(prepare={**options, "near_duplicates": policy})
        prepare()
        found = sorted(Path(entry["other"]["path"]).stem for entry in reported()["target"]["near_duplicates"])
        assert found == others


def test_the_label_budget_is_filled_after_near_duplicates_went(workspace, picture):
    """The four cats of lowest position have twins in test: four others get their labels. JPEG spoils noise, so the
    similarity asked for is lower."""
    options = {"size": 16, "val_fraction": 0.25, "test_fraction": 0.25, "labels_per_class": 4}
    set_params(prepare={**options, "near_duplicate_similarity": 0.8})
    prepare()
    before = [row["path"] for row in manifest_rows() if row["split"] == "train" and row["label"] == "cat"]
    assert len(before) == 4
    for number, path in enumerate(before):
        _plant(Image.open(path), Path(f"images/cat/twin{number}.jpg"), "test")
    prepare()
    after = [row["path"] for row in manifest_rows() if row["split"] == "train" and row["label"] == "cat"]
    assert len(after) == 4
    assert not set(after) & set(before)
    assert {entry["other"]["path"] for entry in reported()["target"]["near_duplicates"]} == set(before)


def test_the_source_is_held_against_the_target_too(workspace, picture):
    """An exact copy, and a picture of the target's test part among the source's training images."""
    fill(workspace / "drawings", classes=("cat", "dog"), count=40, seed=1)
    set_params(data={"target": {"folder": "images"}, "source": {"folder": "drawings"}})
    image = Image.fromarray(picture(48, 64))
    test = _plant(image, Path("images/cat/x.jpg"), "test")
    source = {"val_fraction": 0.05, "test_fraction": 0.0}
    twin = _plant(image.resize((80, 60)), Path("drawings/cat/x.jpg"), "train", **source)
    shutil.copy("images/cat/07.png", "drawings/cat/copy.png")
    prepare()
    found = {entry["other"]["path"]: entry for entry in reported()["source"]["near_duplicates"]}
    assert set(found) == {twin, "drawings/cat/copy.png"}
    assert found[twin]["kept"]["path"] == test
    assert found["drawings/cat/copy.png"]["kept"]["path"] == "images/cat/07.png"
    assert found["drawings/cat/copy.png"]["similarity"] == 1.0
    assert reported()["target"]["near_duplicates"] == []
    assert len([row for row in manifest_rows() if row["domain"] == "source"]) == 80


def test_a_source_that_is_all_held_out_images_is_refused_with_what_to_change(workspace):
    shutil.copytree("images", "again")
    set_params(data={"target": {"folder": "images"}, "source": {"folder": "again"}})
    with pytest.raises(DataError, match=r"data\.source: every image.*prepare\.near_duplicates to 'keep'"):
        prepare()


def test_blank_images_are_no_twins(workspace):
    for grey in range(40):
        Image.new("RGB", (20, 20), (grey, grey, grey)).save(f"images/owl/blank{grey}.png")
    prepare()
    assert reported()["target"]["near_duplicates"] == []
    assert len(manifest_rows()) == 130
