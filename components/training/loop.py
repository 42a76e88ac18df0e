"""The one training loop. What differs between strategies is said by the strategies; nothing here asks which one it
is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from components.errors import Diverged
from components.params import Recipe
from components.strategies.base import Data, Strategy
from components.training.checkpoint import Checkpoint
from components.training.compute import Compute
from components.training.groups import TrainedParts, untrained
from components.training.optimizer import lr_factor, optimizer

History = list[dict[str, float]]
"""Records in the order of steps: the mean of every loss term since the last record, or metrics of an evaluation."""


class TrainingData(Data, Protocol):
    """What the loop reads beyond what strategies may."""

    def batch(self, stream: str, step: int) -> Any: ...


def fit(
    strategy: Strategy,
    data: TrainingData,
    recipe: Recipe,
    compute: Compute,
    *,
    evaluate: Callable[[Strategy], Mapping[str, float]],
    log: Callable[[dict[str, float]], None],
    checkpoint: Checkpoint | None = None,
) -> History:
    """Trains `strategy` in place, ready to be evaluated.

    `evaluate` is called with the strategy in eval mode, every `recipe.evaluate_every` steps and at the end; `log` gets
    each record as it is made. With a `checkpoint`, a training that was killed goes on from its last state and ends
    with the very weights it would have had. Raises Diverged when a loss or a weight is no longer a finite number.
    """
    strategy.to(device=compute.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    history: History = []

    def record(entry: dict[str, float]) -> None:
        history.append(entry)
        log(entry)

    def measure(step: int) -> None:
        strategy.eval()
        with torch.no_grad():
            # Solvers that `finish` calls would fail on such weights with an error that says nothing.
            _refuse_infinite_weights(strategy, step, recipe)
            strategy.finish(data)
            record({"step": step, **evaluate(strategy)})

    strategy.begin(data)
    if not strategy.streams:  # solved in `begin` or `finish`: there is no step to take
        measure(0)
        return history

    parts = TrainedParts(strategy, recipe)
    trained = {id(parameter) for group in parts.groups for parameter in group["params"]}
    for parameter in strategy.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    frozen = list(untrained(strategy, parts.groups))
    updates = optimizer(parts.groups, recipe)
    peaks = [group["lr"] for group in updates.param_groups]
    start = 0
    state = checkpoint.load() if checkpoint else None
    if state is not None:
        strategy.load_state_dict(state["model"])
        updates.load_state_dict(state["optimizer"])
        _set_rng(state["rng"])
        start = state["step"]
        history.extend(state["history"])
        log({"step": start, "resumed": 1.0})

    sums: dict[str, torch.Tensor] = {}
    since = start
    for step in range(start, recipe.steps):
        strategy.train()
        for module in frozen:
            module.training = False
        strategy.advance(step / recipe.steps)
        parts.settle()
        for group, peak in zip(updates.param_groups, peaks, strict=True):
            group["lr"] = peak * lr_factor(step, recipe)
        batches = {stream: data.batch(stream, step) for stream in strategy.streams}
        with compute.autocast():
            losses = strategy.losses(**batches)
        updates.zero_grad(set_to_none=True)
        strategy.backward(losses)
        updates.step()

        for term, value in losses.items():
            sums[term] = sums.get(term, torch.zeros_like(value)) + value.detach()
        done = step + 1
        last = done == recipe.steps
        if done % recipe.log_every == 0 or last:
            means = {term: float(value) / (done - since) for term, value in sums.items()}
            _refuse_nan(means, done, recipe)
            record({"step": done, "lr": updates.param_groups[0]["lr"], **means})
            sums, since = {}, done
        if last or done % recipe.evaluate_every == 0:
            measure(done)
        # A record's mean must not be cut in two by a kill, so states are saved where one has just been made.
        if checkpoint and not last and since == done and _due(done, recipe):
            checkpoint.save(
                {
                    "step": done,
                    "model": strategy.state_dict(),
                    "optimizer": updates.state_dict(),
                    "rng": _rng(),
                    "history": history,
                }
            )
    return history


def _rng() -> dict[str, Any]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _set_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def _due(done: int, recipe: Recipe) -> bool:
    """Whether this record is the first at or after a multiple of `checkpoint_every`."""
    return done // recipe.checkpoint_every > (done - recipe.log_every) // recipe.checkpoint_every


def _refuse_nan(means: dict[str, float], step: int, recipe: Recipe) -> None:
    wrong = {term: value for term, value in means.items() if not math.isfinite(value)}
    if wrong:
        terms = ", ".join(f"{term!r} is {value}" for term, value in wrong.items())
        raise Diverged(
            f"the loss term {terms} at step {step}: the training diverged; try a smaller lr than {recipe.lr}"
        )


def _refuse_infinite_weights(strategy: Strategy, step: int, recipe: Recipe) -> None:
    for name, parameter in strategy.named_parameters():
        if not parameter.isfinite().all():
            raise Diverged(
                f"the weights {name!r} are not finite at step {step}: the training diverged; "
                f"try a smaller lr than {recipe.lr}"
            )
