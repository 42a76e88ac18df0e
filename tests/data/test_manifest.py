"""A table of images, in CSV and Parquet, and the ways in which people's tables are broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from components.data.listing import Listing, listing
from components.errors import DataError, MachineError
from components.params import ColumnsParams, ImagesParams

KEY = "data.target"
FILES = ("1.png", "2.png", "sub/3.png", "4.png")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in FILES:
        (tmp_path / name).touch()
    return tmp_path


def _write(root: Path, text: str) -> Path:
    path = root / "images.csv"
    path.write_text(text, encoding="utf-8")
    return path


def _list(path: Path, *, labelled: bool = True, columns: dict | None = None, **options) -> Listing:
    made = ImagesParams(manifest=str(path), columns=ColumnsParams(**columns or {}), **options)
    return listing(made, KEY, labelled=labelled)


COMPLETE = """\ufeffage,image,kind,legs,patient,part,from
54,./1.png, cat ,4,p1,train,us
,2.png,owl,2,p2,Validation,eu
"6,1",sub//3.png,owl,2,,,eu
"two
lines",{root}/4.png,cat,4,p1,,us
"""
ALL = {
    "path": "image",
    "label": "kind",
    "tasks": ("legs",),
    "split": "part",
    "group": "patient",
    "domain": "from",
}


def test_every_column_is_what_the_params_say_and_the_others_are_metadata(root):
    found = _list(_write(root, COMPLETE.format(root=root)), columns=ALL)
    assert (found.root, found.classes, found.tasks, found.columns) == (root, ("cat", "owl"), ("legs",), ("age",))
    assert [
        (image.path, image.class_name, image.part, image.group, image.answers, image.columns) for image in found.images
    ] == [
        (root / "1.png", "cat", "train", "p1", {"legs": "4"}, {"age": "54"}),
        (root / "2.png", "owl", "val", "p2", {"legs": "2"}, {"age": ""}),
        (root / "4.png", "cat", None, "p1", {"legs": "4"}, {"age": "two\nlines"}),
        (root / "sub" / "3.png", "owl", None, None, {"legs": "2"}, {"age": "6,1"}),
    ]
    assert found.problems == {"torn_groups": ["p1 is in no part and train"]}


def test_parquet_says_the_same_as_csv(root):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = _write(root, "path,label,age,dose\n1.png,7,54,0.1\n2.png,8,,1e-07\nsub/3.png,8,6,2.0\n")
    frame = pandas.read_csv(path)
    frame.loc[[2, 0, 1]].to_parquet(root / "images.parquet")  # with the index as a column of its own
    frame.to_csv(root / "again.csv")  # likewise
    told = [_list(root / name) for name in ("images.parquet", "again.csv")]
    assert told[0] == told[1]
    assert told[0].classes == ("7", "8")
    assert [dict(image.columns) for image in told[0].images] == [
        {"age": "54.0", "dose": "0.1"},
        {"age": "", "dose": "1e-07"},
        {"age": "6.0", "dose": "2.0"},
    ]


def test_a_parquet_file_is_refused_when_damaged_or_with_the_images_inside(root, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = root / "images.parquet"
    parquet.write_table(arrow.table({"path": ["1.png"], "label": ["a"], "image": [b"bytes"]}), path)
    with pytest.raises(DataError, match=r"data\.target\.manifest: .* the column 'image' holds binary"):
        _list(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"images\.parquet is no Parquet file"):
        _list(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError, match=r"needs pyarrow: pip install 'graft\[parquet\]'"):
        _list(path)


def test_paths_are_relative_to_the_folder_where_one_is_given(root):
    table = _write(root / "sub", "path,label\n1.png,a\n2.png,b\n")
    assert [image.path for image in _list(table, folder=str(root)).images] == [root / "1.png", root / "2.png"]
    with pytest.raises(
        DataError, match=r"of the 2 files .* none exists, such as .*sub/1\.png; .* relative to .*sub: is"
    ):
        _list(table)


def test_missing_files_are_problems(root):
    found = _list(_write(root, f"path,label\n1.png,a\n2.png,b\ngone.png,a\nsub,a\n{'x' * 300}.png,a\n"))
    assert [image.path.name for image in found.images] == ["1.png", "2.png"]
    assert found.problems == {"missing": [str(root / "gone.png"), str(root / "sub"), str(root / f"{'x' * 300}.png")]}


def test_a_path_that_is_there_twice_is_kept_once_or_not_at_all(root):
    text = "1.png,a,train\n./1.png,a,test\n2.png,a,\n2.png,b,\nsub/3.png,,\nsub/3.png,b,\n4.png,a,\n4.png,a,\n"
    found = _list(_write(root, f"path,label,s\n{text}"), columns={"split": "s"})
    assert [(image.path.name, image.part) for image in found.images] == [
        ("1.png", "test"),
        ("4.png", None),
        ("3.png", None),
    ]
    assert found.problems == {
        "contradictions": [[str(root / "2.png")] * 2],
        "duplicates": [[str(root / name)] * 2 for name in ("4.png", "sub/3.png")],
        "overlaps": [[str(root / "1.png")] * 2],
    }


def test_an_image_without_a_label_is_for_training_or_for_nothing(root):
    text = "path,label,legs,s\n1.png,a,4,\n2.png,b,2,\nsub/3.png, ,,\n4.png,,,test\n"
    found = _list(_write(root, text), columns={"split": "s", "tasks": ("legs",)})
    assert [(image.class_name, image.part, image.answers) for image in found.images] == [
        ("a", None, {"legs": "4"}),
        ("b", None, {"legs": "2"}),
        ("", "train", {}),
    ]
    assert found.classes == ("a", "b")
    assert found.problems == {"unlabelled": [str(root / "sub/3.png")], "unlabelled_held_out": [str(root / "4.png")]}


def test_an_unlabelled_table_needs_no_label_column(root):
    found = _list(_write(root, "path,site\n1.png,here\n2.png,there\n"), labelled=False)
    assert [(image.class_name, image.part, image.columns) for image in found.images] == [
        ("", "train", {"site": "here"}),
        ("", "train", {"site": "there"}),
    ]
    labelled = _list(_write(root, "path,label\n1.png,a\n2.png,\n"), labelled=False)
    assert [(image.class_name, image.part) for image in labelled.images] == [("", "train")] * 2
    assert (labelled.columns, labelled.problems) == ((), {})


def test_domains_are_chosen(root):
    path = _write(root, "path,label,d\n1.png,a,x\n2.png,b,x\nsub/3.png,c,y\n4.png,a,y\n")
    assert _list(path, columns={"domain": "d"}).classes == ("a", "b", "c")
    assert _list(path, columns={"domain": "d"}, domain="y").classes == ("a", "c")
    with pytest.raises(DataError, match=r"data\.target\.domain: there is no domain 'z'; choose from: x, y"):
        _list(path, columns={"domain": "d"}, domain="z")


def test_what_the_prepared_manifest_has_of_its_own_is_left_aside(root):
    text = "file,kind,path,label,width,height,sha256,site\n1.png,a,/1,1,1,1,0,x\n2.png,b,/2,2,1,1,0,y\n"
    found = _list(_write(root, text), columns={"path": "file", "label": "kind"})
    assert (found.classes, found.columns) == (("a", "b"), ("site",))


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        (
            "file,label\n1.png,a\n",
            {},
            r"target\.columns\.path: .*images\.csv has no column 'path'; choose from: file, l",
        ),
        ("path,Label\n1.png,a\n", {}, r"columns\.label: .* has no column 'label'; did you mean 'Label'"),
        ("path,label\n1.png,a\n", {"tasks": ("legs",)}, r"columns\.tasks: .* has no column 'legs'"),
        ("path;label\n1.png;a\n", {}, r"not separated by commas; its first line is 'path;label'"),
        ("", {}, r"is no table of images: it is empty"),
        ("path,label\n", {}, r"has no row of an image that can be used"),
        ("path,label\n\n1.png,a\n2.png\n", {}, r"line 4, the row of '2\.png' has 1 fields, but the header 2"),
        ('path,label\n1.png,a\n2.png,"b\n4.png,b\n', {}, r"the row that begins in line 3 is broken \(unexpected end"),
        ('path,label\n1.png,a\n2.png,"b" c\n', {}, r"the row that begins in line 3 is broken \(',' expected after"),
        ("path,label\n1.png,a\n,b\n", {}, r"images\.csv, line 3: there is no path"),
        ("path,label\n1.png,a\n2.png,a\n", {}, r"holds 1 class\(es\) \('a'\), but"),
        ("path,label\n1.png,cat\n2.png,CAT\n", {}, r"'CAT' and 'cat' in .* differ only in case"),
        (
            "path,label,s\n1.png,a,trian\n",
            {"split": "s"},
            r"splits: 'trian' is no part that is known; did you mean 'train'",
        ),
        (
            "path,label,legs\n1.png,a,4\n2.png,b,\n",
            {"tasks": ("legs",)},
            r"line 3: the image has .*'b', but no answer to 'legs'",
        ),
        ("path,label,split\n1.png,a,test\n", {}, r"columns\.split: .*images\.csv has a column 'split'; set"),
        ("path,label,sha256\n1.png,a,4\n", {"tasks": ("sha256",)}, r"columns\.tasks: .* a column 'sha256' already"),
        ("path,label,a,a\n1.png,a,4,4\n", {}, r"a column 'a' that is without a name or there twice"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_its_place(text, columns, message, root):
    with pytest.raises(DataError, match=message):
        _list(_write(root, text), columns=columns)


def test_other_encodings_are_refused(root):
    (root / "images.csv").write_bytes("path,label\n1.png,café\n2.png,b\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"images\.csv is no table of images: it is not UTF-8 .*0xe9"):
        _list(root / "images.csv")
    with pytest.raises(DataError, match=r"data\.target\.manifest: there is no file .*nowhere\.csv"):
        _list(root / "nowhere.csv")
    with pytest.raises(DataError, match=r"is no table of images \(.*directory"):
        _list(root / "sub")
