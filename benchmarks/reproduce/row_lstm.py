"""An LSTM that reads MNIST row by row, and what its weights are worth to another postal service's digits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.reproduce.protocol import Row
from components.backbones.recurrent import ImageSequence
from components.data.prepared import Domain, Prepared
from components.data.streams import Streams
from components.params import ComputeParams, Recipe
from components.strategies.base import Strategy
from components.strategies.fine_tune import FineTune
from components.strategies.from_scratch import FromScratch
from components.training.compute import Compute, choose
from components.training.predict import predict, quick_metrics
from components.training.session import Trained, train
from components.types import TASK, LabelSpace

TITLE = "Row LSTM: MNIST read row by row, and its transfer to USPS"
PROTOCOL = """
An LSTM of two layers of 128 units reads the 28 rows of an MNIST image (each projected to 128 values by a linear layer
and a ReLU); a linear classifier reads the upper layer's last state. Four epochs of 59,000 training images in batches of
128 with AdamW, each image moved by up to 1/16 of its side; the 10,000 test images are asked once. The published network
is hierarchical: it reads each row pixel by pixel with one LSTM and the rows' codes with a second, in five epochs of
RMSprop on 60,000 images without augmentation.

Transfer: USPS images are enlarged from 16 to 20 pixels and framed in black to 28, as MNIST's digits are. Ten labelled
images of each class are drawn at random from USPS's training images, twice for each seed. `from_scratch` trains
the same network on them from random weights, `fine_tune` (with a new head) from those just trained on MNIST under that
seed, both in 300 steps of 32 images, moved likewise; the MNIST network is also asked as it is.

