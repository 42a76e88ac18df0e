"""Models as files: in one piece or with their weights beside them, the same bytes every time."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.deployment import onnx_file
from components.errors import DataError


@pytest.fixture
def model() -> onnx.ModelProto:
    """x [n, 30] -> (x A) B + 1 with A [30, 40] and B [40, 20]: arrays of 4800, 3200 and 4 bytes."""
    rng = np.random.default_rng(0)
    arrays = {"a": (30, 40), "b": (40, 20)}
    initializer = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name) for name, shape in arrays.items()
    ]
    initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["y"]),
        helper.make_node("MatMul", ["y", "b"], ["z"]),
        helper.make_node("Add", ["z", "one"], ["answer"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 30])
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["n", 20])
    made = helper.make_model(
        helper.make_graph(nodes, "products", [x], [answer], initializer=initializer),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    helper.set_model_props(made, {"graft": "{}"})
    return made


def _answer(model, model_input: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"graft": "{}"}
    return np.asarray(session.run(None, {"x": model_input})[0])


def test_a_model_over_the_limit_has_its_weights_beside_it_and_answers_the_same(model, tmp_path):
    before = model.SerializeToString(deterministic=True)
    path = tmp_path / "model.fp32.onnx"
    assert onnx_file.save(model, path, limit=5000) == [path, tmp_path / "model.fp32.onnx.data"]
    assert path.stat().st_size < 1500
    assert (tmp_path / "model.fp32.onnx.data").stat().st_size == 8192 + 3200  # the second begins at a page
    onnx.checker.check_model(str(path), full_check=True)
    model_input = np.random.default_rng(1).normal(size=(3, 30)).astype(np.float32)
    np.testing.assert_array_equal(_answer(str(path), model_input), _answer(before, model_input))
    assert model.SerializeToString(deterministic=True) == before
    first = [file.read_bytes() for file in sorted(tmp_path.iterdir())]
    onnx_file.save(model, path, limit=5000)
    assert [file.read_bytes() for file in sorted(tmp_path.iterdir())] == first


def test_a_model_within_the_limit_is_one_file_and_leaves_no_other(model, tmp_path):
    path = tmp_path / "model.onnx"
    onnx_file.save(model, path, limit=5000)
    assert onnx_file.save(model, path) == [path]
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == onnx_file.content(model)


def test_what_is_too_large_for_one_piece_is_refused_as_bytes(model, monkeypatch):
    monkeypatch.setattr(onnx_file, "LIMIT", 7000)
    with pytest.raises(DataError, match=r"onnx_file\.save"):
        onnx_file.content(model)


def test_the_check_sees_shapes_that_do_not_fit_though_the_weights_are_left_out(model):
    onnx_file.check(model)
    model.graph.node[1].input[1] = "a"  # [n, 40] times [30, 40]
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx_file.check(model)
    model.graph.node[1].input[1] = "nothing"
    with pytest.raises(onnx.checker.ValidationError, match="nothing"):
        onnx_file.check(model)
