"""Two stages in one training: what each moves, and that a resumed training knows which it is in."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from components.backbones.lenet import LeNet
from components.backbones.small_resnet import SmallResNet
from components.errors import ParamsError
from components.params import Recipe
from components.strategies.adda import ADDA
from components.training import session
from components.training.compute import Compute
from components.types import TASK, Labelled, LabelSpace, Unlabelled

CPU = Compute(torch.device("cpu"), "fp32", 1)
RECIPE = Recipe(
    steps=24, batch_size=8, lr=0.02, augment="light", log_every=2, evaluate_every=6, checkpoint_every=4, warmup=0.1
)
SPACE = LabelSpace({TASK: ("a", "b")})


class Killed(Exception):
    pass


def _train(toy, folder, *, kill_at=None, optimizer="sgd", watch=None):
    records = []

    def log(record):
        records.append(record)
        if record["step"] == kill_at and "lr" in record:
            raise Killed

    kind = watch or ADDA
    recipe = Recipe(**{**RECIPE.__dict__, "optimizer": optimizer})
    trained = session.train(
        lambda: kind(SmallResNet(widths=(4, 4, 8), size=16), toy.label_space, hidden=(8,), source_share=0.5),
        toy, recipe, CPU, seed=3, identity="adda", checkpoints=folder, log=log,
    )  # fmt: skip
    return trained, records


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("kill_at", [10, 14, 22], ids=["before the switch", "after it", "near the end"])
def test_the_switch_survives_a_resume(kill_at, optimizer, toy, tmp_path):
    whole, _ = _train(toy, tmp_path / "whole", optimizer=optimizer)
    with pytest.raises(Killed):
        _train(toy, tmp_path / "killed", kill_at=kill_at, optimizer=optimizer)
    resumed, records = _train(toy, tmp_path / "killed", optimizer=optimizer)
    assert records[0]["resumed"] == 1.0
    found = resumed.strategy.state_dict()
    assert all(torch.equal(value, found[key]) for key, value in whole.strategy.state_dict().items())
    assert resumed.history == whole.history


def test_each_stage_moves_its_own_and_the_copy_is_made_once(toy, tmp_path):
    snapshots: list[tuple[float, dict]] = []

    class Watched(ADDA):
        def advance(self, progress):
            super().advance(progress)
            snapshots.append((progress, {key: value.clone() for key, value in self.state_dict().items()}))

    final = _train(toy, tmp_path, watch=Watched)[0].strategy.state_dict()
    first, switch = snapshots[0][1], next(state for progress, state in snapshots if progress >= 0.5)
    last_of_first = [state for progress, state in snapshots if progress < 0.5][-1]

    def moved(part: str, a: dict, b: dict) -> bool:
        return any(not torch.equal(a[key], b[key]) for key in a if key.startswith(part))

    assert [bool(state["adapting"]) for _, state in snapshots] == [False] * 12 + [True] * 12
    assert moved("source_backbone", first, last_of_first)
    assert moved("heads", first, last_of_first)
    assert not moved("discriminator", first, switch)
    encoder = {key: value for key, value in switch.items() if key.startswith("backbone.")}
    assert all(torch.equal(value, switch[f"source_{key}"]) for key, value in encoder.items())
    assert not moved("source_backbone", switch, final)  # its batch-norm statistics included
    assert not moved("heads", switch, final)
    assert moved("backbone.", switch, final)
    assert moved("discriminator", switch, final)


def _second_stage(**given) -> tuple[ADDA, dict]:
    torch.manual_seed(0)
    strategy = ADDA(LeNet(16), SPACE, **given)
    strategy.advance(0.5)
    source, target = torch.randn(6, 3, 16, 16), torch.randn(4, 3, 16, 16)
    return strategy, {
        "source": Labelled(source, {TASK: torch.zeros(6).long()}),
        "unlabelled": Unlabelled(target),
    }


def test_each_loss_reaches_its_own_player_alone():
    strategy, batches = _second_stage()
    for term, player in (("discriminator", "discriminator"), ("encoder", "backbone")):
        strategy.zero_grad()
        strategy.losses(**batches)[term].backward()
        touched = {key.split(".")[0] for key, p in strategy.named_parameters() if p.grad is not None}
        assert touched == {player}


def test_the_losses_are_the_paper_s():
    strategy, batches = _second_stage()
    terms = strategy.losses(**batches)
    with torch.no_grad():
        source = strategy.discriminator(strategy.source_backbone(batches["source"].image)).sigmoid().double()
        target = strategy.discriminator(strategy.backbone(batches["unlabelled"].image)).sigmoid().double()
    expected = -source.log().mean() - (1 - target).log().mean()
    assert terms["discriminator"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["encoder"].item() == pytest.approx(-target.log().mean().item(), rel=1e-5)  # inverted labels


def test_both_players_learn():
    strategy, batches = _second_stage(hidden=(32,))
    before = {term: value.item() for term, value in strategy.losses(**batches).items()}
    for player, term in (("discriminator", "discriminator"), ("backbone", "encoder")):
        parameters = [p for key, p in strategy.named_parameters() if key.startswith(player)]
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        for _ in range(40):
            strategy.zero_grad()
            strategy.backward(strategy.losses(**batches))
            optimizer.step()
        after = strategy.losses(**batches)[term].item()
        assert after < 0.7 * before[term], term
        before = {key: value.item() for key, value in strategy.losses(**batches).items()}


def test_before_the_second_stage_the_source_encoder_answers(toy):
    torch.manual_seed(0)
    strategy = ADDA(LeNet(16), SPACE)
    with torch.no_grad():
        for parameter in strategy.source_backbone.parameters():
            parameter.mul_(1.5)
        strategy.finish(None)
        image = torch.randn(2, 3, 16, 16)
        expected = F.linear(strategy.source_backbone(image), strategy.heads[TASK].weight, strategy.heads[TASK].bias)
        assert torch.equal(strategy(image)[TASK], expected)


def test_a_share_that_leaves_no_first_stage_is_refused():
    with pytest.raises(ParamsError, match=r"strategies\.adda\.source_share is 0\.0"):
        ADDA(LeNet(16), SPACE, source_share=0.0)
