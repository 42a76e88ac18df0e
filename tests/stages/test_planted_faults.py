"""Faults that exporters, converters and colleagues make, each planted in a sound file of a trained network: the gate
must refuse every one, and say what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import GraphProto, ModelProto, helper, numpy_helper
from PIL import Image

from components import params as parameters
from components.admission import precisions, proof, support
from components.admission.proof import Truth
from components.backbones.small_resnet import SmallResNet
from components.deployment import onnx_export, onnx_file
from components.deployment.candidates import int8_candidates
from components.deployment.onnx_export import INPUT, METADATA
from components.deployment.support_export import export_support
from components.errors import ParityError
from components.inference.predictor import Predictor
from components.params import Recipe
from components.runtimes.routes import Route
from components.strategies.base import Strategy
from components.training import session
from components.training.compute import Compute
from components.types import TASK, Preprocess
from promotion_support import PROMOTE

SIZE = 16  # of the toy's images
CPU = Compute(torch.device("cpu"), "fp32", 1)
RECIPE = Recipe(
    steps=60, batch_size=32, lr=0.1, augment="none", log_every=20, evaluate_every=1000, checkpoint_every=1000
)
PREPROCESS = Preprocess(size=SIZE, resize=SIZE, mean=(0.35, 0.45, 0.55), std=(0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def trained(toy, make_strategy, pretrained, tmp_path_factory):
    """A network whose channels are normalised each in its own way. It compares with three images of each class, so
    that both kinds of files can be made of it."""

    def make() -> Strategy:
        backbone = SmallResNet(widths=(8, 16, 16), size=SIZE)
        backbone.load_state_dict(pretrained)
        backbone.preprocess = PREPROCESS
        return make_strategy("matching", backbone, memory_per_class=3, scale=8.0)

    folder = tmp_path_factory.mktemp("checkpoints")
    return session.train(make, toy, RECIPE, CPU, seed=3, identity="sound", checkpoints=folder, log=lambda record: None)


@pytest.fixture(scope="module")
def data(toy, tmp_path_factory):
    """The toy with its images in files."""
    folder = tmp_path_factory.mktemp("images")
    files = [str(folder / f"{row}.png") for row in range(len(toy.target.pixels))]
    for file, pixels in zip(files, toy.target.pixels, strict=True):
        Image.fromarray(pixels).save(file)
    return replace(toy, domains={**toy.domains, "target": replace(toy.target, paths=files)})


@pytest.fixture(scope="module")
def true(trained, data) -> Truth:
    """Its answers to the validation images."""
    logits, labels = trained.logits["val"], trained.labels["val"]
    return Truth(
        files=[Path(data.target.paths[row]) for row in data.target.rows("val", labelled=True)],
        logits=logits,
        labels=labels,
        classes={task: list(names) for task, names in data.label_space.classes.items()},
        preprocess=PREPROCESS,
        temperature={TASK: 1.7},
    )


@pytest.fixture(scope="module")
def network(trained) -> ModelProto:
    return onnx_export.network(trained.strategy)


@pytest.fixture
def assembled(true) -> Callable[[ModelProto], ModelProto]:
    def make(network: ModelProto) -> ModelProto:
        return onnx_export.assemble(
            network, preprocess=PREPROCESS, classes=true.classes, temperature=true.temperature, facts={}
        )

    return make


@pytest.fixture(scope="module")
def params(tmp_path_factory) -> parameters.Params:
    content = {
        "data": {"target": {"folder": "raw"}},
        "strategies": {"fine_tune": {}},
        "compare": ["fine_tune"],
        "students": [],
        "promote": PROMOTE,
        "backbone": {"name": "small_resnet", "weights": "pretrained.safetensors"},
        "evaluate": {"resamples": 200},
    }
    return parameters.parse(yaml.safe_load(yaml.safe_dump(content)))


@pytest.fixture
def judged(true, params, assembled, network, tmp_path) -> Callable[..., dict]:
    """(edit) -> what the gate says of the sound file with that edit, on the CPU."""

    def judge(edit: Callable[[ModelProto], None] = lambda model: None) -> dict:
        model = assembled(network)
        edit(model)
        onnx_file.save(model, tmp_path / "model.fp32.onnx")
        facts, verdict = precisions.full(tmp_path / "model.fp32.onnx", "cpu", true, params, say=print)
        assert verdict["admitted"]
        return facts

    return judge


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph, and those inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _constant(model: ModelProto, name: str, value: np.ndarray) -> None:
    """Another value for a constant of the preprocessing."""
    (node,) = (node for graph in _graphs(model.graph) for node in graph.node if name in node.output)
    node.attribute[0].CopyFrom(helper.make_attribute("value", numpy_helper.from_array(value.astype(np.float32), name)))


def _normalise_by(mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[ModelProto], None]:
    def edit(model: ModelProto) -> None:
        shape = (1, 3, 1, 1)
        _constant(model, "preprocess_factor", (1 / (255 * np.array(std))).reshape(shape))
        _constant(model, "preprocess_offset", (-np.array(mean) / np.array(std)).reshape(shape))

    return edit


def _read_through(model: ModelProto, name: str, node: onnx.NodeProto) -> None:
    """Whoever reads `name` reads what the new node makes of it."""
    for graph in _graphs(model.graph):
        for other in graph.node:
            other.input[:] = [node.output[0] if given == name else given for given in other.input]
    node.input.insert(0, name)
    nodes = list(model.graph.node)
    place = next((index + 1 for index, other in enumerate(nodes) if name in other.output), 0)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], node, *nodes[place:]])


def _order(model: ModelProto, name: str, axis: int, order: list[int]) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(order), "planted_order"))
    _read_through(model, name, helper.make_node("Gather", ["planted_order"], ["planted"], axis=axis))


def _blue_first(model: ModelProto) -> None:
    _order(model, "image", 3, [2, 1, 0])


def _logits_in_another_order(model: ModelProto) -> None:
    _order(model, f"network_logits_{TASK}", 1, [1, 0, 2, 3])


def _names_in_another_order(model: ModelProto) -> None:
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA)
    facts = json.loads(entry.value)
    names = facts["classes"][TASK]
    names[0], names[1] = names[1], names[0]
    entry.value = json.dumps(facts)


def _fixed_batch(model: ModelProto) -> None:
    """As many images as the validation set has: a full batch is answered."""
    shape = np.array([32, 3, SIZE, SIZE])
    model.graph.initializer.append(numpy_helper.from_array(shape, "planted_shape"))
    _read_through(model, INPUT, helper.make_node("Reshape", ["planted_shape"], ["planted"]))


def _resize_with(**attributes: int) -> Callable[[ModelProto], None]:
    def edit(model: ModelProto) -> None:
        for graph in _graphs(model.graph):
            for node in graph.node:
                for attribute in node.attribute:
                    if node.op_type == "Resize" and attribute.name in attributes:
                        attribute.i = attributes[attribute.name]

    return edit


def _temperature(change: Callable[[float], float]) -> Callable[[ModelProto], None]:
    def edit(model: ModelProto) -> None:
        (array,) = (array for array in model.graph.initializer if array.name == "temperature")
        array.CopyFrom(numpy_helper.from_array(np.float32(change(numpy_helper.to_array(array).item())), array.name))

    return edit


def _probabilities_of_bare_logits(model: ModelProto) -> None:
    (node,) = (node for node in model.graph.node if node.op_type == "Softmax")
    node.input[0] = f"network_logits_{TASK}"


FAULTS = {
    "mean and standard deviation are swapped": (
        _normalise_by(PREPROCESS.std, PREPROCESS.mean), r"preprocessing: .*grey levels|logits differ"
    ),
    "normalisation in the order of blue, green, red": (
        _normalise_by(PREPROCESS.mean[::-1], PREPROCESS.std[::-1]), r"preprocessing: .*grey levels|logits differ"
    ),
    "BGR for RGB": (_blue_first, r"preprocessing: .*grey levels|logits differ"),
    "resize without antialias": (_resize_with(antialias=0, exclude_outside=0), r"preprocessing: .*(enlarged|JPEG)"),
    "resize that repeats the border": (_resize_with(exclude_outside=0), r"preprocessing: the graph's own pixels"),
    "class names in another order": (_names_in_another_order, "2 class names stand in another order, 'rising' for"),
    "logits in another order": (_logits_in_another_order, r"logits differ by up to .* on 32 of 32 images"),
    "a fixed batch": (_fixed_batch, "cannot answer 1 images at once"),
    "no temperature": (_temperature(lambda value: 1.0), "logits differ by up to"),
    "the temperature upside down": (_temperature(lambda value: 1 / value), "logits differ by up to"),
    "probabilities without the temperature": (_probabilities_of_bare_logits, "not the softmax of the logits"),
}  # fmt: skip


def test_the_sound_file_is_admitted_by_every_way_into_the_graph(judged):
    facts = judged()
    assert facts["agreement"] == 1.0
    assert facts["max_logit_difference"] < 1e-4
    assert facts["preprocessing"]["max_grey_levels"] <= 1.01
    assert facts["preprocessing"]["mean_grey_levels"] < 0.01
    assert facts["preprocessing"]["predictor_max_grey_levels"] < 1e-3
    assert facts["preprocessing"]["images"] == 32 + 32 + 32 + 16  # as they are, enlarged, made small, as JPEG
    reduced = facts["preprocessing"]["reduced"]
    assert reduced["images"] == 16  # the JPEGs: enlarged, so decoded at half their scale
    assert 0 < reduced["mean_grey_levels"] < reduced["max_grey_levels"]
    assert facts["raw"]["agreement"] == 1.0


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_refused(name, judged):
    edit, message = FAULTS[name]
    with pytest.raises(ParityError, match=message):
        judged(edit)


PIXELS = [*list(FAULTS)[:5], "a mean three grey levels off"]


@pytest.mark.parametrize("name", PIXELS)
def test_a_fault_of_the_preprocessing_is_seen_by_the_pixels_alone(name, true, params, assembled, network, tmp_path):
    """A mean that is three grey levels off changes logits a little and no decision; the pixels tell by how much."""
    three_off = _normalise_by(tuple(value + 3 / 255 for value in PREPROCESS.mean), PREPROCESS.std)
    edit, model, file = FAULTS.get(name, (three_off, ""))[0], assembled(network), tmp_path / "model.fp32.onnx"
    edit(model)
    onnx_file.save(model, file)
    with pytest.raises(ParityError) as caught:
        proof.whole_images(file, Predictor.load(file, provider="cpu"), true, params.export)
    found = re.fullmatch(
        r"preprocessing: the graph's own pixels differ from training's by up to ([\d.]+) grey levels "
        r"\(export.pixel_tolerance is 1.5\) on (\d+) of 112 images, most on .*",
        str(caught.value),
    )
    assert found is not None, str(caught.value)
    assert float(found[1]) >= 3
    if name in PIXELS[3:5]:  # those of the size itself are right, and so are most that only grow
        assert int(found[2]) <= 112 - 32
    else:
        assert int(found[2]) == 112


def test_int8_calibrated_on_noise_is_refused_and_on_training_images_admitted(
    true, params, data, assembled, network, tmp_path
):
    """Noise as weak as this makes the network believe that its activations are tiny: all others are cut off."""

    def verdict(images: np.ndarray) -> dict:
        candidate = next(iter(int8_candidates(network, images, params.export)))
        onnx_file.save(assembled(candidate.model), tmp_path / "model.int8.onnx")
        return precisions.verdict_of(tmp_path / "model.int8.onnx", Route("int8", "cpu"), true, params)

    sound = verdict(precisions.calibration_images(data, true, params))
    assert sound["admitted"], sound["reason"]
    assert sound["agreement"] == 1.0
    noise = np.random.default_rng(0).normal(0, 0.02, (64, 3, SIZE, SIZE)).astype(np.float32)
    refused = verdict(noise)
    assert not refused["admitted"]
    assert refused["agreement"] < 0.9
    assert "export.min_precision_agreement" in refused["reason"]


@pytest.fixture(scope="module")
def with_support(trained, true, network, tmp_path_factory) -> tuple[Path, Path]:
    """The file that takes its labelled images as an input, and the one that has them inside."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "model.support.onnx").write_bytes(export_support(trained.strategy, {}, true.temperature))
    inside = onnx_export.assemble(
        network, preprocess=PREPROCESS, classes=true.classes, temperature=true.temperature, facts={}
    )
    onnx_file.save(inside, folder / "model.fp32.onnx")
    return folder / "model.support.onnx", folder / "model.fp32.onnx"


