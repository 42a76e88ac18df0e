"""A workspace that is watched: a champion, the images that it was tested with, and what was served since, written by
the recorder that serving has."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser
from PIL import Image

from components import jsonfile, paths
from components.deployment import bundle
from components.inference.predictor import Predictor
from components.monitoring import reference
from components.monitoring.recorder import Recorder
from stage_support import write_params

CLASSES = ["cat", "dog", "owl"]
SIDE = 28
FACTS = {
    "strategy": "fine_tune",
    "classes": {"label": CLASSES},
    "preprocess": {"size": SIDE, "resize": SIDE, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    "lineage": {"weights_sha256": "0" * 64},
}
NETWORK = """
    <ir_version: 10, opset_import: ["" : 18]>
    squares (uint8[batch, height, width, 3] image)
        => (float[batch, 3] logits, float[batch, 3] probabilities, float[batch, features_width] features)
    {
        pixels = Cast <to = 1> (image)
        channels = Transpose <perm = [0, 3, 1, 2]> (pixels)
        white = Constant <value = float {255.0}> ()
        shares = Div (channels, white)
        means = AveragePool <kernel_shape = [7, 7], strides = [7, 7]> (shares)
        flat = Flatten (means)
        features = Mul (flat, gain)
        logits = MatMul (features, weights)
        probabilities = Softmax <axis = -1> (logits)
    }
"""
MONITOR = {"windows": [20, 60], "alpha": 0.01, "permutations": 1000, "reference": 80, "shown": 3}


def pictures(count: int, seed: int, *, brighter: int = 0) -> np.ndarray:
    """uint8 [count, SIDE, SIDE, 3], smooth and dark; all `brighter` by so many grey levels."""
    small = np.random.default_rng(seed).integers(0, 120, (count, 4, 4, 3), dtype=np.uint8)
    size = (SIDE, SIDE)
    large = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in small]
    return np.clip(np.stack(large).astype(int) + brighter, 0, 255).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


@functools.cache
def network(gain: float = 1.0, *, features: bool = True) -> bytes:
    """A model whose features are the mean colours of 16 squares of the image, times `gain`, and whose answers follow
    from them by weights drawn at random. Without `features` they are no output of it."""
    model = parser.parse_model(NETWORK)
    weights = np.random.default_rng(0).normal(0, 2, (48, len(CLASSES))).astype(np.float32)
    arrays = {"weights": weights, "gain": np.array(gain, np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    if not features:
        del model.graph.output[2]
    onnx.helper.set_model_props(model, {"graft": json.dumps(FACTS)})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def make_bundle(folder: Path, models: dict[str, bytes] | None = None, strategy: str = "fine_tune") -> Path:
    bundle.write(folder, models or {"fp32": network()}, {**FACTS, "strategy": strategy})
    return folder


def workspace(root: Path, strategy: str = "fine_tune", **changes: object) -> str:
    """A champion in `root` with its reference; returns its identity. `changes`: of the parameters of `monitor`."""
    write_params(root, monitor={**MONITOR, **changes})
    folder = make_bundle(root / paths.CHAMPION, strategy=strategy)
    identity = reference.write(root, folder, pictures(80, seed=1))
    jsonfile.append_line(
        root / paths.DECISIONS,
        {"decision": "promoted", "version": "7", "bundle": identity, "time": "2026-11-01T00:00:00Z"},
    )
    return identity


def serve(
    root: Path,
    identity: str,
    images: np.ndarray,
    *,
    keep: bool = False,
    clock: Callable[[], float] | None = None,
    batch: int = 16,
    route: tuple[str, str] = ("auto", "auto"),
) -> None:
    """The champion's answers to the images, observed; `keep`: the images too; `route`: precision and provider."""
    predictor = Predictor.load(root / paths.CHAMPION, precision=route[0], provider=route[1])
    found = predictor.run(images, ["features", "probabilities"])
    recorder = Recorder(
        root / paths.OBSERVATIONS,
        bundle=identity,
        classes=CLASSES,
        width=found["features"].shape[1],
        route=f"{predictor.precision}@{predictor.provider}",
        keep_images_mib=4 if keep else 0,
        **({} if clock is None else {"clock": clock}),
    )
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        recorder.add(found["features"][part], found["probabilities"][part], [png(image) for image in images[part]])
