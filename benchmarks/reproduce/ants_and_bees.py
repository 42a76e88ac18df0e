"""Ants or bees: the photographs of the PyTorch tutorial "Transfer learning for computer vision"."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.reproduce.protocol import Row
from components.backbones.base import Backbone
from components.backbones.build import build, load_weights
from components.data import images
from components.data.prepared import Domain, Prepared
from components.data.streams import Streams
from components.layers.linear_solvers import logistic
from components.params import ComputeParams, Recipe
from components.strategies import catalogue
from components.strategies.frozen_features import L2
from components.training import session
from components.training.compute import Compute, choose
from components.training.predict import quick_metrics
from components.types import TASK, LabelSpace, Preprocess

TITLE = "Ants or bees, 244 photographs (PyTorch transfer-learning tutorial)"
PROTOCOL = """
The tutorial's 244 training photographs train, its 153 validation photographs only report: no setting was chosen by
them, and none of them was looked at while training. ImageNet weights of MobileNetV2 (dequantised, for every trained
row) and of SqueezeNet 1.1; photographs resized to 256, centre of 224 pixels, turned, scaled and moved a little while
training (`light`; no mirroring). The probe's penalty is chosen by five-fold cross-validation within the 244, with the
seed's folds, and the probe is then solved on all of them. The three trained rows take 40 steps at batch size 32 (5.2
epochs; 25 in the tutorial) with AdamW, pretrained backbones at a tenth of the head's rate. Optimizer and rates were set
for all seeds by a few short runs that held out a fifth of the 244, where SGD at the rates usual for a ResNet undid
these weights; those of `from_scratch` were not tuned. Seeds change folds, heads, order and augmentation.

Differs from the tutorial in the networks (it has a ResNet-18), and in that its two figures are the best epoch's on the
validation photographs themselves, which flatters them: they were chosen by what they report.
"""
SEEDS = (0, 1, 2)
FILES = ("hymenoptera", "weights/mobilenet_v2.pth", "weights/squeezenet1_1.pth")
FROZEN, TUNED = "ResNet-18, frozen", "ResNet-18, fine-tuned"
ROWS = {
    "linear_probe": Row("linear_probe", "MobileNetV2", "accuracy", "0.954", FROZEN, ">= 0.96"),
    "squeezenet_probe": Row("linear_probe", "SqueezeNet 1.1", "accuracy", "0.954", FROZEN, "-"),
    "fine_tune": Row("fine_tune", "MobileNetV2", "accuracy", "0.928", TUNED, ">= 0.928"),
    "lp_ft": Row("lp_ft", "MobileNetV2", "accuracy", "0.928", TUNED, ">= 0.96"),
    "from_scratch": Row("from_scratch", "MobileNetV2", "accuracy", "-", "-", "< linear_probe"),
}
NOTES = """
One photograph is 0.0065. Cross-validation chooses one of two neighbouring penalties for MobileNetV2, and nothing else
about a probe is random: its spread over seeds is that choice, and no claim about other photographs.

`lp_ft` misses its goal by one or two photographs on average, by four with one seed. The probe answers all 244 training
photographs rightly, so fine-tuning has little to learn from them and loses a little of what ImageNet taught, with rates
that were tried briefly and are surely not the best. The tutorial finds the same order, frozen before fine-tuned. After
40 steps from random weights nothing is learned: 0.54 of the photographs are bees.
"""
CLASSES = ("ants", "bees")
SUFFIXES = (".jpg", ".jpeg")
"""Of the photographs: a stray GIF lies among them that says an image is missing."""
IMAGENET = Preprocess(size=224, resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
RECIPE = Recipe(
    steps=40, batch_size=32, weight_decay=5e-4, optimizer="adamw", augment="light", log_every=10, evaluate_every=10**6,
    checkpoint_every=10**6,
)  # fmt: skip
LR = {"fine_tune": 0.002, "lp_ft": 0.001, "from_scratch": 0.002}
FOLDS = 5


@cache
def photos(data: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 256, 256, 3] and labels [N] of the tutorial's "train" or "val" folder."""
    files = [
        (file, label)
        for label, name in enumerate(CLASSES)
        for file in sorted((data / "hymenoptera" / part / name).iterdir())
        if file.suffix in SUFFIXES
    ]
    pixels = np.stack([images.fit(images.read(file), IMAGENET.resize, IMAGENET.resize) for file, _ in files])
    return pixels, np.array([label for _, label in files])


def folds(count: int, seed: int) -> np.ndarray:
    """[count] of the fold that each photograph is in."""
    return np.random.default_rng(seed).permutation(count) % FOLDS


