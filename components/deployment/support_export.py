"""A few-shot strategy with its labelled images as an input, so that a class is added without training or exporting.

    input   image             uint8 [batch, height, width, 3], as in `components.deployment.onnx_export`
            support_features  float [support, D]: what the `features` output gives for labelled images
            support_label     int64 [support]: their classes, numbered from 0
    output  logits            float [batch, classes], divided by the temperature
            probabilities     float [batch, classes]
            features          float [batch, D]

There are as many classes as the highest label says, each with as many images as it has; one that has none is never the
answer. Given the images that a trained model remembers, the answer is that model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from onnx import NodeProto, TensorProto, helper, parser
from torch import Tensor, nn

from components.deployment import onnx_file, skeleton
from components.deployment.onnx_export import BATCH, FEATURES, INPUT, LOGITS, assemble, replace
from components.deployment.skeleton import Form
from components.strategies.few_shot import FewShot

SUPPORT, LABEL = "support_features", "support_label"
SORTED, MEMBERS = "support_by_class", "support_members"


class _Comparison(nn.Module):
    """A few-shot strategy that is told the support: features by class [N, D], and whose they are [N, C]."""

    def __init__(self, strategy: FewShot) -> None:
        super().__init__()
        self.strategy = strategy

    def forward(self, normalised: Tensor, support: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
        features = self.strategy.backbone(normalised)
        logits = self.strategy.classify_support(features, support=support, members=members)
        return self.strategy.outputs(logits, members.sum(0) > 0)[self.strategy.task], features


def export_support(
    strategy: FewShot,
    facts: dict,
    temperature: Mapping[str, float] | None = None,
    *,
    skeletons: Path | None = None,
) -> bytes:
    """The file's content; facts, temperature and skeletons as in `onnx_export.export`."""
    preprocess, width = strategy.backbone.preprocess, strategy.backbone.num_features
    # Sizes of an example that are 1, or equal each other, would be fixed at that.
    form = Form(
        inputs={
            INPUT: torch.zeros(2, 3, preprocess.size, preprocess.size),
            SORTED: torch.zeros(7, width),
            MEMBERS: torch.eye(7)[:, :3],
        },
        dynamic={INPUT: BATCH, SORTED: {0: "support"}, MEMBERS: {0: "support", 1: "classes"}},
        outputs=(f"{LOGITS}{strategy.task}", FEATURES),
    )
    network = skeleton.model(_Comparison(strategy).eval(), form, form.outputs, skeletons)
    _take_labels(network, width)
    whole = assemble(
        network,
        preprocess=preprocess,
        classes={strategy.task: strategy.label_space.classes[strategy.task]},
        temperature=temperature,
        facts=facts,
    )
    return onnx_file.content(whole)


def _take_labels(network: onnx.ModelProto, width: int) -> None:
    """Puts before the comparison what sorts the support by class, as training does, and makes columns of its labels."""
    graph = network.graph
    inputs = [
        *(value for value in graph.input if value.name == INPUT),
        helper.make_tensor_value_info(SUPPORT, TensorProto.FLOAT, ["support", width]),
        helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["support"]),
    ]
    replace(graph.input, inputs)
    replace(graph.node, [*_by_class(), *graph.node])


def _by_class() -> list[NodeProto]:
    text = f"""
    by_class (float[support, width] {SUPPORT}, int64[support] {LABEL})
        => (float[support, width] {SORTED}, float[support, classes] {MEMBERS})
    {{
        {LABEL}_count = Shape ({LABEL})
        {LABEL}_sorted, {LABEL}_order = TopK <axis = 0, largest = 0, sorted = 1> ({LABEL}, {LABEL}_count)
        {SORTED} = Gather <axis = 0> ({SUPPORT}, {LABEL}_order)
        {LABEL}_highest = ReduceMax <keepdims = 1> ({LABEL})
        {LABEL}_one = Constant <value = int64[1] {{1}}> ()
        {LABEL}_classes = Add ({LABEL}_highest, {LABEL}_one)
        {LABEL}_off_and_on = Constant <value = float[2] {{0.0, 1.0}}> ()
        {MEMBERS} = OneHot <axis = -1> ({LABEL}_sorted, {LABEL}_classes, {LABEL}_off_and_on)
    }}
    """
    nodes = list(parser.parse_graph(text).node)
    for node in nodes:
        node.name = node.output[0]
    return nodes
