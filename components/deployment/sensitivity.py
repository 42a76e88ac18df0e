"""Which layers bear 8 bits worst, measured: one layer alone is quantised, and the network's answers are compared.

As the quantisation debugging of Nagel et al., 2021, arXiv:2106.08295, sec. 5 has it. The measure is the ratio of signal
to noise at the outputs, in decibels: 20 mean an error of a tenth.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime

from components.deployment.calibration_ranges import Ranges, batches
from components.deployment.int8 import Network

IMAGES = 32
"""So few rank layers and calibrators already, and every layer answers them all."""


def worst_first(network: Network, ranges: Ranges, images: np.ndarray) -> list[str]:
    """The layers of a network, that first whose quantisation disturbs the answers to images [N, 3, H, W] most."""
    expected = answers(network.model, images)
    ratio = {
        layer: signal_to_noise_db(expected, answers(network.quantise(ranges, only=layer), images))
        for layer in network.nodes.layers
    }
    return sorted(ratio, key=ratio.__getitem__)


def answers(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    """Every output of a network for images [N, 3, H, W], on the CPU provider."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = model.graph.input[0].name
    parts: list[Any] = [session.run(None, {name: batch}) for batch in batches(images)]
    return [np.concatenate(found) for found in zip(*parts, strict=True)]


def signal_to_noise_db(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Of the output that is disturbed most, each [N, D]. What all D have in common is no signal: no decision depends on
    it. Infinite where nothing differs; minus infinity where an answer is no number."""
    return min(_ratio_db(signal, noisy) for signal, noisy in zip(expected, found, strict=True))


def _ratio_db(signal: np.ndarray, noisy: np.ndarray) -> float:
    power = float(np.square(signal - signal.mean(1, keepdims=True), dtype=np.float64).sum())
    noise = float(np.square(noisy - signal, dtype=np.float64).sum())
    if not math.isfinite(noise):
        return -math.inf
    return 10 * math.log10(power / noise) if power and noise else math.inf
