"""Bundles and prepared data whose every figure can be worked out by hand.

A model here is a matrix: it weighs an image's mean red, green and blue, and answers with the class of the largest sum.
The 60 test images: 20 pure red, 20 pure blue, and of the 20 green ones 10 pure and 10 olive (200, 180, 0), which a
model that weighs all colours alike takes for red.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from components import params, paths
from components.data import prepared
from components.deployment import bundle
from components.promotion.evidence import Evidence, gather
from components.types import TASK, LabelSpace
from promotion_support import PROMOTE

SIDE = 8
COLOURS = ("red", "green", "blue")
RED, GREEN, BLUE, OLIVE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 180, 0)
ALIKE, GREENER = np.diag([4.0, 4.0, 4.0]), np.diag([4.0, 6.0, 4.0])
PARAMS = params.parse(
    {
        "data": {"target": {"folder": "raw"}, "source": {"folder": "source"}},
        "compare": ["fine_tune"],
        "students": [],
        "strategies": {"fine_tune": {}},
        "evaluate": {"resamples": 200},
        "promote": PROMOTE,
    }
)


def colour_model(weights: np.ndarray, facts: dict, layers: int = 0) -> bytes:
    """`layers`: multiplications by 512 x 512 numbers that change nothing but the time it takes."""
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", weights.shape[1]])
        for name in ("logits", "probabilities")
    ]
    constants = {
        "white": np.float32(255), "sides": np.array([1, 2]), "weights": weights.astype(np.float32),
        "spread": np.ones((weights.shape[1], 512), np.float32), "wide": np.full((512, 512), 1e-3, np.float32),
        "gather": np.zeros((512, weights.shape[1]), np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "white"], ["shares"]),
        helper.make_node("ReduceMean", ["shares", "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["sums"]),
        helper.make_node("MatMul", ["sums", "spread"], ["wide0"]),
        *(helper.make_node("MatMul", [f"wide{n}", "wide"], [f"wide{n + 1}"]) for n in range(layers)),
        helper.make_node("MatMul", [f"wide{layers}", "gather"], ["nothing"]),
        helper.make_node("Add", ["sums", "nothing"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "colours", inputs, outputs, initializers)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    helper.set_model_props(model, {"graft": json.dumps(facts)})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def colour_bundle(
    folder: Path, weights: np.ndarray, *, classes: Sequence[str] = COLOURS, strategy: str = "fine_tune",
    side: int = SIDE, layers: int = 0, models: Sequence[str] = ("fp32",), **more: Any,
) -> dict:  # fmt: skip
    facts = {
        "strategy": strategy,
        "classes": {TASK: list(classes)},
        "preprocess": {"size": side, "resize": side, "mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
        "lineage": {"weights_sha256": str(weights.tolist())},
        "parity": {"fp32": {"agreement": 1.0, "raw": {"agreement": 0.998}}},
        **more,
    }
    told = {key: facts[key] for key in ("strategy", "classes", "preprocess")}
    bundle.write(folder, dict.fromkeys(models, colour_model(weights, told, layers)), facts)
    return bundle.read(folder)


def colour_rows(
    colours: Sequence[tuple], labels: Sequence[str], split: str, domain: str
) -> tuple[list[dict], np.ndarray]:
    rows = [
        {"path": f"raw/{domain}/{split}/{number}.png", "domain": domain, "split": split, "label": label,
         "sha256": f"{domain}{split}{number}", "width": SIDE, "height": SIDE,
         "light": "dim" if colour == OLIVE else "bright"}
        for number, (colour, label) in enumerate(zip(colours, labels, strict=True))
    ]  # fmt: skip
    return rows, np.stack([np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in colours])


TEST = [RED] * 20 + [GREEN] * 10 + [OLIVE] * 10 + [BLUE] * 20
LABELS = ["red"] * 20 + ["green"] * 20 + ["blue"] * 20


def prepare_colours(root: Path, recent: Sequence[tuple] = (), labels: Sequence[str] = ()) -> None:
    rows, pixels = colour_rows(TEST, LABELS, "test", "target")
    images = {"target": pixels}
    if recent:
        more, images["recent"] = colour_rows(recent, labels or [""] * len(recent), "val", "recent")
        rows += more
    folder = root / paths.PREPARED
    prepared.write(folder, rows, images, LabelSpace({TASK: COLOURS}, {}), {}, metadata=["light"])


def compared(root: Path, challenger: np.ndarray, champion: np.ndarray = ALIKE, **how: Any) -> Evidence:
    colour_bundle(root / paths.CHAMPION, champion)
    colour_bundle(root / paths.BUNDLE, challenger, **{"strategy": "dan", **how})
    return gather(root, root, PARAMS)
