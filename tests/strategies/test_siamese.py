"""Koch's probability by hand, the contrastive variant, and a scale that validation labels fit best."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from components.backbones.small_resnet import SmallResNet
from components.data.streams import Streams
from components.errors import ParamsError
from components.losses.contrastive import contrastive
from components.strategies.siamese import SCALES
from components.types import TASK, Pairs


@pytest.fixture
def two_features(make_strategy):
    """Features of two numbers; alphas -1 and -2, bias 3."""

    def make(**given):
        strategy = make_strategy("siamese", SmallResNet(widths=(4, 4, 2), size=16), **given).eval()
        if strategy.alpha is not None:
            strategy.alpha.weight.data = torch.tensor([[-1.0, -2.0]])
            strategy.alpha.bias.data = torch.tensor([3.0])
        return strategy

    return make


def test_the_likeness_by_hand(two_features):
    # |1 - 3| = 2 and |5 - 4| = 1: -1 * 2 - 2 * 1 + 3 = -1.
    found = two_features().log_odds(torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 4.0]]))
    assert found.tolist() == [-1.0]


def test_an_image_is_of_the_class_it_is_most_like_on_average(two_features):
    # From the origin, class 0 at (1, 0) and (3, 0): log odds 2 and 0, mean 1. Class 1 at (0, 1) and (0, 2): 1 and -1.
    support = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[0.0, 1.0], [0.0, 2.0]]])
    assert two_features().classify_features(torch.zeros(1, 2), support=support).tolist() == [[1.0, 0.0]]


def test_with_the_contrastive_loss_the_distance_decides(two_features):
    # Squared distances 1 and 9, mean 5; 1 and 4, mean 2.5.
    support = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[0.0, 1.0], [0.0, 2.0]]])
    strategy = two_features(loss="contrastive")
    assert strategy.classify_features(torch.zeros(1, 2), support=support).tolist() == [[-5.0, -2.5]]
    assert "alpha.weight" not in strategy.state_dict()


def test_places_that_hold_nothing_do_not_count(two_features):
    support = torch.tensor([[[1.0, 0.0], [7.0, 7.0]], [[0.0, 1.0], [0.0, 2.0]]])
    taken = torch.tensor([[True, False], [True, True]])
    assert two_features().compare(torch.zeros(1, 2), support, taken).tolist() == [[2.0, 0.0]]


def _pairs(data) -> Pairs:
    return data.batch("pairs", 0)


@pytest.mark.parametrize("loss", ["cross_entropy", "contrastive"])
def test_the_loss_is_of_both_images_features(loss, toy, make_strategy):
    strategy = make_strategy("siamese", loss=loss, margin=4.0).eval()
    data = Streams(toy, strategy.backbone.preprocess, batch_size=8, augment="none", seed=0, draw=strategy.sampling)
    pairs = _pairs(data)
    left, right = strategy.backbone(pairs.left), strategy.backbone(pairs.right)
    if loss == "contrastive":
        expected = contrastive(left, right, same=pairs.same, margin=4.0)
    else:
        probability = torch.sigmoid((left - right).abs() @ strategy.alpha.weight[0] + strategy.alpha.bias)
        expected = F.binary_cross_entropy(probability, pairs.same)
    found = strategy.losses(pairs)
    assert list(found) == [loss]
    assert found[loss].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("loss", ["cross_entropy", "contrastive"])
def test_the_scale_is_the_one_that_fits_validation_best(loss, toy, make_strategy):
    strategy = make_strategy("siamese", loss=loss).eval()
    data = Streams(toy, strategy.backbone.preprocess, batch_size=32, augment="none", seed=0)

    @torch.no_grad()
    def val_loss() -> float:
        parts = [(strategy(batch.image)[TASK], batch.labels[TASK]) for batch in data.split("val")]
        logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        assert (logits.argmax(1) == labels).float().mean() > 0.5
        return F.cross_entropy(logits, labels).item()

    with torch.no_grad():
        strategy.finish(data)
    best, found = strategy.scale.item(), val_loss()
    for scale in (best * 2, best / 2):
        strategy.scale.fill_(scale)
        assert val_loss() >= found
    assert any(math.isclose(best, scale, rel_tol=1e-6) for scale in SCALES[1:-1])


@pytest.mark.parametrize(("key", "value"), [("memory_per_class", 0), ("margin", 0.0)])
def test_impossible_values_are_refused(key, value, make_strategy):
    with pytest.raises(ParamsError, match=f"{key} is {value}, but must be"):
        make_strategy("siamese", **{key: value})
