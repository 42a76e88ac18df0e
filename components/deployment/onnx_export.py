"""A trained strategy as one ONNX graph, from raw pixels to probabilities.

    input   image          uint8 [batch, height, width, 3], RGB, any size
    output  logits         float [batch, C], divided by the temperature that calibrates them
            probabilities  float [batch, C], their softmax

With several tasks the outputs are named logits_<task> and probabilities_<task>. Resizing, cropping and normalising are
nodes of the graph, and class names, preprocessing and lineage are in its metadata: the file alone answers a request.
Equal weights and facts give equal bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper, parser
from torch import Tensor, nn

from components.strategies.base import Strategy
from components.types import Preprocess

OPSET = 18
"""The newest whose Resize and Shape the CUDA provider of onnxruntime runs; from 19 and 21 on they fall to the CPU."""
RESIZE = {"bilinear": 'mode = "linear"', "bicubic": 'mode = "cubic", cubic_coeff_a = -0.5'}
"""Attributes of Resize that do what Pillow does under that name."""
METADATA = "graft"
"""Key of the ONNX metadata entry that holds the facts, as JSON."""


class _Logits(nn.Module):
    """A strategy with its outputs in a fixed order, as the exporter wants them."""

    def __init__(self, strategy: Strategy) -> None:
        super().__init__()
        self.strategy = strategy

    def forward(self, normalised: Tensor) -> tuple[Tensor, ...]:
        outputs = self.strategy(normalised)
        return tuple(outputs[task] for task in self.strategy.label_space.classes)


def export(strategy: Strategy, facts: dict, temperature: Mapping[str, float] | None = None) -> bytes:
    """The file's content. `facts` (JSON) goes into the metadata under `METADATA`.

    `temperature`: task -> what its logits are divided by (Guo et al., 2017, arXiv:1706.04599, sec. 4.2; none: 1). No
    decision depends on it, but the probabilities become as sure as they are right.
    """
    tasks = list(strategy.label_space.classes)
    model = _network(strategy)
    graph = model.graph
    before = _preprocessing(strategy.backbone.preprocess, output=graph.input[0].name)
    outputs, after, constants = [], [], []
    for task, network_output in zip(tasks, list(graph.output), strict=True):
        suffix = f"_{task}" if len(tasks) > 1 else ""
        classes = len(strategy.label_space.classes[task])
        divisor = f"temperature{suffix}"
        constants.append(numpy_helper.from_array(np.array((temperature or {}).get(task, 1.0), np.float32), divisor))
        after += [
            helper.make_node("Div", [network_output.name, divisor], [f"logits{suffix}"], name=f"logits{suffix}"),
            helper.make_node(
                "Softmax", [f"logits{suffix}"], [f"probabilities{suffix}"], name=f"probabilities{suffix}", axis=-1
            ),
        ]
        outputs += [
            helper.make_tensor_value_info(f"{kind}{suffix}", TensorProto.FLOAT, ["batch", classes])
            for kind in ("logits", "probabilities")
        ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3])
    whole = helper.make_model(
        helper.make_graph(
            [*before, *graph.node, *after], "graft", [image], outputs, initializer=[*graph.initializer, *constants]
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=model.ir_version,
        producer_name="graft",
    )
    for node in whole.graph.node:
        # The exporter notes stack traces with this machine's paths beside every node.
        del node.metadata_props[:]
        node.doc_string = ""
    helper.set_model_props(whole, {METADATA: json.dumps(facts, sort_keys=True)})
    onnx.checker.check_model(whole, full_check=True)
    return whole.SerializeToString(deterministic=True)


def _network(strategy: Strategy) -> onnx.ModelProto:
    """The strategy from normalised images to logits, batch-norm folded by the exporter."""
    size = strategy.backbone.preprocess.size
    example = torch.zeros(2, 3, size, size)  # two images: an example of one fixes the batch size at one
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Logits(strategy).eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _preprocessing(preprocess: Preprocess, output: str) -> list[onnx.NodeProto]:
    """Nodes from `image` to the network's input, step for step what training did: see `components.data.images.fit`.

    The rounding stands for the whole numbers that Pillow makes of resized pixels. At the network's own size the Resize
    copies and the Slice keeps everything.
    """
    size, resize = preprocess.size, preprocess.resize
    mean, std = _triple(preprocess.mean), _triple(preprocess.std)
    text = f"""
    preprocess (uint8[batch, height, width, 3] image) => (float[batch, 3, {size}, {size}] normalised)
    {{
        pixels = Cast <to = 1> (image)
        planes = Transpose <perm = [0, 3, 1, 2]> (pixels)
        sides = Shape <start = 2> (planes)
        sides_float = Cast <to = 1> (sides)
        shorter = ReduceMin <keepdims = 1> (sides_float)
        resize = Constant <value = float[1] {{{resize}.0}}> ()
        scale = Div (resize, shorter)
        scaled = Mul (sides_float, scale)
        rounded_sides = Round (scaled)
        whole_sides = Cast <to = 7> (rounded_sides)
        size = Constant <value = int64[1] {{{size}}}> ()
        new_sides = Max (whole_sides, size)
        batch_and_channels = Shape <start = 0, end = 2> (planes)
        new_shape = Concat <axis = 0> (batch_and_channels, new_sides)
        resized = Resize <{RESIZE[preprocess.interpolation]}, antialias = 1> (planes, , , new_shape)
        black_level = Constant <value = float {{0.0}}> ()
        white = Constant <value = float {{255.0}}> ()
        within = Clip (resized, black_level, white)
        whole = Round (within)
        spare = Sub (new_sides, size)
        two = Constant <value = int64[1] {{2}}> ()
        start = Div (spare, two)
        end = Add (start, size)
        axes = Constant <value = int64[2] {{2, 3}}> ()
        square = Slice (whole, start, end, axes)
        unit = Div (square, white)
        mean = Constant <value = float[1, 3, 1, 1] {{{mean}}}> ()
        centred = Sub (unit, mean)
        std = Constant <value = float[1, 3, 1, 1] {{{std}}}> ()
        normalised = Div (centred, std)
    }}
    """
    nodes = list(parser.parse_graph(text).node)
    for node in nodes:
        names = {"image": "image", "normalised": output}
        node.input[:] = [names.get(name, f"preprocess_{name}") if name else "" for name in node.input]
        node.output[:] = [names.get(name, f"preprocess_{name}") for name in node.output]
        node.name = node.output[0]
    return nodes


def _triple(values: tuple[float, float, float]) -> str:
    return ", ".join(repr(float(value)) for value in values)
