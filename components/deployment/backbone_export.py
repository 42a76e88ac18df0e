"""A backbone by itself as an ONNX graph, from `normalised` float [batch, 3, size, size] to `features` float [batch, D]:
what computes features fast, and no model that anybody is given (see onnx_export)."""

from __future__ import annotations

from pathlib import Path

import onnx

from components.backbones.base import Backbone
from components.deployment import skeleton
from components.deployment.skeleton import Form

INPUT, OUTPUT = "normalised", "features"


def export(backbone: Backbone, *, skeletons: Path | None = None) -> onnx.ModelProto:
    """The backbone, put into eval mode. Batch-norm is folded; `skeletons`: a folder that remembers architectures."""
    form = Form({INPUT: backbone.example(2)}, {INPUT: {0: "batch"}}, (OUTPUT,))
    return skeleton.model(backbone.eval(), form, form.outputs, skeletons)
