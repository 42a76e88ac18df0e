"""Predictions as a table in a file, one row for each image, written as they come: .parquet, .csv or .jsonl."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from components.errors import MachineError, ParamsError, choices
from components.inference.answers import Answer, Failure, Prediction
from components.inference.predictor import Predictor

MANY = 50
"""Classes from which on a row holds the TOP most probable ones only, not one column for each."""
TOP = 5
ROWS = 1024
"""Held in memory before they are written: a row group of a Parquet file, so that its size does not matter."""


class Columns:
    """Names and kinds of a table's columns, and how a prediction becomes a row.

    path, class, probability, abstain, then p_<class> for each class, or class_2, probability_2 and so on for the next
    most probable ones of many classes; <task>_class and <task>_probability for each further task; error, empty but for
    an image without an answer.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.names = list(predictor.classes[predictor.task])
        self.further = [task for task in predictor.classes if task != predictor.task]
        self.kinds: dict[str, type] = {"path": str, "class": str, "probability": float, "abstain": bool}
        if len(self.names) > MANY:
            for place in range(2, TOP + 1):
                self.kinds |= {f"class_{place}": str, f"probability_{place}": float}
        else:
            self.kinds |= {f"p_{name}": float for name in self.names}
        for task in self.further:
            self.kinds |= {f"{task}_class": str, f"{task}_probability": float}
        self.kinds["error"] = str

    def row(self, path: str, answer: Prediction | Failure) -> dict[str, Any]:
        """None where there is nothing to say."""
        row: dict[str, Any] = dict.fromkeys(self.kinds)
        row["path"] = path
        if isinstance(answer, Failure):
            row["error"] = answer.reason
            return row
        row |= {"class": answer.class_name, "probability": answer.probability, "abstain": answer.abstain}
        if len(self.names) > MANY:
            for place, (name, probability) in enumerate(_most_probable(answer)[1:], 2):
                row |= {f"class_{place}": name, f"probability_{place}": probability}
        else:
            row |= {f"p_{name}": probability for name, probability in answer.probabilities.items()}
        for task, further in answer.tasks.items():
            row |= {f"{task}_class": further.class_name, f"{task}_probability": further.probability}
        return row


def _most_probable(answer: Answer) -> list[tuple[str, float]]:
    return sorted(answer.probabilities.items(), key=lambda item: -item[1])[:TOP]


class Table(Protocol):
    """An open file of rows."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def close(self) -> None: ...


class CsvTable:
    """Text in UTF-8 with a line of names first; nothing where a value is missing."""

    def __init__(self, path: Path, kinds: Mapping[str, type]) -> None:
        self._stream = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._stream, list(kinds), lineterminator="\n")
        self._writer.writeheader()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._writer.writerows(rows)

    def close(self) -> None:
        self._stream.close()


class JsonLinesTable:
    """One JSON object a line, null where a value is missing."""

    def __init__(self, path: Path, kinds: Mapping[str, type]) -> None:
        self._stream = path.open("w", encoding="utf-8")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def close(self) -> None:
        self._stream.close()


class ParquetTable:
    """A row group for each call of `write`; probabilities are floats of 32 bits, as the model gives them."""

    def __init__(self, path: Path, kinds: Mapping[str, type]) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ModuleNotFoundError:
            raise MachineError(
                "a .parquet file needs the package 'pyarrow': install graft[parquet], or write .csv or .jsonl"
            ) from None
        types: dict[type, Any] = {str: pyarrow.string(), float: pyarrow.float32(), bool: pyarrow.bool_()}
        self._schema = pyarrow.schema([(name, types[kind]) for name, kind in kinds.items()])
        self._make: Any = pyarrow.Table.from_pylist
        self._writer = parquet.ParquetWriter(path, self._schema)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._writer.write_table(self._make(list(rows), schema=self._schema))

    def close(self) -> None:
        self._writer.close()


TABLES = {".parquet": ParquetTable, ".csv": CsvTable, ".jsonl": JsonLinesTable}


def check(path: Path) -> None:
    """Raises ParamsError when the name of a file to write ends in nothing that there is a table for."""
    if path.is_dir():
        raise ParamsError(f"--out {path} is a folder, but must be a file")
    if path.suffix not in TABLES:
        ending = repr(path.suffix) if path.suffix else "no suffix"
        raise ParamsError(f"--out {path} ends in {ending}; {choices(path.suffix, TABLES)}")


class Writer:
    """Takes rows one by one and writes them in groups."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == ROWS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._table.write(self._rows)
            self._rows = []


@contextlib.contextmanager
def writing(path: Path, columns: Columns) -> Generator[Writer, None, None]:
    """A file of the kind that its suffix names. It appears under its name when all is written: after an error, or a
    Ctrl-C, what was there before is still there and nothing else. Raises MachineError where it cannot be written."""
    check(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table = TABLES[path.suffix](unfinished, columns.kinds)
        try:
            writer = Writer(table)
            yield writer
            writer.flush()
        finally:
            table.close()
        unfinished.replace(path)
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):  # its folder may be none
            unfinished.unlink()
