"""Few-shot tasks from test images: who is in them, and that the accuracies are those of the images themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.data.streams import Streams
from components.errors import DataError
from components.training import episodes
from components.types import Labelled, Sampling

SHAPE = Sampling("source", n_way=3, k_shot=2, n_query=4)


def test_tasks_are_of_test_images_and_the_same_every_time(toy):
    support, query = episodes.draw(toy, SHAPE, 25)
    assert (support.shape, query.shape) == ((25, 3, 2), (25, 3, 4))
    again = episodes.draw(toy, Sampling("target", n_way=3, k_shot=2, n_query=4), 25)
    assert np.array_equal(support, again[0])
    assert np.array_equal(query, again[1])
    labels = toy.target.labels["label"][toy.target.rows("test", labelled=True)]
    for known, asked in zip(support, query, strict=True):
        assert len(np.unique(np.concatenate([known, asked], 1))) == 18  # no image twice
        classes = labels[np.concatenate([known, asked], 1)]
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0])) == 3
    assert len({tuple(known.flatten()) for known in support}) == 25


def test_images_that_cannot_fill_a_task_are_refused(toy):
    with pytest.raises(DataError, match="but the target has 0 of them"):
        episodes.draw(toy, Sampling("source", n_way=2, k_shot=5, n_query=4), 1)  # a class has 8 test images


@pytest.mark.parametrize("name", ["prototypical", "matching", "siamese"])
def test_accuracies_are_those_of_classifying_the_images_episode_by_episode(name, toy, make_strategy):
    strategy = make_strategy(name).eval()
    data = Streams(toy, strategy.backbone.preprocess, batch_size=7, augment="none", seed=0)
    tasks = episodes.draw(toy, SHAPE, 12)
    found = episodes.accuracies(strategy, data, tasks)
    assert (found.shape, found.dtype) == ((12,), np.float32)
    image = torch.cat([batch.image for batch in data.split("test")])
    expected = []
    with torch.no_grad():
        for support, query in zip(*tasks, strict=True):
            labels = {"label": torch.arange(3).repeat_interleave(2)}
            logits = strategy.classify_episode(Labelled(image[support.flatten()], labels), image[query.flatten()])
            expected.append(np.mean(logits.argmax(1).numpy() == np.repeat(np.arange(3), 4)))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert 0.4 < found.mean() <= 1  # chance is a third
