"""Means and distances by hand, nearest neighbours as the limit of one image, and prototypes that follow the data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from components.backbones.base import Backbone
from components.data.streams import Streams
from components.errors import ParamsError
from components.strategies.prototypical import Prototypical
from components.types import TASK, Episode, Labelled, LabelSpace, Preprocess


class Pixels(Backbone):
    """The first two pixels of the red channel: features one can see."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 2
        self.preprocess = Preprocess(2, 2, (0, 0, 0), (1, 1, 1))

    def forward(self, image):
        return image[:, 0, 0, :2]

    def stages(self):
        return []


def images(points) -> torch.Tensor:
    image = torch.zeros(len(points), 3, 2, 2)
    image[:, 0, 0] = torch.tensor(points, dtype=torch.float32)
    return image


class Given:
    """Data of a few points."""

    def __init__(self, points, labels) -> None:
        self.batch = Labelled(images(points), {TASK: torch.tensor(labels)})

    def batches(self, stream):
        assert stream == "target"
        yield from (Labelled(self.batch.image[i : i + 2], {TASK: self.batch.labels[TASK][i : i + 2]}) for i in (0, 2))


def make(**given) -> Prototypical:
    return Prototypical(Pixels(), LabelSpace({TASK: ("a", "b", "c")}), **given).eval()


def test_an_episode_by_hand():
    # Class 0 at (0, 0), (2, 0): prototype (1, 0). Class 1 at (0, 4), (0, 6): prototype (0, 5). The query (1, 1) is at
    # squared distances 1 and 1 + 16 = 17.
    support = Labelled(images([[0, 0], [2, 0], [0, 4], [0, 6]]), {TASK: torch.tensor([0, 0, 1, 1])})
    assert make().classify_episode(support, images([[1, 1]])).tolist() == [[-1.0, -17.0]]


def test_the_order_of_the_support_does_not_matter():
    support = Labelled(images([[0, 4], [0, 0], [0, 6], [2, 0]]), {TASK: torch.tensor([1, 0, 1, 0])})
    assert make().classify_episode(support, images([[1, 1]])).tolist() == [[-1.0, -17.0]]


def test_the_loss_is_the_cross_entropy_of_the_query():
    strategy = make()
    support = Labelled(images([[0, 0], [1, 0]]), {TASK: torch.tensor([0, 1])})
    query = Labelled(images([[0, 0], [1, 0]]), {TASK: torch.tensor([0, 1])})
    found = strategy.losses(Episode(support, query))["cross_entropy"].item()
    assert found == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)


@pytest.mark.parametrize("learn_scale", [True, False])
def test_the_cosine_is_scaled(learn_scale):
    # Prototypes (1, 0) and (0, 2); the query (3, 4) has cosines 0.6 and 0.8 with them.
    strategy = make(distance="cosine", scale=5.0, learn_scale=learn_scale)
    support = Labelled(images([[1, 0], [0, 2]]), {TASK: torch.tensor([0, 1])})
    found = strategy.classify_episode(support, images([[3, 4]]))
    torch.testing.assert_close(found, torch.tensor([[3.0, 4.0]]))
    assert len(strategy.param_groups(0.1)[0]["params"]) == learn_scale


def test_with_one_image_of_each_class_it_is_the_nearest_neighbour():
    rng = np.random.default_rng(0)
    support, query = (rng.normal(size=(n, 7)).astype(np.float32) for n in (5, 40))
    nearest = [min(range(5), key=lambda i: sum((q - support[i]) ** 2)) for q in query]
    found = make().classify_features(torch.from_numpy(query), support=torch.from_numpy(support)[:, None])
    assert found.argmax(1).tolist() == nearest


def test_finish_takes_the_means_of_the_target():
    strategy = make()
    strategy.finish(Given([[0, 0], [2, 0], [0, 4]], [0, 0, 2]))
    assert strategy.prototypes.tolist() == [[1, 0], [0, 0], [0, 4]]
    # Class 1 has no image: it comes after the least likely of the others, wherever that is.
    logits = strategy(images([[1, 1], [0, 0]]))[TASK]
    assert logits[0].tolist() == [-1.0, -20.0, -10.0]
    assert logits[1].tolist() == [-1.0, -26.0, -16.0]


def test_finish_forgets_what_it_found_before():
    strategy, again = make(), Given([[1, 1], [3, 1], [0, 4]], [1, 1, 2])
    strategy.finish(Given([[0, 0], [2, 0], [0, 4]], [0, 0, 2]))
    strategy.finish(again)
    assert strategy.prototypes.tolist() == [[0, 0], [2, 1], [0, 4]]
    assert strategy.known.tolist() == [False, True, True]


def test_without_finish_it_knows_nothing_and_with_it_the_toy(toy, make_strategy):
    strategy = make_strategy("prototypical").eval()  # pretrained, without a step of its own
    data = Streams(toy, strategy.backbone.preprocess, batch_size=16, augment="none", seed=0, draw=strategy.sampling)

    def accuracy() -> float:
        with torch.no_grad():
            parts = [(strategy(batch.image)[TASK].argmax(1) == batch.labels[TASK]) for batch in data.split("test")]
        return torch.cat(parts).float().mean().item()

    assert accuracy() == pytest.approx(0.25, abs=0.01)
    with torch.no_grad():
        strategy.finish(data)
    assert accuracy() > 0.9


@pytest.mark.parametrize(("key", "value"), [("n_way", 1), ("k_shot", 0), ("n_query", 0)])
def test_episodes_that_cannot_be_are_refused(key, value):
    with pytest.raises(ParamsError, match=f"{key} is {value}, but"):
        make(**{key: value})


def test_a_scale_must_be_positive():
    with pytest.raises(ParamsError, match=r"scale is 0\.0, but must be positive"):
        make(distance="cosine", scale=0.0)
