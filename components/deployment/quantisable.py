"""Which nodes of a network 8-bit integers may compute. Found by what the nodes do, whatever they are called.

Convolutions and linear layers are where the time goes, and what lies between them has to follow, or every layer would
pay for the way to float and back. What answers stays in float: a classifier's logits, of which 256 levels would make
ties, and the arithmetic of heads that compare (distances, cosines, votes), which subtract large numbers from one
another. It takes next to no time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx
from onnx import NodeProto, TensorProto

CONVOLUTION = "Conv"
WEIGHTED = (CONVOLUTION, "Gemm", "MatMul")
TAIL = ("Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat")
"""What may follow a layer on 8-bit integers: onnxruntime has kernels for them, or needs none."""
BETWEEN = (*TAIL, "Mul", "Reshape", "Transpose")
"""Likewise on the way from one convolution to another."""
ACTIVATIONS = ("Relu", "Clip")
"""What the range of 8 bits does by itself: its lower end is zero, or its upper one six."""
LINEAR = ("Add", "Sub", "Mul", "Div")
SHAPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity")


@dataclass(frozen=True)
class Quantisable:
    """Names of nodes, in the network's order: the `body`, all but what answers; its `layers` with weights; and what
    lies `between` them.

    Of each layer, `activations`: those of `between` that shape its output; `readers`: those that then read it.
    """

    body: tuple[str, ...]
    layers: tuple[str, ...]
    between: tuple[str, ...]
    activations: Mapping[str, tuple[str, ...]]
    readers: Mapping[str, tuple[str, ...]]


def find(network: onnx.ModelProto) -> Quantisable:
    """An output that the network itself goes on to compute with, as a head does with the features, ends the body.

    No layer is found where most of the body's weights are of another kind, as in a recurrent network: the rest would
    not pay for the way to integers and back.
    """
    graph = _Graph(network)
    weighted = [index for index in range(len(graph.nodes)) if graph.is_weighted(index)]
    convolutions = {index for index in weighted if graph.nodes[index].op_type == CONVOLUTION}
    before = graph.upstream(convolutions)
    body = before | graph.upstream(graph.makers[name] for name in graph.outputs if graph.readers[name])
    heads = {index for index in weighted if index not in body and graph.answers(index)}
    body |= graph.upstream(heads) - heads
    layers = [index for index in weighted if index in body]
    if 2 * graph.size(layers) < graph.size(body):
        layers = []
    between = _between(graph, layers, before)
    after = {index: graph.after(index) for index in layers}

    def names(indices: Iterable[int]) -> tuple[str, ...]:
        return tuple(graph.nodes[index].name for index in sorted(indices))

    return Quantisable(
        body=names(body),
        layers=names(layers),
        between=names(between),
        activations={graph.nodes[layer].name: names(after[layer][0].intersection(between)) for layer in layers},
        readers={graph.nodes[layer].name: names(after[layer][1].intersection(between)) for layer in layers},
    )


def _between(graph: _Graph, layers: list[int], before: set[int]) -> list[int]:
    """What is quantised beside the layers: on the way to a convolution (`before`), and what follows the last."""
    chosen = set(layers)
    for index, node in enumerate(graph.nodes if layers else ()):
        makers = graph.inputs(index)
        behind = node.op_type in TAIL and makers <= chosen
        if makers and (behind or (node.op_type in BETWEEN and index in before)):
            chosen.add(index)
    return sorted(chosen - set(layers))


class _Graph:
    """Who makes and who reads each value. Nodes go by their place, which is after all that they read."""

    def __init__(self, network: onnx.ModelProto) -> None:
        self.nodes: list[NodeProto] = list(network.graph.node)
        self.weights = {array.name: array for array in network.graph.initializer}
        self.outputs = {output.name for output in network.graph.output}
        self.makers = {name: index for index, node in enumerate(self.nodes) for name in node.output}
        self.readers: dict[str, list[int]] = defaultdict(list)
        for index, node in enumerate(self.nodes):
            for name in node.input:
                self.readers[name].append(index)

    def inputs(self, index: int) -> set[int]:
        """The nodes that make what this one reads; the network's own input is none."""
        return {self.makers[name] for name in self.nodes[index].input if name in self.makers}

    def upstream(self, ends: Iterable[int]) -> set[int]:
        """These nodes and all that they depend on."""
        found = set(ends)
        open_ends = list(found)
        while open_ends:
            new = self.inputs(open_ends.pop()) - found
            found |= new
            open_ends += new
        return found

    def size(self, indices: Iterable[int]) -> int:
        """How many numbers the weights of these nodes are."""
        names = {name for index in indices for name in self.nodes[index].input if name in self.weights}
        return sum(math.prod(self.weights[name].dims) for name in names)

    def after(self, index: int) -> tuple[set[int], set[int]]:
        """The activations that follow a node, and the other nodes that read it or one of those."""
        activations: set[int] = set()
        others: set[int] = set()
        open_ends = [index]
        while open_ends:
            for name in self.nodes[open_ends.pop()].output:
                for reader in self.readers[name]:
                    if self.nodes[reader].op_type in ACTIVATIONS:
                        activations.add(reader)
                        open_ends.append(reader)
                    else:
                        others.add(reader)
        return activations, others

    def is_weighted(self, index: int) -> bool:
        """Whether the node multiplies what it reads with a constant matrix or kernel."""
        node = self.nodes[index]
        if node.op_type not in WEIGHTED or node.input[0] in self.weights:
            return False
        weight = self.weights.get(node.input[1])
        return weight is not None and weight.data_type == TensorProto.FLOAT and len(weight.dims) >= 2

    def answers(self, index: int) -> bool:
        """Whether the network's outputs are linear in what the node makes: it is a classifier, or part of one."""
        return all(
            self._is_linear(reader, name) and self.answers(reader)
            for name in self.nodes[index].output
            for reader in self.readers[name]
        )

    def _is_linear(self, index: int, value: str) -> bool:
        node = self.nodes[index]
        others = [name for name in node.input if name != value]
        constant = all(name in self.weights or not name for name in others)
        return self.is_weighted(index) or node.op_type in SHAPING or (node.op_type in LINEAR and constant)
