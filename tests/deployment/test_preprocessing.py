"""The preprocessing inside the graph: training's pixels at any size; at the stored one, nothing but cut and scaled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

from components.data import images
from components.deployment import preprocessing
from components.types import Preprocess

CROPPED = Preprocess(size=24, resize=28, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
WHOLE = replace(CROPPED, size=28)


def _model(preprocess: Preprocess) -> bytes:
    nodes = preprocessing.nodes(preprocess, image="image", output="normalised")
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3])
    side = preprocess.size
    normalised = helper.make_tensor_value_info("normalised", TensorProto.FLOAT, ["batch", 3, side, side])
    graph = helper.make_graph(nodes, "preprocessing", [image], [normalised])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _session(preprocess: Preprocess, native: int | None = None, optimised: str = "") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = optimised
    if native:
        for side in ("height", "width"):
            options.add_free_dimension_override_by_name(side, native)
    return onnxruntime.InferenceSession(_model(preprocess), options, providers=["CPUExecutionProvider"])


def _normalised(session: onnxruntime.InferenceSession, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(session.run(None, {"image": pixels})[0])


def _noise(height: int, width: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


def _grey_levels(session: onnxruntime.InferenceSession, pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """What the graph makes of images [B, H, W, 3], back on the scale from 0 to 255: [B, size, size, 3]."""
    normalised = _normalised(session, pixels).transpose(0, 2, 3, 1)
    return (normalised * np.array(preprocess.std) + np.array(preprocess.mean)) * 255


def test_a_pixel_by_hand():
    session = _session(WHOLE)
    image = np.zeros((1, 28, 28, 3), np.uint8)
    image[0, 5, 7] = (255, 0, 51)
    found = _normalised(session, image)
    expected = [(1 - 0.4) / 0.2, (0 - 0.5) / 0.25, (0.2 - 0.6) / 0.3]  # red, green, blue
    np.testing.assert_allclose(found[0, :, 5, 7], expected, rtol=1e-6)
    np.testing.assert_allclose(found[0, :, 7, 5], [-0.4 / 0.2, -0.5 / 0.25, -0.6 / 0.3], rtol=1e-6)


@pytest.mark.parametrize("preprocess", [CROPPED, WHOLE], ids=["cropped", "whole"])
def test_an_image_of_the_stored_size_is_cut_and_nothing_else(preprocess):
    pixels = _noise(28, 28, batch=3)
    margin = (28 - preprocess.size) // 2
    expected = pixels[:, margin : 28 - margin, margin : 28 - margin]
    np.testing.assert_allclose(_grey_levels(_session(preprocess), pixels, preprocess), expected, atol=1e-3)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(61, 40), (40, 61), (20, 20), (28, 40), (56, 28), (200, 150), (57, 300)])
def test_every_other_size_is_resized_as_pillow_does(height, width, interpolation):
    """On noise, where a resampling without antialias would be off by a hundred levels."""
    preprocess = replace(CROPPED, interpolation=interpolation)
    pixels = _noise(height, width)
    found = _grey_levels(_session(preprocess), pixels, preprocess)[0]
    np.testing.assert_allclose(found, found.round(), atol=1e-3)  # whole numbers, as Pillow gives
    stored = images.fit(Image.fromarray(pixels[0]), resize=28, size=28, interpolation=interpolation)
    difference = np.abs(found - stored[2:26, 2:26])
    assert difference.max() <= 1.001
    assert difference.mean() < 0.3
    other = "bicubic" if interpolation == "bilinear" else "bilinear"
    stored = images.fit(Image.fromarray(pixels[0]), resize=28, size=28, interpolation=other)
    assert min(height, width) == 28 or np.abs(found - stored[2:26, 2:26]).mean() > 1  # at 28 nothing is resampled


@pytest.mark.parametrize("size", [23, 24, 25])
@pytest.mark.parametrize("width", [41, 42, 43, 44])
def test_the_middle_is_the_one_that_training_cuts_out_of_the_stored_square(width, size):
    preprocess = replace(CROPPED, size=size)
    pixels = _noise(28, width)[0]  # not resized: the shorter side is the stored one
    stored = images.fit(Image.fromarray(pixels), resize=28, size=28)
    edge = (28 - size) // 2
    found = _grey_levels(_session(preprocess), pixels[None], preprocess)[0]
    np.testing.assert_allclose(found, stored[edge : edge + size, edge : edge + size], atol=1e-3)


@pytest.mark.parametrize("preprocess", [CROPPED, WHOLE], ids=["cropped", "whole"])
def test_a_session_that_knows_the_size_has_no_branch_left(preprocess, tmp_path):
    path = str(tmp_path / "optimised.onnx")
    session = _session(preprocess, native=28, optimised=path)
    steps = [node.op_type for node in onnx.load(path).graph.node]
    assert steps == [*(["Slice"] if preprocess is CROPPED else []), "Transpose", "Cast", "Mul", "Add"]
    pixels = _noise(28, 28, batch=5)
    np.testing.assert_array_equal(_normalised(session, pixels), _normalised(_session(preprocess), pixels))


def test_a_session_that_knows_another_size_goes_on_resizing(tmp_path):
    path = str(tmp_path / "optimised.onnx")
    session = _session(CROPPED, native=56, optimised=path)
    steps = {node.op_type for node in onnx.load(path).graph.node}
    assert "Resize" in steps
    assert "If" not in steps
    pixels = _noise(56, 56)
    np.testing.assert_array_equal(_normalised(session, pixels), _normalised(_session(CROPPED), pixels))


def test_openvino_at_the_stored_size_takes_the_short_way():
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.read_model(_model(CROPPED))
    model.reshape({"image": openvino.PartialShape([-1, 28, 28, 3])})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    steps = {step.get_rt_info()["layerType"].astype(str) for step in compiled.get_runtime_model().get_ops()}
    assert not steps & {"If", "Interpolate"}
    pixels = _noise(28, 28, batch=2)
    found = compiled({"image": pixels})[0]
    np.testing.assert_allclose(found, _normalised(_session(CROPPED), pixels), atol=1e-5)


def test_the_values_have_names_that_no_network_has():
    def names(nodes) -> set[str]:
        found = {name for node in nodes for name in node.output}
        branches = [attribute.g for node in nodes for attribute in node.attribute if attribute.HasField("g")]
        return found.union(*(names(branch.node) for branch in branches))

    found = names(preprocessing.nodes(CROPPED, image="image", output="normalised"))
    assert {name for name in found if not name.startswith("preprocess_")} == {"normalised"}
    assert len(found) > 20
