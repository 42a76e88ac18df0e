"""Answers in order, and the numbers that a training shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from components.data.streams import Streams
from components.errors import Diverged
from components.training.predict import predict, quick_metrics


def test_quick_metrics_by_hand():
    # Logits (0, 0) say 1/2 each: loss ln 2, first class wins. Logits (ln 3, 0) say 3/4 and 1/4; label 1 costs ln 4.
    logits = {"label": np.array([[0.0, 0.0], [math.log(3), 0.0]], np.float32)}
    found = quick_metrics(logits, {"label": np.array([0, 1])})
    assert found["val_accuracy"] == 0.5
    assert found["val_cross_entropy"] == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_quick_metrics_survive_huge_logits():
    found = quick_metrics({"label": np.array([[1e4, -1e4]], np.float32)}, {"label": np.array([1])})
    assert found["val_cross_entropy"] == pytest.approx(2e4)


def test_quick_metrics_are_the_mean_over_tasks():
    logits = {"a": np.array([[1.0, 0.0]]), "b": np.array([[0.0, 1.0]])}
    assert quick_metrics(logits, {"a": np.array([0]), "b": np.array([0])})["val_accuracy"] == 0.5


def test_answers_come_in_the_order_of_the_images_whatever_the_batch_size(toy, make_strategy):
    torch.manual_seed(0)
    strategy = make_strategy("fine_tune").train()
    preprocess = strategy.backbone.preprocess
    answers = [
        predict(strategy, Streams(toy, preprocess, batch_size=size, augment="light", seed=0).split("val"))
        for size in (7, 32)
    ]
    assert not strategy.training
    rows = toy.target.rows("val", labelled=True)
    for logits, labels in answers:
        assert logits["label"].shape == (len(rows), 4)
        assert logits["label"].dtype == np.float32
        assert np.array_equal(labels["label"], toy.target.labels["label"][rows])
    np.testing.assert_allclose(answers[0][0]["label"], answers[1][0]["label"], atol=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(value, toy, make_strategy):
    strategy = make_strategy("fine_tune")
    with torch.no_grad():
        strategy.heads["label"].bias[2] = value
    data = Streams(toy, strategy.backbone.preprocess, batch_size=7, augment="none", seed=0)
    with pytest.raises(Diverged, match="logits of 'label' are not finite for 32 of 32 images"):
        predict(strategy, data.split("val"))
