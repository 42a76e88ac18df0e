"""What is known of the classes themselves: a table with a row for each, read from a CSV or Parquet file.

    class,loops,top,middle,bottom
    0,1,1,0,1
    1,0,0,0,0

The first column holds the class names. A column may be a further question about every image, answered by the image's
class (`loops`: multi-task); all others are numbers, and in their order the class's description (zero-shot).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from components.data.listing import tables
from components.errors import DataError, choices

Table = dict[str, dict[str, str]]
"""class name -> column -> what is written there"""


def read(path: Path, classes: Sequence[str]) -> Table:
    """The rows of the classes, in their order. Raises DataError when one is missing, doubled or too short."""
    table: Table = {}
    with tables.reading(path, "data.attributes", "classes") as found:
        for where, (name, *values) in found.rows:
            if name in table:
                raise DataError(f"{path}, {where}: there are two rows for the class {name!r}")
            table[name] = dict(zip(found.header[1:], values, strict=True))
    missing = [name for name in classes if name not in table]
    if missing:
        raise DataError(f"{path} has no row for the class {missing[0]!r}; {choices(missing[0], table)}")
    return {name: table[name] for name in classes}


def questions(table: Table, tasks: Sequence[str], path: Path) -> dict[str, tuple[str, ...]]:
    """task -> the answers that occur, sorted. Raises DataError for an unknown column or one with a single answer."""
    found = {}
    for task in tasks:
        columns = list(next(iter(table.values())))
        if task not in columns:
            raise DataError(f"data.tasks: {path} has no column {task!r}; {choices(task, columns)}")
        found[task] = tuple(sorted({row[task] for row in table.values()}))
        if len(found[task]) < 2:
            raise DataError(f"data.tasks: every class has the same answer to {task!r}, so there is nothing to learn")
    return found


def descriptions(table: Table, tasks: Sequence[str], path: Path) -> tuple[tuple[float, ...], ...]:
    """A vector for each class, of all columns that are no tasks. Raises DataError for what is no number."""
    vectors = []
    for name, row in table.items():
        vector = []
        for column, text in row.items():
            if column in tasks:
                continue
            try:
                vector.append(float(text))
            except ValueError:
                vector.append(math.nan)
            if not math.isfinite(vector[-1]):
                raise DataError(f"{path}: {column} of the class {name!r} is {text!r}, but must be a number")
        vectors.append(tuple(vector))
    return tuple(vectors)