def test_what_is_remembered_is_what_the_memory_holds(trained, data):
    rows = support.remembered(trained.strategy, data.target)
    assert np.bincount(data.target.labels[TASK][rows]).tolist() == [3, 3, 3, 3]
    own = data.target.rows("train", labelled=True)
    first = own[data.target.labels[TASK][own] == 0]
    assert rows[:3].tolist() == first[[0, len(first) // 3, 2 * len(first) // 3]].tolist()


def test_given_the_support_of_its_training_a_few_shot_file_is_admitted(with_support, trained, true, data, params):
    facts = support.prove(*with_support, trained.strategy, true, data, params.export, "cpu")
    assert facts["images"] == 32
    assert facts["agreement"] == 1.0
    assert facts["max_logit_difference"] < 1e-4


def test_a_few_shot_file_given_labels_in_another_order_is_refused(with_support, trained, true, data, params):
    labels = {TASK: np.where(data.target.labels[TASK] >= 0, 3 - data.target.labels[TASK], -1)}
    wrong = replace(data, domains={**data.domains, "target": replace(data.target, labels=labels)})
    with pytest.raises(ParityError, match=r"given the support of its training on cpu: logits differ"):
        support.prove(*with_support, trained.strategy, true, wrong, params.export, "cpu")


def test_a_provider_that_may_be_left_out_is_refused_without_an_error(
    true, params, assembled, network, tmp_path, capsys
):
    """OpenVINO compiles the graph its own way. What it says of a fault depends on no number that could change from run
    to run; the terminal shows those."""
    pytest.importorskip("openvino")
    model = assembled(network)
    onnx_file.save(model, tmp_path / "model.fp32.onnx")
    assert precisions.full(tmp_path / "model.fp32.onnx", "openvino", true, params, say=print)[1]["admitted"]
    _logits_in_another_order(model)
    onnx_file.save(model, tmp_path / "model.fp32.onnx")
    facts, verdict = precisions.full(tmp_path / "model.fp32.onnx", "openvino", true, params, say=print)
    assert facts == {}
    assert not verdict["admitted"]
    assert verdict["reason"] == "openvino does not compute this network rightly"
    assert "fp32@openvino: logits differ by up to" in capsys.readouterr().out
