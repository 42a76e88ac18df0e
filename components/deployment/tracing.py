"""From a torch module to an ONNX architecture that does not know its weights.

The weights are inputs while the exporter's optimizer simplifies the graph, so that it can fold none of them into it,
nor take two for one because they happen to be equal.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

import onnx
import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch import nn

from components.deployment import skeleton
from components.deployment.skeleton import OPSET, Form

BROADCASTING = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Where")
"""Operators whose inputs fit where they differ in a size that is 1."""


def trace(module: nn.Module, form: Form) -> onnx.ModelProto:
    """The architecture of a module in eval mode. Its inputs are the form's, then the parameters and buffers that an
    answer reads, by their names; constants that belong to the architecture are its initialisers."""
    sizes = {size: torch.export.Dim(size, min=1) for axes in form.dynamic.values() for size in axes.values()}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(form.inputs.values()),
            input_names=list(form.inputs),
            output_names=list(form.outputs),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=tuple(
                {axis: sizes[size] for axis, size in form.dynamic.get(name, {}).items()} for name in form.inputs
            ),
            external_data=False,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    model = program.model
    _broadcast(model)
    _hide(model, set(skeleton.tensors(module)))
    optimizer.optimize_ir(model)
    graph = model.graph
    unread = [value for value in graph.inputs if value.name not in form.inputs and not value.uses()]
    for value in unread:
        graph.inputs.remove(value)
    architecture = ir.to_proto(model)
    _strip(architecture)
    return architecture


def _broadcast(model: ir.Model) -> None:
    """Takes what would be expanded to the size of its partner as it is, where the operator does so by itself.

    The batch's size is then asked nowhere: the CPU would compute with it, for which a GPU has to wait.
    """
    for node in model.graph:
        small, large = node.inputs[0] if node.inputs else None, node.outputs[0]
        if node.op_type != "Expand" or large.shape is None or large.shape.has_unknown_dim():
            continue
        for reader, place in large.uses():
            partners = [value for value in reader.inputs if value is not None and value is not large]
            if reader.op_type in BROADCASTING and any(value.shape == large.shape for value in partners):
                reader.replace_input_with(place, small)


def _hide(model: ir.Model, weights: set[str]) -> None:
    """Makes inputs of the initialisers that are weights."""
    graph = model.graph
    for name in sorted(weights & set(graph.initializers)):
        value = graph.initializers.pop(name)
        value.const_value = None
        graph.inputs.append(value)


def _strip(architecture: onnx.ModelProto) -> None:
    """Removes what the exporter notes about where the module came from: stack traces with this machine's paths."""
    del architecture.metadata_props[:]
    architecture.doc_string = ""
    graph = architecture.graph
    del graph.metadata_props[:], graph.value_info[:]
    graph.doc_string = ""
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
