"""One training from prepared data to a trained strategy: seed, data, loop and checkpoint put together."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.data.features import Features
from components.data.prepared import RECENT, Prepared
from components.data.streams import Streams
from components.errors import Diverged
from components.params import Recipe
from components.strategies.base import Strategy
from components.training import labels
from components.training.applicable import applicable
from components.training.checkpoint import Checkpoint
from components.training.compute import Compute
from components.training.loop import History, fit
from components.training.predict import predict, predict_from_features, quick_metrics
from components.training.refusal import UNTOUCHED

TRAINING_CODE = ("data", "backbones", "layers", "losses", "strategies", "training")
"""Rooms whose code a training's result depends on: a checkpoint of other code is not gone on with."""


@dataclass(frozen=True)
class Trained:
    """`logits` and `labels`: split -> task -> [N, C] and [N], where "source" is the source's validation part, and
    "recent" that of the recent images, labelled or not, which no training saw; `seconds`: wall time of the training
    alone; `recipe`: what was applied of the one given, `notes`: what was not, and why."""

    strategy: Strategy
    history: History
    logits: dict[str, dict[str, np.ndarray]]
    labels: dict[str, dict[str, np.ndarray]]
    seconds: float
    checkpoint: Checkpoint
    recipe: Recipe
    notes: list[str]


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def train(
    make: Callable[[], Strategy],
    prepared: Prepared,
    recipe: Recipe,
    compute: Compute,
    *,
    seed: int,
    identity: Any,
    checkpoints: Path,
    log: Callable[[dict[str, float]], None],
    domain: str = "target",
    splits: tuple[str, ...] = ("val", "test"),
    features: Features | None = None,
    own: Collection[str] | None = None,
) -> Trained:
    """Builds a strategy with `make` under the seed, trains it, and answers "val" and the other `splits` of `domain`; a
    target's strategy answers the source's validation part and that of the recent images too, where there are any.

    `own`: keys of the recipe that were asked of this strategy by name (None: all), see `applicable`; `features`: of the
    pretrained backbone, for what needs no more of it. `identity` (JSON) is all the result depends on: it names the
    checkpoint, which the caller clears once the outputs are safe. Raises Diverged when the training ended in numbers
    that are not finite; nothing is left of it then.
    """
    seed_everything(seed)
    strategy = make()
    recipe, notes = applicable(strategy, recipe, UNTOUCHED if own is None else own)
    data = Streams(
        prepared,
        strategy.backbone.preprocess,
        batch_size=recipe.batch_size,
        augment=recipe.augment,
        seed=seed,
        device=compute.device,
        draw=strategy.sampling,
        features=features,
        sampler=recipe.sampler,
        mix=recipe.mix,
    )
    strategy.criterion = labels.criterion(strategy, recipe, data, compute.device)
    checkpoint = Checkpoint(checkpoints, {"identity": identity, "compute": str(compute), "seed": seed})
    answers: dict[str, tuple] = {}

    def answered(split: str, of: str) -> tuple:
        if strategy.frozen:
            return predict_from_features(strategy, *data.features(strategy.backbone, split, domain=of))
        return predict(strategy, data.split(split, of))

    def evaluate(model: Strategy) -> dict[str, float]:
        # The last evaluation is of the finished strategy, so its answers are the ones to keep.
        answers["val"] = answered("val", domain)
        return quick_metrics(*answers["val"])

    start = time.perf_counter()
    try:
        history = fit(strategy, data, recipe, compute, evaluate=evaluate, log=log, checkpoint=checkpoint)
        seconds = time.perf_counter() - start
        answers |= {split: answered(split, domain) for split in splits if split != "val"}
        if domain == "target" and "source" in prepared.domains and len(prepared.domains["source"].rows("val", True)):
            answers["source"] = answered("val", "source")
        if domain == "target" and prepared.recent is not None:
            answers[RECENT] = answered("val", RECENT)
    except Diverged:
        checkpoint.clear()
        raise
    return Trained(
        strategy=strategy,
        history=history,
        logits={split: logits for split, (logits, _) in answers.items()},
        labels={split: labels for split, (_, labels) in answers.items()},
        seconds=seconds,
        checkpoint=checkpoint,
        recipe=recipe,
        notes=notes,
    )
