"""Written and read back: the same rows, and torn data refused."""

from __future__ import annotations

import numpy as np
import pytest

from components import jsonfile
from components.data import prepared
from components.errors import DataError
from components.types import LabelSpace


@pytest.fixture
def folder(tmp_path):
    rows = [
        {"path": f"{domain}/{n}, a.png", "domain": domain, "split": split, "label": label, "sha256": f"{n}",
         "width": 5, "height": 6}
        for domain in ("target", "source")
        for n, (split, label) in enumerate([("train", "b"), ("train", "" if domain == "target" else "a"), ("val", "a")])
    ]  # fmt: skip
    pixels = {name: np.full((3, 8, 8, 3), value, np.uint8) for name, value in (("target", 1), ("source", 2))}
    prepared.write(tmp_path / "prepared", rows, pixels, LabelSpace({"label": ("a", "b")}), {"target": {}})
    return tmp_path / "prepared"


def test_what_was_written_is_read(folder):
    data = prepared.read(folder)
    assert data.label_space.classes == {"label": ("a", "b")}
    assert set(data.domains) == {"target", "source"}
    target = data.target
    assert target.labels["label"].tolist() == [1, prepared.HIDDEN, 0]
    assert target.splits.tolist() == ["train", "train", "val"]
    assert target.paths[0] == "target/0, a.png"
    assert target.sha256 == ["0", "1", "2"]
    assert target.pixels.shape == (3, 8, 8, 3)
    assert int(target.pixels[0, 0, 0, 0]) == 1
    assert int(data.domains["source"].pixels[0, 0, 0, 0]) == 2
    assert jsonfile.read(folder / "problems.json") == {"target": {}}


def test_rows_are_picked_by_split_and_label(folder):
    target = prepared.read(folder).target
    assert target.rows("train").tolist() == [0, 1]
    assert target.rows("train", labelled=True).tolist() == [0]
    assert target.rows("train", labelled=False).tolist() == [1]
    assert target.rows("val").tolist() == [2]
    assert target.rows("test").tolist() == []


def test_columns_are_what_results_can_be_sliced_by(folder, tmp_path):
    assert prepared.read(folder).target.columns == {"width": ["5"] * 3, "height": ["6"] * 3}
    facts = {"split": "val", "sha256": "0", "width": 5, "height": 6, "label": "a"}
    rows = [
        {**facts, "path": "0.png", "domain": "target", "slant": "left", "site": "garden"},
        {**facts, "path": "1.png", "domain": "target", "slant": "right"},
        {**facts, "path": "2.png", "domain": "source", "slant": "left", "pen": "blue"},
    ]
    pixels = {"target": np.zeros((2, 8, 8, 3), np.uint8), "source": np.zeros((1, 8, 8, 3), np.uint8)}
    space = LabelSpace({"label": ("a", "b"), "slant": ("left", "right")})
    prepared.write(tmp_path / "more", rows, pixels, space, {}, ("site", "pen"))
    domains = prepared.read(tmp_path / "more").domains
    assert domains["target"].columns == {
        "width": ["5", "5"], "height": ["6", "6"], "slant": ["left", "right"], "site": ["garden", ""], "pen": ["", ""]
    }  # fmt: skip
    assert domains["source"].columns["pen"] == ["blue"]
    assert set(domains["source"].labels) == {"label", "slant"}


def test_a_task_of_which_a_domain_knows_no_answer_does_not_make_it_unlabelled():
    """A source may lack the target's further tasks; within a domain that has them, each image needs all."""
    labels = {"label": np.array([0, 1, prepared.HIDDEN]), "slant": np.array([prepared.HIDDEN] * 3)}
    source = prepared.Domain(np.zeros((3, 8, 8, 3), np.uint8), labels, np.array(["train"] * 3), [], [])
    assert source.rows("train", labelled=True).tolist() == [0, 1]
    labels["slant"] = np.array([1, prepared.HIDDEN, 0])
    assert source.rows("train", labelled=True).tolist() == [0]
    assert source.rows("train", labelled=False).tolist() == [1, 2]


def test_pixels_stay_on_disk(folder):
    assert isinstance(prepared.read(folder).target.pixels, np.memmap)


def test_the_manifest_is_plain_text_and_written_the_same_again(folder, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"manifest.csv", "target.npy", "source.npy", "label_space.json", "problems.json"}
    text = before["manifest.csv"].decode()
    assert text.splitlines()[0] == ",".join([*prepared.COLUMNS, "label"])
    assert "\r" not in text
    data = prepared.read(folder)
    pixels = {name: np.array(domain.pixels) for name, domain in data.domains.items()}
    prepared.write(tmp_path / "again", prepared.manifest(folder), pixels, data.label_space, {"target": {}})
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == before


@pytest.mark.parametrize("name", ['a "b", c', "a\nb", "a\rb", "a\r\nb", "'", " a ", "ä\u2028b"])
def test_any_name_comes_back_as_it_was(name, tmp_path):
    facts = {"domain": "target", "split": "train", "sha256": "0", "width": 5, "height": 6, "label": "b"}
    rows = [{**facts, "path": path, "site": name} for path in (f"x/{name}.png", "y.png")]
    space = LabelSpace({"label": ("a", "b")})
    prepared.write(tmp_path, rows, {"target": np.zeros((2, 8, 8, 3), np.uint8)}, space, {}, ["site"])
    found = prepared.read(tmp_path).target
    assert found.paths == [f"x/{name}.png", "y.png"]
    assert found.columns["site"] == [name, name]


def test_missing_data_is_refused(tmp_path):
    with pytest.raises(DataError, match="run the pipeline first"):
        prepared.read(tmp_path)


@pytest.mark.parametrize("name", ["manifest.csv", "target.npy", "label_space.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_torn_data_is_refused(name, damage, folder):
    path = folder / name
    if damage == "missing":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError):
        prepared.read(folder)


def test_pixels_of_another_length_are_refused(folder):
    np.save(folder / "target.npy", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="2 images, but the manifest 3"):
        prepared.read(folder)
