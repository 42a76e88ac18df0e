"""Candidates: cheap ones first, one calibrator after the other, then layer by layer back to float."""

from __future__ import annotations

from itertools import islice

import numpy as np
import onnx
import pytest

from components.deployment import sensitivity
from components.deployment.candidates import fp16_candidate, int8_candidates
from components.deployment.int8 import Network
from components.params import ExportParams

QUICK = ExportParams(calibrators=("minmax", "percentile"), calibration_images=32)


@pytest.fixture(scope="module")
def images(smooth_images):
    return smooth_images(40)


def test_calibrators_in_their_order_then_one_two_four_layers_in_float(chain, images):
    candidates = list(int8_candidates(chain(8, {3: 300.0}), images, QUICK))
    assert [candidate.calibrator for candidate in candidates[:2]] == ["minmax", "percentile"]
    assert [len(candidate.kept_fp32) for candidate in candidates] == [0, 0, 1, 2]  # a quarter of 8 layers
    assert {candidate.precision for candidate in candidates} == {"int8"}
    assert set(candidates[2].kept_fp32) < set(candidates[3].kept_fp32) == {"node_conv3", "node_conv4"}


def test_mixed_precision_goes_on_with_the_better_calibrator_and_is_better_than_it(chain, images):
    network = chain(8, {3: 300.0})
    expected = sensitivity.answers(network, images[:32])
    candidates = list(int8_candidates(network, images, QUICK))
    quality = [
        sensitivity.signal_to_noise_db(expected, sensitivity.answers(candidate.model, images[:32]))
        for candidate in candidates
    ]
    better = candidates[int(np.argmax(quality[:2]))]
    assert candidates[3].calibrator == better.calibrator
    assert quality[3] > max(quality[:2]) + 8
    kept = {name.removeprefix("node_conv") for name in candidates[3].kept_fp32}
    constants = {array.name: array.data_type for array in candidates[3].model.graph.initializer}
    assert all(constants[f"w{number}"] == onnx.TensorProto.FLOAT for number in kept)
    assert sum(kind == onnx.TensorProto.INT8 and "_quantized" in name for name, kind in constants.items()) == 6


def test_nothing_is_computed_that_is_not_asked_for(residual, images, monkeypatch):
    asked = []
    honest = Network.ranges

    def counting(self, images, calibrator):
        asked.append((calibrator, len(images)))
        return honest(self, images, calibrator)

    monkeypatch.setattr(Network, "ranges", counting)
    monkeypatch.setattr(sensitivity, "worst_first", lambda *_, **__: pytest.fail("nobody asked for mixed precision"))
    candidates = int8_candidates(residual("linear"), images, QUICK)
    assert asked == []
    next(candidates)
    assert asked == [("minmax", 32)]
    next(candidates)
    assert asked == [("minmax", 32), ("percentile", 32)]


def test_a_network_without_layers_to_quantise_has_no_candidates(network_of, images):
    weights = {"flat": np.array([0, 432]), "head": np.ones((432, 3), np.float32)}
    body = "network_features = Reshape (normalised, flat)\nnetwork_logits_label = MatMul (network_features, head)"
    network = network_of(body, weights, "float[batch, 3] network_logits_label, float[batch, 432] network_features")
    assert list(int8_candidates(network, images, QUICK)) == []


def test_the_symmetric_form_goes_by_another_name(residual, images):
    (first,) = islice(int8_candidates(residual("linear"), images, QUICK, symmetric=True), 1)
    assert first.precision == "int8_symmetric"
    signed = {array.data_type for array in first.model.graph.initializer if array.name.endswith("zero_point")}
    assert signed == {onnx.TensorProto.INT8}


def test_half_precision_is_one_candidate_without_a_calibrator(residual, images):
    candidate = fp16_candidate(residual("linear"), images, QUICK)
    assert (candidate.precision, candidate.calibrator, candidate.kept_fp32) == ("fp16", None, ())
