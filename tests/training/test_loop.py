"""The loop: killed and resumed it ends where it would have ended, frozen parts stay put, a divergence is named."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from components.backbones.small_resnet import SmallResNet
from components.data.streams import Streams
from components.errors import Diverged
from components.params import Recipe
from components.strategies.base import Classifier
from components.strategies.dan import DAN
from components.strategies.fine_tune import FineTune
from components.training import session
from components.training.checkpoint import Checkpoint
from components.training.compute import Compute
from components.training.loop import fit

CPU = Compute(torch.device("cpu"), "fp32", 1)
RECIPE = Recipe(
    steps=24, batch_size=16, lr=0.05, augment="light", log_every=4, evaluate_every=8, checkpoint_every=8, warmup=0.2
)


class Killed(Exception):
    pass


class DropoutResNet(SmallResNet):
    """A network whose training draws random numbers at every step."""

    def forward(self, image):
        return nn.functional.dropout(super().forward(image), 0.5, self.training)


class HeadOnly(FineTune):
    """Names the heads alone, so that the backbone must not move."""

    def param_groups(self, lr):
        return [{"params": list(self.heads.parameters()), "lr": lr}]


class Diverging(FineTune):
    def losses(self, target):
        terms = super().losses(target=target)
        return {**terms, "mmd": terms["cross_entropy"] * math.nan}


def _make(kind, toy, backbone=SmallResNet):
    return lambda: kind(backbone(widths=(8, 8, 8), size=16), toy.label_space)


def _train(make, toy, folder, *, kill_at=None, recipe=RECIPE, identity="training"):
    records = []

    def log(record):
        records.append(record)
        if record["step"] == kill_at and "lr" in record:
            raise Killed

    trained = session.train(make, toy, recipe, CPU, seed=3, identity=identity, checkpoints=folder, log=log)
    return trained, records


def _equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("kill_at", [4, 12, 20])
@pytest.mark.parametrize(
    ("kind", "backbone"),
    [(FineTune, SmallResNet), (FineTune, DropoutResNet), (DAN, SmallResNet)],
    ids=["one stream", "dropout", "two streams"],
)
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(kind, backbone, kill_at, toy, tmp_path):
    make = _make(kind, toy, backbone)
    whole, whole_records = _train(make, toy, tmp_path / "undisturbed")
    with pytest.raises(Killed):
        _train(make, toy, tmp_path / "killed", kill_at=kill_at)
    torch.rand(100)  # whatever the process did in between must not matter
    resumed, records = _train(make, toy, tmp_path / "killed")
    assert _equal(whole.strategy, resumed.strategy)
    assert resumed.history == whole.history
    last_saved = kill_at // 8 * 8
    if last_saved:
        assert records[0] == {"step": last_saved, "resumed": 1.0}
        assert len(records) < len(whole_records)
    else:
        assert records == whole_records


def test_dropout_does_draw_random_numbers(toy, tmp_path):
    """Or the dropout case above would prove nothing."""
    plain, _ = _train(_make(FineTune, toy), toy, tmp_path / "plain")
    dropped, _ = _train(_make(FineTune, toy, DropoutResNet), toy, tmp_path / "dropped")
    assert not _equal(plain.strategy, dropped.strategy)


def test_a_training_that_is_killed_twice_still_ends_alike(toy, tmp_path):
    make = _make(FineTune, toy, DropoutResNet)
    whole, _ = _train(make, toy, tmp_path / "undisturbed")
    for kill_at in (12, 20):
        with pytest.raises(Killed):
            _train(make, toy, tmp_path / "killed", kill_at=kill_at)
    resumed, _ = _train(make, toy, tmp_path / "killed")
    assert _equal(whole.strategy, resumed.strategy)
    assert resumed.history == whole.history


def test_states_are_saved_where_a_record_has_just_been_made(toy, tmp_path):
    """With intervals that do not divide one another, too, no mean of a loss term is cut in two."""
    recipe = Recipe(steps=20, batch_size=16, augment="none", log_every=3, evaluate_every=7, checkpoint_every=5)
    make = _make(FineTune, toy)
    whole, _ = _train(make, toy, tmp_path / "undisturbed", recipe=recipe)
    with pytest.raises(Killed):
        _train(make, toy, tmp_path / "killed", kill_at=15, recipe=recipe)
    resumed, records = _train(make, toy, tmp_path / "killed", recipe=recipe)
    assert records[0] == {"step": 12, "resumed": 1.0}  # 12 is the first record at or after 10
    assert _equal(whole.strategy, resumed.strategy)
    assert resumed.history == whole.history


@pytest.mark.parametrize("change", ["identity", "seed", "compute"])
def test_a_checkpoint_of_something_else_is_not_found(change, toy, tmp_path):
    make = _make(FineTune, toy)
    with pytest.raises(Killed):
        _train(make, toy, tmp_path, kill_at=20)
    first = []
    session.train(
        make,
        toy,
        RECIPE,
        Compute(torch.device("cpu"), "fp32", 2 if change == "compute" else 1),
        seed=4 if change == "seed" else 3,
        identity="other" if change == "identity" else "training",
        checkpoints=tmp_path,
        log=first.append,
    )
    assert "resumed" not in first[0]


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None], ids=["empty", "garbage", "cut short"])
def test_a_damaged_checkpoint_starts_over(damage, toy, tmp_path):
    make = _make(FineTune, toy)
    whole, _ = _train(make, toy, tmp_path / "undisturbed")
    with pytest.raises(Killed):
        _train(make, toy, tmp_path / "killed", kill_at=20)
    (path,) = (tmp_path / "killed").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    again, records = _train(make, toy, tmp_path / "killed")
    assert "resumed" not in records[0]
    assert _equal(whole.strategy, again.strategy)


def test_checkpoints_are_cleared_and_found_by_identity(tmp_path):
    one, other = Checkpoint(tmp_path, {"seed": 0}), Checkpoint(tmp_path, {"seed": 1})
    one.save({"step": 5, "model": {"w": torch.ones(2)}})
    assert other.load() is None
    state = Checkpoint(tmp_path, {"seed": 0}).load()
    assert state is not None
    assert state["step"] == 5
    assert torch.equal(state["model"]["w"], torch.ones(2))
    one.clear()
    one.clear()
    assert one.load() is None
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_backbone_keeps_weights_and_batch_norm_statistics(toy, tmp_path):
    before = {}

    def make():
        strategy = HeadOnly(SmallResNet(widths=(8, 8, 8), size=16), toy.label_space)
        before.update({key: value.clone() for key, value in strategy.state_dict().items()})
        return strategy

    trained, _ = _train(make, toy, tmp_path)
    assert all(parameter.grad is None for parameter in trained.strategy.backbone.parameters())  # nor paid for
    after = trained.strategy.state_dict()
    assert [key for key in after if not torch.equal(after[key], before[key])] == [
        "heads.label.weight",
        "heads.label.bias",
    ]


def test_a_loss_that_is_no_number_is_named_with_the_step(toy, tmp_path):
    recipe = Recipe(steps=4, batch_size=16, augment="none", log_every=1)
    with pytest.raises(Diverged, match=r"'mmd' is nan at step 1\b.*lr") as caught:
        _train(_make(Diverging, toy), toy, tmp_path, recipe=recipe)
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_named_before_anything_is_solved_with_them(toy, tmp_path):
    """The loss of the last step is finite still: its update is what went wrong."""

    class Overflowing(FineTune):
        def backward(self, losses):
            super().backward(losses)
            for parameter in self.parameters():
                parameter.grad.mul_(math.inf)

        def finish(self, data):
            raise AssertionError("a solver that knows nothing of the divergence")

    recipe = Recipe(steps=1, batch_size=16, augment="none")
    with pytest.raises(Diverged, match=r"weights '\S+' are not finite at step 1\b.*lr"):
        _train(_make(Overflowing, toy), toy, tmp_path, recipe=recipe)


def test_a_training_that_diverged_leaves_no_checkpoint(toy, tmp_path):
    class LaterDiverging(FineTune):
        def losses(self, target):
            self.count = getattr(self, "count", 0) + 1
            return {
                "cross_entropy": super().losses(target=target)["cross_entropy"] * (math.nan if self.count > 4 else 1)
            }

    recipe = Recipe(steps=8, batch_size=16, augment="none", log_every=2, checkpoint_every=2)
    with pytest.raises(Diverged):
        _train(_make(LaterDiverging, toy), toy, tmp_path, recipe=recipe)
    assert list(tmp_path.iterdir()) == []


def test_history_holds_the_mean_of_every_term_and_the_metrics(toy, tmp_path):
    trained, records = _train(_make(DAN, toy), toy, tmp_path)
    assert records == trained.history
    losses = [record for record in records if "lr" in record]
    metrics = [record for record in records if "lr" not in record]
    assert [record["step"] for record in losses] == [4, 8, 12, 16, 20, 24]
    assert [record["step"] for record in metrics] == [8, 16, 24]
    assert all(record.keys() == {"step", "lr", "cross_entropy", "mmd"} for record in losses)
    assert all(record.keys() == {"step", "val_accuracy", "val_cross_entropy"} for record in metrics)


def test_a_logged_term_is_the_mean_of_its_steps(toy):
    """Of all its steps: the last record, too, which is of two where the others are of four."""

    class Counting(Classifier):
        streams = ("target",)

        def losses(self, target):
            self.count = getattr(self, "count", 0) + 1
            term = self.criterion(self(target.image), target.labels)["cross_entropy"]
            return {"count": 0 * term + self.count}

    strategy = _make(Counting, toy)()
    data = Streams(toy, strategy.backbone.preprocess, batch_size=4, augment="none", seed=0)
    recipe = Recipe(steps=10, log_every=4, evaluate_every=100)
    history = fit(strategy, data, recipe, CPU, evaluate=lambda model: {}, log=lambda record: None)
    means = [record["count"] for record in history if "count" in record]
    assert means == [(1 + 2 + 3 + 4) / 4, (5 + 6 + 7 + 8) / 4, (9 + 10) / 2]


def test_hooks_are_called_in_order(toy):
    calls = []

    class Watching(FineTune):
        def begin(self, data):
            calls.append("begin")

        def advance(self, progress):
            calls.append(round(progress, 2))

        def finish(self, data):
            calls.append("finish")
            assert not self.training

    strategy = _make(Watching, toy)()
    data = Streams(toy, strategy.backbone.preprocess, batch_size=4, augment="none", seed=0)
    recipe = Recipe(steps=4, log_every=1, evaluate_every=2)
    fit(strategy, data, recipe, CPU, evaluate=lambda model: {}, log=lambda record: None)
    assert calls == ["begin", 0.0, 0.25, "finish", 0.5, 0.75, "finish"]
