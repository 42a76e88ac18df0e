"""What several rooms' tests share: a toy data set that any strategy can learn in seconds, and how to train on it."""

from __future__ import annotations

import functools
import gc
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from components.backbones.base import Backbone
from components.backbones.small_resnet import SmallResNet
from components.data import prepared
from components.params import Recipe
from components.strategies import catalogue
from components.strategies.base import Strategy
from components.strategies.fine_tune import FineTune
from components.strategies.source_only import SourceOnly
from components.strategies.teacher import Teacher
from components.training import session
from components.training.compute import Compute
from components.types import TASK, LabelSpace, Preprocess

TOGETHER = ("flows", "promotion")
"""Rooms whose tests share what takes seconds to make: a Prefect server, a champion in a registry."""
FIRST = ("test_operation.py", "test_end_to_end.py", *TOGETHER, "whole")
"""What takes minutes comes first, so that it is not what one process is left with at the end."""


class ByRoom(LoadFileScheduling):
    """One process runs the tests of a file, and of a room whose tests belong together, one after the other."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        room = Path(file).parent.name
        return room if room in TOGETHER else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByRoom:
    return ByRoom(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    parts = {item.path: item.path.relative_to(tests).parts for item in items}
    items.sort(key=lambda item: min((FIRST.index(part) for part in parts[item.path] if part in FIRST), default=99))


def pytest_collection() -> None:
    """What is imported stays: to look through it for what can go, again and again, takes a fifth of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


REGISTRATION = "torch.onnx._internal.exporter._registration"


@functools.cache
def _list_operators_once() -> None:
    """torch's exporter lists the operators that it knows anew for each export, which takes as long as a small network
    does; the list is the same."""
    registry = sys.modules[REGISTRATION].ONNXRegistry
    registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))


@pytest.fixture(autouse=True)
def quick_exporter() -> None:
    if REGISTRATION in sys.modules:
        _list_operators_once()


SIZE = 16
EPISODES = {"n_way": 4, "k_shot": 3, "n_query": 3}
CLASSES = ("horizontal", "rising", "vertical", "falling")
DESCRIPTIONS = ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (-1.0, 0.0, 0.0), (0.0, -1.0, 1.0))
"""Of each class: cosine and sine of twice its angle, and whether it is slanted."""
PER_CLASS = 40
CPU = Compute(torch.device("cpu"), "fp32", 1)
FAST = Recipe(steps=60, batch_size=32, lr=0.1, augment="none", log_every=10, evaluate_every=1000, checkpoint_every=1000)


@pytest.fixture(autouse=True, scope="session")
def own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests' models leave on the machine has no place in the user's cache, and their trainings do not wait for
    the user's. The tests' processes share a cache: an architecture is traced once for all of them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_CACHE", str(shared / "cache"))
        patch.setenv("GRAFT_SLOTS", str(base / "slots"))
        yield


@pytest.fixture(autouse=True)
def one_thread():
    """As many threads as a training here would take; `compute.choose` sets them for the whole process."""
    torch.set_num_threads(1)


def grating(number: int, rng: np.random.Generator, *, source: bool) -> np.ndarray:
    """Stripes whose direction is the class -> uint8 [S, S, 3]; the domains differ in tint, contrast and noise."""
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    angle = np.pi * number / len(CLASSES) + rng.normal(0, 0.08)
    wave = np.sin(2 * np.pi * 3 / SIZE * (x * np.sin(angle) + y * np.cos(angle)) + rng.uniform(0, 2 * np.pi))
    tint = np.array([1.0, 0.9, 0.8]) if source else np.array([0.8, 0.9, 1.0])
    contrast = rng.uniform(50, 110) if source else rng.uniform(40, 90)
    values = (rng.uniform(100, 150) + contrast * wave)[..., None] * tint
    values = values + rng.normal(0, 10 if source else 14, values.shape)
    return values.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data: four classes, source and target, a third of the target's training labels hidden."""
    folder = tmp_path_factory.mktemp("toy") / "prepared"
    rng = np.random.default_rng(0)
    rows: list[dict] = []
    pixels = {}
    for domain in ("target", "source"):
        images = []
        for index in range(PER_CLASS * len(CLASSES)):
            number, turn = index % len(CLASSES), index // len(CLASSES)
            image = grating(number, rng, source=domain == "source")
            split = ("train", "train", "train", "val", "test")[turn % 5]
            hidden = domain == "target" and split == "train" and turn % 3 == 0
            images.append(image)
            rows.append(
                {
                    "path": f"raw/{domain}/{CLASSES[number]}/{index:03d}.png",
                    "domain": domain,
                    "split": split,
                    "label": "" if hidden else CLASSES[number],
                    "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
                    "width": SIZE,
                    "height": SIZE,
                }
            )
        pixels[domain] = np.stack(images)
    problems = {domain: {"unreadable": [], "duplicates": [], "contradictions": []} for domain in pixels}
    prepared.write(folder, rows, pixels, LabelSpace({TASK: CLASSES}, {TASK: DESCRIPTIONS}), problems)
    return folder


