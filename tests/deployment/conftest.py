"""Networks to reduce in precision, written out node by node: with the weights, what they answer is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

SIZE, WIDTH, CLASSES = 12, 16, 5
RESIDUAL = """
    stem = Conv <pads = [1, 1, 1, 1]> (normalised, w0, b0)
    a = Relu (stem)
    inner = Conv <pads = [1, 1, 1, 1]> (a, w1, b1)
    inner_relu = Relu (inner)
    outer = Conv <pads = [1, 1, 1, 1]> (inner_relu, w2, b2)
    sum = Add (outer, a)
    b = Relu (sum)
    down = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (b, w3, b3)
    shortcut = Conv <strides = [2, 2]> (b, w4, b4)
    sum_down = Add (down, shortcut)
    c = Relu (sum_down)
    mean = ReduceMean <keepdims = 1> (c, axes)
    network_features = Reshape (mean, flat)
"""
HEADS = {
    "linear": "network_logits_label = Gemm <transB = 1> (network_features, head, head_bias)",
    "distances": """
        squared = Mul (network_features, network_features)
        length = ReduceSum <keepdims = 1> (squared, last)
        near = Add (length, lengths)
        doubled = Mul (network_features, two)
        product = MatMul (doubled, prototypes)
        distance = Sub (near, product)
        network_logits_label = Neg (distance)
    """,
}


def network(body: str, weights: dict[str, np.ndarray], outputs: str, size: int = SIZE) -> onnx.ModelProto:
    """A float network from `normalised` to `outputs`, declared as in ONNX's own text."""
    text = f"""
    <ir_version: 9, opset_import: ["": 18]>
    net (float[batch, 3, {size}, {size}] normalised) => ({outputs}) {{ {body} }}
    """
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    onnx.checker.check_model(model, full_check=True)
    return model


def kernels(rng: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random ones that keep the variance of what they read through a Relu (He et al., 2015, arXiv:1502.01852)."""
    return {
        name: (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="session")
def network_of() -> Callable[..., onnx.ModelProto]:
    """(body, weights, outputs, size) -> a network from `normalised`, written in ONNX's own text."""
    return network


@pytest.fixture(scope="session")
def residual() -> Callable[[str], onnx.ModelProto]:
    """name of a head -> two residual blocks, the mean over the image as features, and that head."""

    def make(head: str = "linear") -> onnx.ModelProto:
        rng = np.random.default_rng(0)
        shapes = {"w0": (WIDTH, 3, 3, 3), "w1": (WIDTH, WIDTH, 3, 3), "w2": (WIDTH, WIDTH, 3, 3)}
        shapes |= {"w3": (2 * WIDTH, WIDTH, 3, 3), "w4": (2 * WIDTH, WIDTH, 1, 1)}
        weights = kernels(rng, shapes)
        weights |= {f"b{name[1:]}": rng.normal(0, 0.1, shape[0]).astype(np.float32) for name, shape in shapes.items()}
        weights |= {"axes": np.array([-1, -2]), "flat": np.array([-1, 2 * WIDTH])}
        if head == "linear":
            weights["head"] = rng.standard_normal((CLASSES, 2 * WIDTH)).astype(np.float32)
            weights["head_bias"] = np.zeros(CLASSES, np.float32)
        else:
            prototypes = rng.standard_normal((2 * WIDTH, CLASSES)).astype(np.float32)
            lengths = np.square(prototypes).sum(0, keepdims=True)
            weights |= {"prototypes": prototypes, "lengths": lengths}
            weights |= {"last": np.array([-1]), "two": np.array(2, np.float32)}
        outputs = f"float[batch, {CLASSES}] network_logits_label, float[batch, {2 * WIDTH}] network_features"
        return network(RESIDUAL + HEADS[head], weights, outputs)

    return make


@pytest.fixture(scope="session")
def chain() -> Callable[..., onnx.ModelProto]:
    """(layers, factors) -> convolutions in a row, each but the last with a Relu, and the mean over the image.

    factors: number of a layer -> what its channel 0 is multiplied by, for which the next layer makes up. The answer
    stays the same in exact arithmetic.
    """

    def make(layers: int, factors: dict[int, float] | None = None) -> onnx.ModelProto:
        rng = np.random.default_rng(1)
        shapes = {f"w{index}": (8, 3 if index == 0 else 8, 3, 3) for index in range(layers)}
        weights = kernels(rng, shapes)
        for layer, factor in (factors or {}).items():
            weights[f"w{layer}"][0] *= np.float32(factor)
            weights[f"w{layer + 1}"][:, 0] /= np.float32(factor)
        lines, value = [], "normalised"
        for index in range(layers):
            lines.append(f"conv{index} = Conv <pads = [1, 1, 1, 1]> ({value}, w{index})")
            value = f"conv{index}"
            if index < layers - 1:
                lines.append(f"relu{index} = Relu ({value})")
                value = f"relu{index}"
        lines += [f"mean = ReduceMean <keepdims = 1> ({value}, axes)", "network_logits_label = Flatten (mean)"]
        weights["axes"] = np.array([2, 3])
        return network("\n".join(lines), weights, "float[batch, 8] network_logits_label")

    return make


@pytest.fixture(scope="session")
def smooth_images() -> Callable[[int, int], np.ndarray]:
    """(number, seed) -> normalised images float [N, 3, SIZE, SIZE], correlated from pixel to pixel like photographs."""

    def make(number: int, seed: int = 0) -> np.ndarray:
        coarse = np.random.default_rng(seed).standard_normal((number, 3, SIZE // 3, SIZE // 3))
        fine = np.random.default_rng(seed + 1).normal(0, 0.2, (number, 3, SIZE, SIZE))
        return (coarse.repeat(3, 2).repeat(3, 3) + fine).astype(np.float32)

    return make
