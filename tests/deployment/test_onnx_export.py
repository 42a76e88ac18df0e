"""One graph from raw pixels to probabilities: the same answer as torch at any image size, the same bytes every time."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from components.backbones.build import build
from components.data import images
from components.data.streams import crop, normalise
from components.deployment import onnx_file, tracing
from components.deployment.onnx_export import INPUT, METADATA, assemble, export, network
from components.deployment.skeleton import OPSET
from components.explanation.features import answer
from components.strategies.fine_tune import FineTune
from components.types import LabelSpace, Preprocess

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
    assert outputs == {"logits": ["batch", 3], "probabilities": ["batch", 3], "features": ["batch", 8]}


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


def test_metadata_holds_the_facts(exported, to_export):
    entries = {entry.key: entry.value for entry in onnx.load(str(exported)).metadata_props}
    facts = json.loads(entries[METADATA])
    assert facts["classes"] == {"label": ["cat", "dog", "owl"]}
    assert facts["preprocess"]["size"] == 24
    assert facts["preprocess"]["resize"] == 28
    assert facts["temperature"] == {"label": 1.0}
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


TASKS = {"shape": ("a", "b", "c"), "colour": ("red", "blue")}


@pytest.fixture(scope="module")
def several(to_export):
    """A strategy of two tasks, and its network."""
    strategy = to_export(TASKS)
    return strategy, network(strategy)


def _run(model: onnx.ModelProto, pixels: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(onnx_file.content(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return {name: np.asarray(found) for name, found in zip(names, session.run(names, {"image": pixels}), strict=True)}


def test_several_tasks_have_outputs_of_their_own_and_the_first_one_s_features(several, picture):
    strategy, bare = several
    preprocess, pixels = strategy.backbone.preprocess, np.stack([picture(28, 28, seed=seed) for seed in range(6)])
    image = normalise(crop(torch.from_numpy(pixels), preprocess), preprocess)
    with torch.no_grad():
        expected, features = answer(strategy, image)
    temperatures = {"shape": 2.5, "colour": 0.5}
    found = _run(assemble(bare, preprocess=preprocess, classes=TASKS, temperature=temperatures, facts={}), pixels)
    assert list(found) == ["logits_shape", "probabilities_shape", "logits_colour", "probabilities_colour", "features"]
    for task, temperature in temperatures.items():
        logits = expected[task].numpy().astype(np.float64) / temperature
        np.testing.assert_allclose(found[f"logits_{task}"], logits, rtol=0, atol=1e-4)
        scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(found[f"probabilities_{task}"], scores, rtol=0, atol=1e-4)
        assert (found[f"probabilities_{task}"].argmax(1) == expected[task].numpy().argmax(1)).all()
    np.testing.assert_allclose(found["features"], features.numpy(), rtol=0, atol=1e-4)


def test_the_network_is_what_it_says_and_assembling_leaves_it_alone(several):
    strategy, bare = several
    before = bare.SerializeToString(deterministic=True)
    (given,) = bare.graph.input
    assert given.name == INPUT
    assert [part.dim_value or part.dim_param for part in given.type.tensor_type.shape.dim] == ["batch", 3, 24, 24]
    assert [value.name for value in bare.graph.output] == [
        "network_logits_shape",
        "network_logits_colour",
        "network_features",
    ]
    assemble(bare, preprocess=strategy.backbone.preprocess, classes=TASKS, temperature=None, facts={})
    assert bare.SerializeToString(deterministic=True) == before


def test_features_are_left_out_unless_wanted(exported, to_export, monkeypatch):
    """Through one skeleton, which knows both ways."""
    strategy, skeletons = to_export(), exported.with_name("skeletons")
    monkeypatch.setattr(tracing, "trace", None)
    first = network(strategy, skeletons=skeletons)
    plain = network(strategy, features=False, skeletons=skeletons)
    assert [value.name for value in first.graph.output] == ["network_logits_label", "network_features"]
    assert [value.name for value in plain.graph.output] == ["network_logits_label"]
    whole = assemble(
        plain,
        preprocess=strategy.backbone.preprocess,
        classes=strategy.label_space.classes,
        temperature=None,
        facts={},
    )
    assert [value.name for value in whole.graph.output] == ["logits", "probabilities"]


def test_the_facts_cannot_contradict_the_graph(several):
    strategy, bare = several
    wrong = {"classes": {"label": ["x"]}, "preprocess": {}, "temperature": {"shape": 9.0}, "strategy": "fine_tune"}
    whole = assemble(bare, preprocess=strategy.backbone.preprocess, classes=TASKS, temperature=None, facts=wrong)
    facts = json.loads({entry.key: entry.value for entry in whole.metadata_props}[METADATA])
    assert facts["strategy"] == "fine_tune"
    assert facts["classes"] == {task: list(names) for task, names in TASKS.items()}
    assert facts["preprocess"]["size"] == 24
    assert facts["temperature"] == {"shape": 1.0, "colour": 1.0}


def test_a_large_torchvision_network_keeps_its_answers_through_a_skeleton_of_other_weights(tmp_path):
    def made(seed: int) -> FineTune:
        torch.manual_seed(seed)
        backbone = build("resnet18", preprocess=Preprocess(32, 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
        strategy = FineTune(backbone, LabelSpace({"label": ("a", "b", "c")}))
        strategy.train()(torch.randn(8, 3, 32, 32))
        return strategy.eval()

    export(made(0), {}, skeletons=tmp_path)
    strategy = made(1)
    seconds = time.process_time()
    content = export(strategy, {}, skeletons=tmp_path)
    seconds = time.process_time() - seconds
    assert len(list(tmp_path.iterdir())) == 1
    assert seconds < 1.5  # some 0.2 s, where tracing takes several
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = strategy((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)["label"]
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(["logits"], {"image": pixels})[0])
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-3)