@cache
def prepared(data: Path, held_out: int | None = None) -> Prepared:
    """The tutorial's photographs. With `held_out` one fold of the training photographs is "val", to choose by.
    Without, all of them train; the loop is given a few of the same to look at, by which nothing is chosen."""
    (train, train_label), (test, test_label) = photos(data, "train"), photos(data, "val")
    if held_out is None:
        few = np.arange(0, len(train), 16)
        pixels, label = (
            np.concatenate([train, train[few], test]),
            np.concatenate([train_label, train_label[few], test_label]),
        )
        splits = np.repeat(["train", "val", "test"], [len(train), len(few), len(test)])
    else:
        pixels, label = train, train_label
        splits = np.where(folds(len(train), seed=1234) == held_out, "val", "train")
    domain = Domain(pixels, {TASK: label.astype(np.int64)}, splits, [], [])
    return Prepared(LabelSpace({TASK: CLASSES}), {"target": domain})


def network(data: Path, name: str, *, pretrained: bool = True) -> Backbone:
    backbone = build(name, preprocess=IMAGENET)
    if pretrained:
        load_weights(backbone, str(data / "weights" / f"{name}.pth"))
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.stride[0] > 1:
            _in_fp32(module)
    return backbone


def _in_fp32(convolution: nn.Conv2d) -> None:
    """Takes a depthwise convolution with a stride out of autocast: its gradient in bf16 takes a CPU five times as long
    as in fp32, and the four of MobileNetV2 half of all its time."""
    plain = convolution.forward

    def forward(x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return plain(x.float())

    convolution.forward = forward  # type: ignore[method-assign]


@cache
def compute() -> Compute:
    return choose(ComputeParams(device="cpu", threads=torch.get_num_threads()))


def train(data: Path, name: str, backbone: str, recipe: Recipe, seed: int, *, held_out: int | None = None, **given):
    kind = catalogue.load(name)
    parts = prepared(data, held_out)
    with tempfile.TemporaryDirectory() as folder:
        return session.train(
            lambda: kind(network(data, backbone, pretrained=kind.pretrained), parts.label_space, **given),
            parts,
            recipe,
            compute(),
            seed=seed,
            identity="ants_and_bees",
            checkpoints=Path(folder),
            log=lambda record: None,
            splits=("test",) if held_out is None else ("val",),
        )


def accuracy(trained: session.Trained, split: str = "test") -> float:
    return float((trained.logits[split][TASK].argmax(1) == trained.labels[split][TASK]).mean())


@cache
def features(data: Path, backbone: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the 244 training photographs, unchanged: [244, D] and labels [244]."""
    streams = Streams(prepared(data), IMAGENET, batch_size=32, augment="none", seed=0)
    found, labels = streams.features(network(data, backbone), "target")
    return found.double(), labels[TASK]


def chosen_l2(data: Path, backbone: str, seed: int) -> float:
    """The penalty with the lowest cross-entropy in cross-validation within the training photographs."""
    x, y = features(data, backbone)
    fold = torch.from_numpy(folds(len(y), seed))

    def loss(l2: float) -> float:
        total = 0.0
        for number in range(FOLDS):
            rest, out = fold != number, fold == number
            weight, bias = logistic(x[rest], F.one_hot(y[rest], len(CLASSES)).double(), l2)
            total += F.cross_entropy(x[out] @ weight.T + bias, y[out], reduction="sum").item()
        return total

    return min(L2, key=loss)


@cache
def probe(data: Path, backbone: str, l2: float) -> float:
    """Accuracy of the probe on all training photographs; no seed has a part in it."""
    return accuracy(train(data, "linear_probe", backbone, RECIPE, 0, l2=(l2,)))


def try_rate(data: Path, name: str, lr: float, fold: int = 0) -> dict[str, float]:
    """What a rate gives on a fifth of the training photographs that is held out: how LR was chosen."""
    trained = train(data, name, "mobilenet_v2", replace(RECIPE, lr=lr), fold, held_out=fold)
    return quick_metrics(trained.logits["val"], trained.labels["val"])


def run(data: Path, seed: int) -> dict[str, float]:
    penalty = {name: chosen_l2(data, name, seed) for name in ("mobilenet_v2", "squeezenet1_1")}
    values = {
        "linear_probe": probe(data, "mobilenet_v2", penalty["mobilenet_v2"]),
        "squeezenet_probe": probe(data, "squeezenet1_1", penalty["squeezenet1_1"]),
    }
    for name, lr in LR.items():
        given = {"l2": (penalty["mobilenet_v2"],)} if name == "lp_ft" else {}
        values[name] = accuracy(train(data, name, "mobilenet_v2", replace(RECIPE, lr=lr), seed, **given))
    return values
