"""int8: the integers that were asked for, where they were asked for, and float where they would do harm."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from components.deployment import calibration_ranges, sensitivity
from components.deployment.int8 import Network
from components.errors import ParamsError


@pytest.fixture(scope="module")
def images(smooth_images):
    return smooth_images(64)


@pytest.fixture(scope="module")
def ready(residual):
    return Network(residual("linear"))


@pytest.fixture(scope="module")
def ranges(ready, images):
    return ready.ranges(images, "minmax")


def _optimised(model: onnx.ModelProto, folder: Path) -> Counter:
    """Op types of the graph that onnxruntime makes of a model on this CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def _arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {array.name: numpy_helper.to_array(array) for array in model.graph.initializer}


def test_every_convolution_and_what_lies_between_runs_on_integers(ready, ranges, tmp_path):
    """One way in, one way out: a Quantize or Dequantize in between would be a layer that computes in float."""
    found = _optimised(ready.quantise(ranges), tmp_path)
    assert found["QLinearConv"] == 5
    assert found["QLinearAdd"] == 2
    assert found["QLinearGlobalAveragePool"] == 1
    assert found["Conv"] == found["FusedConv"] == found["Add"] == found["Relu"] == 0
    assert found["QuantizeLinear"] == 1
    assert found["DequantizeLinear"] <= 2  # for the features as an output, and for the classifier
    assert found["Gemm"] == 1


def test_it_answers_like_the_network_in_float(residual, ready, ranges, images, smooth_images):
    network, quantised = residual("linear"), ready.quantise(ranges)
    assert quantised.graph.input == network.graph.input
    assert quantised.graph.output == network.graph.output
    onnx.checker.check_model(quantised, full_check=True)
    unseen = smooth_images(65, 5)
    expected, found = sensitivity.answers(network, unseen), sensitivity.answers(quantised, unseen)
    assert all(answer.dtype == np.float32 for answer in found)
    assert sensitivity.signal_to_noise_db(expected, found) > 20
    assert (expected[0].argmax(1) == found[0].argmax(1)).mean() > 0.93
    np.testing.assert_allclose(sensitivity.answers(quantised, unseen[:1])[0], found[0][:1], atol=1e-5)


def test_weights_are_signed_and_per_channel_activations_unsigned(residual, ready, ranges):
    """A channel's scale is its largest weight over 127, as Nagel et al., 2021, eq. 7 with signed symmetric weights."""
    quantised = ready.quantise(ranges)
    arrays, weights = _arrays(quantised), _arrays(residual("linear"))
    for name in ("w0", "w1", "w2", "w3", "w4"):
        integers, scale = arrays[f"{name}_quantized"], arrays[f"{name}_scale"]
        assert integers.dtype == np.int8
        np.testing.assert_allclose(scale, np.abs(weights[name]).max((1, 2, 3)) / 127, rtol=1e-5)
        error = integers * scale[:, None, None, None] - weights[name]
        assert (np.abs(error) <= 0.501 * scale[:, None, None, None]).all()
    zeros = {node.input[2] for node in quantised.graph.node if node.op_type == "QuantizeLinear"}
    assert {arrays[name].dtype for name in zeros} == {np.dtype(np.uint8)}


def test_the_form_for_tensorrt_is_symmetric_with_float_biases_and_pairs_of_their_own(residual, images):
    ready = Network(residual("linear"), symmetric=True)
    symmetric = ready.ranges(images, "minmax")
    assert all(low == -high for low, high in symmetric.values())
    quantised = ready.quantise(symmetric)
    arrays = _arrays(quantised)
    readers = Counter(name for node in quantised.graph.node for name in node.input)
    for node in quantised.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert arrays[node.input[2]].dtype == np.int8
            assert not arrays[node.input[2]].any()
        if node.op_type == "DequantizeLinear" and node.input[0] not in arrays:
            assert readers[node.output[0]] <= 1
        if node.op_type == "Conv":
            assert arrays[node.input[2]].dtype == np.float32
    expected = sensitivity.answers(ready.model, images)
    assert sensitivity.signal_to_noise_db(expected, sensitivity.answers(quantised, images)) > 20


def test_heads_that_compare_stay_in_float(residual, images, tmp_path):
    """|x|^2 + |p|^2 - 2 xp in 8 bits would be the small difference of large numbers."""
    ready = Network(residual("distances"))
    assert {name.removeprefix("node_") for name in ready.nodes.layers} == {
        "stem", "inner", "outer", "down", "shortcut",
    }  # fmt: skip
    found = ready.ranges(images, "minmax")
    quantised = ready.quantise(found)
    counts = _optimised(quantised, tmp_path)
    assert counts["QLinearMatMul"] == counts["MatMulInteger"] == counts["QLinearMul"] == 0
    assert counts["QLinearConv"] == 5
    head = {"squared", "length", "near", "doubled", "product", "distance", "network_logits_label"}
    ends = {name for node in quantised.graph.node if node.op_type.endswith("QuantizeLinear") for name in node.output}
    assert not any(end.startswith(tuple(head)) for end in ends)


