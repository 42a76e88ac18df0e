"""A workspace whose bundle can be decided about: images of three colours, bundles that take an image for the colour it
has most of, the reports of a finished pipeline, and a real MLflow store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import parser

from components import jsonfile, paths
from components.data import prepared
from components.deployment import bundle
from components.types import TASK, LabelSpace
from tracked_support import PARAMS, bundle_facts
from tracked_support import workspace as tracked

ROOT = Path(__file__).resolve().parents[1]
COLOURS = ("blue", "green", "red")
SIDE = 8
PER_CLASS = 40
GOOD, CONFUSED = 4.0, -4.0
"""What a bundle makes of an image's green: the second takes it for the least likely."""
TEXT = """
    <ir_version: 10, opset_import: ["" : 18]>
    colours (uint8[batch, height, width, 3] image)
        => (float[batch, 3] logits, float[batch, 3] probabilities, float[batch, 3] features)
    {
        pixels = Cast <to = 1> (image)
        white = Constant <value = float {255.0}> ()
        shares = Div (pixels, white)
        sides = Constant <value = int64[2] {1, 2}> ()
        features = ReduceMean <keepdims = 0> (shares, sides)
        weights = Constant <value = float[3,3] {0.0, 0.0, 4.0, 0.0, GREEN, 0.0, 4.0, 0.0, 0.0}> ()
        logits = MatMul (features, weights)
        probabilities = Softmax <axis = -1> (logits)
    }
"""


def write_bundle(folder: Path, green: float, **changes: object) -> dict:
    """A bundle of strategy "dan" that weighs green so; returns its facts."""
    facts = bundle_facts() | {
        "classes": {TASK: list(COLOURS)},
        "preprocess": {"size": SIDE, "resize": SIDE, "mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
        "abstain_below": 0.0,
    }
    facts["lineage"] = facts["lineage"] | {"weights_sha256": f"{green:064.1f}"} | dict(changes)
    model = parser.parse_model(TEXT.replace("GREEN", str(green)))
    onnx.helper.set_model_props(model, {"graft": json.dumps(facts)})
    shutil.rmtree(folder, ignore_errors=True)
    admission = {"fp32@cpu": {**facts["admission"]["fp32@cpu"], "calibrator": None}}
    bundle.write(folder, {"fp32": model.SerializeToString()}, facts | {"admission": admission})
    return bundle.read(folder)


def workspace(root: Path, green: float = GOOD, **promote: object) -> Path:
    """`promote`: parameters that differ from the repository's."""
    tracked(root)
    jsonfile.write(root / paths.TRACKING, {"params": PARAMS})
    _prepare(root / paths.PREPARED)
    set_params(root, **promote)
    write_bundle(root / paths.BUNDLE, green)
    return root


def set_params(root: Path, **promote: object) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["promote"] |= {"registered_model": "toy", **promote}
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def colour(name: str, rng: np.random.Generator) -> np.ndarray:
    """uint8 [S, S, 3]: mostly of this colour."""
    image = rng.integers(20, 90, (SIDE, SIDE, 3))
    image[..., ("red", "green", "blue").index(name)] += 120
    return image.astype(np.uint8)


def _prepare(folder: Path) -> None:
    rng = np.random.default_rng(0)
    names = [name for name in COLOURS for _ in range(PER_CLASS)]
    parts = ("train", "val", "test", "test")
    rows = [
        {"path": f"data/raw/{name}/{number}.png", "domain": "target", "split": parts[number % 4], "label": name,
         "sha256": f"{number:064d}", "width": SIDE, "height": SIDE}
        for number, name in enumerate(names)
    ]  # fmt: skip
    pixels = {"target": np.stack([colour(name, rng) for name in names])}
    problems = {"target": {"unreadable": [], "duplicates": [], "contradictions": []}}
    prepared.write(folder, rows, pixels, LabelSpace({TASK: COLOURS}), problems)
