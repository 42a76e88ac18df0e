"""The vote, against numbers worked out by hand and a plain loop in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.strategies.knn_probe import KnnProbe, balanced
from components.types import LabelSpace, Preprocess


class Flat(Backbone):
    """Two pixels of one channel are the features, so that a test can say what they are."""

    num_features = 2

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Preprocess(size=1, resize=1, mean=(0.0,) * 3, std=(1.0,) * 3)
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image):
        return image[:, :2, 0, 0]

    def stages(self):
        return [self]


class Given:
    """Features and labels as the data that `finish` reads."""

    def __init__(self, train, val) -> None:
        self.parts = {"target": train, "val": val}

    def features(self, backbone, name, views=1):
        return torch.as_tensor(self.parts[name][0]).float(), {"label": torch.as_tensor(self.parts[name][1])}


def _image(*points: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([[*point, 0.0] for point in points])[..., None, None]


def _probe(**given) -> KnnProbe:
    return KnnProbe(Flat(), LabelSpace({"label": ("a", "b")}), **{"memory_size": 8, "k": (1,), **given}).eval()


TRAIN = ([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]], [0, 1, 1])


def test_the_vote_by_hand():
    # Asked about (4, 0): cosines 1, 0, sqrt(1/2). The two nearest vote: a with exp(0) = 1, b with
    # v = exp((0.7071 - 1) / 0.5). One vote is spread over two classes: shares (1 + 1/2) / (v + 2) and
    # (v + 1/2) / (v + 2), the votes being 1 + v.
    probe = _probe(k=(2,), temperature=0.5)
    probe.finish(Given(TRAIN, TRAIN))
    v = math.exp((math.sqrt(0.5) - 1) / 0.5)
    expected = [math.log(1.5 / (v + 2)), math.log((v + 0.5) / (v + 2))]
    assert probe(_image((4.0, 0.0)))["label"][0].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_euclidean_vote_by_hand():
    # Squared lengths 1, 4, 18: the scale is 23 / 3. Squared distances of (1, 1): 1, 2, 8.
    probe = _probe(k=(3,), temperature=0.5, distance="squared_euclidean")
    probe.finish(Given(TRAIN, TRAIN))
    scale = 2 * 23 / 3 * 0.5
    b = math.exp(-1 / scale) + math.exp(-7 / scale)
    expected = [math.log(1.5 / (b + 2)), math.log((b + 0.5) / (b + 2))]
    assert probe(_image((1.0, 1.0)))["label"][0].tolist() == pytest.approx(expected, abs=1e-6)


def test_for_features_of_equal_length_both_distances_vote_alike():
    angle = torch.linspace(0, 3, 12)
    features, labels = 5 * torch.stack([angle.cos(), angle.sin()], 1), torch.arange(12) % 2
    answers = []
    for distance in ("cosine", "squared_euclidean"):
        probe = _probe(k=(4,), memory_size=12, distance=distance)
        probe.finish(Given((features, labels), (features, labels)))
        answers.append(probe(_image((3.0, 4.0), (-5.0, 0.0)))["label"])
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-4)


def test_many_votes_against_a_plain_loop():
    rng = np.random.default_rng(0)
    features, labels, asked = rng.normal(1, 1, (40, 2)), rng.integers(0, 2, 40), rng.normal(1, 1, (9, 2))
    probe = _probe(k=(7,), memory_size=64)
    probe.finish(Given((features, labels), (features, labels)))
    found = probe(_image(*asked.tolist()))["label"]
    for point, logits in zip(asked, found.tolist(), strict=True):
        cosine = features @ point / np.linalg.norm(features, axis=1) / np.linalg.norm(point)
        nearest = np.argsort(-cosine)[:7]
        votes = np.zeros(2)
        for index in nearest:
            votes[labels[index]] += math.exp((cosine[index] - cosine.max()) / 0.07)
        assert logits == pytest.approx(np.log((votes + 0.5) / (votes.sum() + 1)).tolist(), abs=1e-4)


def test_k_is_chosen_by_accuracy_on_validation():
    # The nearest is an outlier of the other class: one neighbour is wrong, three are right.
    train = ([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [0.0, 1.0]], [1, 0, 0, 1])
    for k in ((1, 3), (3, 1)):
        probe = _probe(k=k)
        probe.finish(Given(train, ([[2.0, 0.0]], [0])))
        assert probe.chosen_k.tolist() == [3]
    assert probe(_image((2.0, 0.0)))["label"].argmax(1).tolist() == [0]


def test_a_larger_training_set_is_remembered_in_part_class_by_class():
    labels = torch.tensor([0] * 50 + [1] * 3 + [2] * 20)
    rows = balanced(labels, 12)
    assert torch.bincount(labels[rows]).tolist() == [5, 3, 4]  # all of the rare class, the others as evenly as can be
    assert torch.equal(rows, balanced(labels, 12))
    assert torch.equal(balanced(labels, 73), torch.arange(73))
    probe = _probe(memory_size=5)
    features = torch.randn(30, 2)
    probe.finish(Given((features, torch.arange(30) % 2), (features, torch.arange(30) % 2)))
    assert probe.valid.all()
    assert sorted(probe.votes.sum(0).tolist()) == [2, 3]


def test_a_memory_that_is_filled_again_forgets_what_it_held():
    probe = _probe()
    probe.finish(Given(TRAIN, TRAIN))
    smaller = (TRAIN[0][:1], TRAIN[1][:1])
    probe.finish(Given(smaller, smaller))
    assert probe.valid.tolist() == [True] + [False] * 7
    assert probe.votes.sum().item() == 1
    assert bool(torch.isfinite(probe(_image((1.0, 1.0)))["label"]).all())


def test_an_empty_memory_knows_nothing_and_says_so():
    assert _probe()(_image((1.0, 2.0)))["label"].softmax(1).tolist() == [[pytest.approx(0.5)] * 2]


def test_impossible_values_are_refused_by_name():
    with pytest.raises(ParamsError, match=r"k is \[1, 9\].*memory_size = 8"):
        _probe(k=(1, 9))
    with pytest.raises(ParamsError, match="temperature is 0"):
        _probe(temperature=0.0)
