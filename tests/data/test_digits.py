"""The built-in digits: the same for a seed, growing without change, and careful with folders that are not theirs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from components import lineage
from components.data.datasets import catalogue, digits
from components.errors import DataError, ParamsError


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "printed"
    digits.printed(folder, per_class=2, seed=5)
    return folder


def _contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def test_printed_digits_are_images_of_ten_classes(printed):
    assert sorted(path.name for path in printed.iterdir() if path.is_dir()) == [str(digit) for digit in range(10)]
    assert all(len(list((printed / str(digit)).iterdir())) == 2 for digit in range(10))
    pixels = np.asarray(Image.open(printed / "8" / "0000.png"))
    assert pixels.shape == (32, 32)
    assert pixels.max() > 200
    assert pixels.min() == 0


def test_the_same_seed_draws_the_same_digits_and_more_keeps_the_earlier(printed, tmp_path):
    digits.printed(tmp_path / "more", per_class=3, seed=5)
    digits.printed(tmp_path / "other", per_class=2, seed=6)
    few, more, other = _contents(printed), _contents(tmp_path / "more"), _contents(tmp_path / "other")
    assert len(more) == 30
    assert few == {name: content for name, content in more.items() if name in few}
    assert other.keys() == few.keys()
    assert other != few


def test_asking_again_does_nothing_and_asking_otherwise_replaces(tmp_path):
    folder = tmp_path / "printed"
    digits.printed(folder, per_class=1, seed=0)
    before = lineage.folder_digest(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    digits.printed(folder, per_class=1, seed=0)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    digits.printed(folder, per_class=1, seed=1)
    assert lineage.folder_digest(folder) != before
    assert [entry.name for entry in tmp_path.iterdir()] == ["printed"]


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="files that Graft did not write"):
        digits.handwritten(folder)
    assert (folder / "thesis.txt").read_text() == "years of work"
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_handwritten_digits_are_the_1797_scans(tmp_path):
    from sklearn.datasets import load_digits

    digits.handwritten(tmp_path / "digits")
    paths = sorted((tmp_path / "digits").rglob("*.png"), key=lambda path: path.name)
    scans, labels = load_digits(return_X_y=True)
    assert [int(path.stem) for path in paths] == list(range(1797))
    assert [int(path.parent.name) for path in paths] == labels.tolist()
    pixels = np.asarray(Image.open(paths[0]), float)
    assert pixels.shape == (32, 32)
    blocks = pixels.reshape(8, 4, 8, 4).mean((1, 3))  # enlarged smoothly: ink stays about where it was
    assert np.corrcoef(blocks.ravel(), scans[0])[0, 1] > 0.95
    header, *lines = (tmp_path / "digits" / "metadata.csv").read_text().splitlines()
    assert header == "path,ink"
    assert len(lines) == 1797
    assert lines[0] == f"0/0000.png,{scans[0].sum() / (64 * 16):.3f}" == "0/0000.png,0.287"  # 294 of 1024


def test_the_catalogue_refuses_what_it_does_not_have(tmp_path):
    with pytest.raises(ParamsError, match="'handwriten_digits' is not a data set; did you mean 'handwritten_digits'"):
        catalogue.materialise("handwriten_digits", tmp_path / "x", per_class=None, seed=0)
    with pytest.raises(ParamsError, match="per_class does not apply"):
        catalogue.materialise("handwritten_digits", tmp_path / "x", per_class=5, seed=0)
    assert list(tmp_path.iterdir()) == []
