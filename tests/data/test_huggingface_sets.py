"""Hugging Face data sets, written as folders like a user's own. No network: a data set in their format is made here."""

from __future__ import annotations

import csv
import io

import datasets
import numpy as np
import pytest
from PIL import Image

from components.data.datasets import huggingface_sets
from components.errors import DataError, MachineError, ParamsError

datasets.disable_progress_bars()


def _encoded(number: int, kind: str) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


FILES = [_encoded(number, "JPEG" if number % 2 else "PNG") for number in range(6)]
FEATURES = datasets.Features(
    {
        "photo": datasets.Image(),
        "kind": datasets.ClassLabel(names=["cat", "dog/wolf"]),
        "colour": datasets.ClassLabel(names=["black", "white"]),
    }
)


def _rows(numbers: range) -> datasets.Dataset:
    columns = {
        "photo": [{"bytes": FILES[number], "path": None} for number in numbers],
        "kind": [number % 2 for number in numbers],
        "colour": [number // 2 % 2 for number in numbers],
    }
    return datasets.Dataset.from_dict(columns, features=FEATURES)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two parts and two columns of classes."""
    folder = tmp_path_factory.mktemp("hub") / "pets"
    datasets.DatasetDict({"train": _rows(range(4)), "validation": _rows(range(4, 6))}).save_to_disk(folder)
    return folder


def test_parts_and_classes_are_folders_and_files_go_over_byte_for_byte(saved, tmp_path):
    huggingface_sets.materialise(str(saved), tmp_path / "out", labels=("kind",))
    written = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").glob("*/*/*")}
    assert sorted(written) == [
        "train/cat/000000.png", "train/cat/000002.png", "train/dog-wolf/000001.jpg", "train/dog-wolf/000003.jpg",
        "validation/cat/000000.png", "validation/dog-wolf/000001.jpg",
    ]  # fmt: skip
    assert written["train/dog-wolf/000003.jpg"].read_bytes() == FILES[3]


def test_several_labels_make_a_table(saved, tmp_path):
    huggingface_sets.materialise(str(saved), tmp_path / "out", labels=("kind", "colour"))
    with (tmp_path / "out" / huggingface_sets.TABLE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[3] == {"path": "train/dog-wolf/000003.jpg", "split": "train", "kind": "dog-wolf", "colour": "white"}
    assert all((tmp_path / "out" / row["path"]).is_file() for row in rows)
    assert len(rows) == 6


def test_one_part_alone_needs_no_folder_and_one_label_no_name(tmp_path):
    _rows(range(4)).remove_columns("colour").save_to_disk(tmp_path / "hub")
    huggingface_sets.materialise(str(tmp_path / "hub"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".complete", "cat", "dog-wolf"]


def test_what_is_not_clear_is_refused(saved, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"\(kind, colour\): say which with --label; .* photo, kind, colour"):
        huggingface_sets.materialise(str(saved), out)
    with pytest.raises(ParamsError, match="did you mean 'kind'"):
        huggingface_sets.materialise(str(saved), out, labels=("knd",))
    _rows(range(2)).remove_columns("photo").save_to_disk(tmp_path / "blind")
    with pytest.raises(DataError, match="no column of images; its columns are kind, colour"):
        huggingface_sets.materialise(str(tmp_path / "blind"), out, labels=("kind",))
    assert not out.exists()


def test_a_name_that_cannot_be_fetched_is_said_how_to_bring(tmp_path, monkeypatch):
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(MachineError, match=r"no network.*save_to_disk.*give hf:folder"):
        huggingface_sets.materialise("somebody/pets", tmp_path / "out")
