"""The CORAL of the logits, weighted; DAN and MCC: their terms are the quantities they are named after."""

from __future__ import annotations

import pytest
import torch

from components.backbones.lenet import LeNet
from components.errors import ParamsError
from components.losses.class_confusion import class_confusion
from components.losses.coral import coral
from components.losses.mmd import mmd
from components.strategies.dan import DAN
from components.strategies.deep_coral import DeepCoral
from components.strategies.mcc import MCC
from components.types import TASK, Labelled, LabelSpace, Unlabelled

SPACE = LabelSpace({TASK: ("a", "b", "c")})


def _coral(source, target, features):
    return 2.0 * coral(source=source, target=target)


def _mmd(source, target, features):
    return 2.0 * (mmd(*features) + mmd(source.softmax(1), target.softmax(1)))


def _confusion(source, target, features):
    return 2.0 * class_confusion(target, temperature=2.5)


@pytest.mark.parametrize(
    ("kind", "term", "quantity"),
    [(DeepCoral, "coral", _coral), (DAN, "mmd", _mmd), (MCC, "class_confusion", _confusion)],
)
def test_the_term_is_the_weighted_quantity(kind, term, quantity):
    torch.manual_seed(0)
    strategy = kind(LeNet(16), SPACE, trade_off=2.0)
    source, target = torch.randn(6, 3, 16, 16), torch.randn(5, 3, 16, 16) + 1
    found = strategy.losses(Labelled(source, {TASK: torch.zeros(6).long()}), Unlabelled(target))[term]
    features = strategy.backbone(source), strategy.backbone(target)
    expected = quantity(strategy(source)[TASK], strategy(target)[TASK], features)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_temperature_of_nothing_is_refused():
    with pytest.raises(ParamsError, match=r"strategies\.mcc\.temperature is 0\.0"):
        MCC(LeNet(16), SPACE, temperature=0.0)
