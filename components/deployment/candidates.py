"""A network in the reduced precisions, those first that are fastest to find and to run: whoever asks takes the first
that answers well enough.

Of int8, one with all layers quantised for each calibrator; then mixed precision, in which the layers that bear it worst
stay in float: 1, 2, 4, … up to a quarter of them, since beyond that too little of the speed is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from components.deployment import fp16, sensitivity
from components.deployment.calibration_ranges import Ranges
from components.deployment.int8 import Network
from components.params import ExportParams


@dataclass(frozen=True)
class Candidate:
    """`precision`: the file's name in a bundle, "int8", "int8_symmetric" or "fp16"; `calibrator`: None for fp16, which
    has no ranges; `kept_fp32`: names of the nodes that were left in float although their kind can do without, of int8
    the most sensitive first."""

    model: onnx.ModelProto
    precision: str
    calibrator: str | None
    kept_fp32: tuple[str, ...] = ()


def fp16_candidate(network: onnx.ModelProto, calibration: np.ndarray, params: ExportParams) -> Candidate:
    """The network, from normalised images to logits, in half precision. `calibration` as for `int8_candidates`."""
    model, kept = fp16.convert(network, calibration[: params.calibration_images])
    return Candidate(model, "fp16", None, kept)


def int8_candidates(
    network: onnx.ModelProto, calibration: np.ndarray, params: ExportParams, *, symmetric: bool = False
) -> Iterator[Candidate]:
    """Made as they are asked for. None where there is nothing to quantise: see `components.deployment.int8.NOTHING`.

    `network`: from normalised images to logits; `calibration`: normalised training images [N, 3, H, W], of which
    `params.calibration_images` are used; `symmetric`: for TensorRT.
    """
    ready = Network(network, symmetric=symmetric)
    layers = ready.nodes.layers
    if not layers:
        return
    precision = "int8_symmetric" if symmetric else "int8"
    images = calibration[: params.calibration_images]
    found: dict[str, Ranges] = {}
    for calibrator in params.calibrators:
        found[calibrator] = ready.ranges(images, calibrator)
        yield Candidate(ready.quantise(found[calibrator]), precision, calibrator)
    few = images[: sensitivity.IMAGES]
    expected = sensitivity.answers(ready.model, few)

    def quality(calibrator: str) -> float:
        model = ready.quantise(found[calibrator])
        return sensitivity.signal_to_noise_db(expected, sensitivity.answers(model, few))

    best = max(params.calibrators, key=quality)
    order = sensitivity.worst_first(ready, found[best], few)
    count = 1
    while count <= len(layers) // 4:
        kept = tuple(order[:count])
        yield Candidate(ready.quantise(found[best], fp32=kept), precision, best, kept)
        count *= 2
