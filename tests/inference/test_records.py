"""Predictions in a file: the same rows in every format, and never half of them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.errors import MachineError, ParamsError
from components.inference import records
from components.inference.answers import Answer, Failure, Prediction

FEW = SimpleNamespace(classes={"label": ["ant", "bee, honey"], "light": ["dark", "bright"]}, task="label")
PREDICTION = Prediction(
    "bee, honey",
    0.75,
    {"ant": 0.25, "bee, honey": 0.75},
    abstain=True,
    tasks={"light": Answer("dark", 0.5, {"dark": 0.5, "bright": 0.5})},
)
ROWS = [
    {
        "path": "ä/1.png",
        "class": "bee, honey",
        "probability": 0.75,
        "abstain": True,
        "p_ant": 0.25,
        "p_bee, honey": 0.75,
        "light_class": "dark",
        "light_probability": 0.5,
        "error": None,
    },
    {
        "path": "2.png",
        **dict.fromkeys(
            ["class", "probability", "abstain", "p_ant", "p_bee, honey", "light_class", "light_probability"]
        ),
        "error": 'it is "no" image',
    },
]


def _write(path: Path) -> None:
    columns = records.Columns(FEW)
    with records.writing(path, columns) as writer:
        writer.add(columns.row("ä/1.png", PREDICTION))
        writer.add(columns.row("2.png", Failure('it is "no" image')))


def test_jsonl(tmp_path):
    _write(tmp_path / "new" / "p.jsonl")
    text = (tmp_path / "new" / "p.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.splitlines()] == ROWS
    assert list(json.loads(text.splitlines()[0])) == list(ROWS[0])


def test_csv(tmp_path):
    _write(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert found == [{key: "" if value is None else str(value) for key, value in row.items()} for row in ROWS]


def test_parquet(tmp_path):
    from pyarrow import parquet

    _write(tmp_path / "p.parquet")
    table = parquet.read_table(tmp_path / "p.parquet")
    assert table.to_pylist() == ROWS  # these numbers are exact in 32 bits
    kinds = {field.name: str(field.type) for field in table.schema}
    assert (kinds["path"], kinds["probability"], kinds["abstain"]) == ("string", "float", "bool")


def test_many_rows_are_written_in_groups(tmp_path, monkeypatch):
    from pyarrow import parquet

    monkeypatch.setattr(records, "ROWS", 10)
    columns = records.Columns(FEW)
    with records.writing(tmp_path / "p.parquet", columns) as writer:
        for number in range(25):
            writer.add(columns.row(f"{number}.png", PREDICTION))
    file = parquet.ParquetFile(tmp_path / "p.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [10, 10, 5]
    assert file.read(["path"]).column("path").to_pylist() == [f"{number}.png" for number in range(25)]


def test_no_images_are_an_empty_table_with_its_columns(tmp_path):
    from pyarrow import parquet

    for suffix in (".csv", ".parquet", ".jsonl"):
        with records.writing(tmp_path / f"p{suffix}", records.Columns(FEW)):
            pass
    assert (tmp_path / "p.csv").read_text() == ",".join(f'"{n}"' if "," in n else n for n in ROWS[0]) + "\n"
    assert parquet.read_table(tmp_path / "p.parquet").num_rows == 0
    assert (tmp_path / "p.jsonl").read_bytes() == b""


def test_of_many_classes_the_five_most_probable_are_told():
    names = [f"class {number}" for number in range(51)]
    columns = records.Columns(SimpleNamespace(classes={"label": names}, task="label"))
    chances = {name: number / 1275 for number, name in enumerate(names)}
    row = columns.row("x", Prediction("class 50", 50 / 1275, chances))
    assert list(row) == [
        *("path", "class", "probability", "abstain"),
        *("class_2", "probability_2", "class_3", "probability_3"),
        *("class_4", "probability_4", "class_5", "probability_5", "error"),
    ]
    assert (row["class"], row["class_2"], row["class_5"]) == ("class 50", "class 49", "class 46")
    assert row["probability_5"] == 46 / 1275
    assert "p_class 49" in records.Columns(SimpleNamespace(classes={"label": names[:50]}, task="label")).kinds


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_what_is_interrupted_leaves_what_was_there(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    path.write_text("yesterday's")
    columns = records.Columns(FEW)
    with pytest.raises(KeyboardInterrupt), records.writing(path, columns) as writer:
        for _ in range(records.ROWS + 1):
            writer.add(columns.row("x", PREDICTION))
        assert list(tmp_path.glob(".*.part"))
        raise KeyboardInterrupt
    assert path.read_text() == "yesterday's"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_says_no_format_is_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"p\.parket ends in '\.parket'; did you mean '\.parquet'"):
        records.check(tmp_path / "p.parket")
    with pytest.raises(ParamsError, match=r"ends in no suffix; choose from: \.parquet, \.csv, \.jsonl"):
        records.check(tmp_path / "predictions")


def test_without_pyarrow_the_error_names_it_and_what_works_without(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError, match=r"needs the package 'pyarrow': .* or write \.csv or \.jsonl"):
        _write(tmp_path / "p.parquet")
    assert list(tmp_path.iterdir()) == []
    _write(tmp_path / "p.csv")
