"""fp16: half the bytes, the same answers, and no number beyond what 16 bits hold.

onnxruntime's CPU provider computes fp16 in fp32, which hides an overflow; ONNX's reference implementation does not.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from components.deployment import fp16, sensitivity


@pytest.fixture(scope="module")
def images(smooth_images):
    return smooth_images(16)


def _in_true_half(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    with np.errstate(over="ignore", invalid="ignore"):
        return list(ReferenceEvaluator(model).run(None, {"normalised": images}))


def _everything_in_half(network: onnx.ModelProto) -> onnx.ModelProto:
    model = onnx.shape_inference.infer_shapes(network)
    return fp16.in_half(model, [node.name for node in model.graph.node])


def _casts(model: onnx.ModelProto) -> Counter:
    return Counter(node.input[0] for node in model.graph.node if node.op_type == "Cast")


def test_the_body_is_in_half_precision_with_one_cast_in_and_one_out(residual, images):
    network = residual("linear")
    model, kept = fp16.convert(network, images)
    onnx.checker.check_model(model, full_check=True)
    assert kept == ()
    assert _casts(model) == {"normalised": 1, "network_features_half": 1}
    kinds = {array.name: array.data_type for array in model.graph.initializer}
    assert {kinds[f"{name}{layer}_half"] for name in "wb" for layer in range(5)} == {TensorProto.FLOAT16}
    assert kinds["head"] == TensorProto.FLOAT
    assert "w0" not in kinds
    assert model.graph.input == network.graph.input
    assert model.graph.output == network.graph.output
    expected, found = sensitivity.answers(network, images), _in_true_half(model, images)
    assert [answer.dtype for answer in found] == [np.float32, np.float32]
    assert sensitivity.signal_to_noise_db(expected, found) > 50


def test_a_value_that_overflows_stays_in_fp32_from_where_it_is_made_to_where_it_is_read(chain, images):
    """Channel 0 behind layer 3 is 300,000 times what it was, of which the next layer takes the 300,000th part."""
    network = chain(6, {3: 3e5})
    expected = sensitivity.answers(network, images)
    with np.errstate(over="ignore"):
        naive = _in_true_half(_everything_in_half(network), images)
    assert not np.isfinite(naive[0]).all()
    model, kept = fp16.convert(network, images)
    assert kept == ("node_conv3", "node_relu3", "node_conv4")
    assert sensitivity.signal_to_noise_db(expected, _in_true_half(model, images)) > 50
    # Nothing is cast between nodes that stay: it would overflow there after all.
    assert _casts(model) == {"normalised": 1, "relu2_half": 1, "conv4": 1, "conv5_half": 1}


def test_there_is_a_margin_for_images_that_reach_farther(network_of):
    """Values up to 20,000 fit into fp16, but a fourth of its 65,504 is 16,376."""
    images = np.ones((2, 3, 12, 12), np.float32)
    for size, expected in ((16_000.0, set()), (20_000.0, {"node_far", "node_flat"})):
        weights = {"size": np.array(size, np.float32), "w": np.full((432, 2), 1e-4, np.float32)}
        body = "far = Mul (normalised, size)\nflat = Flatten (far)\nnetwork_logits_label = MatMul (flat, w)"
        network = network_of(body, weights, "float[batch, 2] network_logits_label")
        model = onnx.shape_inference.infer_shapes(network)
        assert fp16.out_of_range(model, images) - {"node_network_logits_label"} == expected


def test_weights_beyond_fp16_and_guards_that_vanish_in_it_stay(network_of):
    images = np.full((2, 3, 12, 12), 1e-3, np.float32)
    weights = {"w": np.full((1, 3, 12, 12), 1e5, np.float32), "guard": np.array(1e-12, np.float32)}
    body = """
        large = Conv (normalised, w)
        guarded = Add (normalised, guard)
        one = Div (normalised, guarded)
        flat = Flatten (large)
        network_logits_label = Relu (flat)
    """
    network = network_of(body, weights, "float[batch, 1] network_logits_label, float[batch, 3, 12, 12] one")
    stays = fp16.out_of_range(onnx.shape_inference.infer_shapes(network), images)
    assert {"node_large", "node_guarded"} <= stays
    assert "node_one" not in stays


def test_a_value_is_cast_once_however_many_read_it(residual):
    """Both blocks' first values are read twice: by a convolution and around it."""
    model = onnx.shape_inference.infer_shapes(residual("linear"))
    every = {node.name for node in model.graph.node}
    found = fp16.in_half(model, every - {"node_inner", "node_sum"})
    onnx.checker.check_model(found, full_check=True)
    assert _casts(found) == {
        "normalised": 1,
        "a_half": 1,
        "inner": 1,
        "outer_half": 1,
        "sum": 1,
        "network_features_half": 1,
        "network_logits_label_half": 1,
    }


def test_heads_that_compare_stay_in_fp32(residual, images):
    network = residual("distances")
    model, _ = fp16.convert(network, images)
    floats = {"squared", "length", "near", "doubled", "product", "distance"}
    assert floats <= {name for node in model.graph.node for name in node.output}
    expected, found = sensitivity.answers(network, images), _in_true_half(model, images)
    everything = _in_true_half(_everything_in_half(network), images)
    assert sensitivity.signal_to_noise_db(expected, found) > sensitivity.signal_to_noise_db(expected, everything)


def test_weights_are_rounded_to_the_nearest_and_the_bytes_repeat(residual, images):
    network = residual("linear")
    before = network.SerializeToString(deterministic=True)
    first, _ = fp16.convert(network, images)
    again, _ = fp16.convert(network, images)
    assert first.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    assert network.SerializeToString(deterministic=True) == before
    arrays = {
        array.name: numpy_helper.to_array(array) for array in (*network.graph.initializer, *first.graph.initializer)
    }
    np.testing.assert_array_equal(arrays["w3_half"], arrays["w3"].astype(np.float16))


def test_what_a_branch_reads_is_there_in_fp32(network_of):
    """Only inside the branch, so no input of the node names it; `inner` is made in half precision outside."""
    body = """
        inner = Mul (normalised, two)
        bright = ReduceMax <keepdims = 0> (inner)
        is_bright = Greater (bright, zero)
        chosen = If (is_bright) <
            then_branch = yes () => (float[batch, 3, 12, 12] doubled) { doubled = Mul (inner, two) },
            else_branch = no () => (float[batch, 3, 12, 12] same) { same = Identity (inner) }
        >
        flat = Flatten (chosen)
        network_logits_label = MatMul (flat, w)
    """
    weights = {"two": np.array(2, np.float32), "zero": np.array(0, np.float32), "w": np.ones((432, 2), np.float32)}
    network = network_of(body, weights, "float[batch, 2] network_logits_label")
    model = _everything_in_half(network)
    onnx.checker.check_model(model, full_check=True)
    for value, expected in ((0.25, 432.0), (-0.25, -216.0)):
        images = np.full((2, 3, 12, 12), value, np.float32)
        np.testing.assert_array_equal(_in_true_half(model, images)[0], np.full((2, 2), expected))
