"""An architecture and its weights become a model: what can be computed before an image comes is computed here.

Only steps whose result no processor rounds differently are taken: layout, the four operations, square roots, and sums
in one order. So equal weights give equal bytes on any machine; an exponential is left to the runtime, which computes it
when it loads the model.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from components.errors import DataError

Arrays = dict[str, np.ndarray]


def fill(
    architecture: onnx.ModelProto,
    tensors: Mapping[str, np.ndarray],
    *,
    inputs: Collection[str],
    outputs: Collection[str],
) -> onnx.ModelProto:
    """The model that gives `outputs`, some of the architecture's. Of the architecture's inputs, those that are not
    among `inputs` are weights; `tensors` has them by name.

    Raises DataError when it lacks one, or has it in another shape or type. The architecture stays as it is.
    """
    graph = architecture.graph
    arrays = {array.name: numpy_helper.to_array(array) for array in graph.initializer}
    arrays |= {value.name: _fitting(value, tensors) for value in graph.input if value.name not in inputs}
    given = [value for value in graph.output if value.name in outputs]
    names = {value.name for value in given}
    nodes = needed(graph.node, names)
    nodes = _computed(nodes, arrays)
    nodes = needed(_without_batch_norm(nodes, arrays, names), names)
    read = {name for node in nodes for name in reads(node)} & arrays.keys()
    model = onnx.ModelProto(ir_version=architecture.ir_version, producer_name="graft")
    model.opset_import.extend(architecture.opset_import)
    model.graph.name = "network"
    model.graph.node.extend(nodes)
    model.graph.input.extend(value for value in graph.input if value.name in inputs)
    model.graph.output.extend(given)
    for name in sorted(read):
        array = arrays[name]
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        # As ONNX wants it, little-endian; numpy_helper would copy the weights once more.
        raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        model.graph.initializer.add(name=name, data_type=kind, dims=array.shape, raw_data=raw)
    return model


def _fitting(value: onnx.ValueInfoProto, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    kind = value.type.tensor_type
    shape = tuple(dimension.dim_value for dimension in kind.shape.dim)
    array = tensors.get(value.name)
    if array is None:
        raise DataError(f"the architecture reads {value.name!r}, which the weights do not have")
    if array.shape != shape or helper.np_dtype_to_tensor_dtype(array.dtype) != kind.elem_type:
        raise DataError(
            f"{value.name!r} is {array.dtype} {list(array.shape)}, but the architecture reads {list(shape)}"
        )
    return array


def needed(nodes: Iterable[NodeProto], outputs: Collection[str]) -> list[NodeProto]:
    """The nodes that the outputs depend on, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if wanted.intersection(node.output):
            wanted.update(reads(node))
            kept.append(node)
    return kept[::-1]


