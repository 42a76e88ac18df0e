"""Named arrays in a file, in the safetensors format: eight bytes of header length, a JSON header, raw little-endian
data.

Written here rather than with the library of that name because training and inference must run where only torch and
numpy are installed, and because equal arrays must give equal bytes: names are sorted, and nothing else is stored.
The files open with the library, and its files open here; a test holds the two against each other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from components.errors import DataError

_NAMES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
_CODES = {np.dtype(kind): code for code, kind in _NAMES.items()}


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file's content. Raises DataError for a dtype the format lacks."""
    header, chunks, offset = {}, [], 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        if array.dtype not in _CODES:
            raise DataError(f"array {name!r} has dtype {array.dtype}, which safetensors files do not hold")
        data = array.tobytes()
        header[name] = {
            "dtype": _CODES[array.dtype],
            "shape": list(np.shape(arrays[name])),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data starts on a multiple of eight, as the format asks
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])


def decode(content: bytes, origin: str = "the data") -> dict[str, np.ndarray]:
    """The arrays of a file's content. Raises DataError when it is cut short or not of this format."""
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        arrays = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            low, high = entry["data_offsets"]
            flat = np.frombuffer(content[start + low : start + high], dtype=_NAMES[entry["dtype"]])
            arrays[name] = flat.reshape(entry["shape"]).copy()
        return arrays
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{origin} is not a complete safetensors file ({error})") from None


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Writes the file whole or not at all; returns the sha256 of its content."""
    content = encode(arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    return hashlib.sha256(content).hexdigest()


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, by name. Raises DataError if there is no such file or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    return decode(content, origin=str(path))
