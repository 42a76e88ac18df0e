"""JSON on disk: whole or not at all, no NaN, and logs that survive a kill."""

from __future__ import annotations

import math

import pytest

from components import jsonfile
from components.errors import DataError


def test_what_was_written_is_read(tmp_path):
    content = {"b": [1, 2.5, None, True], "a": "grün", "nested": {"x": []}}
    jsonfile.write(tmp_path / "deep" / "file.json", content)
    assert jsonfile.read(tmp_path / "deep" / "file.json") == content
    assert "grün" in (tmp_path / "deep" / "file.json").read_text(encoding="utf-8")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file.json"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_and_the_old_file_stays(value, tmp_path):
    path = tmp_path / "file.json"
    jsonfile.write(path, {"accuracy": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        jsonfile.write(path, {"accuracy": value})
    assert jsonfile.read(path) == {"accuracy": 0.5}
    with pytest.raises(ValueError, match="JSON"):
        jsonfile.append_line(tmp_path / "log.jsonl", {"loss": value})
    assert not jsonfile.read_lines(tmp_path / "log.jsonl")


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"none\.json does not exist: run the pipeline first"):
        jsonfile.read(tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe"], ids=["empty", "cut short", "no text"])
def test_a_damaged_file_is_named(content, tmp_path):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.json is not valid JSON"):
        jsonfile.read(tmp_path / "bad.json")


def test_lines_are_written_appended_and_read(tmp_path):
    path = tmp_path / "logs" / "log.jsonl"
    assert jsonfile.read_lines(path) == []
    jsonfile.append_line(path, {"n": 1, "text": "two\nlines"})
    jsonfile.append_line(path, {"n": 2})
    assert jsonfile.read_lines(path) == [{"n": 1, "text": "two\nlines"}, {"n": 2}]
    jsonfile.write_lines(path, [{"n": 3}])
    assert jsonfile.read_lines(path) == [{"n": 3}]


def test_a_last_line_that_a_kill_cut_short_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    jsonfile.append_line(path, {"n": 1})
    with path.open("a") as stream:
        stream.write('{"n": 2, "tex')
    assert jsonfile.read_lines(path) == [{"n": 1}]


def test_a_record_after_a_line_that_was_cut_short_is_not_lost(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"n": 1}\n{"n": 2, "tex')
    jsonfile.append_line(path, {"n": 3})
    assert jsonfile.read_lines(path) == [{"n": 1}, {"n": 3}]
