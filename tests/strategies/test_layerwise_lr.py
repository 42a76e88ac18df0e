from __future__ import annotations

import pytest
import torch

from components.errors import ParamsError
from components.params import Recipe
from components.strategies.stage_groups import stage_groups
from components.training import session
from components.training.compute import Compute

CPU = Compute(torch.device("cpu"), "fp32", 1)
SHORT = Recipe(steps=5, batch_size=16, lr=0.1, augment="none", log_every=5, evaluate_every=5)


def test_each_stage_is_slower_than_the_next_by_the_decay(make_strategy):
    strategy = make_strategy("layerwise_lr")
    found = {id(p): group["lr"] for group in strategy.param_groups(1.0) for p in group["params"]}
    assert found.keys() == {id(parameter) for parameter in strategy.parameters()}
    # Stem and three stages, then the head: 2.6^-4, ..., 2.6^-1, 1.
    for stage, power in zip(strategy.backbone.stages(), (4, 3, 2, 1), strict=True):
        assert all(found[id(parameter)] == pytest.approx(2.6**-power) for parameter in stage.parameters())
    assert all(found[id(parameter)] == 1.0 for parameter in strategy.heads.parameters())


@pytest.mark.parametrize(("groups", "sizes"), [(1, [4]), (2, [2, 2]), (3, [2, 1, 1]), (4, [1] * 4), (9, [1] * 4)])
def test_stages_are_gathered_in_order(groups, sizes, make_strategy):
    backbone = make_strategy("layerwise_lr").backbone
    parts = stage_groups(backbone, groups)
    assert [len(part) for part in parts] == sizes
    assert [stage for part in parts for stage in part] == list(backbone.stages())


def test_without_decay_it_is_fine_tuning_at_one_rate(toy, make_strategy, tmp_path):
    def weights(name: str, **given) -> dict[str, torch.Tensor]:
        return session.train(
            lambda: make_strategy(name, **given),
            toy, SHORT, CPU, seed=0, identity=name, checkpoints=tmp_path, log=lambda record: None,
        ).strategy.state_dict()  # fmt: skip

    one, other = weights("layerwise_lr", decay=1.0), weights("fine_tune", body_lr_factor=1.0)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_impossible_values_are_refused_by_name(make_strategy):
    with pytest.raises(ParamsError, match="decay is 0"):
        make_strategy("layerwise_lr", decay=0.0)
    with pytest.raises(ParamsError, match="groups is 0"):
        make_strategy("layerwise_lr", groups=0)
