"""Images in folders: what their levels stand for, and what people's disks have in store beside images."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from components.data.listing import Listing, folders, listing
from components.errors import DataError
from components.params import ImagesParams

KEY = "data.target"


def _images(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def _list(root: Path, labelled: bool = True, **options) -> Listing:
    return listing(ImagesParams(folder=str(root), **options), KEY, labelled=labelled)


def _names(found: Listing) -> list[str]:
    return [image.path.relative_to(found.root).as_posix() for image in found.images]


@pytest.fixture
def root(tmp_path):
    return _images(tmp_path, "owl/b.PNG", "owl/deep/a.jpg", "cat/b.png", "cat/deep/er/a.jpeg")


def test_class_names_are_the_folders_sorted_hidden_ones_left_out(root):
    (root / ".cache").mkdir()
    (root / "readme.txt").write_text("no class")
    assert folders.class_names(root) == ["cat", "owl"]


def test_images_of_any_depth_and_suffix_are_sorted_by_path(root):
    _images(root, "cat/notes.txt", "cat/._b.png", "cat/.git/c.png", "__MACOSX/cat/b.png", "readme.md")
    (root / "cat" / "folder.jpg").mkdir()
    os.mkfifo(root / "cat" / "pipe.jpg")
    found = _list(root)
    assert _names(found) == ["cat/b.png", "cat/deep/er/a.jpeg", "owl/b.PNG", "owl/deep/a.jpg"]
    assert [image.class_name for image in found.images] == ["cat", "cat", "owl", "owl"]
    assert all((image.part, image.group) == (None, None) for image in found.images)
    assert (found.classes, found.tasks, found.columns) == (("cat", "owl"), (), ())
    assert found.problems == {"unreadable": [f"{root}/cat/pipe.jpg is not a file"]}


@pytest.mark.parametrize(
    ("layout", "path"),
    [("split/class", "{}/{}/1.png"), ("class/split", "{1}/{0}/1.png"), ("split/class", "{}/{}/x/1.png")],
)
def test_parts_stand_above_or_below_classes_under_their_usual_names(layout, path, tmp_path):
    parts = {"Training": "train", "valid": "val", "TEST": "test"}
    _images(tmp_path, *(path.format(part, name) for part in parts for name in ("cat", "owl")))
    found = _list(tmp_path, layout=layout)
    assert len(found.images) == 6
    for image in found.images:
        first, second = image.path.relative_to(tmp_path).parts[:2]
        part, name = (first, second) if layout == "split/class" else (second, first)
        assert (image.part, image.class_name) == (parts[part], name)


def test_val_is_test_only_where_the_params_say_so(tmp_path):
    _images(tmp_path, "train/cat/1.png", "train/owl/1.png", "val/cat/2.png", "val/owl/2.png")
    assert {image.part for image in _list(tmp_path, layout="split/class").images} == {"train", "val"}
    found = _list(tmp_path, layout="split/class", splits={"val": "test"})
    told = [(image.path.parts[-3], image.part) for image in found.images]
    assert told == [("train", "train")] * 2 + [("val", "test")] * 2


def test_a_part_that_nobody_knows_is_refused_unless_it_holds_no_image(tmp_path):
    _images(tmp_path, "train/cat/1.png", "train/owl/1.png", "tset/cat/2.png", "labels/cat/readme.txt")
    with pytest.raises(DataError, match=r"data\.target\.splits: 'tset' is no part that is known; did you mean 'test'"):
        _list(tmp_path, layout="split/class")
    found = _list(tmp_path, layout="split/class", splits={"tset": "test"})
    assert [image.part for image in found.images] == ["train", "train", "test"]


def test_domains_are_chosen_and_their_classes_are_their_own(tmp_path):
    _images(tmp_path, "photo/cat/1.png", "photo/owl/1.png", "sketch/cat/1.png", "sketch/fox/1.png", "art/ant/1.png")
    assert len(_list(tmp_path, layout="domain/class").images) == 5
    assert _list(tmp_path, layout="domain/class", domain="sketch").classes == ("cat", "fox")
    assert _list(tmp_path, layout="domain/class", domain=("sketch", "photo")).classes == ("cat", "fox", "owl")
    assert _list(tmp_path, layout="class/domain", domain=("cat",)).classes == ("art", "photo", "sketch")[1:]
    with pytest.raises(DataError, match=r"data\.target\.domain: there is no domain 'sketsh'; did you mean 'sketch'"):
        _list(tmp_path, layout="domain/class", domain="sketsh")


def test_what_nobody_has_labelled_needs_no_classes_and_is_for_training(tmp_path):
    _images(tmp_path, "1.png", "deep/er/2.png")
    for layout in ("class", None):
        found = _list(tmp_path, labelled=False, layout=layout)
        assert _names(found) == ["1.png", "deep/er/2.png"]
        assert [(image.class_name, image.part) for image in found.images] == [("", "train")] * 2
        assert (found.classes, found.problems) == ((), {})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["cat/1.png"], r"data\.target: .* holds 1 class\(es\) \('cat'\), but at least 2"),
        (["cat/1.txt", "owl/2.txt"], r"there is no image .*/<class>/<image>; what ends in \.bmp, .*\.webp is taken"),
        (["cat/1.heic", "owl/1.txt"], r"there is no image .*; unsupported: .*/cat/1\.heic"),
        (["1.png", "2.png"], r"no image .*1\.png lies above that: data\.target\.layout is 'class'"),
        (["cat/1.png", "owl/1.png", "fox/1.txt"], r"the class folder .*/fox holds no image \(\.bmp"),
        (["Cat/1.png", "cat/1.png", "owl/1.png"], r"classes 'Cat' and 'cat' in .* differ only in case"),
        (["caf\u00e9/1.png", "cafe\u0301/1.png"], r"'cafe\\u0301' and 'caf\\xe9' .* only in how Unicode writes them"),
        (["train/1.png", "val/1.png"], r"layout is 'class', which makes classes of train, val: say split/class"),
    ],
)
def test_folders_that_are_not_meant_so_are_refused(files, message, tmp_path):
    with pytest.raises(DataError, match=message):
        _list(_images(tmp_path, *files))


def test_letters_may_be_classes_in_both_cases(tmp_path):
    names = ("A", "E\u0301", "a", "e\u0301")
    assert _list(_images(tmp_path, *(f"{name}/1.png" for name in names))).classes == names


def test_a_missing_folder_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("nothing", "file"):
        with pytest.raises(DataError, match=rf"data\.target\.folder: there is no folder .*{name}"):
            _list(tmp_path / name)
        with pytest.raises(DataError, match=rf"there is no folder .*{name}"):
            folders.class_names(tmp_path / name)
    with pytest.raises(DataError, match="holds 0 class folder"):
        folders.class_names(tmp_path)


def test_an_image_outside_the_classes_is_a_problem(root):
    _images(root, "stray.png")
    found = _list(root)
    assert len(found.images) == 4
    assert found.problems == {"misplaced": [str(root / "stray.png")]}


def test_pictures_of_other_kinds_are_not_passed_over_in_silence(root):
    _images(root, "cat/phone.HEIC", "cat/notes.txt")
    assert _list(root).problems == {"unsupported": [str(root / "cat/phone.HEIC")]}
    _images(root, "fox/phone.heic")
    with pytest.raises(DataError, match=r"/fox holds no image .*; unsupported: .*fox/phone\.heic"):
        _list(root)


def test_links_are_followed_into_no_folder_twice_and_never_up(root, tmp_path_factory):
    elsewhere = _images(tmp_path_factory.mktemp("elsewhere"), "far/1.png")
    (root / "fox").symlink_to(elsewhere)  # a class that lies on another disk
    (elsewhere / "back").symlink_to(root)
    (root / "cat" / "self").symlink_to(root / "cat")
    (root / "cat" / "all").symlink_to("/")
    (root / "cat" / "other").symlink_to(root / "owl")
    (root / "cat" / "link.png").symlink_to(root / "owl" / "b.PNG")
    (root / "cat" / "loop.png").symlink_to("loop.png")
    (root / "cat" / "dangling.png").symlink_to("nothing")
    found = _list(root)
    assert [name for name in _names(found) if "b.P" not in name and "a.jp" not in name] == [
        "cat/b.png",
        "cat/link.png",
        "fox/far/1.png",
    ]
    assert len(found.images) == 6
    assert [image.class_name for image in found.images] == ["cat"] * 3 + ["fox"] + ["owl"] * 2
    assert found.problems["links"] == [
        f"{root}/{name} leads to a folder that is on the list already"
        for name in ("cat/all", "cat/other", "cat/self", "fox/back")
    ]
    assert [line.split(": ")[0] for line in found.problems["unreadable"]] == [
        f"cannot read {root}/cat/dangling.png",
        f"cannot read {root}/cat/loop.png",
    ]


@pytest.mark.parametrize("backwards", [False, True])
def test_of_links_to_one_folder_the_first_counts_in_whatever_order_the_disk_has_them(
    backwards, root, tmp_path_factory, monkeypatch
):
    scandir = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: nullcontext(sorted(scandir(path), key=lambda entry: entry.name, reverse=backwards))
    )
    elsewhere = _images(tmp_path_factory.mktemp("elsewhere"), "1.png")
    for name in ("b", "a"):
        (root / "cat" / name).symlink_to(elsewhere)
    assert _names(_list(root))[0] == "cat/a/1.png"


def test_two_classes_that_are_one_folder_are_told_apart_by_no_one(root):
    (root / "lynx").symlink_to(root / "cat")
    with pytest.raises(
        DataError, match=r"/lynx holds no image .*links: .*/lynx leads to a folder that is on the list already"
    ):
        _list(root)


def test_a_folder_that_may_not_be_read_is_a_problem_and_the_rest_is_listed(root, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = _list(root)
    assert _names(found) == ["cat/b.png", "owl/b.PNG"]
    assert found.problems["unreadable"] == [
        f"cannot read {root}/{name}/deep: Permission denied" for name in ("cat", "owl")
    ]


def test_a_name_that_is_no_text_is_a_problem_and_as_a_class_refused(root):
    (root / "cat" / os.fsdecode(b"caf\xe9.png")).touch()
    found = _list(root)
    assert len(found.images) == 4
    assert found.problems == {"unreadable": [f"the name of {root}/cat/caf\\udce9.png is not UTF-8"]}
    (root / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(DataError, match=r"the name of the folder .*/caf\\udce9 is not UTF-8: rename it"):
        _list(root)


def test_names_of_any_length_and_script_are_listed(root):
    names = ["x" * 251 + ".png", "\u732b \U0001f431.png", "a,b\nc.png"]
    _images(root / "cat", *names)
    deep = root / "owl"
    for _ in range(15):
        deep = deep / ("d" * 200)
    _images(deep, "far.png")
    found = _list(root)
    assert {image.path.name for image in found.images} >= {*names, "far.png"}
    assert found.problems == {}