def test_a_classifier_of_several_linear_layers_is_quantised_but_for_the_last(network_of):
    """As VGG's, where most of the weights are."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "first": rng.standard_normal((16, 400)).astype(np.float32),
        "second": rng.standard_normal((16, 16)).astype(np.float32),
        "last": rng.standard_normal((16, 3)).astype(np.float32),
    }
    body = """
        conv = Conv (normalised, w)
        flat = Flatten (conv)
        hidden = Gemm <transB = 1> (flat, first)
        active = Relu (hidden)
        hidden2 = MatMul (active, second)
        network_features = Relu (hidden2)
        network_logits_label = MatMul (network_features, last)
    """
    outputs = "float[batch, 3] network_logits_label, float[batch, 16] network_features"
    assert Network(network_of(body, weights, outputs)).nodes.layers == ("node_conv", "node_hidden", "node_hidden2")
    alone = "float[batch, 3] network_logits_label"
    assert Network(network_of(body, weights, alone)).nodes.layers == ("node_conv", "node_hidden", "node_hidden2")


def test_a_recurrent_network_has_nothing_to_quantise(network_of):
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((1, 128, 36)).astype(np.float32),
        "r": rng.standard_normal((1, 128, 32)).astype(np.float32),
        "rows": np.array([0, 12, 36]),
        "embedding": rng.standard_normal((36, 36)).astype(np.float32),
        "direction": np.array([0]),
        "head": rng.standard_normal((32, 3)).astype(np.float32),
    }
    body = """
        by_row = Transpose <perm = [0, 2, 1, 3]> (normalised)
        read = Reshape (by_row, rows)
        sequence = MatMul (read, embedding)
        steps = Transpose <perm = [1, 0, 2]> (sequence)
        all_states, last_state, cell = LSTM <hidden_size = 32> (steps, w, r)
        network_features = Squeeze (last_state, direction)
        network_logits_label = MatMul (network_features, head)
    """
    outputs = "float[batch, 3] network_logits_label, float[batch, 32] network_features"
    found = Network(network_of(body, weights, outputs)).nodes
    assert found.layers == found.between == ()
    assert "node_all_states" in found.body


def test_attention_keeps_its_softmax_and_its_residual_stream(network_of):
    """A transformer's block: the products with weights are quantised, what adds up over the depth is not."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((8, 8)).astype(np.float32) for name in ("q", "k", "v", "o")}
    weights |= {"patch": rng.standard_normal((8, 3, 4, 4)).astype(np.float32), "tokens": np.array([0, 8, 9])}
    weights |= {"head": rng.standard_normal((8, 3)).astype(np.float32), "scale": np.ones(8, np.float32)}
    weights |= {"axes": np.array([1])}
    body = """
        patches = Conv <strides = [4, 4]> (normalised, patch)
        columns = Reshape (patches, tokens)
        x = Transpose <perm = [0, 2, 1]> (columns)
        normed = LayerNormalization (x, scale)
        query = MatMul (normed, q)
        key = MatMul (normed, k)
        turned = Transpose <perm = [0, 2, 1]> (key)
        scores = MatMul (query, turned)
        attention = Softmax (scores)
        value = MatMul (normed, v)
        mixed = MatMul (attention, value)
        out = MatMul (mixed, o)
        sum = Add (x, out)
        normed_sum = LayerNormalization (sum, scale)
        network_features = ReduceMean <keepdims = 0> (normed_sum, axes)
        network_logits_label = MatMul (network_features, head)
    """
    outputs = "float[batch, 3] network_logits_label, float[batch, 8] network_features"
    found = Network(network_of(body, weights, outputs)).nodes
    assert found.layers == ("node_patches", "node_query", "node_key", "node_value", "node_out")
    assert found.between == ()


def test_percentiles_leave_out_the_outermost_values(ready, images):
    """Of 27,648 values the two outermost; minmax takes the widest."""
    spoilt = images.copy()
    spoilt[3, 0, 0, :2] = -30, 20
    found = ready.ranges(spoilt, "percentile")["normalised"]
    widest = ready.ranges(spoilt, "minmax")["normalised"]
    assert widest == (-30, 20)
    bin_width = 2 * 30 / calibration_ranges.PERCENTILE_BINS
    np.testing.assert_allclose(found, np.percentile(spoilt, [0.005, 99.995]), atol=2 * bin_width)


def test_entropy_clips_an_outlier(network_of):
    """One value of 14,000 at a hundred times the spread: the histogram loses less if it is clipped."""
    images = np.random.default_rng(0).normal(0, 1, (32, 3, 12, 12)).astype(np.float32)
    images[0, 0, 0, 0] = 100
    net = network_of(
        "c = Conv (normalised, w)\nnetwork_logits_label = Flatten (c)",
        {"w": np.ones((1, 3, 12, 12), np.float32)},
        "float[batch, 1] network_logits_label",
    )
    low, high = calibration_ranges.ranges(net, images, "entropy", op_types=["Conv"])["normalised"]
    assert low == images.min()
    assert images[1:].max() < high < 50


def test_an_unknown_calibrator_is_refused(ready, images):
    with pytest.raises(ParamsError, match=r"'minmx'; did you mean 'minmax'"):
        ready.ranges(images, "minmx")


def test_nothing_is_left_behind_said_or_changed(residual, images, tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    network = residual("linear")
    before = network.SerializeToString(deterministic=True)
    ready = Network(network)
    with caplog.at_level(logging.DEBUG):
        for calibrator in ("minmax", "percentile"):
            found = ready.ranges(images[:8], calibrator)
            quantised = ready.quantise(found)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert logging.root.manager.disable == logging.NOTSET
    assert network.SerializeToString(deterministic=True) == before
    assert not quantised.metadata_props
    assert str(tmp_path).encode() not in quantised.SerializeToString()


def test_equal_networks_and_images_give_equal_bytes(ready, ranges, tmp_path):
    """Also in another process, where Python's sets have another order."""
    (tmp_path / "network.onnx").write_bytes(ready.model.SerializeToString())
    script = f"""
import hashlib, numpy, onnx
from components.deployment.int8 import Network
ready = Network(onnx.load({str(tmp_path / "network.onnx")!r}))
print(hashlib.sha256(ready.quantise({ranges!r}).SerializeToString(deterministic=True)).hexdigest())
"""
    own = hashlib.sha256(ready.quantise(ranges).SerializeToString(deterministic=True)).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == own
