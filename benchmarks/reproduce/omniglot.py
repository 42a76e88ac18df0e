"""Few-shot recognition of handwritten characters that were never trained on: Omniglot, its small background sets."""

from __future__ import annotations

import tempfile
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from components.backbones.conv4 import Conv4
from components.data import sampling
from components.data.prepared import Domain, Prepared
from components.data.streams import crop, normalise
from components.params import Recipe
from components.strategies import catalogue
from components.strategies.few_shot import FewShot
from components.training import session
from components.training.compute import Compute
from components.types import TASK, Labelled, LabelSpace, Preprocess, Sampling

SIDE = 28
PREPROCESS = Preprocess(size=SIDE, resize=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # paper is 0, like padding
EPISODES = 1000
N_QUERY = 15
CPU = Compute(torch.device("cpu"), "bf16", 1)


class Method(NamedTuple):
    """A strategy with its hyper-parameters and its recipe."""

    hyper_parameters: dict
    recipe: Recipe


def recipe(steps: int, batch_size: int = 128) -> Recipe:
    return Recipe(
        steps=steps,
        batch_size=batch_size,
        lr=2e-3,
        weight_decay=0.0,
        optimizer="adamw",
        augment="light",
        log_every=100,
        evaluate_every=100000,
        checkpoint_every=100000,
    )


METHODS = {
    "prototypical": Method({"n_way": 20, "k_shot": 1, "n_query": 5}, recipe(400)),
    "matching": Method({"n_way": 20, "k_shot": 1, "n_query": 5}, recipe(400)),
    "siamese": Method({}, recipe(400)),
}


class Drawings(NamedTuple):
    """Drawings uint8 [N, 28, 28] with ink at 255, the character [N] each shows, and each character's alphabet."""

    pixels: np.ndarray
    characters: np.ndarray
    alphabets: list[str]

    def of(self, alphabets: list[str]) -> Drawings:
        """The characters of these alphabets, numbered anew."""
        kept = [number for number, name in enumerate(self.alphabets) if name in alphabets]
        rows = np.isin(self.characters, kept)
        return Drawings(
            self.pixels[rows], np.searchsorted(kept, self.characters[rows]), [self.alphabets[number] for number in kept]
        )


class Run(NamedTuple):
    """One of the 20 official runs: a drawing of each of 20 characters, 20 more to recognise, and what these show."""

    support: np.ndarray
    query: np.ndarray
    answers: np.ndarray


@cache
def read(path: Path) -> tuple[Drawings, list[Run]]:
    """The background set and the official one-shot runs."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))

        def picture(name: str) -> np.ndarray:
            image = Image.open(BytesIO(archive.read(name))).convert("L")
            return 255 - np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))

        background = [name for name in names if name.startswith("background/")]
        folders = sorted({name.rsplit("/", 1)[0] for name in background})
        number = {folder: index for index, folder in enumerate(folders)}
        drawings = Drawings(
            np.stack([picture(name) for name in background]),
            np.array([number[name.rsplit("/", 1)[0]] for name in background]),
            [folder.split("/")[1] for folder in folders],
        )
        runs = []
        for index in range(1, 21):
            folder = f"one_shot/run{index:02d}"
            lines = archive.read(f"{folder}/class_labels.txt").decode().split("\n")
            answer = dict(line.split() for line in lines if line.strip())
            test = sorted(answer)
            training = sorted(set(answer.values()))
            runs.append(
                Run(
                    np.stack([picture(f"one_shot/{name}") for name in training]),
                    np.stack([picture(f"one_shot/{name}") for name in test]),
                    np.array([training.index(answer[name]) for name in test]),
                )
            )
    return drawings, runs


def prepare(training: Drawings, held_out: Drawings) -> Prepared:
    """Source: the training characters, each turned by quarters into four classes, as the papers do. Target: the
    characters held out, half of their drawings to compare with and half to recognise."""
    turned = [np.rot90(training.pixels, turns, axes=(1, 2)) for turns in range(4)]
    count = len(training.alphabets)
    source = np.concatenate([training.characters + turns * count for turns in range(4)])
    target = held_out.characters + 4 * count
    halves = np.where(np.arange(len(target)) % 2 == 0, "train", "val")
    classes = tuple(f"{number:04d}" for number in range(4 * count + len(held_out.alphabets)))
    return Prepared(
        LabelSpace({TASK: classes}),
        {
            "target": _domain(held_out.pixels, target, halves),
            "source": _domain(np.concatenate(turned), source, np.full(len(source), "train")),
        },
    )


def _domain(pixels: np.ndarray, labels: np.ndarray, splits: np.ndarray) -> Domain:
    coloured = np.repeat(pixels[..., None], 3, axis=3)
    return Domain(coloured, {TASK: labels.astype(np.int64)}, splits, [""] * len(labels), [""] * len(labels))


def train(name: str, training: Drawings, held_out: Drawings, seed: int, method: Method) -> FewShot:
    """A strategy trained on episodes, or pairs, of the training characters."""
    prepared = prepare(training, held_out)

    def make() -> FewShot:
        backbone = Conv4(SIDE)
        backbone.preprocess = PREPROCESS
        return catalogue.load(name)(backbone, prepared.label_space, **method.hyper_parameters)

    with tempfile.TemporaryDirectory() as folder:
        trained = session.train(
            make,
            prepared,
            method.recipe,
            CPU,
            seed=seed,
            identity=name,
            checkpoints=Path(folder),
            log=LOG,
            splits=("val",),
        )
    return trained.strategy.eval()


def LOG(record: dict[str, float]) -> None:
    pass


def to_input(pixels: np.ndarray) -> torch.Tensor:
    coloured = torch.from_numpy(np.repeat(pixels[..., None], 3, axis=3))
    return normalise(crop(coloured, PREPROCESS), PREPROCESS)


@torch.no_grad()
def episodes_accuracy(strategy: FewShot, drawings: Drawings, *, n_way: int, k_shot: int, seed: int) -> np.ndarray:
    """The share of queries recognised in each of EPISODES episodes, in percent. Features are computed once."""
    features = torch.cat([strategy.backbone(part) for part in to_input(drawings.pixels).split(256)])
    images = sampling.by_class(drawings.characters)
    rng = np.random.default_rng(seed)
    answers = torch.arange(n_way).repeat_interleave(N_QUERY)
    shares = []
    for _ in range(EPISODES):
        support, query = sampling.episode(images, Sampling("target", n_way, k_shot, N_QUERY), rng)
        logits = strategy.classify_features(features[query.reshape(-1)], support=features[support])
        shares.append(100 * (logits.argmax(1) == answers).float().mean().item())
    return np.array(shares)


@torch.no_grad()
def runs_accuracy(strategy: FewShot, runs: list[Run]) -> float:
    """Of the official 20-way one-shot runs, in percent."""
    right = []
    for one in runs:
        support = Labelled(to_input(one.support), {TASK: torch.arange(len(one.support))})
        logits = strategy.classify_episode(support, to_input(one.query))
        right.append((logits.argmax(1).numpy() == one.answers).mean())
    return 100 * float(np.mean(right))
