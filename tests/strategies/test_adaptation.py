"""What every domain-adaptation strategy must do: see no target label unless told so, and be source_only at weight 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.backbones.lenet import LeNet
from components.backbones.small_resnet import SmallResNet
from components.data.prepared import Prepared
from components.data.streams import Streams
from components.params import Recipe
from components.strategies import catalogue
from components.strategies.base import Strategy
from components.training import session
from components.training.compute import Compute
from components.types import TASK, Labelled, Unlabelled

FAMILY = [name for name, entry in catalogue.STRATEGIES.items() if entry.family == "domain adaptation"]
WITHOUT = {
    **{name: {"trade_off": 0.0} for name in FAMILY if "trade_off" in catalogue.hyper_parameters(name)},
    "adda": {"source_share": 1.0},
}
"""With these values a strategy is source_only. For AdaBN none is needed: its gradients are source_only's anyway."""
CPU = Compute(torch.device("cpu"), "fp32", 1)
SHORT = Recipe(steps=6, batch_size=16, lr=0.05, augment="light", log_every=3, evaluate_every=3)

every_member = pytest.mark.parametrize("name", FAMILY)


def _train(make, data, folder) -> dict[str, torch.Tensor]:
    trained = session.train(
        make, data, SHORT, CPU, seed=1, identity="family", checkpoints=folder, log=lambda record: None
    )
    return trained.strategy.state_dict()


def _with_garbage(toy: Prepared) -> Prepared:
    """Another label on every target image of train and val, and other images whose label is hidden."""
    target, rng = toy.target, np.random.default_rng(5)
    labels = target.labels[TASK].copy()
    for split, lowest in (("train", -1), ("val", 0)):
        rows = target.rows(split)
        labels[rows] = rng.integers(lowest, 4, len(rows))
    assert (labels != target.labels[TASK]).mean() > 0.4
    return Prepared(toy.label_space, {**toy.domains, "target": replace(target, labels={TASK: labels})})


@every_member
def test_without_leave_no_target_label_is_seen(name, toy, make_strategy, tmp_path):
    honest = _train(lambda: make_strategy(name), toy, tmp_path / "honest")
    garbage = _train(lambda: make_strategy(name), _with_garbage(toy), tmp_path / "garbage")
    assert all(torch.equal(value, garbage[key]) for key, value in honest.items())


@every_member
def test_with_leave_target_labels_matter(name, toy, make_strategy, tmp_path):
    """Or the test above would prove nothing."""

    def make() -> Strategy:
        return make_strategy(name, target_labels=True)

    assert "target" in make().streams
    assert "target_labels" in catalogue.needs(name, {"target_labels": True})
    assert "target_labels" not in catalogue.needs(name, {})
    assert "target" not in make_strategy(name).streams  # the class's own streams were left alone
    honest = _train(make, toy, tmp_path / "honest")
    garbage = _train(make, _with_garbage(toy), tmp_path / "garbage")
    assert any(not torch.equal(value, garbage[key]) for key, value in honest.items())


@every_member
def test_the_target_s_labels_are_one_more_term(name, toy, make_strategy):
    strategy = make_strategy(name, target_labels=True).eval()
    data = Streams(toy, strategy.backbone.preprocess, batch_size=8, augment="none", seed=0)
    batches = {stream: data.batch(stream, 0) for stream in strategy.streams}
    for progress in (0.0, 0.9):
        strategy.advance(progress)
        terms = strategy.losses(**batches)
        expected = torch.nn.functional.cross_entropy(
            strategy(batches["target"].image)[TASK], batches["target"].labels[TASK]
        )
        share = 0.5 if name == "drcn" else 1.0
        assert terms["target_cross_entropy"].item() == pytest.approx(share * expected.item(), rel=1e-4)


@pytest.mark.parametrize("name", WITHOUT)
def test_at_weight_nothing_it_is_source_only_to_the_bit(name, toy, tmp_path):
    # In a network without batch normalisation: where both domains pass together, the target is part of the statistics
    # that normalise the source, whatever its loss weighs.
    def make(kind: str, **given) -> Strategy:
        torch.manual_seed(4)
        return catalogue.load(kind)(LeNet(16), toy.label_space, **given)

    expected = _train(lambda: make("source_only"), toy, tmp_path / "source_only")
    found = _train(lambda: make(name, **WITHOUT[name]), toy, tmp_path / name)
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
    assert not torch.equal(expected["heads.label.weight"], make("source_only").state_dict()["heads.label.weight"])


@pytest.mark.parametrize("name", [name for name in WITHOUT if name != "adda"])
def test_both_domains_pass_through_batch_normalisation_together(name, toy):
    given = {"corruption": 0.0} if name == "drcn" else {}
    strategy = catalogue.load(name)(SmallResNet(widths=(4, 4, 4), size=16), toy.label_space, **given).train()
    other = SmallResNet(widths=(4, 4, 4), size=16).train()
    other.load_state_dict(strategy.backbone.state_dict())
    source, target = torch.randn(6, 3, 16, 16), torch.randn(4, 3, 16, 16) + 1
    strategy.losses(source=Labelled(source, {TASK: torch.zeros(6).long()}), unlabelled=Unlabelled(target))
    other(torch.cat([source, target]))
    torch.testing.assert_close(strategy.backbone.stem[1].running_mean, other.stem[1].running_mean)
    torch.testing.assert_close(strategy.backbone.stem[1].running_var, other.stem[1].running_var)


@every_member
@pytest.mark.parametrize("target_labels", [False, True])
def test_mixed_precision_changes_the_losses_little(name, target_labels, toy, make_strategy):
    strategy = make_strategy(name, target_labels=target_labels).eval()
    data = Streams(toy, strategy.backbone.preprocess, batch_size=32, augment="none", seed=0)
    batches = {stream: data.batch(stream, 0) for stream in strategy.streams}
    for progress in (0.0, 0.9):
        strategy.advance(progress)
        terms = []
        for enabled in (False, True):
            torch.manual_seed(0)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                terms.append(strategy.losses(**batches))
        for term, value in terms[0].items():
            assert terms[1][term].item() == pytest.approx(value.item(), rel=0.05, abs=0.01), term
        strategy.backward(terms[1])
        gradients = [p.grad for p in strategy.parameters() if p.grad is not None]
        assert gradients
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