Depth and augmentation were chosen on the last 10,000 of MNIST's training images, after training on 50,000; the rate is
the first one tried. Each strategy's rates on USPS were chosen out of three candidates, with draws of another seed, on
1,000 USPS training images that were not among the labelled ones. No test image chose anything.
"""
SEEDS = (0, 1, 2)
ROWS = {
    "mnist": Row(
        "row LSTM (from_scratch)", "MNIST, 59,000 labels, 4 epochs", "test accuracy, %",
        published="98.64", source="Keras example mnist_hierarchical_rnn", goal=">= 98.6",
    ),
    "usps_as_it_is": Row("MNIST's network as it is", "USPS, no labels", "test accuracy, %"),
    "usps_from_scratch": Row("from_scratch", "USPS, 10 labels a class", "test accuracy, %"),
    "usps_fine_tune": Row(
        "fine_tune from MNIST", "USPS, 10 labels a class", "test accuracy, %", goal="> usps_from_scratch"
    ),
}  # fmt: skip
NOTES = """
Both goals are met, and yet fine-tuning is not what to do here: MNIST's network, asked as it is, knows USPS's digits
better than after training on 100 of them. The classes are the same, so the new head and the hundred images throw away
more than they add. The frame is most of it: stretched to 28 pixels instead of framed, held-out USPS digits are
recognised at 93.6 % instead of 98.5 % (one seed).
"""
FILES = ("mnist.npz", "usps.npz")

SIZE, DIGIT = 28, 20
"""Pixels a side of an image, and of the digit within it."""
PER_CLASS, DRAWS, VAL = 10, 2, 1000
SCRATCH_LR, FINE_TUNE_LR, BODY_LR_FACTOR = 3e-3, 3e-3, 0.3
MNIST = Recipe(
    steps=4 * 59_000 // 128, batch_size=128, lr=3e-3, optimizer="adamw", weight_decay=0.01, warmup=0.05,
    augment="shift", log_every=200, evaluate_every=10**6, checkpoint_every=10**6,
)  # fmt: skip
USPS = Recipe(
    steps=300, batch_size=32, optimizer="adamw", weight_decay=0.01, warmup=0.05,
    augment="shift", log_every=100, evaluate_every=10**6, checkpoint_every=10**6,
)  # fmt: skip


def run(data: Path, seed: int) -> dict[str, float]:
    compute = choose(ComputeParams(threads=1))
    mnist = prepared(*mnist_arrays(data), val=slice(-VAL, None))
    pretrained = trained(lambda: FromScratch(network(), mnist.label_space), mnist, MNIST, compute, seed)
    weights = {key: value.clone() for key, value in pretrained.strategy.backbone.state_dict().items()}

    usps = usps_arrays(data)
    scores: dict[str, list[float]] = {"usps_as_it_is": [], "usps_from_scratch": [], "usps_fine_tune": []}
    for draw in range(DRAWS):
        few = few_labels(usps, seed, draw)
        for key, (make, recipe) in competitors(few, weights).items():
            scores[key].append(accuracy(trained(make, few, recipe, compute, seed)))
    few = few_labels(usps, seed, 0)
    data_of_usps = Streams(few, network().preprocess, batch_size=500, augment="none", seed=seed)
    scores["usps_as_it_is"].append(percent(*predict(pretrained.strategy, data_of_usps.split("test"))))
    return {"mnist": accuracy(pretrained), **{key: float(np.mean(values)) for key, values in scores.items()}}


def competitors(few: Prepared, weights: dict[str, torch.Tensor]) -> dict[str, tuple[Callable[[], Strategy], Recipe]]:
    """Row -> how to make its strategy, and its recipe."""

    def fine_tune() -> Strategy:
        backbone = network()
        backbone.load_state_dict(weights)
        return FineTune(backbone, few.label_space, body_lr_factor=BODY_LR_FACTOR)

    return {
        "usps_from_scratch": (lambda: FromScratch(network(), few.label_space), replace(USPS, lr=SCRATCH_LR)),
        "usps_fine_tune": (fine_tune, replace(USPS, lr=FINE_TUNE_LR)),
    }


def network() -> ImageSequence:
    return ImageSequence(read="rows", cell="lstm", size=SIZE, width=128, layers=2)


def mnist_arrays(data: Path) -> tuple[np.ndarray, ...]:
    """x_train [N, 28, 28], y_train [N], x_test, y_test."""
    with np.load(data / "mnist.npz") as arrays:
        return tuple(arrays[key] for key in ("x_train", "y_train", "x_test", "y_test"))


def usps_arrays(data: Path) -> tuple[np.ndarray, ...]:
    """As `mnist_arrays`, the digits as large in their frames as MNIST's."""
    with np.load(data / "usps.npz") as arrays:
        x_train, y_train, x_test, y_test = (arrays[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    frame = (SIZE - DIGIT) // 2

    def enlarged(images: np.ndarray) -> np.ndarray:
        digits = [Image.fromarray(image).resize((DIGIT, DIGIT), Image.Resampling.BILINEAR) for image in images]
        return np.pad(np.stack([np.asarray(digit) for digit in digits]), ((0, 0), (frame, frame), (frame, frame)))

    return enlarged(x_train), y_train, enlarged(x_test), y_test


def few_labels(usps: tuple[np.ndarray, ...], seed: int, draw: int) -> Prepared:
    """`PER_CLASS` random training images of each class to train on, `VAL` of the others as "val"."""
    x_train, y_train, x_test, y_test = usps
    order = np.random.default_rng([seed, draw]).permutation(len(y_train))
    labelled = np.concatenate([order[y_train[order] == digit][:PER_CLASS] for digit in range(10)])
    rows = np.concatenate([labelled, np.setdiff1d(order, labelled, assume_unique=True)[:VAL]])
    return prepared(x_train[rows], y_train[rows], x_test, y_test, val=slice(-VAL, None))


def prepared(x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, val: slice) -> Prepared:
    """Arrays as the product sees data; `val`: which of the training images are not trained on."""
    splits = np.repeat(["train", "test"], [len(x_train), len(x_test)]).astype("<U5")
    splits[: len(x_train)][val] = "val"
    pixels = np.repeat(np.concatenate([x_train, x_test])[..., None], 3, axis=3)
    names = [str(number) for number in range(len(pixels))]
    labels = np.concatenate([y_train, y_test]).astype(np.int64)
    space = LabelSpace({TASK: tuple(str(digit) for digit in range(10))})
    return Prepared(space, {"target": Domain(pixels, {TASK: labels}, splits, names, names)})


def trained(make: Callable[[], Strategy], data: Prepared, recipe: Recipe, compute: Compute, seed: int) -> Trained:
    with tempfile.TemporaryDirectory() as folder:
        return train(
            make, data, recipe, compute, seed=seed, identity=TITLE, checkpoints=Path(folder), log=lambda record: None
        )


def accuracy(result: Trained, split: str = "test") -> float:
    return percent(result.logits[split], result.labels[split])


def percent(logits: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> float:
    return 100 * quick_metrics(logits, labels)["val_accuracy"]
