"""Named arrays in a file, in the safetensors format: eight bytes of header length, a JSON header, raw little-endian
data.

Written here rather than with the library of that name because training and inference must run where only torch and
numpy are installed, and because equal arrays must give equal bytes: names are sorted, and nothing else is stored.
The files open with the library, and its files open here; a test holds the two against each other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

_NAMES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
_CODES = {np.dtype(kind): code for code, kind in _NAMES.items()}


def of_state(state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """A torch module's state dict as arrays, float as float32."""
    return {
        key: (value.float() if value.is_floating_point() else value).cpu().contiguous().numpy()
        for key, value in state.items()
    }


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of the file that `save` would write."""
    found = hashlib.sha256()
    for part in _parts(arrays):
        found.update(part)
    return found.hexdigest()


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file's content. Raises DataError for a dtype the format lacks."""
    return b"".join(_parts(arrays))


def _parts(arrays: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """The content piece by piece: nobody who reads it in order needs all weights a second time."""
    header, chunks, offset = {}, [], 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        if array.dtype not in _CODES:
            raise DataError(f"array {name!r} has dtype {array.dtype}, which safetensors files do not hold")
        header[name] = {
            "dtype": _CODES[array.dtype],
            "shape": list(np.shape(arrays[name])),
            "data_offsets": [offset, offset + array.nbytes],
        }
        chunks.append(array)
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data starts on a multiple of eight, as the format asks
    yield len(text).to_bytes(8, "little")
    yield text
    for array in chunks:
        yield array.tobytes()


def decode(content: bytes, origin: str = "the data") -> dict[str, np.ndarray]:
    """The arrays of a file's content, BF16 as float32. Raises DataError when it is cut short or not of this format."""
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        arrays = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            low, high = entry["data_offsets"]
            arrays[name] = _flat(content, start + low, high - low, entry["dtype"]).reshape(entry["shape"]).copy()
        return arrays
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{origin} is not a complete safetensors file ({error})") from None


def _flat(content: bytes, start: int, length: int, code: str) -> np.ndarray:
    """numpy has no bfloat16: it is the upper half of a float32, so it is read as one, exactly."""
    kind = np.dtype(np.uint16 if code == "BF16" else _NAMES[code])
    count, rest = divmod(length, kind.itemsize)
    if rest:
        raise ValueError(f"{length} bytes are no whole number of {code} values")
    flat = np.frombuffer(content, kind, count, start) if count else np.empty(0, kind)
    return (flat.astype(np.uint32) << 16).view(np.float32) if code == "BF16" else flat


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
