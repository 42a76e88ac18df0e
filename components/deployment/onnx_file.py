"""ONNX models as files: equal models give equal bytes, and one over protobuf's limit keeps its weights beside it."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from components.errors import DataError
from components.paths import external

LIMIT = 2**31 - 2**20
"""Bytes that a file may have in one piece: protobuf reads 2 GiB, and the graph needs some of it."""
LEAST = 1024
"""Bytes from which on an array of a model in two pieces goes beside it."""
ALIGNMENT = 4096
"""Arrays begin at multiples of it, so that a runtime can map them."""


def content(model: onnx.ModelProto) -> bytes:
    """The file of a model in one piece. Raises DataError when it is too large for that."""
    if (size := sum(map(_bytes, model.graph.initializer))) > LIMIT:
        raise DataError(
            f"the model has {size / 2**30:.1f} GiB, and an ONNX file in one piece at most 2: "
            "write it with onnx_file.save"
        )
    return model.SerializeToString(deterministic=True)


def save(model: onnx.ModelProto, path: Path, *, limit: int = LIMIT) -> list[Path]:
    """Writes a model and returns its files: the path itself and, if it has more than `limit` bytes, `<name>.data`
    beside it with the large arrays (ONNX's external data). The model itself stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = external(path)
    data.unlink(missing_ok=True)
    if sum(map(_bytes, model.graph.initializer)) <= limit:
        path.write_bytes(model.SerializeToString(deterministic=True))
        return [path]
    shell, large = _without_large_arrays(model)
    with data.open("wb") as stream:
        for array in large:
            stream.write(bytes(-stream.tell() % ALIGNMENT))
            outside = shell.graph.initializer.add(name=array.name, data_type=array.data_type, dims=array.dims)
            outside.data_location = TensorProto.EXTERNAL
            place = {"location": data.name, "offset": stream.tell(), "length": len(array.raw_data)}
            for key, value in place.items():
                outside.external_data.add(key=key, value=str(value))
            stream.write(array.raw_data)
    path.write_bytes(shell.SerializeToString(deterministic=True))
    return [path, data]


def check(model: onnx.ModelProto) -> None:
    """Raises onnx's ValidationError or InferenceError when the graph is not well formed or its shapes do not fit.

    Large arrays are declared and not shown to the checker: their values decide neither, and it would copy them all.
    """
    shell, large = _without_large_arrays(model)
    for array in large:
        shell.graph.input.append(helper.make_tensor_value_info(array.name, array.data_type, array.dims))
    onnx.checker.check_model(shell, full_check=True)


def _without_large_arrays(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[TensorProto]]:
    """A copy of the model without its initialisers of `LEAST` bytes and more, and these."""
    shell, large = onnx.ModelProto(), []
    for source, copy, own in ((model, shell, "graph"), (model.graph, shell.graph, "initializer")):
        for field, value in source.ListFields():
            if field.name == own:
                continue
            if isinstance(value, (str, bytes, int)):
                setattr(copy, field.name, value)
            else:
                getattr(copy, field.name).MergeFrom(value)
    for array in model.graph.initializer:
        if not array.HasField("raw_data") or _bytes(array) < LEAST:
            shell.graph.initializer.append(array)
        else:
            large.append(array)
    return shell, large


def _bytes(array: TensorProto) -> int:
    """What an array takes, which is nearly all of a model; asking for its content would copy it."""
    return math.prod(array.dims) * helper.tensor_dtype_to_np_dtype(array.data_type).itemsize
