"""MNIST and USPS, unsupervised domain adaptation both ways."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from components.backbones.lenet import LeNet
from components.data.prepared import Domain, Prepared
from components.params import Recipe
from components.strategies import catalogue
from components.training import session
from components.training.compute import Compute
from components.types import TASK, LabelSpace

SIZE = 28
SAMPLE = {"mnist": 2000, "usps": 1800}
"""Training images of each set in the protocol of ADDA's table 2."""
VAL = 500
RECIPE = Recipe(
    steps=600, batch_size=64, lr=3e-3, weight_decay=5e-4, warmup=0.05, optimizer="adamw", augment="strong",
    log_every=100, evaluate_every=10**6, checkpoint_every=10**6,
)  # fmt: skip


def domain(data: Path, name: str, seed: int, *, full: bool) -> Domain:
    """A data set as the product sees it: grey images of 28 pixels a side in three equal channels; `train` the sample,
    `val` a part of what is left of the training set, `test` the test set."""
    with np.load(data / f"{name}.npz") as arrays:
        x_train, y_train, x_test, y_test = (arrays[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    order = np.random.default_rng(seed).permutation(len(x_train))
    val, train = order[:VAL], order[VAL:] if full else order[VAL : VAL + SAMPLE[name]]
    images = np.concatenate([x_train[train], x_train[val], x_test])
    labels = np.concatenate([y_train[train], y_train[val], y_test]).astype(np.int64)
    splits = np.repeat(["train", "val", "test"], [len(train), len(val), len(x_test)])
    if images.shape[1] != SIZE:
        images = np.stack(
            [np.asarray(Image.fromarray(i).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for i in images]
        )
    pixels = np.repeat(images[..., None], 3, axis=3)
    names = [str(number) for number in range(len(images))]
    return Domain(pixels, {TASK: labels}, splits, names, names)


def prepared(data: Path, source: str, target: str, seed: int, *, full: bool) -> Prepared:
    space = LabelSpace({TASK: tuple(str(digit) for digit in range(10))})
    return Prepared(
        space, {"source": domain(data, source, seed, full=full), "target": domain(data, target, seed, full=full)}
    )


def accuracy(parts: Prepared, name: str, seed: int, recipe: Recipe, **hyper_parameters):
    with tempfile.TemporaryDirectory() as folder:
        trained = session.train(
            lambda: catalogue.load(name)(LeNet(SIZE), parts.label_space, **hyper_parameters),
            parts,
            recipe,
            Compute(torch.device("cpu"), "fp32", 1),
            seed=seed,
            identity=name,
            checkpoints=Path(folder),
            log=lambda record: None,
        )
    return trained
