"""One graph from raw pixels to probabilities: the same answer as torch at any image size, the same bytes every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from components.backbones.small_resnet import SmallResNet
from components.data import images
from components.data.streams import crop, normalise
from components.deployment.onnx_export import METADATA, OPSET, export
from components.inference.predictor import Predictor
from components.strategies.fine_tune import FineTune
from components.types import LabelSpace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def session(exported):
    return onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])


def _torch_logits(strategy, picture: np.ndarray) -> np.ndarray:
    """The path of training: resized by Pillow to the stored size, cropped and normalised by the streams."""

    preprocess = strategy.backbone.preprocess
    stored = images.fit(Image.fromarray(picture), resize=preprocess.resize, size=preprocess.resize)
    image = normalise(crop(torch.from_numpy(stored.copy())[None], preprocess), preprocess)
    with torch.no_grad():
        return strategy(image)["label"].numpy()


def test_inputs_and_outputs_are_as_documented(session):
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["batch", "height", "width", 3])
    outputs = {output.name: output.shape for output in session.get_outputs()}
    assert outputs == {"logits": ["batch", 3], "probabilities": ["batch", 3]}


@pytest.mark.parametrize(("height", "width"), [(28, 28), (61, 40), (40, 61), (20, 20), (200, 150), (13, 29), (1, 1)])
def test_a_raw_image_of_any_size_is_answered_like_in_training(height, width, session, to_export, picture):
    strategy = to_export()
    pixels = picture(height, width, seed=height)
    found = session.run(["logits"], {"image": pixels[None]})[0]
    expected = _torch_logits(strategy, pixels)
    spread = np.ptp(expected)
    # At the stored size nothing is resampled; elsewhere Pillow's whole-number arithmetic differs by a grey level.
    tolerance = 1e-4 if (height, width) == (28, 28) else 0.03 * spread + 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def _grey_levels(exported: Path, pixels: np.ndarray) -> np.ndarray:
    """What the graph's own preprocessing makes of an image, back on the scale from 0 to 255: [size, size, 3]."""
    model = onnx.load(str(exported))
    (last,) = [node.output[0] for node in model.graph.node if "preprocess_centred" in node.input]
    model.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    normalised = session.run([last], {"image": pixels[None]})[0][0].transpose(1, 2, 0)
    return (normalised * np.array([0.2, 0.25, 0.3]) + np.array([0.4, 0.5, 0.6])) * 255


