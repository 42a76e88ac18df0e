"""A trained strategy's answers for a part of the data."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from components.errors import Diverged
from components.strategies.base import Strategy
from components.types import Labelled


@torch.no_grad()
def predict(strategy: Strategy, batches: Iterable[Labelled]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Logits [N, C] float32 and labels [N] int64, each by task, in the order of the batches.

    Always in fp32, in eval mode: these are the numbers that the exported model must reproduce. Raises Diverged when one
    of them is not finite: whoever compared or saved them would only fail later.
    """
    strategy.eval()
    logits: dict[str, list] = {}
    labels: dict[str, list] = {}
    for batch in batches:
        for task, values in strategy(batch.image).items():
            logits.setdefault(task, []).append(values.float().cpu().numpy())
            labels.setdefault(task, []).append(batch.labels[task].cpu().numpy())
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
