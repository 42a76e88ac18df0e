"""What an ONNX file says of itself, read without loading the model: a session that is told the images' size before it
loads must know that size from somewhere.

An ONNX file is one protocol buffer, ModelProto, whose field 14 is a list of keys (field 1) and values (field 2).
https://protobuf.dev/programming-guides/encoding/ and https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from components.errors import DataError

METADATA_PROPS = 14
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read(path: Path) -> dict[str, str]:
    """The metadata entries of a model. Raises DataError when the file is not there or is no ONNX model."""
    if not path.is_file():
        raise DataError(f"there is no model at {path}")
    if not path.stat().st_size:
        raise DataError(f"{path} is not an ONNX model: it is empty")
    found = {}
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            for number, start, end in _fields(content, 0, len(content)):
                if number == METADATA_PROPS:
                    entry = {key: bytes(content[first:last]) for key, first, last in _fields(content, start, end)}
                    found[entry[1].decode()] = entry.get(2, b"").decode()
        except (ValueError, IndexError, KeyError):
            raise DataError(f"{path} is not an ONNX model, or not all of one") from None
    return found


def _fields(content: mmap.mmap, place: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of the fields that hold bytes; those of other kinds are passed over."""
    while place < stop:
        tag, place = _varint(content, place)
        kind = tag & 7
        if kind == VARINT:
            place = _varint(content, place)[1]
        elif kind == FIXED64:
            place += 8
        elif kind == FIXED32:
            place += 4
        elif kind == BYTES:
            length, place = _varint(content, place)
            if place + length > stop:
                raise ValueError("a field is longer than what holds it")
            yield tag >> 3, place, place + length
            place += length
        else:
            raise ValueError(f"there are no fields of kind {kind}")


def _varint(content: mmap.mmap, place: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; the eighth says that more follow -> (value, place behind it)."""
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number has at most 64 bits")
