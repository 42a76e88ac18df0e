"""JSON on disk, written so that equal content gives equal bytes and a kill leaves the old file or the new, never
half."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.errors import DataError


def dumps(content: Any) -> str:
    """NaN and infinity are refused: they are not JSON, and a metric that is one of them is a bug."""
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def write(path: Path, content: Any) -> None:
    write_text(path, dumps(content))


def read(path: Path) -> Any:
    """Raises DataError naming the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: run the pipeline first (graft run)") from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}") from None


def write_lines(path: Path, records: Iterable[dict]) -> None:
    write_text(path, "".join(json.dumps(record, allow_nan=False) + "\n" for record in records))


def append_line(path: Path, record: dict) -> None:
    """Adds a record to a log. One write call, so that concurrent readers see whole lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record, allow_nan=False).encode() + b"\n"
    with path.open("ab+") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
        torn = stream.read(1) not in (b"", b"\n")  # a line that a kill cut short must not swallow this one
        stream.write(b"\n" * torn + line)


def read_lines(path: Path) -> list[dict]:
    """The records of a log; lines that a kill cut short are left out. No file: no records."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records
