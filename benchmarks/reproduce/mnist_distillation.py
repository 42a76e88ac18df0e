"""Distillation on MNIST: Hinton et al., 2015, arXiv:1503.02531, sec. 3."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from benchmarks.reproduce.protocol import Row
from components.backbones.base import Backbone
from components.data.prepared import Domain, Prepared
from components.params import ComputeParams, Recipe
from components.strategies.base import Strategy
from components.strategies.distillation import Distillation
from components.strategies.from_scratch import FromScratch
from components.strategies.teacher import Teacher
from components.training import session
from components.training.compute import choose
from components.types import TASK, LabelSpace, Preprocess

TITLE = "Distillation on MNIST (Hinton et al., 2015)"
PROTOCOL = """
All 60,000 training images, errors on the 10,000 test images. Teacher: two hidden layers of 1200 rectified linear units,
a fifth of them dropped out, images moved by up to 1.75 pixels; one teacher, of seed 0, for all students. Student: two
hidden layers of 800, neither dropout nor weight decay nor moved images, alone with the labels (`from_scratch`) or with
the teacher's soft targets at temperature 20 in their place (`distillation`): the same images in equally many steps.
Each trains for 12 epochs at batch size 256. The rate of the distilled student was chosen out of 0.02 and 0.05 on the
last 10,000 training images, in 5 epochs and before these were added to the rest. The teacher is the better one of two
there: dropout of 0.2 and 0.5 for 20 epochs had more errors than a fifth of the hidden units for 12. The student alone
is not tuned.

Differs from the paper in that the teacher has less dropout, no constraint on its weights and far fewer epochs, and in
that the distilled student sees no label at all, where the paper adds the soft targets to the labels. The share of the
gap is (errors alone - errors distilled) / (errors alone - errors of the teacher).
"""
SEEDS = (0, 1, 2, 3, 4)
FILES = ("mnist.npz",)
SOURCE = "sec. 3"
ROWS = {
    "teacher": Row("teacher", "1200-1200, dropout, moved images", "test errors", "67", SOURCE, "-"),
    "alone": Row("from_scratch", "800-800, labels", "test errors", "146", SOURCE, "-"),
    "distilled": Row("distillation", "800-800, soft targets, T = 20", "test errors", "74", SOURCE, "< alone"),
    "share": Row("distillation", "800-800, soft targets, T = 20", "share of the gap closed", "0.91", SOURCE, ">= 0.5"),
}
TEMPERATURE = 20.0
BATCH = 256
EPOCH = 60000 // BATCH


def recipe(epochs: int, lr: float, augment: str = "none") -> Recipe:
    return Recipe(
        steps=epochs * EPOCH,
        batch_size=BATCH,
        lr=lr,
        weight_decay=0.0,
        augment=augment,
        log_every=EPOCH,
        evaluate_every=10**6,
        checkpoint_every=10**6,
    )


TEACHER_RECIPE, ALONE_RECIPE, DISTILLED_RECIPE = recipe(12, 0.1, "shift"), recipe(12, 0.1), recipe(12, 0.05)
SPACE = LabelSpace({TASK: tuple("0123456789")})


class MLP(Backbone):
    """Two hidden layers of rectified linear units on the grey pixels. `dropout`: shares of pixels and of hidden units
    that are left out while training."""

    def __init__(self, width: int, *, dropout: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        self.preprocess = Preprocess(size=28, resize=28, mean=(0.1307,) * 3, std=(0.3081,) * 3)
        self.num_features = width
        pixels, hidden = dropout
        self.body = nn.Sequential(
            nn.Dropout(pixels),
            nn.Sequential(nn.Linear(28 * 28, width), nn.ReLU(inplace=True), nn.Dropout(hidden)),
            nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Dropout(hidden)),
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        return self.body(image[:, 0].flatten(1))  # the three channels are the same

    def stages(self) -> Sequence[nn.Module]:
        return list(self.body)[1:]


@cache
def mnist(file: Path, held_out: int = 0) -> Prepared:
    """MNIST with its own test set. `held_out`: training images to choose by instead; without any, the loop is given a
    thousand training images to look at, by which nothing is chosen."""
    arrays = np.load(file)
    train, test = len(arrays["x_train"]), len(arrays["x_test"])
    known = slice(train - (held_out or 1000), train)
    parts = [slice(0, train - held_out), known]
    grey = np.concatenate([*(arrays["x_train"][part] for part in parts), arrays["x_test"]])
    label = np.concatenate([*(arrays["y_train"][part] for part in parts), arrays["y_test"]])
    splits = np.repeat(["train", "val", "test"], [train - held_out, held_out or 1000, test])
    domain = Domain(np.repeat(grey[..., None], 3, axis=3), {TASK: label.astype(np.int64)}, splits, [], [])
    return Prepared(SPACE, {"target": domain})


def train(make: Callable[[], Strategy], prepared: Prepared, recipe: Recipe, seed: int) -> session.Trained:
    compute = choose(ComputeParams(device="cpu", threads=1))
    with tempfile.TemporaryDirectory() as folder:
        return session.train(
            make,
            prepared,
            recipe,
            compute,
            seed=seed,
            identity="mnist_distillation",
            checkpoints=Path(folder),
            log=lambda record: None,
            splits=("val", "test"),
        )


def errors(trained: session.Trained, split: str = "test") -> int:
    return int((trained.logits[split][TASK].argmax(1) != trained.labels[split][TASK]).sum())


@cache
def teacher(file: Path, held_out: int = 0) -> session.Trained:
    def make() -> Strategy:
        return FromScratch(MLP(1200, dropout=(0.0, 0.2)), SPACE)

    return train(make, mnist(file, held_out), TEACHER_RECIPE, seed=0)


def alone(file: Path, recipe: Recipe, seed: int, held_out: int = 0) -> session.Trained:
    return train(lambda: FromScratch(MLP(800), SPACE), mnist(file, held_out), recipe, seed)


def distilled(file: Path, recipe: Recipe, seed: int, held_out: int = 0) -> session.Trained:
    known = teacher(file, held_out).strategy

    def make() -> Strategy:
        student = MLP(800)
        return Distillation(student, SPACE, teacher=Teacher(known, student.preprocess), temperature=TEMPERATURE)

    return train(make, mnist(file, held_out), recipe, seed)


def run(data: Path, seed: int) -> dict[str, float]:
    file = data / FILES[0]
    large, small = errors(teacher(file)), errors(alone(file, ALONE_RECIPE, seed))
    soft = errors(distilled(file, DISTILLED_RECIPE, seed))
    return {"teacher": large, "alone": small, "distilled": soft, "share": (small - soft) / (small - large)}
