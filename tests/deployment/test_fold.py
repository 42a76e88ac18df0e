"""Architectures filled with weights: numbers by hand, and every operator against ONNX's own reference."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, parser
from onnx.reference import ReferenceEvaluator

from components.deployment import fold
from components.errors import DataError

CONVOLUTION = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[batch, 2, 3, 3] x, float[4, 2, 1, 1] w, float[4] gain, float[4] shift, float[4] mean, float[4] var)
    => (float[batch, 4, 3, 3] y, float[batch, 4, 3, 3] raw)
{
    raw = Conv (x, w)
    y = BatchNormalization <epsilon = 0.5> (raw, gain, shift, mean, var)
}"""
GEMM = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[batch, 3] x, float[4, 3] w, float[4] b, float[4] gain, float[4] shift, float[4] mean, float[4] var)
    => (float[batch, 4] y)
{
    made = Gemm <transB = 1> (x, w, b)
    y = BatchNormalization (made, gain, shift, mean, var)
}"""


def _filled(text: str, outputs: tuple[str, ...] = ("y",), seed: int = 0) -> tuple[onnx.ModelProto, dict, np.ndarray]:
    """The model of an architecture with random weights, the weights, and an input of two."""
    architecture = parser.parse_model(text)
    rng = np.random.default_rng(seed)
    arrays = {}
    for value in architecture.graph.input:
        shape = [dimension.dim_value or 2 for dimension in value.type.tensor_type.shape.dim]
        arrays[value.name] = rng.uniform(0.5, 2, shape).astype(np.float32)
    x = arrays.pop("x")
    return fold.fill(architecture, arrays, inputs=["x"], outputs=outputs), {"x": x, **arrays}, x


def _reference(model: onnx.ModelProto, outputs: list[str] | None, given: dict) -> list[np.ndarray]:
    return [np.asarray(found) for found in ReferenceEvaluator(model).run(outputs, given)]


def _steps(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_batch_norm_joins_the_convolution_before_it_with_numbers_by_hand():
    architecture = parser.parse_model(CONVOLUTION.replace("4", "1").replace("0.5", "0"))
    given = {"w": [[[[3.0]], [[-1.0]]]], "gain": [4.0], "shift": [0.5], "mean": [2.0], "var": [16.0]}
    arrays = {name: np.array(value, np.float32) for name, value in given.items()}
    model = fold.fill(architecture, arrays, inputs=["x"], outputs=["y"])
    found = {array.name: onnx.numpy_helper.to_array(array).ravel().tolist() for array in model.graph.initializer}
    assert found == {"y_weight": [3.0, -1.0], "y_bias": [-1.5]}  # 4 / 4 * (w x - 2) + 0.5
    assert _steps(model) == ["Conv"]


@pytest.mark.parametrize("text", [CONVOLUTION, GEMM], ids=["convolution", "linear"])
def test_the_folded_layer_answers_like_the_two(text):
    model, everything, x = _filled(text)
    assert len(_steps(model)) == 1
    assert [value.name for value in model.graph.input] == ["x"]
    onnx.checker.check_model(model, full_check=True)
    (expected,) = _reference(parser.parse_model(text), ["y"], everything)
    np.testing.assert_allclose(_reference(model, None, {"x": x})[0], expected, rtol=1e-5, atol=1e-5)


def test_what_others_read_is_not_folded_away():
    model, everything, x = _filled(CONVOLUTION, outputs=("y", "raw"))
    assert _steps(model) == ["Conv", "BatchNormalization"]
    expected = _reference(parser.parse_model(CONVOLUTION), ["y", "raw"], everything)
    for one, other in zip(_reference(model, None, {"x": x}), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_convolution_that_two_read_stays_beside_the_one_that_is_folded_for_neither():
    text = CONVOLUTION.replace("y = Batch", "normalised = Batch").replace(
        "mean, var)\n}", "mean, var)\n    y = Add (normalised, raw)\n}"
    )
    model, everything, x = _filled(text)
    assert _steps(model) == ["Conv", "BatchNormalization", "Add"]
    (expected,) = _reference(parser.parse_model(text), ["y"], everything)
    np.testing.assert_allclose(_reference(model, None, {"x": x})[0], expected, rtol=1e-5)


def test_what_no_wanted_output_needs_is_left_out():
    model, _, _ = _filled(CONVOLUTION, outputs=("raw",))
    assert _steps(model) == ["Conv"]
    assert [array.name for array in model.graph.initializer] == ["w"]


def test_the_architecture_and_the_weights_stay_as_they_are():
    architecture = parser.parse_model(CONVOLUTION)
    before = architecture.SerializeToString(deterministic=True)
    shapes = {"w": (4, 2, 1, 1), "gain": (4,), "shift": (4,), "mean": (4,), "var": (4,)}
    weights = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    fold.fill(architecture, weights, inputs=["x"], outputs=["y"])
    assert architecture.SerializeToString(deterministic=True) == before
    assert all((array == 1).all() for array in weights.values())


@pytest.mark.parametrize("wrong", ["missing", "shape", "type"])
def test_weights_that_do_not_fit_are_refused_by_name(wrong):
    architecture = parser.parse_model(GEMM)
    shapes = {
        "w": (4, 3),
        "b": (4,),
        "gain": (5,) if wrong == "shape" else (4,),
        "shift": (4,),
        "mean": (4,),
        "var": (4,),
    }
    arrays = {
        name: np.ones(shape, np.float64 if (name, wrong) == ("gain", "type") else np.float32)
        for name, shape in shapes.items()
        if (name, wrong) != ("gain", "missing")
    }
    with pytest.raises(DataError, match="gain"):
        fold.fill(architecture, arrays, inputs=["x"], outputs=["y"])


W, V, AXES, SHAPE = "float[2, 3] w", "float[2, 3] v", "int64[1] axes", "int64[2] shape"
OPERATORS = [
    ("y = Add (w, v)", W, V), ("y = Sub (w, v)", W, V), ("y = Mul (w, v)", W, V), ("y = Div (w, v)", W, V),
    ("y = Max (w, v)", W, V), ("y = Neg (w)", W), ("y = Sqrt (w)", W), ("y = Identity (w)", W),
    ("y = Clip (w, low, high)", W, "float low", "float high"), ("y = Clip (w, , high)", W, "float high"),
    ("y = Concat <axis = 1> (w, v)", W, V), ("y = Transpose (w)", W), ("y = Transpose <perm = [1, 0]> (w)", W),
    ("y = Reshape (w, shape)", W, SHAPE), ("y = Expand (w, shape)", "float[1, 3] w", SHAPE),
    ("y = Unsqueeze (w, axes)", W, AXES), ("y = Squeeze (w, axes)", "float[1, 3] w", AXES),
    ("y = Gather <axis = 1> (w, axes)", W, AXES), ("y = Slice (w, axes, end, axes)", W, AXES, "int64[1] end"),
    ("y = Slice (w, end, axes, axes, step)", W, AXES, "int64[1] end", "int64[1] step"),
    ("y, z = Split <axis = 1> (w, sizes)", W, "int64[2] sizes"),
    ("y, z = Split <axis = 1, num_outputs = 2> (w)", W),
    ("y = ReduceSum (w, axes)", W, AXES), ("y = ReduceSum <keepdims = 0> (w)", W),
    ("y = ReduceL2 <keepdims = 0> (w, axes)", W, AXES), ("y = ReduceL2 (w)", W),
    ("y = Cast <to = 7> (w)", W), ("y = Cast <to = 9> (w)", W), ("y = Not (flag)", "bool[2, 3] flag"),
    ("y = Where (flag, w, v)", "bool[2, 3] flag", W, V), ("y = Div (a, b)", "int64[4] a", "int64[4] b"),
]  # fmt: skip
VALUES = {
    "w": np.array([[0.3, 2.5, 1.0], [7.25, 0.0, 4.0]], np.float32), "v": np.array([[3, 0.7, 1], [2, 5, 9]], np.float32),
    "flag": np.array([[True, False, True], [False, False, True]]), "low": np.float32(0.5), "high": np.float32(3.0),
    "axes": np.array([0]), "shape": np.array([3, 2]), "end": np.array([1]), "sizes": np.array([1, 2]),
    "step": np.array([-1]), "a": np.array([7, -7, 7, -7]), "b": np.array([2, 2, -2, -2]),
}  # fmt: skip


@pytest.mark.parametrize("line", OPERATORS, ids=lambda line: line[0])
def test_every_exact_operator_is_onnx_s(line):
    text, *inputs = line
    results = [name.strip() for name in text.partition("=")[0].split(",")]
    outputs = ", ".join(f"float[n] {name}" for name in results)
    architecture = parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> g ({", ".join(inputs)}) => ({outputs}) {{ {text} }}'
    )
    arrays = {value.name: np.asarray(VALUES[value.name]) for value in architecture.graph.input}
    if "[1, 3] w" in inputs[0]:
        arrays["w"] = arrays["w"][:1]
    if "Expand" in text:
        arrays["shape"] = np.array([2, 3])
    expected = _reference(architecture, None, arrays)
    known = dict(arrays)
    assert fold._computed(architecture.graph.node, known) == []
    for name, wanted in zip(results, expected, strict=True):
        assert known[name].dtype == wanted.dtype
        assert known[name].shape == wanted.shape
        np.testing.assert_allclose(known[name], wanted, rtol=1e-6)


def test_the_table_of_exact_operators_is_tested_whole():
    tested = {line[0].partition("=")[2].split()[0] for line in OPERATORS}
    assert tested == set(fold.EXACT)


def test_a_sum_adds_in_order():
    """1e8 swallows every single 1 that comes after it; numpy's own sum would group some of them first."""
    numbers = np.array([1e8] + [1.0] * 4000, np.float32)
    assert fold._reduce_sum(numbers, keepdims=0) == np.float32(1e8)
    assert numbers.sum() > 1e8


def test_what_depends_on_the_input_or_rounds_differently_is_left_to_the_runtime():
    text = """<ir_version: 10, opset_import: ["" : 18]> g (float[n, 3] x, float[3] w) => (float[n, 3] y)
    { doubled = Add (w, w)  e = Exp (doubled)  y = Mul (x, e) }"""
    model, _, _ = _filled(text)
    assert _steps(model) == ["Exp", "Mul"]
    assert [array.name for array in model.graph.initializer] == ["doubled"]
    assert helper.tensor_dtype_to_np_dtype(model.graph.initializer[0].data_type) == np.float32