def reads(node: NodeProto) -> set[str]:
    """Names of what a node reads of the graph around it, inside the branches of an If and the body of a Loop too, and
    of what is read only there."""
    found = set(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            found |= reads(inner)
        found |= {output.name for output in attribute.g.output}
    return found


def _computed(nodes: Iterable[NodeProto], arrays: Arrays) -> list[NodeProto]:
    """The nodes that are left once every exact step on known arrays is taken; their results join the arrays."""
    left = []
    for node in nodes:
        step = EXACT.get(node.op_type)
        if step is None or not all(name in arrays or not name for name in node.input):
            left.append(node)
            continue
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        results = step(*(arrays[name] if name else None for name in node.input), **attributes)
        for name, result in zip(node.output, results if isinstance(results, list) else [results], strict=True):
            arrays[name] = np.ascontiguousarray(result).reshape(np.shape(result))
    return left


def _without_batch_norm(nodes: list[NodeProto], arrays: Arrays, outputs: Collection[str]) -> list[NodeProto]:
    """Joins every batch normalisation to the convolution or linear layer before it, if nothing else reads that:

    gain * (W x + b - mean) / sqrt(variance + epsilon) + shift is another such layer. The factors of the rows are taken
    in double precision.
    """
    makers = {node.output[0]: node for node in nodes if node.op_type in ("Conv", "Gemm")}
    readers = Counter(name for node in nodes for name in reads(node))
    left = []
    for node in nodes:
        layer = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if (
            layer is None
            or readers[node.input[0]] > 1
            or node.input[0] in outputs
            or not _is_linear(layer, arrays)
            or not all(name in arrays for name in node.input[1:])
        ):
            left.append(node)
            continue
        gain, shift, mean, variance = (arrays[name].astype(np.float64) for name in node.input[1:])
        (epsilon,) = [a.f for a in node.attribute if a.name == "epsilon"] or [1e-5]
        factor = gain / np.sqrt(variance + np.float64(np.float32(epsilon)))
        weight = arrays[layer.input[1]]
        bias = arrays[layer.input[2]].astype(np.float64) if len(layer.input) > 2 else 0.0
        made = NodeProto()
        made.CopyFrom(layer)
        made.output[0] = node.output[0]
        made.input[1:] = [f"{node.output[0]}_weight", f"{node.output[0]}_bias"]
        arrays[made.input[1]] = weight * factor.astype(weight.dtype).reshape(-1, *[1] * (weight.ndim - 1))
        arrays[made.input[2]] = ((bias - mean) * factor + shift).astype(weight.dtype)
        left = [made if other is layer else other for other in left]
    return left


def _is_linear(layer: NodeProto, arrays: Arrays) -> bool:
    """Whether it has its weights as arrays, one row for each output, and adds nothing but a bias."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in layer.attribute}
    plain = attributes.get("alpha", 1) == attributes.get("beta", 1) == 1 and not attributes.get("transA", 0)
    rows = layer.op_type == "Conv" or bool(attributes.get("transB", 0))
    bias = arrays.get(layer.input[2]) if len(layer.input) > 2 else np.zeros(1)
    return plain and rows and layer.input[1] in arrays and bias is not None and bias.ndim == 1


def _total(array: np.ndarray, axes: np.ndarray | None, keepdims: int, noop_with_empty_axes: int) -> np.ndarray:
    """The sum over axes, number by number from the first on: numpy's own groups them as the processor likes it."""
    if axes is None or not len(axes):
        if noop_with_empty_axes:
            return array
        axes = np.arange(array.ndim)
    along = tuple(int(axis) % array.ndim for axis in axes)
    for axis in along:
        array = np.moveaxis(functools.reduce(np.add, np.moveaxis(array, axis, 0))[None], 0, axis)
    return array if keepdims else array.squeeze(along)


def _reduce_sum(
    array: np.ndarray, axes: np.ndarray | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> np.ndarray:
    return _total(array, axes, keepdims, noop_with_empty_axes)


def _reduce_l2(
    array: np.ndarray, axes: np.ndarray | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> np.ndarray:
    squares = array.astype(np.float64) ** 2
    return np.sqrt(_total(squares, axes, keepdims, noop_with_empty_axes)).astype(array.dtype)


def _slice(array: np.ndarray, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> np.ndarray:
    ranges = [slice(None)] * array.ndim
    for place, axis in enumerate(range(len(starts)) if axes is None else axes):
        ranges[axis] = slice(int(starts[place]), int(ends[place]), 1 if steps is None else int(steps[place]))
    return array[tuple(ranges)]


def _split(array: np.ndarray, sizes: np.ndarray | None = None, *, axis: int = 0, num_outputs: int = 0) -> list:
    if sizes is None:
        size = -(-array.shape[axis] // num_outputs)
        return np.split(array, range(size, array.shape[axis], size), axis)
    return np.split(array, np.cumsum(sizes)[:-1], axis)


def _reshape(array: np.ndarray, shape: np.ndarray, *, allowzero: int = 0) -> np.ndarray:
    sizes = [array.shape[place] if size == 0 and not allowzero else int(size) for place, size in enumerate(shape)]
    return array.reshape(sizes)


def _divide(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if np.issubdtype(one.dtype, np.floating):
        return one / other
    return np.sign(one) * np.sign(other) * (np.abs(one) // np.abs(other))  # ONNX rounds towards zero


def _clip(array: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None) -> np.ndarray:
    return array if low is None and high is None else np.clip(array, low, high)


def _cast(array: np.ndarray, *, to: int, **_: Any) -> np.ndarray:
    return array.astype(helper.tensor_dtype_to_np_dtype(to))


EXACT: dict[str, Callable[..., np.ndarray | list[np.ndarray]]] = {
    "Add": np.add,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda *arrays, axis: np.concatenate(arrays, axis),
    "Div": _divide,
    "Expand": lambda array, shape: np.broadcast_to(array, np.broadcast_shapes(array.shape, tuple(shape))),
    "Gather": lambda array, indices, axis=0: np.take(array, indices, axis),
    "Identity": lambda array: array,
    "Max": lambda *arrays: functools.reduce(np.maximum, arrays),
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "ReduceL2": _reduce_l2,
    "ReduceSum": _reduce_sum,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Sqrt": np.sqrt,
    "Squeeze": lambda array, axes=None: np.squeeze(array, None if axes is None else tuple(axes)),
    "Sub": np.subtract,
    "Transpose": lambda array, perm=None: np.transpose(array, perm),
    "Unsqueeze": lambda array, axes: np.expand_dims(array, tuple(axes)),
    "Where": np.where,
}
"""Operators of opset 18 that give the same numbers everywhere: what an architecture makes of its weights alone."""
