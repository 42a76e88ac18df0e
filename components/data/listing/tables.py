"""A table in a file, CSV or Parquet, as a header and rows of text, each with where it stands.

CSV is UTF-8 with commas, quoted as RFC 4180 says; what is broken is told with its line. Parquet's values become the
text that pandas would write into a CSV; a null is an empty text. An index that pandas has written is left aside.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from components.errors import DataError, MachineError

PARQUET = frozenset({".parquet", ".pq"})
BATCH = 4096
"""Rows of a Parquet file that are in memory as Python's objects at once."""
INDEX = "__index_level_"
"""What the names of the columns begin with in which pandas keeps its index. In a CSV it has no name, and is the
first."""


class Row(NamedTuple):
    """`where`: "line 7" or "row 7", for messages; `values`: one for each column of the header."""

    where: str
    values: list[str]


class Table(NamedTuple):
    """`rows` are read as they are asked for."""

    header: list[str]
    rows: Iterator[Row]


@contextmanager
def reading(path: Path, key: str, of: str = "images") -> Generator[Table]:
    """Opens the table of `of` that the parameter `key` names. Raises DataError where there is none, where its header
    is empty or has a name twice, and, while the rows are read, at one that is broken or has more or fewer fields than
    the header; MachineError for Parquet without pyarrow."""
    try:
        if path.suffix.lower() in PARQUET:
            with _parquet(path, key) as table:
                yield table
        else:
            # Any line break, also within a field, is read as one newline: a lone carriage return would tear the
            # manifest.
            with path.open(encoding="utf-8-sig") as stream:
                rows = _csv(stream, path, key, of)
                header = next(rows).values
                if header[0] or len(header) == 1:
                    yield Table(_header(header, path, key), rows)
                else:  # pandas has written its index
                    yield Table(_header(header[1:], path, key), (Row(where, values[1:]) for where, values in rows))
    except FileNotFoundError:
        raise DataError(f"{key}: there is no file {path}") from None
    except StopIteration:
        raise DataError(f"{key}: {path} is no table of {of}: it is empty") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{key}: {path} is no table of {of}: it is not UTF-8 ({error})") from None
    except OSError as error:
        raise DataError(f"{key}: {path} is no table of {of} ({error})") from None


def _csv(stream: Iterable[str], path: Path, key: str, of: str) -> Iterator[Row]:
    reader = csv.reader(stream, strict=True)
    fields = 0
    while True:
        first = reader.line_num + 1  # an open quote swallows lines: the one it was opened in is to be mended
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{key}: {path} is no table of {of}: the row that begins in line {first} is broken ({error})"
            ) from None
        if values is None:
            return
        if not values:
            continue
        fields = fields or len(values)
        if len(values) != fields:
            raise DataError(
                f"{key}: in {path}, line {first}, the row of {values[0]!r} has {len(values)} fields, but the header "
                f"{fields}"
            )
        yield Row(f"line {first}", values)


@contextmanager
def _parquet(path: Path, key: str) -> Generator[Table]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MachineError(f"{key}: reading {path} needs pyarrow: pip install 'graft[parquet]'") from None
    with path.open("rb") as stream:
        try:
            file = parquet.ParquetFile(stream)
        except arrow.ArrowException as error:
            raise DataError(f"{key}: {path} is no Parquet file ({str(error).splitlines()[0]})") from None
        schema = file.schema_arrow
        names = [name for name in schema.names if not name.startswith(INDEX)]
        for column in map(schema.field, names):
            if arrow.types.is_nested(column.type) or arrow.types.is_binary(column.type):
                raise DataError(
                    f"{key}: in {path} the column {column.name!r} holds {column.type}, but only texts, numbers and "
                    "the like can be read; drop it"
                )

        def rows() -> Iterator[Row]:
            number = 0
            batches = file.iter_batches(BATCH, columns=names)
            while True:
                try:
                    batch = next(batches, None)
                except arrow.ArrowException as error:
                    raise DataError(f"{key}: {path} is damaged ({str(error).splitlines()[0]})") from None
                if batch is None:
                    return
                for values in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
                    number += 1
                    yield Row(f"row {number}", ["" if value is None else str(value) for value in values])

        yield Table(_header(names, path, key), rows())


def _header(names: list[str], path: Path, key: str) -> list[str]:
    if len(names) == 1 and any(separator in names[0] for separator in ";\t|"):
        raise DataError(f"{key}: the fields of {path} are not separated by commas; its first line is {names[0]!r}")
    for number, name in enumerate(names):
        if not name.strip() or name in names[:number]:
            raise DataError(f"{key}: {path} has a column {name!r} that is without a name or there twice")
    return names
