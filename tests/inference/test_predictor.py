"""Images in, class names out: the same steps as in training, and no file that Graft did not export."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from components import machine
from components.data import images
from components.errors import DataError, MachineError
from components.inference.predictor import Predictor
from components.inference.session import open_session, resolve

ROOT = Path(__file__).resolve().parents[2]
without_gpu = pytest.mark.skipif(bool(machine.gpus()), reason="this machine has a GPU")


@pytest.fixture(scope="module")
def predictor(exported):
    return Predictor(exported, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def files(picture, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for number, (height, width) in enumerate([(61, 40), (28, 28), (20, 20), (90, 30), (33, 64)]):
        paths.append(folder / f"{number}.png")
        Image.fromarray(picture(height, width, seed=number)).save(paths[-1])
    return paths


def _other_model(metadata: dict[str, str] | None = None) -> bytes:
    """A small valid ONNX model that Graft did not make."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "other", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_the_file_says_what_it_answers(predictor):
    assert predictor.classes == {"label": ["cat", "dog", "owl"]}
    assert (predictor.preprocess.size, predictor.preprocess.resize) == (24, 28)
    assert predictor.provider == "CPUExecutionProvider"


def test_predictions_come_in_order_whatever_the_batch_size(predictor, files):
    one, many = list(predictor.predict(files, batch_size=1)), list(predictor.predict(files, batch_size=2))
    assert len(one) == len(files)
    for a, b in zip(one, many, strict=True):
        assert a.class_name == b.class_name
        assert a.probability == pytest.approx(b.probability, abs=1e-5)
    logits = predictor.logits(files, batch_size=2)["label"]
    names = np.array(predictor.classes["label"])
    assert [prediction.class_name for prediction in one] == names[logits.argmax(1)].tolist()


def test_a_prediction_names_the_most_probable_class(predictor, files):
    for prediction in predictor.predict(files):
        assert list(prediction.probabilities) == ["cat", "dog", "owl"]
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert prediction.probability == max(prediction.probabilities.values())
        assert prediction.probabilities[prediction.class_name] == prediction.probability


def test_bytes_and_files_give_the_same_pixels(predictor, files):
    for path in files:
        assert np.array_equal(predictor.pixels(path), predictor.pixels(path.read_bytes()))
        assert predictor.pixels(path).shape == (28, 28, 3)


def test_the_host_s_resize_and_the_graph_s_agree(predictor, files):
    """A client may send a raw image instead: the answer is nearly the same."""
    for path in files:
        raw = np.asarray(images.read(path))
        graph, host = predictor.run(raw[None])["logits"], predictor.run(predictor.pixels(path)[None])["logits"]
        np.testing.assert_allclose(graph, host, rtol=0, atol=0.03 * np.ptp(host) + 0.01)


def test_an_image_that_cannot_be_read_is_named(predictor, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png is not an image"):
        list(predictor.predict([bad]))
    with pytest.raises(DataError, match=r"cannot read .*none\.png"):
        predictor.pixels(tmp_path / "none.png")
    with pytest.raises(DataError, match="the image is not an image"):
        predictor.pixels(b"")


def test_no_images_give_no_predictions(predictor):
    assert list(predictor.predict([])) == []


def test_a_bundle_s_folder_will_do(exported):
    assert Predictor(exported.parent, provider="cpu").classes == {"label": ["cat", "dog", "owl"]}


def test_a_missing_file_or_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no model at .*none\.onnx"):
        Predictor(tmp_path / "none.onnx")
    with pytest.raises(DataError, match=r"no model at .*model\.fp32\.onnx"):
        Predictor(tmp_path)


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x00" * 100], ids=["empty", "text", "zeros"])
def test_garbage_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(DataError) as caught:
        Predictor(tmp_path / "model.onnx", provider="cpu")
    assert "model.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_cut_short_is_refused(exported, tmp_path):
    content = exported.read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError):
        Predictor(tmp_path / "model.onnx", provider="cpu")


@pytest.mark.parametrize("metadata", [{}, {"other": "x"}, {"graft": "{"}, {"graft": "{}"}], ids=str)
def test_a_model_that_graft_did_not_export_is_refused(metadata, tmp_path):
    (tmp_path / "model.onnx").write_bytes(_other_model(metadata))
    with pytest.raises(DataError, match=r"model\.onnx"):
        Predictor(tmp_path / "model.onnx", provider="cpu")


def test_the_other_model_would_load_in_onnxruntime():
    """Or the refusals above would be for another reason."""
    assert open_session(_other_model(), "cpu").get_providers() == ["CPUExecutionProvider"]


@without_gpu
def test_cuda_by_name_is_refused_without_a_gpu(exported):
    with pytest.raises(MachineError, match="'cuda'") as caught:
        Predictor(exported, provider="cuda")
    assert caught.value.exit_code == 3
    with pytest.raises(MachineError, match="'cuda'"):
        open_session(str(exported), "cuda")


@without_gpu
def test_auto_is_the_cpu_without_a_gpu():
    assert resolve("auto") == "cpu"


def test_an_unknown_provider_is_refused_with_a_suggestion():
    with pytest.raises(MachineError, match=r"'cudaa' is not known; did you mean 'cuda'"):
        resolve("cudaa")


def test_a_provider_that_onnxruntime_silently_replaces_is_refused(exported, monkeypatch):
    """With a driver present and the CUDA libraries missing onnxruntime answers from the CPU without a word."""
    if "CUDAExecutionProvider" in Predictor(exported, provider="auto").session.get_providers():
        pytest.skip("this machine has a GPU that works")
    monkeypatch.setattr(machine, "gpus", lambda: ["a GPU whose libraries do not load"])
    with pytest.raises(MachineError, match="cannot load CUDAExecutionProvider"):
        open_session(str(exported), "cuda")


def test_predicting_imports_no_torch(exported):
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(stream, "PNG")
    image = exported.parent / "red.png"
    image.write_bytes(stream.getvalue())
    code = (
        "import sys, json; from pathlib import Path; from components.inference.predictor import Predictor;"
        "found = list(Predictor(Path(sys.argv[1]), provider='cpu').predict([Path(sys.argv[2])]));"
        "heavy = {'torch', 'torchvision', 'onnx', 'mlflow', 'prefect', 'pydantic', 'yaml'} & set(sys.modules);"
        "print(json.dumps([sorted(heavy), found[0].class_name]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported), str(image)], check=True, capture_output=True, text=True, cwd=ROOT
    )
    heavy, name = json.loads(done.stdout)
    assert heavy == []
    assert name in ("cat", "dog", "owl")
