"""Images that come in: a label is read where there is one, and their part is as it is given, labelled or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.data.listing import listing
from components.errors import DataError
from components.params import ColumnsParams, ImagesParams

KEY = "data.recent"


def _table(root: Path, text: str) -> str:
    for name in "abcd":
        (root / f"{name}.png").touch()
    (root / "recent.csv").write_text(text)
    return str(root / "recent.csv")


def _told(options: ImagesParams) -> dict[str, tuple]:
    found = listing(options, KEY, recent=True)
    return {image.path.stem: (image.class_name, image.part) for image in found.images}


def test_labels_may_be_empty_and_parts_are_obeyed_without_them(tmp_path):
    manifest = _table(tmp_path, "path,label,split\na.png,cat,val\nb.png,,val\nc.png,,train\nd.png,,\n")
    options = ImagesParams(manifest=manifest, columns=ColumnsParams(split="split"))
    assert _told(options) == {"a": ("cat", "val"), "b": ("", "val"), "c": ("", "train"), "d": ("", None)}
    found = listing(options, KEY, recent=True)
    assert found.classes == ("cat",)  # fewer than two are no mistake: labels come one by one
    assert found.problems == {}
    with pytest.raises(DataError, match="at least 2"):
        listing(options, KEY)


def test_a_list_of_paths_alone_is_enough_but_a_column_that_is_named_must_be_there(tmp_path):
    manifest = _table(tmp_path, "path,time\na.png,1\nb.png,2\n")
    assert _told(ImagesParams(manifest=manifest)) == {"a": ("", None), "b": ("", None)}
    assert listing(ImagesParams(manifest=manifest), KEY, recent=True).columns == ("time",)
    with pytest.raises(DataError, match=r"data\.recent\.columns\.label: .* no column 'species'"):
        listing(ImagesParams(manifest=manifest, columns=ColumnsParams(label="species")), KEY, recent=True)


def test_folders_of_any_depth_or_of_those_classes_that_have_come_in_so_far(tmp_path):
    for name in ("monday/a.png", "b.png", "cat/c.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    heap = ImagesParams(folder=str(tmp_path / "in"), layout=None)
    assert _told(heap) == {"a": ("", None), "b": ("", None), "c": ("", None)}
    (tmp_path / "sorted/cat").mkdir(parents=True)
    (tmp_path / "sorted/dog").mkdir()
    (tmp_path / "sorted/cat/a.png").touch()
    assert _told(ImagesParams(folder=str(tmp_path / "sorted"))) == {"a": ("cat", None)}
