"""The two ends of the way, and that going there disturbs nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.data.streams import Streams
from components.errors import ParamsError
from components.params import Recipe
from components.training import session
from components.training.compute import Compute

CPU = Compute(torch.device("cpu"), "fp32", 1)
RECIPE = Recipe(steps=6, batch_size=16, lr=0.1, augment="none", log_every=6, evaluate_every=6)


@pytest.fixture
def trained(toy, make_strategy, tmp_path):
    def train(name: str, recipe: Recipe = RECIPE, **given) -> session.Trained:
        return session.train(
            lambda: make_strategy(name, **given),
            toy, recipe, CPU, seed=0, identity=[name, repr(recipe), given], checkpoints=tmp_path,
            log=lambda record: None,
        )  # fmt: skip

    return train


def _logits(training: session.Trained) -> np.ndarray:
    return training.logits["test"]["label"]


def test_one_end_is_fine_tuning_and_the_other_its_start(trained):
    # Fine-tuning from a solved head is `lp_ft`, and its start the linear probe.
    start, end = _logits(trained("linear_probe", solver="lbfgs")), _logits(trained("lp_ft"))
    assert np.array_equal(_logits(trained("wise_ft", alpha=1.0)), end)
    assert np.array_equal(_logits(trained("wise_ft", alpha=0.0)), start)
    half = _logits(trained("wise_ft"))
    assert np.abs(half - start).max() > 1e-3
    assert np.abs(half - end).max() > 1e-3


def test_weights_are_mixed_and_not_answers(trained):
    strategy = trained("wise_ft", alpha=0.25).strategy
    start = strategy._start[0]["stem.0.weight"]
    end = strategy.backbone.state_dict()["stem.0.weight"]
    mixed = strategy.mixed_backbone.state_dict()["stem.0.weight"]
    torch.testing.assert_close(mixed, 0.75 * start + 0.25 * end)
    assert not torch.equal(mixed, start)


def test_training_goes_on_from_the_end_and_not_from_the_mixture(trained):
    often, once = (trained("wise_ft", replace(RECIPE, evaluate_every=every)).strategy for every in (1, 6))
    assert all(torch.equal(value, often.state_dict()[key]) for key, value in once.state_dict().items())
    plain = trained("lp_ft").strategy.state_dict()
    assert all(torch.equal(value, once.state_dict()[key]) for key, value in plain.items())


def test_mixing_again_changes_nothing(trained, toy):
    strategy = trained("wise_ft").strategy
    before = {key: value.clone() for key, value in strategy.state_dict().items()}
    strategy.finish(Streams(toy, strategy.backbone.preprocess, batch_size=16, augment="none", seed=0))
    assert all(torch.equal(value, before[key]) for key, value in strategy.state_dict().items())


def test_alpha_beyond_the_ends_is_refused(make_strategy):
    with pytest.raises(ParamsError, match=r"alpha is 1\.5"):
        make_strategy("wise_ft", alpha=1.5)
