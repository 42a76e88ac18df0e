"""What is read of trained strategies, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components import jsonfile, tensorfile
from components.errors import DataError, GraftError
from components.evaluation.predictions import Answers, read
from components.types import TASK

LABELS = np.array([0, 1, 1])


def _write(folder: Path, name: str, arrays: dict | None = None, **facts) -> None:
    known = {"family": "fine-tuning", "needs": ["target_labels"], "classes": {TASK: ["a", "b"]}, "seeds": [0, 1],
             "best_seed": 1, "data_sha256": "aa", "failed": None}  # fmt: skip
    jsonfile.write(folder / name / "model.json", {**known, **facts})
    logits = np.array([[[1, 0], [0, 1], [1, 0]], [[0, 1], [0, 1], [0, 1]]], np.float32)
    ours = {f"{split}/{TASK}/logits": logits for split in ("val", "test")}
    ours |= {f"{split}/{TASK}/labels": LABELS for split in ("val", "test")}
    if not facts.get("failed"):
        tensorfile.save(folder / name / "predictions.safetensors", {**ours, **(arrays or {})})


def test_the_share_of_seeds_that_were_right_on_each_image():
    logits = np.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])  # seeds agree on the first image only
    found = Answers(logits, np.array([0, 1]))
    assert found.correct().tolist() == [1.0, 0.5]
    assert found.decisions.tolist() == [[0, 0], [0, 1]]
    assert found.right(0).tolist() == [True, False]
    assert found.of_seed(1).correct().tolist() == [1.0, 1.0]


def test_an_entry_has_its_answers_and_its_best_seed(tmp_path):
    source = {f"source/{TASK}/logits": np.zeros((2, 5, 2), np.float32), f"source/{TASK}/labels": np.zeros(5, np.int64)}
    _write(tmp_path, "siamese", {**source, "episodes/accuracy": np.ones((2, 4), np.float32)})
    entries, failed = read(tmp_path, ["siamese"])
    entry = entries["siamese"]
    assert failed == []
    assert list(entry.splits) == ["val", "test", "source"]
    assert entry.splits["test"].right(entry.best).tolist() == [False, True, True]
    assert entry.episodes is not None
    assert entry.episodes.shape == (2, 4)


def test_without_a_source_and_episodes_there_are_none(tmp_path):
    _write(tmp_path, "dan", needs=["source", "unlabelled"])
    entry = read(tmp_path, ["dan"])[0]["dan"]
    assert list(entry.splits) == ["val", "test"]
    assert entry.episodes is None


def test_those_that_failed_are_left_out_with_their_reason(tmp_path):
    _write(tmp_path, "dan")
    _write(tmp_path, "adda", failed="seed 1 diverged: the loss is nan", family="domain adaptation")
    entries, failed = read(tmp_path, ["adda", "dan"])
    assert list(entries) == ["dan"]
    assert failed == [
        {"strategy": "adda", "family": "domain adaptation", "needs": ["target_labels"],
         "reason": "seed 1 diverged: the loss is nan"}
    ]  # fmt: skip


def test_where_all_failed_there_is_nothing_to_compare(tmp_path):
    for name in ("dan", "adda"):
        _write(tmp_path, name, failed=f"{name} diverged")
    with pytest.raises(GraftError, match=r"nothing to compare: dan: dan diverged; adda: adda diverged"):
        read(tmp_path, ["dan", "adda"])


@pytest.mark.parametrize(
    ("other", "arrays", "message"),
    [
        ({"data_sha256": "bb"}, {}, "a and b were trained on different data"),
        ({"seeds": [0, 2], "best_seed": 0}, {}, r"a was trained with the seeds \[0, 1\], but b with \[0, 2\]"),
        ({}, {f"val/{TASK}/labels": 1 - LABELS}, "a and b answered different val images"),
        ({}, {f"test/{TASK}/labels": LABELS[:2]}, "a and b answered different test images"),
        (
            {},
            {f"source/{TASK}/labels": LABELS, f"source/{TASK}/logits": np.zeros((2, 3, 2), np.float32)},
            "a and b answered different source images",
        ),
        ({}, {f"val/{TASK}/logits": np.full((2, 3, 2), np.nan, np.float32)}, f"b.*val/{TASK} that are no numbers"),
        ({"classes": {TASK: ["a", "b"], "more": ["c"]}}, {}, "b.*has no answers for val/more: train b again"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, other, arrays, message):
    _write(tmp_path, "a")
    _write(tmp_path, "b", arrays, **other)
    with pytest.raises(DataError, match=message):
        read(tmp_path, ["a", "b"])
