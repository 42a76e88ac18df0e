"""What trained strategies left behind: facts and answers, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from components import jsonfile, tensorfile
from components.errors import DataError, GraftError
from components.types import TASK

SPLITS = ("val", "test", "source", "recent")
"""Parts of the data that are answered; `source` and `recent`: the held-out images of these domains, where they are."""
OPTIONAL = ("source", "recent")


@dataclass(frozen=True)
class Answers:
    """One strategy's answers to one split: logits [S, N, C] over S seeds, and the labels [N], which only recent images
    may lack."""

    logits: np.ndarray
    labels: np.ndarray

    @cached_property
    def decisions(self) -> np.ndarray:
        """[S, N]: the class that each seed decided for."""
        return self.logits.argmax(-1)

    def right(self, index: int) -> np.ndarray:
        """[N] bool: the images that one seed answered rightly."""
        return self.decisions[index] == self.labels

    def correct(self) -> np.ndarray:
        """[N]: the share of seeds that were right on each image."""
        return (self.decisions == self.labels).mean(0)

    def of_seed(self, index: int) -> Answers:
        """One seed's answers alone."""
        return Answers(self.logits[index : index + 1], self.labels)


@dataclass(frozen=True)
class Entry:
    """A competitor that was trained: `facts` are its model.json; `tasks`: task -> split -> answers; `episodes` [S, E]
    the accuracy in few-shot tasks, where it was examined with any."""

    name: str
    facts: dict
    tasks: dict[str, dict[str, Answers]]
    episodes: np.ndarray | None = None

    @property
    def splits(self) -> dict[str, Answers]:
        """The answers of the task that the comparison is about."""
        return self.tasks[TASK]

    @property
    def best(self) -> int:
        """Index of the seed that would be shipped."""
        return self.facts["seeds"].index(self.facts["best_seed"])


def read(folder: Path, names: Sequence[str]) -> tuple[dict[str, Entry], list[dict]]:
    """Of models/<name>: those that were trained, and for the others what they are and why they failed.

    Raises DataError for answers that are incomplete, no numbers, or to different images, and GraftError when all
    failed.
    """
    facts = {name: jsonfile.read(folder / name / "model.json") for name in names}
    failed = [
        {"strategy": name, "family": fact["family"], "needs": fact["needs"], "reason": fact["failed"]}
        for name, fact in facts.items()
        if fact.get("failed")
    ]
    if len(failed) == len(names):
        reasons = "; ".join(f"{entry['strategy']}: {entry['reason']}" for entry in failed)
        raise GraftError(f"every strategy failed, so there is nothing to compare: {reasons}")
    entries = {name: _entry(folder, name, fact) for name, fact in facts.items() if not fact.get("failed")}
    _check_alike(entries)
    return entries, failed


def _entry(folder: Path, name: str, facts: dict) -> Entry:
    path = folder / name / "predictions.safetensors"
    arrays = tensorfile.load(path)
    tasks: dict[str, dict[str, Answers]] = {}
    for task in facts["classes"]:
        tasks[task] = {}
        for split in SPLITS:
            logits, labels = (arrays.get(f"{split}/{task}/{part}") for part in ("logits", "labels"))
            if logits is None or labels is None:
                if split in OPTIONAL:
                    continue
                raise DataError(f"{path} has no answers for {split}/{task}: train {name} again")
            if not np.isfinite(logits).all():
                raise DataError(f"{path} has answers for {split}/{task} that are no numbers: train {name} again")
            tasks[task][split] = Answers(logits, labels)
    return Entry(name, facts, tasks, arrays.get("episodes/accuracy"))


def _check_alike(entries: Mapping[str, Entry]) -> None:
    first = next(iter(entries.values()))
    for entry in entries.values():
        if entry.facts["data_sha256"] != first.facts["data_sha256"]:
            raise DataError(f"{first.name} and {entry.name} were trained on different data: run the pipeline again")
        if entry.facts["seeds"] != first.facts["seeds"]:
            raise DataError(
                f"{first.name} was trained with the seeds {first.facts['seeds']}, but {entry.name} with "
                f"{entry.facts['seeds']}: run the pipeline again"
            )
        for split in SPLITS:
            ours, theirs = first.splits.get(split), entry.splits.get(split)
            if (ours is None) != (theirs is None) or (
                ours is not None and theirs is not None and not np.array_equal(ours.labels, theirs.labels)
            ):
                raise DataError(
                    f"{first.name} and {entry.name} answered different {split} images: run the pipeline again"
                )
