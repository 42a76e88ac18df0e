"""Buffers that stay, and batches that are padded: the same steps as on a GPU, with the CPU as the device."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from components.errors import DataError, MachineError
from components.runtimes import cuda
from components.runtimes import session as sessions
from components.runtimes.options import Options
from components.runtimes.session import open_session

SIDE = 28


def _images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def _onnx(model, settings: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def plain(exported):
    return open_session(exported, "cpu", Options(threads=1), native=SIDE)


@pytest.fixture
def bound(exported) -> cuda.BoundSession:
    session = _onnx(exported, sessions.session_options(Options(threads=1), SIDE))
    return cuda.BoundSession(session, "cpu", SIDE, device="cpu", buckets=(1, 2, 4))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 11])
def test_padding_and_cutting_change_no_answer(bound, plain, count):
    images = _images(count)
    answers, expected = bound.run({"image": images}), plain.run({"image": images})
    assert list(answers) == list(expected) == list(bound.outputs)
    for name, values in answers.items():
        assert values.shape == expected[name].shape
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


def test_what_was_answered_stays_when_the_buffers_are_used_again(bound):
    first = bound.run({"image": _images(4, seed=1)})["logits"]
    copy = first.copy()
    bound.run({"image": _images(4, seed=2)})
    np.testing.assert_array_equal(first, copy)


def test_a_bucket_is_allocated_once(bound):
    for count in (3, 4, 4, 3):
        bound.run({"image": _images(count)})
    assert list(bound._buffers) == [4]
    bucket = bound._buffers[4]
    place, values = bucket.image.data_ptr(), bucket.outputs["logits"].data_ptr()
    bound.run({"image": _images(4)}, ["logits"])
    assert bound._buffers[4].image.data_ptr() == place
    assert bucket.binding.get_outputs()[bound.outputs.index("logits")].data_ptr() == values


def test_warming_makes_the_buckets_that_fit(bound):
    bound.warm([3])
    assert list(bound._buffers) == [4]
    bound.warm()
    assert sorted(bound._buffers) == [1, 2, 4]


def test_threads_take_turns(bound, plain, monkeypatch):
    """While one waits for the device, no other may fill its buffers."""
    launch = bound._launch
    monkeypatch.setattr(bound, "_launch", lambda *arguments: (time.sleep(0.002), launch(*arguments)))
    batches = [_images(1 + seed % 6, seed) for seed in range(12)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda images: bound.run({"image": images})["logits"], batches))
    for images, logits in zip(batches, answers, strict=True):
        np.testing.assert_allclose(logits, plain.run({"image": images})["logits"], rtol=1e-5, atol=1e-6)


def test_sessions_that_capture_take_turns_with_one_another_to_their_end(exported):
    """A capture that another thread's allocating, copying or freeing falls into fails, and so does what that asks."""
    settings = sessions.session_options(Options(threads=1), SIDE)
    one, other = (
        cuda.BoundSession(_onnx(exported, settings), "cpu", SIDE, device="cpu", graphs=graphs)
        for graphs in (True, False)
    )
    with ThreadPoolExecutor(2) as pool:
        with cuda.TURN:
            waiting = pool.submit(one.run, {"image": _images(1)}, ["logits"])
            free = pool.submit(other.run, {"image": _images(1)}, ["logits"])
            assert free.result()["logits"].shape == (1, 3)
            assert not waiting.done()
        assert waiting.result()["logits"].shape == (1, 3)
        del waiting, free
    sessions_left = [one]
    del one
    with ThreadPoolExecutor(1) as pool:
        with cuda.TURN:
            ending = pool.submit(sessions_left.clear)
            time.sleep(0.02)
            assert not ending.done()
        ending.result()


@pytest.mark.parametrize(
    "images",
    [_images(0), _images(1)[:, :20], _images(1).astype(np.float32), _images(1)[0]],
    ids=["none", "another size", "another type", "no batch"],
)
def test_what_does_not_fit_the_buffers_is_refused(bound, images):
    with pytest.raises(DataError, match=r"takes uint8 images \[B, 28, 28, 3\], not"):
        bound.run({"image": images})


def test_a_graph_with_further_inputs_is_refused():
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("image", "more", "sum")]
    graph = helper.make_graph([helper.make_node("Add", ["image", "more"], ["sum"])], "sum", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(DataError, match="more"):
        cuda.BoundSession(_onnx(model.SerializeToString(), onnxruntime.SessionOptions()), "cpu", SIDE, device="cpu")


def test_the_smallest_bucket_that_holds_a_batch_is_taken():
    assert [cuda.fitting(count, cuda.BUCKETS) for count in (1, 2, 3, 5, 33, 64, 65)] == [1, 2, 4, 8, 64, 64, 64]
    assert [(part.start, part.stop) for part in cuda.chunks(150, 64)] == [(0, 64), (64, 128), (128, 150)]


def test_the_cuda_options_leave_nothing_to_a_default():
    dynamic = cuda.cuda_options("fp32", fixed=False, graphs=False)
    assert dynamic["cudnn_conv_algo_search"] == "HEURISTIC"
    assert (dynamic["use_tf32"], dynamic["prefer_nhwc"], dynamic["enable_cuda_graph"]) == ("0", "0", "0")
    fixed = cuda.cuda_options("fp16", fixed=True, graphs=True)
    assert fixed["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    assert (fixed["use_tf32"], fixed["prefer_nhwc"], fixed["enable_cuda_graph"]) == ("0", "1", "1")
    assert cuda.cuda_options("fp16", fixed=True, graphs=True, nhwc=False)["prefer_nhwc"] == "0"


def test_the_tensorrt_options_follow_the_precision(tmp_path):
    assert cuda.tensorrt_options("fp32", None) == {"trt_fp16_enable": "0", "trt_int8_enable": "0"}
    told = cuda.tensorrt_options("int8", tmp_path)
    assert (told["trt_fp16_enable"], told["trt_int8_enable"]) == ("1", "1")
    assert told["trt_engine_cache_path"] == told["trt_timing_cache_path"] == str(tmp_path)


@pytest.mark.parametrize("kind", ["cuda", "tensorrt"])
def test_the_installed_onnxruntime_knows_every_option(kind, tmp_path):
    """A misspelt one would be found on a GPU machine only; the provider's library holds the names."""
    from pathlib import Path

    from components.runtimes.providers import LIBRARIES

    library = Path(onnxruntime.__file__).parent / "capi" / LIBRARIES[kind]
    if not library.is_file():
        pytest.skip("this onnxruntime has no GPU provider")
    asked = (
        cuda.cuda_options("fp16", fixed=True, graphs=True)
        if kind == "cuda"
        else cuda.tensorrt_options("int8", tmp_path)
    )
    content = library.read_bytes()
    assert [name for name in asked if b"\0" + name.encode() + b"\0" not in content] == []


def test_options_that_were_not_taken_are_an_error(plain):
    cuda.verify(plain.session, "CPUExecutionProvider", {})
    with pytest.raises(MachineError, match="runs with use_tf32 None, where '0' was asked for"):
        cuda.verify(plain.session, "CUDAExecutionProvider", {"use_tf32": "0"})