@pytest.mark.parametrize(("height", "width"), [(28, 28), (61, 40), (40, 61), (20, 20), (200, 150), (57, 300)])
def test_the_graph_s_pixels_are_pillow_s_to_a_grey_level(height, width, exported):
    """On noise, where a resampling without antialias would be off by a hundred levels."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = _grey_levels(exported, pixels)
    np.testing.assert_allclose(found, found.round(), atol=1e-3)  # whole numbers, as Pillow gives
    stored = images.fit(Image.fromarray(pixels), resize=28, size=28)
    difference = np.abs(found - stored[2:26, 2:26])
    assert difference.max() <= 1.001
    assert difference.mean() < 0.3
    if (height, width) == (28, 28):
        assert difference.max() < 1e-3


def test_the_answer_depends_on_the_picture(session, picture):
    """Or the agreement above would prove little."""
    one, other = (session.run(["logits"], {"image": picture(28, 28, seed=seed)[None]})[0] for seed in (1, 2))
    assert np.abs(one - other).max() > 0.2


@pytest.mark.parametrize("batch", [1, 2, 5, 33])
def test_any_batch_size_gives_each_image_its_own_answer(batch, session, picture):
    pixels = np.stack([picture(30, 41, seed=seed) for seed in range(batch)])
    together = session.run(["logits"], {"image": pixels})[0]
    alone = np.concatenate([session.run(["logits"], {"image": pixels[i : i + 1]})[0] for i in range(batch)])
    assert together.shape == (batch, 3)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)


def test_probabilities_are_the_softmax_of_the_logits(session, picture):
    logits, found = session.run(["logits", "probabilities"], {"image": picture(28, 28)[None]})
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_equal_weights_give_equal_bytes_and_other_weights_others(exported, to_export, export_bytes):
    again = export_bytes(to_export())
    assert again == exported.read_bytes()
    assert export_bytes(to_export(seed=1)) != again


def test_metadata_holds_the_facts(exported, to_export):
    entries = {entry.key: entry.value for entry in onnx.load(str(exported)).metadata_props}
    facts = json.loads(entries[METADATA])
    assert facts["classes"] == {"label": ["cat", "dog", "owl"]}
    assert facts["preprocess"]["size"] == 24
    assert facts["preprocess"]["resize"] == 28
    assert facts["seed"] == 3


def test_the_file_names_no_path_of_this_machine(exported):
    content = exported.read_bytes()
    for path in (str(ROOT), str(Path(torch.__file__).parent), "site-packages", "/components/", ".py"):
        assert path.encode() not in content, path
    model = onnx.load_model_from_string(content)
    assert all(not node.metadata_props and not node.doc_string for node in model.graph.node)


def test_the_graph_is_checked_and_of_the_chosen_opset(exported):
    model = onnx.load(str(exported))
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert not model.functions


def test_batch_norm_is_folded(exported):
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(str(exported)).graph.node}


def test_several_tasks_have_outputs_of_their_own(to_export, export_bytes, picture):
    strategy = to_export({"shape": ("a", "b", "c"), "colour": ("red", "blue")})
    session = onnxruntime.InferenceSession(export_bytes(strategy), providers=["CPUExecutionProvider"])
    shapes = {output.name: output.shape[1] for output in session.get_outputs()}
    assert shapes == {"logits_shape": 3, "probabilities_shape": 3, "logits_colour": 2, "probabilities_colour": 2}
    pixels = picture(28, 28)
    preprocess = strategy.backbone.preprocess
    image = normalise(crop(torch.from_numpy(pixels.copy())[None], preprocess), preprocess)
    with torch.no_grad():
        expected = strategy(image)
    for task in ("shape", "colour"):
        found = session.run([f"logits_{task}"], {"image": pixels[None]})[0]
        np.testing.assert_allclose(found, expected[task].numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_graph_resizes_as_pillow_does(interpolation, tmp_path):
    torch.manual_seed(0)
    backbone = SmallResNet((8, 8, 16))
    backbone.preprocess = replace(backbone.preprocess, interpolation=interpolation)
    strategy = FineTune(backbone, LabelSpace({"label": ("a", "b", "c")})).eval()
    facts = {"classes": strategy.label_space.classes, "preprocess": backbone.preprocess.to_dict()}
    (tmp_path / "model.onnx").write_bytes(export(strategy, facts))
    predictor = Predictor(tmp_path / "model.onnx", provider="cpu")
    coarse = np.random.default_rng(0).integers(0, 256, (15, 10, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((61, 40), Image.Resampling.BICUBIC)
    image.save(tmp_path / "image.png")
    on_host = predictor.run(predictor.pixels(tmp_path / "image.png")[None])["logits"]
    in_graph = predictor.run(np.asarray(image)[None])["logits"]
    other = images.fit(image, 32, 32, "bicubic" if interpolation == "bilinear" else "bilinear")
    assert np.abs(on_host - in_graph).max() < 1e-3
    assert np.abs(predictor.run(other[None])["logits"] - in_graph).max() > 2e-3


def test_the_temperature_divides_the_logits_inside_the_graph_and_changes_no_decision(to_export, picture):
    strategy = to_export({"label": ("cat", "dog", "owl"), "size": ("small", "large")})
    preprocess = strategy.backbone.preprocess.to_dict()
    facts = {"classes": strategy.label_space.classes, "preprocess": preprocess}
    images_ = np.stack([picture(28, 28, seed=seed) for seed in range(6)])
    answers = []
    for temperature in (None, {"label": 2.5, "size": 0.5}):
        model = export(strategy, facts, temperature)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        answers.append(dict(zip(names, session.run(None, {"image": images_}), strict=True)))
    plain, scaled = answers
    for task, temperature in (("label", 2.5), ("size", 0.5)):
        np.testing.assert_allclose(scaled[f"logits_{task}"], plain[f"logits_{task}"] / temperature, rtol=1e-6)
        exponents = np.exp(plain[f"logits_{task}"].astype(np.float64) / temperature)
        expected = exponents / exponents.sum(1, keepdims=True)
        np.testing.assert_allclose(scaled[f"probabilities_{task}"], expected, rtol=1e-4)
        assert (scaled[f"probabilities_{task}"].argmax(1) == plain[f"probabilities_{task}"].argmax(1)).all()
