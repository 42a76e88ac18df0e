"""Sequences that are no images, [B, T, F], through the very strategies and the very loop that images go through."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from components.backbones.recurrent import SequenceBackbone
from components.data import sampling
from components.params import Recipe
from components.strategies import catalogue
from components.strategies.base import Strategy
from components.strategies.fine_tune import FineTune
from components.strategies.source_only import SourceOnly
from components.strategies.teacher import Teacher
from components.training.compute import Compute
from components.training.loop import fit
from components.training.predict import predict, quick_metrics
from components.types import TASK, Episode, Labelled, LabelSpace, Pairs, Sampling, Unlabelled

CLASSES = ("line", "circle", "zigzag", "wave")
DESCRIPTIONS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 1.0))
"""Of each class: goes straight, bends, turns back."""
STEPS, CHANNELS = 12, 3
EPISODES = {"n_way": 4, "k_shot": 3, "n_query": 3}
CPU = Compute(torch.device("cpu"), "fp32", 1)
RECIPE = Recipe(steps=40, batch_size=16, lr=0.015, optimizer="adamw", log_every=10, evaluate_every=20)

WITHOUT = {
    "adabn": "replaces the statistics of batch normalisation, and a recurrent backbone has none",
    "drcn": "reconstructs an image from the features, with a decoder that makes images",
}
"""Strategies that make no sense here, and why."""
NAMES = [name for name in catalogue.STRATEGIES if name not in WITHOUT]


def stroke(kind: str, rng: np.random.Generator, *, source: bool) -> np.ndarray:
    """The pen's movement at each step, and how hard it presses: float [T, 3]."""
    t = np.arange(STEPS)
    bend = {
        "line": np.zeros(STEPS),
        "circle": np.full(STEPS, 2 * math.pi / STEPS),
        "zigzag": np.where(t % 4 == 0, math.pi / 2, 0) * np.where(t % 8 == 0, 1, -1),
        "wave": np.where(t < STEPS / 2, 1, -1) * 2 * math.pi / STEPS,
    }[kind]
    angle = rng.normal(0, 0.3) + np.cumsum(bend + rng.normal(0, 0.05, STEPS))
    speed = rng.uniform(0.8, 1.2) * (1.0 if source else 1.4)
    press = rng.uniform(0.4, 0.6) + (0.0 if source else 0.3)
    movement = np.stack([speed * np.cos(angle), speed * np.sin(angle), np.full(STEPS, press)], 1)
    return (movement + rng.normal(0, 0.05 if source else 0.1, movement.shape)).astype(np.float32)


class Strokes:
    """What `fit` reads, from arrays in memory: the second implementation of `TrainingData` beside `Streams`."""

    def __init__(self, tasks: bool = False, draw: Sampling | None = None) -> None:
        rng = np.random.default_rng(0)
        self.classes = {TASK: CLASSES, **({"bent": ("no", "yes")} if tasks else {})}
        self.label_space = LabelSpace(self.classes, {TASK: DESCRIPTIONS})
        self._draw = draw or Sampling()
        self._sequences: dict[tuple[str, str], torch.Tensor] = {}
        self._labels: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
        for domain in ("target", "source"):
            for split, count in (("train", 96), ("val", 32), ("test", 64)):
                numbers = np.arange(count) % len(CLASSES)
                drawn = [stroke(CLASSES[number], rng, source=domain == "source") for number in numbers]
                self._sequences[domain, split] = torch.from_numpy(np.stack(drawn))
                answers = {TASK: numbers, "bent": numbers % 2}
                self._labels[domain, split] = {task: torch.from_numpy(answers[task]) for task in self.classes}

    def batch(self, stream: str, step: int) -> Labelled | Unlabelled | Episode | Pairs:
        rng = np.random.default_rng(zlib.crc32(f"{stream}/{step}".encode()))
        domain = {"source": "source", "episodes": self._draw.domain, "pairs": self._draw.domain}.get(stream, "target")
        everything = self._labelled(domain, "train")
        images = sampling.by_class(everything.labels[TASK].numpy())
        if stream == "pairs":
            left, right, same = sampling.pairs(images, RECIPE.batch_size, rng)
            return Pairs(everything.image[left], everything.image[right], torch.from_numpy(same).float())
        if stream == "episodes":
            parts = sampling.episode(images, self._draw, rng)
            return Episode(
                *(
                    Labelled(
                        everything.image[part.reshape(-1)],
                        {TASK: torch.arange(len(part)).repeat_interleave(part.shape[1])},
                    )
                    for part in parts
                )
            )
        rows = rng.choice(len(everything.image), RECIPE.batch_size, replace=False)
        chosen = Labelled(everything.image[rows], {task: answer[rows] for task, answer in everything.labels.items()})
        return Unlabelled(chosen.image) if stream == "unlabelled" else chosen

    def batches(self, stream: str) -> Iterator[Labelled | Unlabelled]:
        everything = self._labelled("source" if stream == "source" else "target", "train")
        yield Unlabelled(everything.image) if stream == "unlabelled" else everything

    def split(self, name: str, domain: str = "target") -> Iterator[Labelled]:
        yield self._labelled(domain, name)

    @torch.no_grad()
    def features(self, backbone: torch.nn.Module, name: str, views: int = 1) -> tuple:
        assert views == 1, "nothing says how a sequence is changed at random"
        part = self._labelled("target", "train" if name == "target" else name)
        return backbone.eval()(part.image).float(), part.labels

    def _labelled(self, domain: str, split: str) -> Labelled:
        return Labelled(self._sequences[domain, split], self._labels[domain, split])


