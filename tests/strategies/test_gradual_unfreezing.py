from __future__ import annotations

import pytest
import torch

from components.data.streams import Streams
from components.errors import ParamsError
from components.params import Recipe
from components.training import session
from components.training.compute import Compute
from components.training.loop import fit

CPU = Compute(torch.device("cpu"), "fp32", 1)


def _state(module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def test_stages_thaw_from_the_last_to_the_first_and_do_not_move_before(toy, make_strategy):
    """Weights and statistics, with momentum and weight decay at work: seen at every step of a whole training."""
    strategy = make_strategy("gradual_unfreezing", thawed_at=0.5)
    stages = strategy.backbone.stages()
    start, moved = [_state(stage) for stage in stages], {}

    def watched(progress: float) -> None:
        if progress:
            now = [_state(stage) for stage in stages]
            moved[progress] = [
                all(not torch.equal(one[key], other[key]) for key in one) for one, other in zip(now, start, strict=True)
            ]
            still = [
                all(torch.equal(one[key], other[key]) for key in one) for one, other in zip(now, start, strict=True)
            ]
            assert [not value for value in moved[progress]] == still  # a stage moves as a whole or not at all
        advance(progress)

    advance, strategy.advance = strategy.advance, watched
    data = Streams(toy, strategy.backbone.preprocess, batch_size=16, augment="none", seed=0)
    recipe = Recipe(steps=8, batch_size=16, lr=0.1, weight_decay=0.01, warmup=0.0, log_every=8, evaluate_every=3)
    fit(strategy, data, recipe, CPU, evaluate=lambda model: {}, log=lambda record: None)
    # Four stages, everything thawed at 4/8: the last one from 1/8 on, whose step 2/8 is the first to see.
    assert {8 * progress: sum(flags) for progress, flags in moved.items()} == {1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 4}
    assert all(flags == sorted(flags) for flags in moved.values())


def test_thawed_from_the_beginning_it_is_layerwise_lr(toy, make_strategy, tmp_path):
    recipe = Recipe(steps=5, batch_size=16, lr=0.1, augment="none", log_every=5, evaluate_every=5)

    def weights(name: str, **given) -> dict[str, torch.Tensor]:
        return session.train(
            lambda: make_strategy(name, **given),
            toy, recipe, CPU, seed=0, identity=name, checkpoints=tmp_path, log=lambda record: None,
        ).strategy.state_dict()  # fmt: skip

    one, other = weights("gradual_unfreezing", thawed_at=0.0), weights("layerwise_lr")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_impossible_values_are_refused_by_name(make_strategy):
    with pytest.raises(ParamsError, match=r"thawed_at is 1\.0"):
        make_strategy("gradual_unfreezing", thawed_at=1.0)
