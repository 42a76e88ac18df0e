"""A trained strategy's answers for a part of the data."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from components.errors import Diverged
from components.strategies.base import Strategy
from components.types import Labelled, Outputs

AT_ONCE = 1024
"""Images whose features are answered together: what is compared with a memory must not fill the machine's."""


@torch.no_grad()
def predict(strategy: Strategy, batches: Iterable[Labelled]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Logits [N, C] float32 and labels [N] int64, each by task, in the order of the batches.

    Always in fp32, in eval mode: these are the numbers that the exported model must reproduce. Raises Diverged when one
    of them is not finite: whoever compared or saved them would only fail later.
    """
    strategy.eval()
    return _collected((strategy(batch.image), batch.labels) for batch in batches)


@torch.no_grad()
def predict_from_features(
    strategy: Strategy, features: Tensor, labels: dict[str, Tensor]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What `predict` gives for the images that have these features [N, D] and labels [N] by task, of a strategy that
    leaves the backbone as it is (see `Strategy.frozen`)."""
    strategy.eval()
    parts = (slice(start, start + AT_ONCE) for start in range(0, len(features), AT_ONCE))
    return _collected(
        (strategy.classify(features[part]), {task: values[part] for task, values in labels.items()}) for part in parts
    )


def _collected(
    batches: Iterable[tuple[Outputs, dict[str, Tensor]]],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    logits: dict[str, list] = {}
    labels: dict[str, list] = {}
    for outputs, known in batches:
        for task, values in outputs.items():
            logits.setdefault(task, []).append(values.float().cpu().numpy())
            labels.setdefault(task, []).append(known[task].cpu().numpy())
    answers = {task: np.concatenate(parts) for task, parts in logits.items()}
    for task, values in answers.items():
        wrong = int((~np.isfinite(values)).any(1).sum())
        if wrong:
            raise Diverged(
                f"the logits of {task!r} are not finite for {wrong} of {len(values)} images: the training diverged; "
                "try a smaller lr"
            )
    return answers, {task: np.concatenate(parts) for task, parts in labels.items()}


def quick_metrics(logits: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> dict[str, float]:
    """Accuracy and cross-entropy on validation, the mean over tasks: what a training shows while it runs."""
    accuracies, losses = [], []
    for task, values in logits.items():
        values = values.astype(np.float64)
        highest = values.max(1, keepdims=True)
        log_sum = highest[:, 0] + np.log(np.exp(values - highest).sum(1))
        losses.append(float((log_sum - values[np.arange(len(values)), labels[task]]).mean()))
        accuracies.append(float((values.argmax(1) == labels[task]).mean()))
    return {"val_accuracy": float(np.mean(accuracies)), "val_cross_entropy": float(np.mean(losses))}
