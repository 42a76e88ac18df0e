"""What of the backbone a recipe trains: rates by stage, frozen stages and batch-norm layers, whatever the strategy."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from components.backbones.base import Backbone
from components.backbones.conv4 import Conv4
from components.backbones.small_resnet import SmallResNet
from components.errors import ParamsError
from components.params import PretrainParams, Recipe
from components.strategies import catalogue
from components.strategies.fine_tune import FineTune
from components.training import groups, session
from components.training.compute import Compute
from components.training.groups import TrainedParts, untrained
from components.types import LabelSpace, Preprocess

CPU = Compute(torch.device("cpu"), "fp32", 1)
SPACE = LabelSpace({"label": ("horizontal", "rising", "vertical", "falling")})
SHORT = {"steps": 3, "batch_size": 16, "lr": 0.1, "log_every": 3, "evaluate_every": 3}


def _fine_tune(toy) -> FineTune:
    return FineTune(SmallResNet(widths=(8, 8, 8), size=16), toy.label_space)


def _moved(toy, make, tmp_path, **options) -> tuple[nn.Module, set[str]]:
    """The strategy after a short training, and the names of what moved in it."""
    before = {}

    def made():
        strategy = make()
        before.update({key: value.clone() for key, value in strategy.state_dict().items()})
        return strategy

    strategy = session.train(
        made, toy, Recipe(**SHORT, **options), CPU, seed=0, identity="groups", checkpoints=tmp_path, log=lambda r: None
    ).strategy
    return strategy, {key for key, value in strategy.state_dict().items() if not torch.equal(value, before[key])}


def _keys(strategy, modules) -> set[str]:
    """Names of everything that is stored in the modules."""
    inside = {id(tensor) for module in modules for tensor in (*module.parameters(), *module.buffers())}
    own = dict((*strategy.named_parameters(), *strategy.named_buffers()))
    return {key for key, tensor in own.items() if id(tensor) in inside}


def test_a_recipe_that_says_nothing_leaves_the_groups_alone(toy):
    strategy = _fine_tune(toy)
    found, own = TrainedParts(strategy, Recipe()).groups, strategy.param_groups(Recipe().lr)
    assert [[id(p) for p in group["params"]] for group in found] == [[id(p) for p in group["params"]] for group in own]
    assert [group["lr"] for group in found] == [group["lr"] for group in own]


def test_each_stage_learns_at_its_share_of_the_rate_of_the_one_above(toy):
    strategy = _fine_tune(toy)
    found = TrainedParts(strategy, Recipe(lr=1.0, layer_decay=0.5)).groups
    rates = {id(parameter): group["lr"] for group in found for parameter in group["params"]}
    assert {rates[id(parameter)] for parameter in strategy.heads.parameters()} == {1.0}
    stages = strategy.backbone.stages()
    for number, stage in enumerate(stages):
        expected = 0.1 * 0.5 ** (len(stages) - number)  # the head is above the last stage
        assert [rates[id(parameter)] for parameter in stage.parameters()] == pytest.approx(
            [expected] * len(list(stage.parameters()))
        )
    assert len(rates) == len(list(strategy.parameters()))


def test_frozen_stages_stay_and_the_others_move(toy, tmp_path):
    strategy, moved = _moved(toy, lambda: _fine_tune(toy), tmp_path, frozen_stages=2)
    stages = strategy.backbone.stages()
    assert not moved & _keys(strategy, stages[:2])  # batch-norm statistics included
    assert moved >= _keys(strategy, stages[2:])


@pytest.mark.parametrize("name", ["gradual_unfreezing", "lora", "soft_sharing", "adda", "bitfit"])
def test_stages_are_frozen_whatever_the_strategy_does_with_them(name, toy, toy_tasks, make_strategy, tmp_path):
    data = toy_tasks if catalogue.STRATEGIES[name].tasks == "all" else toy
    given = {"thawed_at": 0.0} if name == "gradual_unfreezing" else {}
    strategy, moved = _moved(data, lambda: make_strategy(name, **given), tmp_path, frozen_stages=1)
    for network in strategy.networks():
        assert not moved & _keys(strategy, network.stages()[:1])
        assert moved & _keys(strategy, network.stages()[1:])
    first = list(strategy.networks()[0].stages()[0].parameters())
    assert not any(parameter.requires_grad for parameter in first)


def test_batch_norm_that_is_frozen_does_not_move(toy, tmp_path):
    strategy, moved = _moved(toy, lambda: _fine_tune(toy), tmp_path, batch_norm="frozen")
    layers = [module for module in strategy.modules() if isinstance(module, _BatchNorm)]
    assert not moved & _keys(strategy, layers)
    convolutions = [module for module in strategy.modules() if isinstance(module, nn.Conv2d)]
    assert moved >= _keys(strategy, convolutions)


def test_batch_norm_in_eval_mode_keeps_its_statistics_and_trains_its_gains(toy, tmp_path):
    strategy, moved = _moved(toy, lambda: _fine_tune(toy), tmp_path, batch_norm="eval")
    layers = [module for module in strategy.modules() if isinstance(module, _BatchNorm)]
    assert {key.rpartition(".")[2] for key in moved & _keys(strategy, layers)} == {"weight", "bias"}


@pytest.mark.parametrize("name", ["lp_ft", "lora"])
def test_batch_norm_takes_each_batch_s_statistics_where_the_strategy_would_keep_them(
    name, toy, make_strategy, tmp_path
):
    strategy, moved = _moved(toy, lambda: make_strategy(name), tmp_path, batch_norm="train")
    statistics = {key for key in strategy.state_dict() if key.endswith("running_mean")}
    assert statistics
    assert statistics <= moved
    _, kept = _moved(toy, lambda: make_strategy(name), tmp_path / "kept")
    assert not statistics & kept


def test_what_the_strategy_holds_still_for_now_is_left_alone(toy, make_strategy):
    strategy = make_strategy("gradual_unfreezing", thawed_at=0.9).train()
    parts = TrainedParts(strategy, Recipe(batch_norm="train"))
    strategy.advance(0.0)
    parts.settle()
    assert not any(module.training for module in strategy.modules() if isinstance(module, _BatchNorm))
    adda = make_strategy("adda").train()
    adda.adapting.fill_(True)
    parts = TrainedParts(adda, Recipe(batch_norm="train"))
    adda.advance(0.9)
    parts.settle()
    trains = [any(module.training for module in network.modules()) for network in adda.networks()]
    assert trains == [False, True]


@pytest.mark.parametrize(("key", "value"), [("batch_norm", "eval"), ("frozen_stages", 1), ("layer_decay", 0.5)])
@pytest.mark.parametrize("name", ["linear_probe", "knn_probe", "feature_extraction", "zero_shot"])
def test_who_trains_nothing_of_the_backbone_refuses(name, key, value, make_strategy):
    with pytest.raises(ParamsError, match=rf"{key} is {value!r}, which '{name}' cannot use: it trains nothing"):
        groups.check(make_strategy(name), Recipe(**{key: value}))


def test_what_the_backbone_does_not_have_is_refused(toy, make_strategy):
    with pytest.raises(ParamsError, match=r"frozen_stages is 9, which 'fine_tune' cannot use: its backbone has \d st"):
        groups.check(_fine_tune(toy), Recipe(frozen_stages=9))
    for options in ({"frozen_stages": 1}, {"batch_norm": "eval"}):
        with pytest.raises(ParamsError, match="'from_scratch' cannot use: it starts from random weights"):
            groups.check(make_strategy("from_scratch"), Recipe(**options))
    groups.check(make_strategy("from_scratch"), Recipe(batch_norm="train", layer_decay=0.9))
    with pytest.raises(ParamsError, match=r"batch_norm is 'eval', .* its backbone Plain has no batch-norm layer"):
        groups.check(FineTune(Plain(), SPACE), Recipe(batch_norm="eval"))


class Plain(Backbone):
    """A token of its own beside a part with dropout, as vision transformers have them."""

    num_features = 4
    preprocess = Preprocess(size=8, resize=8, mean=(0.0,) * 3, std=(1.0,) * 3)

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.layer = nn.Sequential(nn.Linear(3, 4), nn.Dropout())

    def forward(self, image):
        return self.layer(image.mean((2, 3))) + self.token

    def stages(self):
        return [self.layer]


def test_a_frozen_parent_leaves_its_trained_children_in_training_mode():
    strategy = FineTune(Plain(), SPACE)
    found = list(untrained(strategy, [{"params": list(strategy.backbone.layer.parameters())}]))
    assert set(found) == {strategy.backbone, strategy.heads["label"]}
    whole = list(untrained(strategy, [{"params": list(strategy.heads.parameters())}]))
    assert set(strategy.backbone.modules()) <= set(whole)  # dropout, too, which has no parameter


def test_conv4_counts_its_stages(toy):
    strategy = FineTune(Conv4(), toy.label_space)
    held = TrainedParts(strategy, Recipe(frozen_stages=len(strategy.backbone.stages()))).groups
    assert [id(p) for group in held for p in group["params"]] == [id(p) for p in strategy.heads.parameters()]


def test_pretraining_has_nothing_to_keep():
    PretrainParams(batch_norm="train", layer_decay=0.9)
    for options in ({"frozen_stages": 1}, {"batch_norm": "eval"}, {"batch_norm": "frozen"}):
        with pytest.raises(ValueError, match="but pretraining starts from random weights"):
            PretrainParams(**options)