def backbone() -> SequenceBackbone:
    return SequenceBackbone(CHANNELS, cell="gru", width=16, layers=2)


def train(strategy: Strategy, data: Strokes, domain: str = "target"):
    history = fit(
        strategy,
        data,
        RECIPE,
        CPU,
        evaluate=lambda model: quick_metrics(*predict(model, data.split("val", domain))),
        log=lambda record: None,
    )
    return history, predict(strategy, data.split("test", domain))


@pytest.fixture(scope="module")
def pretrained() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    strategy = SourceOnly(backbone(), Strokes().label_space)
    train(strategy, Strokes(), "source")
    return {key: value.clone() for key, value in strategy.backbone.state_dict().items()}


@pytest.fixture(scope="module")
def teacher(pretrained) -> Teacher:
    torch.manual_seed(1)
    strategy = FineTune(backbone(), Strokes().label_space, body_lr_factor=1.0)
    strategy.backbone.load_state_dict(pretrained)
    train(strategy, Strokes())
    return Teacher(strategy, strategy.backbone.preprocess)


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_learns_sequences(name, pretrained, teacher):
    torch.manual_seed(2)
    kind, entry = catalogue.load(name), catalogue.STRATEGIES[name]
    given: dict[str, object] = {key: EPISODES[key] for key in EPISODES if key in catalogue.hyper_parameters(name)}
    if "teacher" in entry.needs:
        given["teacher"] = teacher
    network = backbone()
    if kind.pretrained:
        network.load_state_dict(pretrained)
    tasks = entry.tasks == "all"
    strategy = kind(network, Strokes(tasks).label_space, **given)
    data = Strokes(tasks, strategy.sampling)
    history, (logits, labels) = train(strategy, data)
    assert all(math.isfinite(value) for record in history for value in record.values())
    expected = {task: (64, len(names)) for task, names in data.classes.items()}
    assert {task: values.shape for task, values in logits.items()} == expected
    assert quick_metrics(logits, labels)["val_accuracy"] > 0.7  # by chance: 0.25, or 0.375 over two tasks


def test_a_recurrent_layer_s_biases_are_biases():
    strategy = catalogue.load("bitfit")(backbone(), Strokes().label_space)
    named = {id(parameter) for group in strategy.param_groups(0.1) for parameter in group["params"]}
    for key, parameter in strategy.backbone.named_parameters():
        assert (id(parameter) in named) == (parameter.ndim == 1), key


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_network_alone_exports_with_any_number_and_length_of_sequences(tmp_path):
    import onnxruntime

    torch.manual_seed(0)
    network = SequenceBackbone(CHANNELS, width=4, layers=1).eval()
    batch, length = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("length", min=1, max=64)
    torch.onnx.export(
        network,
        (network.example(2),),
        str(tmp_path / "network.onnx"),
        dynamo=True,
        opset_version=18,
        dynamic_shapes=({0: batch, 1: length},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, STEPS), (5, STEPS), (3, 7)):
        sequence = torch.randn(*shape, CHANNELS)
        with torch.no_grad():
            expected = network(sequence).numpy()
        (found,) = session.run(None, {session.get_inputs()[0].name: sequence.numpy()})
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_what_is_left_out_is_in_the_catalogue():
    assert set(WITHOUT) <= set(catalogue.STRATEGIES)
