"""Few-shot recognition of handwritten characters that were never trained on: Omniglot, its small background sets."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from benchmarks.reproduce.protocol import Row
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

TITLE = "Few-shot recognition of new characters: Omniglot (Snell et al., 2017; Vinyals et al., 2016; Koch et al., 2015)"

PROTOCOL = """
Data: the small background sets, 8 alphabets with 242 characters of 20 drawings, at 28 pixels. Each seed holds two
alphabets out (46 to 71 characters) and trains on the other six (171 to 196 characters), where the papers train on
1,200. As in the papers, drawings turned by quarters are classes of their own, in training and in the episodes of the
held-out alphabets: 600 episodes for each setting, 15 queries of each class. Official runs: Lake et al.'s 20 tasks of 20
characters of one alphabet, none of the eight, answered by the same models.

Network: the papers' four convolutions with 64 filters. One training serves all settings, where the papers train for
each number of shots: 700 (prototypical) and 400 (matching) episodes of 60 classes with one support and one query image
each, 400 batches of 64 pairs (siamese); AdamW at 0.01 with a cosine, shifts of up to 2 pixels, bf16. The matching
networks' cosine is multiplied by 10; the siamese networks have the contrastive loss with margin 4, where the published
ones have Koch et al.'s cross-entropy. These values were chosen in a few trials on Sanskrit and Tagalog, which no seed
holds out; the steps are what 20 minutes on a shared core allow.
"""

NOTES = """
Prototypical networks miss the goal by half a point on average: the alphabets that seed 0 holds out (Balinese and Early
Aramaic, the fewest characters) come to 92.9, the others to 96.0 and 97.3. Each seed's mean over 600 episodes is known
to about half a point; the rest of the spread is that of alphabets. What differs from the paper is a sixth of the
training characters and 700 episodes instead of tens of thousands; in the trials, 250 episodes gave 75 on the official
runs, where 700 give 85. Matching and siamese networks, with fewer steps still, stay further below their published
figures.
"""

FILES = ("omniglot_small.zip",)
SEEDS = (0, 1, 2)
HELD_OUT = (("Balinese", "Early_Aramaic"), ("Greek", "Japanese_(katakana)"), ("Korean", "Latin"))
"""For each seed, so that the spread over seeds is also one over alphabets."""

SETTINGS = {f"{n_way}_way_{k_shot}_shot": (n_way, k_shot) for n_way in (5, 20) for k_shot in (1, 5)}
RUNS = "official_runs"
PUBLISHED = {
    "prototypical": (("98.8", "99.7", "96.0", "98.9"), "Snell et al., 2017, table 1"),
    "matching": (("98.1", "98.9", "93.8", "98.5"), "Vinyals et al., 2016, table 1"),
    "siamese": (("96.7", "98.4", "88.0", "96.5"), "Vinyals et al., 2016, table 1"),
}
GOALS = {"prototypical_5_way_1_shot": ">= 96"}


def _rows() -> dict[str, Row]:
    rows = {}
    for method, (figures, source) in PUBLISHED.items():
        for (key, (n_way, k_shot)), published in zip(SETTINGS.items(), figures, strict=True):
            name, setting = f"{method}_{key}", f"{n_way}-way, {k_shot}-shot"
            rows[name] = Row(method, setting, "accuracy, %", published, source, GOALS.get(name, "-"))
        published, source = ("92.0", "Koch et al., 2015, table 2") if method == "siamese" else ("-", "-")
        rows[f"{method}_{RUNS}"] = Row(method, "official 20-way, 1-shot runs", "accuracy, %", published, source)
    return rows


ROWS = _rows()

SIDE = 28
PREPROCESS = Preprocess(size=SIDE, resize=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # paper is 0, like padding
EPISODES = 600
N_QUERY = 15
CPU = Compute(torch.device("cpu"), "bf16", 1)


class Method(NamedTuple):
    """A strategy with its hyper-parameters and its recipe."""

    hyper_parameters: dict
    recipe: Recipe


def recipe(steps: int) -> Recipe:
    return Recipe(
        steps=steps,
        batch_size=64,
        lr=1e-2,
        weight_decay=0.0,
        optimizer="adamw",
        augment="shift",
        log_every=100,
        evaluate_every=100000,
        checkpoint_every=100000,
    )


EPISODES_OF_60 = {"n_way": 60, "k_shot": 1, "n_query": 1}
METHODS = {
    "prototypical": Method(EPISODES_OF_60, recipe(700)),
    "matching": Method({**EPISODES_OF_60, "scale": 10.0}, recipe(400)),
    "siamese": Method({"loss": "contrastive", "margin": 4.0, "memory_per_class": 2}, recipe(400)),
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

    def turned(self) -> Drawings:
        """Each character by four: as drawn, and turned by one to three quarters."""
        count = len(self.alphabets)
        return Drawings(
            np.concatenate([np.rot90(self.pixels, quarters, axes=(1, 2)) for quarters in range(4)]),
            np.concatenate([self.characters + quarters * count for quarters in range(4)]),
            4 * self.alphabets,
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
    """Source: the training characters. Target: those held out, half of their drawings to compare with and half to
    recognise."""
    count = len(training.alphabets)
    halves = np.where(np.arange(len(held_out.characters)) % 2 == 0, "train", "val")
    return Prepared(
        LabelSpace({TASK: tuple(f"{number:04d}" for number in range(count + len(held_out.alphabets)))}),
        {
            "target": _domain(held_out.pixels, held_out.characters + count, halves),
            "source": _domain(training.pixels, training.characters, np.full(len(training.characters), "train")),
        },
    )


def _domain(pixels: np.ndarray, labels: np.ndarray, splits: np.ndarray) -> Domain:
    coloured = np.repeat(pixels[..., None], 3, axis=3)
    return Domain(coloured, {TASK: labels.astype(np.int64)}, splits, [""] * len(labels), [""] * len(labels))


def train(
    name: str,
    training: Drawings,
    held_out: Drawings,
    seed: int,
    method: Method,
    log: Callable[[dict[str, float]], None] = lambda record: None,
) -> FewShot:
    """A strategy trained on episodes, or pairs, of the training characters."""
    prepared = prepare(training.turned(), held_out)

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
            log=log,
            splits=("val",),
        )
    return trained.strategy.eval()


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


def run(data: Path, seed: int) -> dict[str, float]:
    """Key of a row -> percent, for this seed's held-out alphabets."""
    drawings, runs = read(data / FILES[0])
    held_out = list(HELD_OUT[seed % len(HELD_OUT)])
    training = drawings.of([name for name in set(drawings.alphabets) if name not in held_out])
    test = drawings.of(held_out)
    values = {}
    for name, method in METHODS.items():
        strategy = train(name, training, test, seed, method)
        for key, (n_way, k_shot) in SETTINGS.items():
            shares = episodes_accuracy(strategy, test.turned(), n_way=n_way, k_shot=k_shot, seed=seed)
            values[f"{name}_{key}"] = float(shares.mean())
        values[f"{name}_{RUNS}"] = runs_accuracy(strategy, runs)
    return values
