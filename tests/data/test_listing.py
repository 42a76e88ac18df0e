"""The same images in any form are the same list."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from components import paths
from components.data.listing import Listing, folder_of, listing
from components.errors import DataError
from components.params import ColumnsParams, ImagesParams

KEY = "data.source"
CLASSES = ("ant", "bee", "\u00e9l\u00e9phant")


def _three_ways(root: Path) -> dict[str, ImagesParams]:
    """Folders, a table of images in one heap, and a domain beside another."""
    heap, rows = root / "heap", [("path", "label", "from")]
    heap.mkdir()
    for name in CLASSES:
        for number in range(3):
            for path in (root / "plain" / name, root / "domains" / "photo" / name, root / "domains" / "sketch" / name):
                path.mkdir(parents=True, exist_ok=True)
                (path / f"{name}{number}.jpg").touch()
            (heap / f"{name}{number}.jpg").touch()
            rows.append((f"{name}{number}.jpg", name, "photo"))
    rows.append((f"{CLASSES[0]}0.jpg", CLASSES[0], "sketch"))
    with (root / "table.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return {
        "folders": ImagesParams(folder=str(root / "plain")),
        "table": ImagesParams(
            manifest=str(root / "table.csv"),
            folder=str(heap),
            domain="photo",
            columns=ColumnsParams(domain="from"),
        ),
        "domains": ImagesParams(folder=str(root / "domains"), layout="domain/class", domain="photo"),
    }


def _but_for_paths(found: Listing) -> tuple:
    images = {
        image.path.name: (image.class_name, image.part, image.group, image.answers, image.columns)
        for image in found.images
    }
    assert len(images) == len(found.images)
    assert found.images == sorted(found.images, key=lambda image: str(image.path))
    return images, found.classes, found.tasks, found.columns, found.problems


def test_folders_a_table_and_domains_list_the_same(tmp_path):
    told = {name: _but_for_paths(listing(options, KEY)) for name, options in _three_ways(tmp_path).items()}
    assert told["folders"] == told["table"] == told["domains"]
    assert len(told["table"][0]) == 9


def test_metadata_are_merged_wherever_the_images_are_from(tmp_path):
    ways = _three_ways(tmp_path)
    for name, options in ways.items():
        root = folder_of(options)
        image = listing(options, KEY).images[4].path.relative_to(root).as_posix()
        table = tmp_path / f"metadata of {name}.csv"
        table.write_text(f"path,site\n{image},garden\nnowhere/x.jpg,street\n", encoding="utf-8")
        options = replace(options, metadata=str(table))
        found = listing(options, KEY)
        assert found.columns == ("site",)
        assert [dict(image.columns) for image in found.images] == [{}] * 4 + [{"site": "garden"}] + [{}] * 4
        assert found.problems == {"unmatched_metadata": ["nowhere/x.jpg"]}
    table.write_text("path,label\nx,y\n")
    with pytest.raises(DataError, match=r"data\.source\.metadata: .* has a column 'label', but so has the manifest"):
        listing(options, KEY)


def test_where_a_domain_s_images_lie():
    assert folder_of(ImagesParams(dataset="printed_digits")) == paths.RAW / "printed_digits"
    assert folder_of(ImagesParams(folder="a/b")) == Path("a/b")
    assert folder_of(ImagesParams(manifest="a/t.csv")) == Path("a")
    assert folder_of(ImagesParams(manifest="a/t.csv", folder="b")) == Path("b")
