"""prepare with images that come in: a domain of their own, which changes nothing about the others."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from components import params, paths
from components.data import prepared, split
from components.errors import DataError
from components.stages.audit import _describe
from components.stages.prepare import prepare
from components.types import TASK
from prepare_support import COLOURS, fill, manifest_rows, prepared_bytes, reported, set_params

RECENT = {"folder": "recent", "layout": None}


@pytest.fixture
def come_in(workspace) -> Path:
    """Forty negatives of new images, in one folder beside the workspace's images."""
    fill(workspace / "others", count=14, seed=1)
    (workspace / "recent").mkdir()
    for number, path in enumerate(sorted((workspace / "others").rglob("*.png"))[:40]):
        ImageOps.invert(Image.open(path)).save(workspace / "recent" / f"{number:02d}.png")
    return workspace / "recent"


def _params(recent: dict | None = RECENT, **changes) -> None:
    data = {"target": {"folder": "images"}, **({"recent": recent} if recent else {})}
    set_params(**{"data": data, **changes})


def test_recent_images_are_a_domain_divided_by_content_and_the_target_stays_as_it_was(come_in, capsys):
    prepare()
    without = prepared_bytes()
    _params()
    prepare()
    found, lines = prepared_bytes(), without[prepared.MANIFEST].decode().splitlines()
    assert found["target.npy"] == without["target.npy"]
    assert found["label_space.json"] == without["label_space.json"]
    assert found[prepared.MANIFEST].decode().splitlines()[: len(lines)] == lines
    assert "recent: 40 images from recent" in capsys.readouterr().out

    data = prepared.read(paths.PREPARED)
    recent = data.recent
    assert recent is not None
    assert len(recent.pixels) == 40
    assert (recent.labels[TASK] == prepared.HIDDEN).all()
    assert recent.sha256 == sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in come_in.iterdir())
    parts = [split.part(sha256, val_fraction=0.3, test_fraction=0.0, seed=0) for sha256 in recent.sha256]
    assert recent.splits.tolist() == parts
    assert 5 <= parts.count("val") <= 20
    row = recent.paths.index("recent/03.png")
    assert np.abs(recent.pixels[row].mean((0, 1)) - np.asarray(Image.open("recent/03.png")).mean((0, 1))).max() < 4
    shares = {"val_fraction": 0.25, "test_fraction": 0.25, "recent_val_fraction": 0.6}
    _params(prepare={"size": 16, "labels_per_class": 4, **shares})
    prepare()
    assert len(prepared.read(paths.PREPARED).recent.rows("val")) > parts.count("val")
    _params(None)
    prepare()
    assert prepared_bytes() == without


def _table(rows: list[tuple[str, ...]], header=("path", "label", "split")) -> dict:
    with Path("recent.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return {"manifest": "recent.csv", "columns": {"split": "split"}}


def test_a_label_that_somebody_gave_is_kept_beyond_the_budget_and_a_given_part_obeyed(come_in):
    names = sorted(path.name for path in come_in.iterdir())
    parts = ("val", "train", "test", "")
    rows = [(f"recent/{name}", "cat" if i < 9 else "", parts[i % 4]) for i, name in enumerate(names)]
    _params(_table(rows))
    prepare()
    found = {row["path"]: row for row in manifest_rows() if row["domain"] == "recent"}
    assert [found[path]["label"] for path, *_ in rows] == [label for _, label, _ in rows]
    expected = {"val": {"val"}, "test": {"val"}, "train": {"train"}, "": {"train", "val"}}
    assert all(found[path]["split"] in expected[part] for path, _, part in rows)
    assert sum(row["label"] == "cat" and row["split"] == "train" for row in found.values()) >= 2
    # The audit counts them as they are, and says nothing of classes that nobody has seen.
    recent, classes = prepared.read(paths.PREPARED).recent, tuple(COLOURS)
    counted = _describe("recent", recent, classes, params.load(Path()).data.recent)
    assert (counted["images"], counted["unlabelled"]) == (40, 31)
    assert sum(counted["classes"]["cat"][part] for part in split.SPLITS) == 9
    _params()
    prepare()
    blank = _describe("recent", prepared.read(paths.PREPARED).recent, classes, params.load(Path()).data.recent)
    assert (blank["unlabelled"], blank["imbalance"]) == (40, None)


def test_a_label_that_the_target_does_not_have_is_named(come_in):
    names = sorted(path.name for path in come_in.iterdir())
    _params(_table([(f"recent/{name}", "wolf" if name == "05.png" else "", "") for name in names]))
    with pytest.raises(DataError, match=r"data\.recent has classes that data\.target lacks: wolf"):
        prepare()


def test_what_the_target_has_already_is_no_news(come_in):
    for number, path in enumerate(sorted(Path("images").rglob("*.png"))[:30:3]):
        shutil.copy(path, come_in / f"known{number}.png")
    _params()
    prepare()
    assert {Path(row["path"]).name for row in manifest_rows() if row["domain"] == "recent"} == {
        f"{number:02d}.png" for number in range(40)
    }
    twice = reported()["recent"]["near_duplicates"]
    assert len(twice) == 10
    assert all(entry["dropped"] and entry["kept"]["domain"] == "target" for entry in twice)


def test_of_a_group_that_is_held_out_the_unlabelled_stay_to_judge(come_in):
    names = sorted(path.name for path in come_in.iterdir())
    rows = [(f"recent/{name}", "", str(number % 8)) for number, name in enumerate(names)]
    table = {**_table(rows, ("path", "label", "visit")), "columns": {"group": "visit"}}
    _params(table)
    prepare()
    parts: dict[str, set[str]] = {}
    found = {row["path"]: row["split"] for row in manifest_rows() if row["domain"] == "recent"}
    for path, _, group in rows:
        parts.setdefault(group, set()).add(found[path])
    assert all(len(own) == 1 for own in parts.values())
    assert {"train", "val"} == set.union(*parts.values())


def test_too_few_to_train_and_judge_is_an_error_that_says_what_to_change(come_in):
    for path in sorted(come_in.iterdir())[1:]:
        path.unlink()
    _params()
    with pytest.raises(DataError, match=r"the recent has images for \w+ only, .* prepare\.recent_val_fraction"):
        prepare()
    assert not (paths.PREPARED / "recent.npy").exists()
