"""A bundle whose answers can be worked out by hand: its features are an image's mean red, green and blue, its logits
four times them, and it takes an image for the colour that it has most of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from components.deployment import bundle

SIDE = 8
"""The model's own size."""
FACTS = {
    "strategy": "prototypical",
    "classes": {"label": ["red", "green", "blue"]},
    "preprocess": {
        "size": SIDE,
        "resize": SIDE,
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "interpolation": "bilinear",
    },
    "abstain_below": 0.9,
    "abstain": [{"coverage": 1.0, "threshold": 0.0}, {"coverage": 0.5, "threshold": 0.97}],
    "lineage": {"weights_sha256": "0" * 64},
}
FEATURES = """
    pixels = Cast <to = 1> (image)
    white = Constant <value = float {255.0}> ()
    shares = Div (pixels, white)
    sides = Constant <value = int64[2] {1, 2}> ()
    features = ReduceMean <keepdims = 0> (shares, sides)
"""
COLOURS = """
    <ir_version: 10, opset_import: ["" : 18]>
    colours (uint8[batch, height, width, 3] image)
        => (float[batch, 3] logits, float[batch, 3] probabilities, float[batch, 3] features)
    {
        FEATURES
        factor = Constant <value = float {4.0}> ()
        logits = Mul (features, factor)
        probabilities = Softmax <axis = -1> (logits)
    }
"""
TASKS = """
    <ir_version: 10, opset_import: ["" : 18]>
    colours (uint8[batch, height, width, 3] image)
        => (float[batch, 3] probabilities_label, float[batch, 2] probabilities_light)
    {
        FEATURES
        factor = Constant <value = float {4.0}> ()
        logits = Mul (features, factor)
        probabilities_label = Softmax <axis = -1> (logits)
        channels = Constant <value = int64[1] {1}> ()
        light = ReduceMean <keepdims = 1> (features, channels)
        one = Constant <value = float {1.0}> ()
        dark = Sub (one, light)
        probabilities_light = Concat <axis = 1> (dark, light)
    }
"""
SUPPORT = """
    <ir_version: 10, opset_import: ["" : 18]>
    prototypes (uint8[batch, height, width, 3] image, float[n, 3] support_features, int64[n] support_label)
        => (float[batch, classes] logits, float[batch, classes] probabilities, float[batch, 3] features)
    {
        FEATURES
        one = Constant <value = int64[1] {1}> ()
        last = ReduceMax <keepdims = 1> (support_label)
        depth = Add (last, one)
        values = Constant <value = float[2] {0.0, 1.0}> ()
        member = OneHot <axis = 0> (support_label, depth, values)
        sums = MatMul (member, support_features)
        counts = ReduceSum <keepdims = 1> (member, one)
        prototypes = Div (sums, counts)
        rows = Unsqueeze (features, one)
        difference = Sub (rows, prototypes)
        squares = Mul (difference, difference)
        two = Constant <value = int64[1] {2}> ()
        squared_distance = ReduceSum <keepdims = 0> (squares, two)
        logits = Neg (squared_distance)
        probabilities = Softmax <axis = -1> (logits)
    }
"""


def content(text: str, facts: dict) -> bytes:
    model = parser.parse_model(text.replace("FEATURES", FEATURES))
    onnx.helper.set_model_props(model, {"graft": json.dumps(facts)})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@pytest.fixture
def colours(tmp_path: Path) -> Callable[..., Path]:
    """(facts to change, further model texts by key) -> a bundle's folder. The "int8" file's features and logits are
    half of the others': so which one answered can be seen."""

    def make(models: tuple[str, ...] = ("fp32",), **changes: object) -> Path:
        facts = {**FACTS, **changes}
        texts = {
            "fp32": COLOURS,
            "int8": COLOURS.replace("FEATURES", FEATURES.replace("255.0", "510.0")),
            "support": SUPPORT,
            "tasks": TASKS,
            "tasks_and_features": TASKS.replace("=> (", "=> (float[batch, 3] features, "),
        }
        folder = tmp_path / "bundle"
        told = {key: value for key, value in facts.items() if key != "admission"}
        made = {name.partition("=")[0]: content(texts[name.rpartition("=")[2]], told) for name in models}
        bundle.write(folder, made, facts)
        return folder

    return make


@pytest.fixture(scope="session")
def plain() -> Callable[..., np.ndarray]:
    """(red, green, blue) -> an image of that colour, uint8 [H, W, 3]."""

    def make(*colour: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
        return np.full((height, width, 3), colour, np.uint8)

    return make
