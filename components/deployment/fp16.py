"""A network in half precision: weights and activations in 16 bits, for processors that compute in them.

Half precision ends at 65504, where single precision has 3e38. Which nodes go beyond is measured, not guessed: the
network answers training images, and what comes near the end stays in fp32, with the casts around it. So does what
answers (the head): it takes no time, and logits that are rounded to three digits would make ties. bf16 is not made:
the CUDA provider of onnxruntime lacks its pooling and reduction kernels.

onnxruntime.transformers.float16 converts too, but casts a value that lies between two fp32 nodes to fp16 and back,
where it overflows after all, and gives the casts of a value with two such readers one name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, defs, helper, numpy_helper

from components.deployment.calibration_ranges import ranges
from components.deployment.fold import reads
from components.deployment.quantisable import find

LARGEST = float(np.finfo(np.float16).max)
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
MARGIN = 4.0
"""Images to come may reach farther than those measured."""
IMAGES = 64
"""So many show how far a network's values reach, to within that margin."""
HALF, SINGLE = int(TensorProto.FLOAT16), int(TensorProto.FLOAT)


def convert(network: onnx.ModelProto, images: np.ndarray) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Float in and out -> the network with its body in fp16, and the names of the body's nodes that had to stay in
    fp32. `images`: normalised training images [N, 3, H, W]."""
    model = onnx.shape_inference.infer_shapes(network)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{index}"
    body = find(model).body
    kept = out_of_range(model, images)
    return in_half(model, set(body) - kept), tuple(name for name in body if name in kept)


def out_of_range(network: onnx.ModelProto, images: np.ndarray) -> set[str]:
    """Names of the nodes that read or write a number, weights included, beyond a `MARGIN`-th of what fp16 holds, or
    that need a constant which it rounds to nothing, such as the guard of a division."""
    reach = {
        value: max(abs(low), abs(high)) for value, (low, high) in ranges(network, images[:IMAGES], "minmax").items()
    }
    lost = set()
    for array in network.graph.initializer:
        if array.data_type == SINGLE:
            numbers = np.abs(numpy_helper.to_array(array))
            reach[array.name] = float(numbers.max(initial=0))
            if numbers.size == 1 and 0 < reach[array.name] < SMALLEST:
                lost.add(array.name)
    far = {value for value, largest in reach.items() if not largest <= LARGEST / MARGIN}  # NaN and infinity are far
    return {node.name for node in network.graph.node if not (far | lost).isdisjoint((*node.input, *node.output))}


def in_half(network: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """The network with the nodes of these names in fp16, as far as ONNX defines them so. `network`: with inferred
    types."""
    opset = next(entry.version for entry in network.opset_import if entry.domain in ("", "ai.onnx"))
    values = _Values(network)
    for original in network.graph.node:
        node = NodeProto()
        node.CopyFrom(original)
        schema = defs.get_schema(node.op_type, opset)
        types = _generic(schema) if node.name in names else set()
        halves = {
            _type(schema.inputs, place)
            for place, name in enumerate(node.input)
            if name in values.floats and _type(schema.inputs, place) in types
        }
        for name in sorted(reads(node) - set(node.input)):
            if name in values.floats:  # read inside a branch, where nothing is converted
                values.read(name, SINGLE)
        for place, name in enumerate(node.input):
            if name in values.floats:
                node.input[place] = values.read(name, HALF if _type(schema.inputs, place) in halves else SINGLE)
        for place, name in enumerate(node.output):
            if name in values.floats:
                node.output[place] = values.made(name, HALF if _type(schema.outputs, place) in halves else SINGLE)
        values.nodes.append(node)
    return values.model(network)


def _generic(schema: defs.OpSchema) -> set[str]:
    """Those of an operator's type parameters that may be float16."""
    return {
        constraint.type_param_str
        for constraint in schema.type_constraints
        if {"tensor(float16)", "tensor(float)"} <= set(constraint.allowed_type_strs)
    }


def _type(formal: Sequence[defs.OpSchema.FormalParameter], place: int) -> str:
    """The type, or type parameter, of an operator's input or output; the last may stand for any number of them."""
    return formal[min(place, len(formal) - 1)].type_str


class _Values:
    """The float values of a network, each in the precision that it was made in, and cast once if it is read in the
    other. In fp16 `x` is called `x_half`."""

    def __init__(self, network: onnx.ModelProto) -> None:
        graph = network.graph
        self.weights = {array.name for array in graph.initializer if array.data_type == SINGLE}
        typed = (*graph.input, *graph.value_info, *graph.output)
        self.floats = self.weights | {value.name for value in typed if value.type.tensor_type.elem_type == SINGLE}
        self.there = {(name, SINGLE) for name in (*self.weights, *(value.name for value in graph.input))}
        self.nodes: list[NodeProto] = []

    def read(self, name: str, kind: int) -> str:
        """The value in this precision, with a cast to it if there is none yet. Weights are converted for good."""
        wanted = f"{name}_half" if kind == HALF else name
        if (name, kind) not in self.there:
            self.there.add((name, kind))
            if name not in self.weights:
                source = name if kind == HALF else f"{name}_half"
                self.nodes.append(helper.make_node("Cast", [source], [wanted], name=f"{wanted}_cast", to=kind))
        return wanted

    def made(self, name: str, kind: int) -> str:
        """What a node that makes the value in this precision has to call it."""
        self.there.add((name, kind))
        return f"{name}_half" if kind == HALF else name

    def model(self, network: onnx.ModelProto) -> onnx.ModelProto:
        """`network` with these nodes in place of its own."""
        for output in network.graph.output:
            if output.name in self.floats:
                self.read(output.name, SINGLE)
        used = {name for node in self.nodes for name in reads(node)} | {output.name for output in network.graph.output}
        weights = [array for array in network.graph.initializer if array.name in used]
        weights += [
            numpy_helper.from_array(numpy_helper.to_array(array).astype(np.float16), f"{array.name}_half")
            for array in network.graph.initializer
            if f"{array.name}_half" in used
        ]
        graph = network.graph
        return helper.make_model(
            helper.make_graph(self.nodes, graph.name, graph.input, graph.output, initializer=weights),
            opset_imports=network.opset_import,
            ir_version=network.ir_version,
            producer_name="graft",
        )
