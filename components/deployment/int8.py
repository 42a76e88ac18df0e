"""A network in 8-bit integers: static post-training quantisation, written as pairs of QuantizeLinear and
DequantizeLinear, which each provider fuses into its own integer kernels.

Nagel et al., 2021, arXiv:2106.08295, sec. 2 and 3: weights symmetric and per output channel, activations with one range
for each value, biases in the 32 bits of the accumulator. Onnxruntime's quantiser does it; here is decided what it is
asked for.

Two forms, since no processor likes both: unsigned activations for x86, where signed ones are 2 to 8 times slower, and
signed ones that are symmetric around zero for TensorRT, which knows no others, wants biases in float, and a pair of its
own for each reader of a value.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from components.deployment.calibration_ranges import Ranges, quiet, ranges
from components.deployment.quantisable import Quantisable, find
from components.deployment.stem import in_blocks

TENSORRT = {"ActivationSymmetric": True, "QuantizeBias": False, "DedicatedQDQPair": True}


class Network:
    """A float network made ready for quantising, as often as it takes to find a good way.

    `symmetric`: in TensorRT's form. `model`: as it was, but for steps that integers take faster another way; every
    node has a name, and every value a type. `nodes`: what may be quantised.
    """

    def __init__(self, network: onnx.ModelProto, *, symmetric: bool = False) -> None:
        self.symmetric = symmetric
        # TensorRT has its own way to read an image of three channels.
        self.model = _pooled(network if symmetric else in_blocks(network))
        for index, node in enumerate(self.model.graph.node):
            node.name = node.name or f"node_{index}"
        self.nodes: Quantisable = find(self.model)
        by_name = {node.name: node.op_type for node in self.model.graph.node}
        self.op_types = {by_name[name] for name in (*self.nodes.layers, *self.nodes.between)}

    def ranges(self, images: np.ndarray, calibrator: str) -> Ranges:
        """Of the values that may be quantised, while the network answers images [N, 3, H, W]."""
        return ranges(self.model, images, calibrator, op_types=self.op_types, symmetric=self.symmetric)

    def quantise(self, ranges: Ranges, *, fp32: Collection[str] = (), only: str | None = None) -> onnx.ModelProto:
        """With the activations' `ranges`, all layers but those that stay in `fp32`, or `only` this one.

        What reads a layer in fp32 stays so too: it would round after all what the layer was spared. Float in and out,
        like the network. Equal arguments give equal bytes.
        """
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        if only:
            chosen = [only, *self.nodes.activations[only]]
        else:
            spared = {*fp32, *(reader for layer in fp32 for reader in self.nodes.readers[layer])}
            chosen = [name for name in (*self.nodes.layers, *self.nodes.between) if name not in spared]
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        # The mark spares the quantiser a round trip through a file, to infer the types that are there already.
        helper.set_model_props(model, {"onnx.infer": "onnxruntime.quant"})
        ends: dict[str, Any] = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
        with quiet():
            quantiser = QDQQuantizer(
                model,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8 if self.symmetric else QuantType.QUInt8,
                tensors_range=TensorsData(CalibrationMethod.MinMax, ends),
                nodes_to_quantize=chosen,
                nodes_to_exclude=[],
                op_types_to_quantize=sorted(self.op_types),
                extra_options=TENSORRT if self.symmetric else {},
            )
            quantiser.quantize_model()
            quantiser.model.topological_sort()
        return _plain(quantiser.model.model)


def _pooled(network: onnx.ModelProto) -> onnx.ModelProto:
    """A mean over both axes of an image as the pooling that it is: onnxruntime has an integer kernel only for that."""
    model = onnx.shape_inference.infer_shapes(network)
    graph = model.graph
    arrays = {array.name: array for array in graph.initializer}
    images = {value.name for value in graph.value_info if len(value.type.tensor_type.shape.dim) == 4}
    for node in graph.node:
        axes = arrays.get(node.input[1]) if node.op_type == "ReduceMean" and len(node.input) == 2 else None
        if axes is None or node.input[0] not in images:
            continue
        keeps = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
        if keeps and sorted(numpy_helper.to_array(axes) % 4) == [2, 3]:
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]
    used = {name for node in graph.node for name in node.input}
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in used:
            del graph.initializer[place]
    return model


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the quantiser notes beside the graph."""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.producer_name, model.producer_version = "graft", ""
    return model