@pytest.fixture(scope="session")
def toy(toy_folder: Path) -> prepared.Prepared:
    return prepared.read(toy_folder)


@pytest.fixture(scope="session")
def toy_tasks(toy: prepared.Prepared) -> prepared.Prepared:
    """The toy with a second question about every image: is it slanted?"""

    def with_slant(domain: prepared.Domain) -> prepared.Domain:
        label = domain.labels[TASK]
        return replace(domain, labels={TASK: label, "slant": np.where(label >= 0, label % 2, prepared.HIDDEN)})

    space = LabelSpace({**toy.label_space.classes, "slant": ("straight", "slanted")}, toy.label_space.descriptions)
    return prepared.Prepared(space, {name: with_slant(domain) for name, domain in toy.domains.items()})


@pytest.fixture(scope="session")
def pretrained(toy: prepared.Prepared, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a small backbone trained on the toy's source: what strategies start from."""
    trained = session.train(
        lambda: SourceOnly(SmallResNet(widths=(8, 16, 16), size=SIZE), toy.label_space),
        toy,
        FAST,
        CPU,
        seed=7,
        identity="pretrained",
        checkpoints=tmp_path_factory.mktemp("checkpoints"),
        log=lambda record: None,
        domain="source",
        splits=("val",),
    )
    return {key: value.clone() for key, value in trained.strategy.backbone.state_dict().items()}


def _fine_tuned(toy: prepared.Prepared, pretrained: dict[str, torch.Tensor], folder: Path) -> Strategy:
    def make() -> Strategy:
        backbone = SmallResNet(widths=(8, 16, 16), size=SIZE)
        backbone.load_state_dict(pretrained)
        return FineTune(backbone, toy.label_space)

    return session.train(
        make, toy, FAST, CPU, seed=8, identity="teacher", checkpoints=folder, log=lambda record: None
    ).strategy


@pytest.fixture(scope="session")
def make_strategy(toy, toy_tasks, pretrained, tmp_path_factory) -> Callable[..., Strategy]:
    """(name, **hyper-parameters) -> a strategy of the catalogue on the small backbone, which has the pretrained weights
    unless another is given. What is not given has its default, but for episodes, which must fit the toy's four
    classes."""
    known: dict[str, Strategy] = {}

    def make(name: str, backbone: Backbone | None = None, **given: object) -> Strategy:
        kind, entry = catalogue.load(name), catalogue.STRATEGIES[name]
        if backbone is None:
            backbone = SmallResNet(widths=(8, 16, 16), size=SIZE)
            if kind.pretrained:
                backbone.load_state_dict(pretrained)
        more: dict[str, object] = {key: EPISODES[key] for key in EPISODES if key in catalogue.hyper_parameters(name)}
        if catalogue.TEACHER in entry.needs:
            if not known:
                state = torch.get_rng_state()
                known["teacher"] = _fine_tuned(toy, pretrained, tmp_path_factory.mktemp("teacher"))
                torch.set_rng_state(state)
            more[catalogue.TEACHER] = Teacher(known["teacher"], backbone.preprocess)
        data = toy_tasks if entry.tasks == "all" else toy
        return kind(backbone, data.label_space, **{**more, **given})

    return make


EXPORTED_CLASSES = {"label": ("cat", "dog", "owl")}


def _strategy_to_export(classes: dict[str, tuple[str, ...]] = EXPORTED_CLASSES, seed: int = 0) -> Strategy:
    """Random weights, statistics that are not the initial ones, and a crop that is smaller than the stored image."""
    torch.manual_seed(seed)
    backbone = SmallResNet(widths=(8, 8, 8), size=24)
    backbone.preprocess = Preprocess(size=24, resize=28, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    strategy = FineTune(backbone, LabelSpace(classes)).train()
    for _ in range(5):
        strategy(torch.randn(16, 3, 24, 24))
    return strategy.eval()


def _export(strategy: Strategy, skeletons: Path | None = None) -> bytes:
    from components.deployment.onnx_export import export

    preprocess = strategy.backbone.preprocess.to_dict()
    return export(
        strategy, {"classes": strategy.label_space.classes, "preprocess": preprocess, "seed": 3}, skeletons=skeletons
    )


@pytest.fixture(scope="session")
def to_export() -> Callable[..., Strategy]:
    """(classes, seed) -> a strategy that was not trained but is not blank either."""
    return _strategy_to_export


@pytest.fixture(scope="session")
def export_bytes() -> Callable[[Strategy], bytes]:
    """A strategy as the content of an ONNX file, with the facts that a predictor needs."""
    return _export


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of `to_export()`. Its architecture is remembered in `skeletons` beside it."""
    path = tmp_path_factory.mktemp("exported") / "model.fp32.onnx"
    path.write_bytes(_export(_strategy_to_export(), path.with_name("skeletons")))
    return path


@pytest.fixture(scope="session")
def picture() -> Callable[..., np.ndarray]:
    """(height, width, seed) -> uint8 [H, W, 3], smooth like a photograph: noise would measure resampling alone."""

    def make(height: int, width: int, seed: int = 0) -> np.ndarray:
        small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))

    return make
