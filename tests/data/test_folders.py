"""A folder of images for each class."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from components.data import folders
from components.errors import DataError


@pytest.fixture
def root(tmp_path):
    for name, colour in (("owl", "red"), ("cat", "blue")):
        (tmp_path / name / "deep").mkdir(parents=True)
        Image.new("RGB", (30, 20), colour).save(tmp_path / name / "b.PNG")
        Image.new("RGB", (8, 8), colour).save(tmp_path / name / "deep" / "a.jpg")
    return tmp_path


def test_classes_are_the_folders_sorted_hidden_ones_left_out(root):
    (root / ".cache").mkdir()
    (root / "readme.txt").write_text("no class")
    assert folders.class_names(root) == ["cat", "owl"]


def test_records_come_in_a_fixed_order_with_what_is_known(root):
    records = list(folders.read(root, size=16))
    assert [str(record.path.relative_to(root)) for record in records] == [
        "cat/b.PNG",
        "cat/deep/a.jpg",
        "owl/b.PNG",
        "owl/deep/a.jpg",
    ]
    first = records[0]
    assert (first.class_name, first.width, first.height) == ("cat", 30, 20)
    assert first.sha256 == hashlib.sha256((root / "cat" / "b.PNG").read_bytes()).hexdigest()
    assert first.pixels.shape == (16, 16, 3)
    assert first.pixels.dtype == np.uint8
    assert first.pixels[0, 0].tolist() == [0, 0, 255]


def test_a_bad_file_becomes_a_line_and_the_rest_is_read(root):
    (root / "cat" / "bad.png").write_bytes(b"no image")
    (root / "cat" / "empty.jpg").write_bytes(b"")
    found = list(folders.read(root, size=16))
    lines = [item for item in found if isinstance(item, str)]
    assert len(found) == 6
    assert len(lines) == 2
    assert all("\n" not in line for line in lines)
    assert "bad.png" in lines[0]
    assert "empty.jpg" in lines[1]


def test_other_files_are_left_alone(root):
    (root / "cat" / "notes.txt").write_text("not an image")
    assert len(list(folders.read(root, size=16))) == 4


def test_one_class_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="holds 1 class folder"):
        folders.class_names(tmp_path)


def test_a_missing_folder_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*nothing"):
        folders.class_names(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"there is no folder .*file"):
        folders.class_names(tmp_path / "file")
