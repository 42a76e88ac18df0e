"""Folders become files in a fixed order, whatever links are in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.inference import folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b/2.png",
        "b/10.JPG",
        "a.jpeg",
        "c/d/x.webp",
        "notes.txt",
        ".hidden/y.png",
        "b/._2.png",
        "model.onnx",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _found(*paths: Path, root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in folder.find(paths)]


def test_a_folder_is_its_images_sorted(tree):
    assert _found(tree, root=tree) == ["a.jpeg", "b/10.JPG", "b/2.png", "c/d/x.webp"]


def test_files_by_name_are_taken_whatever_they_are_called(tree):
    named = [tree / "notes.txt", tree / "c", tree / "none.png"]
    assert _found(*named, root=tree) == ["notes.txt", "c/d/x.webp", "none.png"]


def test_links_that_lead_in_circles_end(tree):
    (tree / "c" / "up").symlink_to(tree)
    (tree / "c" / "d" / "self").symlink_to(tree / "c" / "d")
    (tree / "gone").symlink_to(tree / "nowhere")
    assert _found(tree, root=tree) == ["a.jpeg", "b/10.JPG", "b/2.png", "c/d/x.webp"]


def test_a_linked_folder_and_a_linked_file_count(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "z.png").touch()
    (tree / "linked").symlink_to(elsewhere)
    (tree / "one.png").symlink_to(elsewhere / "z.png")
    (tree / "broken.png").symlink_to(tree / "nowhere")
    found = _found(tree, root=tree)
    assert found == ["a.jpeg", "b/10.JPG", "b/2.png", "broken.png", "c/d/x.webp", "linked/z.png", "one.png"]


def test_a_folder_that_cannot_be_listed_stands_for_itself(tree, monkeypatch):
    listing = folder.os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(folder.os, "scandir", refuse)
    assert _found(tree, root=tree) == ["a.jpeg", "b", "c/d/x.webp"]
