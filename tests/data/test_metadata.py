"""A table of what is known of single images: read by path, refused by name."""

from __future__ import annotations

import pytest

from components.data.listing import Listed, Listing, metadata
from components.errors import DataError

KEY = "data.target.metadata"
TAKEN = {"width", "label"}


@pytest.fixture
def table(tmp_path):
    def write(text: str):
        path = tmp_path / "metadata.csv"
        path.write_text(text, encoding="utf-8")
        return metadata.read(path, KEY, TAKEN)

    return write


def test_columns_stand_in_the_file_s_order_wherever_the_path_is(table):
    found = table('\ufeffsite,path,"year, taken"\n"garden, north",./cat/1.png,2023\n,dog/2.png,\n\n')
    assert found.columns == ("site", "year, taken")
    assert found.values == {"cat/1.png": ("garden, north", "2023"), "dog/2.png": ("", "")}


def test_a_carriage_return_in_a_field_does_not_tear_the_manifest(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_bytes(b'path,note\r\ncat/1.png,"two\rlines"\r\ndog/2.png,"two\r\nlines"\r\n')
    found = metadata.read(path, KEY, TAKEN)
    assert found.values == {"cat/1.png": ("two\nlines",), "dog/2.png": ("two\nlines",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,site\na,b\n", r"data\.target\.metadata: .*metadata\.csv has no column 'path'.*choose from: file, site"),
        ("Path,site\na,b\n", r"no column 'path'.*did you mean 'Path'"),
        ("", r"is no table of images"),
        ("path,width\na,1\n", r"has a column 'width', but so has the manifest \(label, width\); rename it"),
        ("path,site,site\na,b,c\n", r"column 'site' that is without a name or there twice"),
        ("path,,site\na,b,c\n", r"column '' that is without a name"),
        ("path,site\na,b\nc\n", r"the row of 'c' has 1 fields, but the header 2"),
        ("path,site\na,b\n./a,c\n", r"two rows for the image 'a'"),
        ('path,site\na,"b\n', r"is no table of images"),
    ],
)
def test_what_is_no_table_of_images_is_refused(text, message, table):
    with pytest.raises(DataError, match=message):
        table(text)


def test_a_table_s_own_columns_are_kept(tmp_path):
    own = Listed(tmp_path / "1.png", "cat", columns={"age": "7"})
    table = tmp_path / "metadata.csv"
    table.write_text("site,path\ngarden,1.png\n")
    found = metadata.merged(Listing(tmp_path, [own], ("cat",), columns=("age",)), table, KEY)
    assert found.columns == ("age", "site")
    assert found.images[0].columns == {"age": "7", "site": "garden"}
    assert own.columns == {"age": "7"}


def test_a_missing_file_is_refused_by_its_key(tmp_path):
    with pytest.raises(DataError, match=r"data\.source\.metadata: there is no file .*nowhere\.csv"):
        metadata.read(tmp_path / "nowhere.csv", "data.source.metadata", TAKEN)
