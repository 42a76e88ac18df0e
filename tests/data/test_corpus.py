"""A user's data with everything wrong that may be: `prepare` says what it leaves out, and keeps the rest."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from components import jsonfile
from components import params as parameters
from components.data import prepared
from components.errors import DataError
from components.stages import prepare
from corpus_support import build, encoded, photo
from promotion_support import PROMOTE

PREPARED = Path("prepared")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _prepare(**target) -> tuple[list[dict[str, str]], dict[str, list]]:
    """Prepares `data.target` -> the manifest's rows, and what is wrong with it."""
    content = {
        "data": {"target": target},
        "prepare": {"size": 16, "val_fraction": 0.25, "test_fraction": 0.25},
        "backbone": {"name": "resnet18", "weights": "IMAGENET1K_V1"},
        "compare": ["fine_tune"],
        "students": [],
        "promote": PROMOTE,
        "strategies": {"fine_tune": {}},
    }
    Path("params.yaml").write_text(yaml.safe_dump(content))
    prepare.write(parameters.load(Path()), PREPARED)
    with (PREPARED / prepared.MANIFEST).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    problems = jsonfile.read(PREPARED / "problems.json")["target"]
    return rows, {kind: entries for kind, entries in problems.items() if entries}


def _fill(root: Path, **counts: int) -> None:
    """So many images of each class, no two alike."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:02}.png").write_bytes(encoded(photo(sum(name.encode()) * 1000 + number)))


def test_the_corpus_is_prepared_but_for_what_is_wrong_with_it(folder, capfd):
    corpus = build(folder / "photos")
    rows, problems = _prepare(folder="photos")
    told = capfd.readouterr()
    assert "Warning" not in told.err
    assert "PIL" not in told.err

    kept = {str(Path(row["path"]).relative_to("photos")): row for row in rows}
    assert {path: row["label"] for path, row in kept.items()} == corpus.good
    assert all((row["width"], row["height"]) in {("48", "40"), ("20", "20")} for row in rows)
    data = prepared.read(PREPARED)
    assert data.target.pixels.shape == (len(corpus.good), 16, 16, 3)

    reasons = problems.pop("unreadable")
    assert len(reasons) == len(corpus.reasons)
    for path, expected in corpus.reasons.items():
        (reason,) = (reason for reason in reasons if f"photos/{path} " in f"{reason} " or f"photos/{path}:" in reason)
        assert expected in reason
        assert len(reason.splitlines()) == 1
    assert problems.pop("duplicates") == [[f"photos/{path}" for path in group] for group in corpus.copies]
    assert problems.pop("contradictions") == [[f"photos/{path}" for path in group] for group in corpus.contradictions]
    (link,) = problems.pop("links")
    assert link.startswith("photos/dog/round leads to a folder")
    assert problems == {}
    assert f"{len(corpus.good)} images of 2 classes" in told.err + told.out

    first = {entry.name: entry.read_bytes() for entry in PREPARED.iterdir()}
    _prepare(folder="photos")
    assert {entry.name: entry.read_bytes() for entry in PREPARED.iterdir()} == first


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"cat": 12, "dog": 1}, r"no labelled image of class 'dog', which has 1 usable image \(.*add images of it"),
        ({"cat": 6}, r"^data\.target: photos holds 1 class\(es\) \('cat'\), but at least 2 are needed$"),
        ({"cat": 6, "Cat": 6}, r"^data\.target: the classes 'Cat' and 'cat' in photos differ only in case: give them"),
    ],
    ids=["a class with one image", "one class only", "classes that differ in case"],
)
def test_classes_that_cannot_be_learnt_are_refused(folder, counts, message):
    _fill(folder / "photos", **counts)
    with pytest.raises(DataError, match=message) as refused:
        _prepare(folder="photos")
    assert len(str(refused.value).splitlines()) == 1
    assert not PREPARED.exists()


def test_a_class_of_unreadable_images_is_told_with_what_is_left_of_it(folder):
    _fill(folder / "photos", cat=12, dog=0)
    (folder / "photos" / "dog" / "one.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no labelled image of class 'dog', which has 0 usable images"):
        _prepare(folder="photos")


def test_what_stands_in_train_and_in_test_is_a_test_image(folder):
    _fill(folder / "photos" / "train", cat=8, dog=8)
    _fill(folder / "photos" / "test", owl=0, cat=0, dog=0)
    (folder / "photos" / "test" / "owl").rmdir()
    for name in ("cat", "dog"):
        for number in range(4):
            new = encoded(photo(7000 + len(name) + 10 * number + (name == "dog")))
            (folder / "photos" / "test" / name / f"new {number}.png").write_bytes(new)
        known = (folder / "photos" / "train" / name / "00.png").read_bytes()
        (folder / "photos" / "test" / name / "known.png").write_bytes(known)
    rows, problems = _prepare(folder="photos", layout="split/class")
    assert problems == {
        "overlaps": [[f"photos/test/{name}/known.png", f"photos/train/{name}/00.png"] for name in ("cat", "dog")]
    }
    parts = Counter((Path(row["path"]).parts[1], row["split"]) for row in rows)
    assert parts["test", "test"] == 10
    assert set(parts) == {("test", "test"), ("train", "train"), ("train", "val")}
    assert sum(parts.values()) == 8 + 10 + 6


def test_a_table_that_names_files_which_do_not_exist(folder):
    _fill(folder / "photos", cat=9, dog=9)
    lines = [f"photos/{name}/{number:02}.png,{name}" for name in ("cat", "dog") for number in range(9)]
    lines += ["photos/cat/gone.png,cat", '"photos/dog/with, comma.png",dog', "photos/cat,cat"]
    (folder / "photos" / "dog" / "bad.png").write_bytes(b"GIF89a")
    lines.append("photos/dog/bad.png,dog")
    (folder / "table.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    rows, problems = _prepare(manifest="table.csv")
    assert len(rows) == 18
    assert problems.pop("missing") == ["photos/cat", "photos/cat/gone.png", "photos/dog/with, comma.png"]
    (reason,) = problems.pop("unreadable")
    assert reason.startswith("photos/dog/bad.png cannot be decoded: ")
    assert problems == {}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('"photos/dog/01.png,dog', r"table\.csv is no table of images: the row that begins in line 3 is broken"),
        ('"photos/dog/01.png"x,dog', r"the row that begins in line 3 is broken"),
        ("photos/dog/01.png,dog,more", r"table\.csv, line 3, the row of 'photos/dog/01\.png' has 3 fields, but the"),
    ],
    ids=["an open quote", "text after a quote", "a field too many"],
)
def test_a_table_with_broken_quoting_is_refused_with_the_line(folder, row, message):
    _fill(folder / "photos", cat=2, dog=2)
    (folder / "table.csv").write_text(f"path,label\nphotos/cat/00.png,cat\n{row}\nphotos/dog/00.png,dog\n")
    with pytest.raises(DataError, match=message):
        _prepare(manifest="table.csv")


def test_the_previous_result_stays_when_the_data_has_become_unusable(folder):
    _fill(folder / "photos", cat=10, dog=10)
    before, _ = _prepare(folder="photos")
    for path in (folder / "photos" / "dog").iterdir():
        path.write_bytes(b"lost")
    with pytest.raises(DataError, match="class 'dog', which has 0 usable images"):
        _prepare(folder="photos")
    assert len(prepared.read(PREPARED).target.paths) == len(before) == 20
    assert json.loads((PREPARED / "problems.json").read_text())["target"]["unreadable"] == []
