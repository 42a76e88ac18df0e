"""A trained strategy as one ONNX graph, from raw pixels to probabilities.

    input   image          uint8 [batch, height, width, 3], RGB, any size
    output  logits         float [batch, C], divided by the temperature that calibrates them
            probabilities  float [batch, C], their softmax
            features       float [batch, D], where asked for: what the first task's decision is made from, see
                           `components.explanation.features`

With several tasks the outputs are named logits_<task> and probabilities_<task>. Resizing, cropping and normalising are
nodes of the graph (`components.deployment.preprocessing`), and class names, preprocessing and lineage are in its
metadata: the file alone answers a request. Equal weights and facts give equal bytes.

The `network` alone takes normalised images: what reduces its precision works on it, and `assemble` puts the rest around
whatever comes of that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from components.deployment import onnx_file, preprocessing, skeleton
from components.deployment.skeleton import Form
from components.explanation.features import answer
from components.strategies.base import Classifier, Strategy
from components.types import Preprocess

METADATA = "graft"
"""Key of the ONNX metadata entry that holds the facts, as JSON."""
INPUT = "normalised"
LOGITS = "network_logits_"
FEATURES = "network_features"
BATCH = {0: "batch"}


class Answers(nn.Module):
    """A strategy with its outputs in a fixed order, as the exporter wants them: logits by task, then the features."""

    def __init__(self, strategy: Strategy) -> None:
        super().__init__()
        self.strategy = strategy

    def forward(self, normalised: Tensor) -> tuple[Tensor, ...]:
        outputs, features = answer(self.strategy, normalised)
        return *(outputs[task] for task in self.strategy.label_space.classes), features


def export(
    strategy: Strategy,
    facts: dict,
    temperature: Mapping[str, float] | None = None,
    *,
    features: bool = True,
    skeletons: Path | None = None,
) -> bytes:
    """The file's content. `facts` (JSON) goes into the metadata under `METADATA`.

    `temperature`: task -> what its logits are divided by (Guo et al., 2017, arXiv:1706.04599, sec. 4.2; none: 1). No
    decision depends on it, but the probabilities become as sure as they are right. `skeletons`: see `network`. A model
    of more than 2 GB is no single file: `assemble` it, and write it with `onnx_file.save`.
    """
    model = network(strategy, features=features, skeletons=skeletons)
    surround(
        model,
        preprocess=strategy.backbone.preprocess,
        classes=strategy.label_space.classes,
        temperature=temperature,
        facts=facts,
    )
    return onnx_file.content(model)


def network(strategy: Strategy, *, features: bool = True, skeletons: Path | None = None) -> onnx.ModelProto:
    """The strategy, put into eval mode, from `normalised` float [batch, 3, size, size] to `network_logits_<task>` in
    the label space's order, and `network_features` if they are wanted. Batch-norm is folded.

    `skeletons`: a folder that remembers architectures, so that a retrained model takes a fraction of a second.
    """
    size = strategy.backbone.preprocess.size
    outputs = [*(f"{LOGITS}{task}" for task in strategy.label_space.classes), FEATURES]
    # Two images: an example of one would fix the batch size at one.
    form = Form({INPUT: torch.zeros(2, 3, size, size)}, {INPUT: BATCH}, tuple(outputs))
    return skeleton.model(Answers(_answering(strategy)).eval(), form, outputs if features else outputs[:-1], skeletons)


def _answering(strategy: Strategy) -> Strategy:
    """What of a strategy answers. Most are a backbone with heads, however they were trained: without what else they
    hold, they are one architecture, which is traced once."""
    kind = type(strategy)
    if not isinstance(strategy, Classifier):
        return strategy
    if kind.forward is not Classifier.forward or kind.classify is not Classifier.classify:
        return strategy
    alone = Classifier(strategy.backbone, strategy.label_space)
    alone.heads = strategy.heads
    return alone


def assemble(
    network: onnx.ModelProto,
    *,
    preprocess: Preprocess,
    classes: Mapping[str, Sequence[str]],
    temperature: Mapping[str, float] | None,
    facts: dict,
) -> onnx.ModelProto:
    """Raw pixels in, answers out: preprocessing before a network, temperature and softmax after it.

    What the network computes in is its own affair, but `normalised` and its outputs are float. Inputs that it has
    beside the image are the whole model's, too. `classes`, `preprocess` and `temperature` join the facts.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(network)
    surround(whole, preprocess=preprocess, classes=classes, temperature=temperature, facts=facts)
    return whole


def surround(
    model: onnx.ModelProto,
    *,
    preprocess: Preprocess,
    classes: Mapping[str, Sequence[str]],
    temperature: Mapping[str, float] | None,
    facts: dict,
) -> None:
    """`assemble`, of the network itself and not of a copy: the weights of a large one take a while to copy."""
    graph = model.graph
    temperature = {task: float((temperature or {}).get(task, 1.0)) for task in classes}
    given = {output.name: output for output in graph.output}
    after: list[NodeProto] = []
    outputs = []
    for task in classes:
        suffix = f"_{task}" if len(classes) > 1 else ""
        divisor, logits, probabilities = (f"{kind}{suffix}" for kind in ("temperature", "logits", "probabilities"))
        graph.initializer.append(numpy_helper.from_array(np.array(temperature[task], np.float32), divisor))
        after += [
            helper.make_node("Div", [f"{LOGITS}{task}", divisor], [logits], name=logits),
            helper.make_node("Softmax", [logits], [probabilities], name=probabilities, axis=-1),
        ]
        outputs += [_renamed(given[f"{LOGITS}{task}"], name) for name in (logits, probabilities)]
    if FEATURES in given:
        after.append(helper.make_node("Identity", [FEATURES], ["features"], name="features"))
        outputs.append(_renamed(given[FEATURES], "features"))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3])
    inputs = [image, *(value for value in graph.input if value.name != INPUT)]
    nodes = [*preprocessing.nodes(preprocess, image="image", output=INPUT), *graph.node, *after]
    replace(graph.input, inputs)
    replace(graph.output, outputs)
    replace(graph.node, nodes)
    graph.name = "graft"
    model.producer_name = "graft"
    known = {"classes": classes, "preprocess": preprocess.to_dict(), "temperature": temperature}
    helper.set_model_props(model, {METADATA: json.dumps({**facts, **known}, sort_keys=True)})
    onnx_file.check(model)


def replace(part: MutableSequence[Any], values: Iterable[Any]) -> None:
    """Puts other values in the place of a graph's own."""
    values = list(values)
    del part[:]
    part.extend(values)


def _renamed(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    copy.name = name
    return copy
