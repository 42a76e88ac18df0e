"""How several tasks share a network, against the same network for each task alone, and gradients worked out by hand."""

from __future__ import annotations

import math
from copy import deepcopy
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from components.backbones.small_resnet import SmallResNet
from components.errors import ParamsError
from components.params import Recipe
from components.strategies import catalogue
from components.strategies.criterion import Criterion
from components.strategies.cross_stitch import CrossStitchNetworks
from components.strategies.fine_tune import FineTune
from components.strategies.hard_sharing import HardSharing
from components.strategies.soft_sharing import SoftSharing
from components.training import session
from components.training.compute import Compute
from components.types import Labelled, LabelSpace

SPACE = LabelSpace({"shape": ("a", "b", "c"), "colour": ("red", "blue")})
FAMILY = {"hard_sharing": HardSharing, "soft_sharing": SoftSharing, "cross_stitch": CrossStitchNetworks}
OPTIONS = [
    (name, weighting)
    for name, weighting in product(FAMILY, ("equal", "uncertainty", "pcgrad"))
    if weighting in FAMILY[name].weightings
]


def backbone() -> SmallResNet:
    return SmallResNet(widths=(4, 6, 8), size=16)


def batch(count: int = 6, **labels) -> Labelled:
    image = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    numbers = torch.arange(count)
    return Labelled(image, {"shape": numbers % 3, "colour": numbers % 2, **labels})


def gradients(strategy, losses) -> dict[str, torch.Tensor]:
    strategy.zero_grad(set_to_none=True)
    strategy.backward(losses)
    return {name: p.grad.clone() for name, p in strategy.named_parameters() if p.grad is not None}


def trained(name, space, data, folder, **given):
    recipe = Recipe(steps=4, batch_size=16, lr=0.1, augment="none", log_every=2, evaluate_every=4, checkpoint_every=2)
    return session.train(
        lambda: catalogue.load(name)(backbone(), space, **given),
        data,
        recipe,
        Compute(torch.device("cpu"), "fp32", 1),
        seed=3,
        identity="test",
        checkpoints=folder,
        log=lambda record: None,
    ).strategy


@pytest.mark.parametrize(("name", "weighting"), OPTIONS)
def test_every_weighting_reaches_every_parameter_and_is_repeatable(name, weighting, toy_tasks, tmp_path):
    space = toy_tasks.label_space
    first, again = (
        trained(name, space, toy_tasks, tmp_path / str(turn), weighting=weighting).state_dict() for turn in range(2)
    )
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    torch.manual_seed(0)
    strategy = FAMILY[name](backbone(), SPACE, weighting=weighting)
    found = gradients(strategy, strategy.losses(target=batch()))
    assert {key for key, value in found.items() if bool(value.abs().sum() > 0)} == {
        key for key, _ in strategy.named_parameters()
    }


def test_an_unknown_weighting_is_refused_and_soft_sharing_has_no_use_for_pcgrad():
    with pytest.raises(ParamsError, match="did you mean 'pcgrad'"):
        HardSharing(backbone(), SPACE, weighting="pcgard")
    with pytest.raises(ParamsError, match="weighting is 'pcgrad'"):
        SoftSharing(backbone(), SPACE, weighting="pcgrad")


@pytest.mark.parametrize("name", FAMILY)
def test_one_task_is_fine_tuning(name):
    space = LabelSpace({"shape": SPACE.classes["shape"]})
    strategy = FAMILY[name](backbone(), space).train()
    plain = FineTune(deepcopy(strategy.backbone), space).train()
    plain.heads.load_state_dict(strategy.heads.state_dict())
    target = Labelled(batch().image, {"shape": batch().labels["shape"]})
    losses, expected = strategy.losses(target=target), plain.losses(target=target)
    torch.testing.assert_close(losses["cross_entropy"], expected["cross_entropy"])
    assert [group["lr"] for group in strategy.param_groups(0.1)][:2] == [0.1, pytest.approx(0.01)]


def test_learned_weights_reach_the_shared_layers():
    torch.manual_seed(0)
    strategy = HardSharing(backbone(), SPACE, weighting="uncertainty").eval()
    target = batch()
    plain = Criterion()(strategy(target.image), target.labels)
    with torch.no_grad():
        strategy.log_variances.copy_(torch.tensor([math.log(2.0), math.log(0.25)]))
    losses = strategy.losses(target=target)
    assert list(losses) == ["cross_entropy_shape", "cross_entropy_colour", "log_sigma"]
    torch.testing.assert_close(losses["cross_entropy_shape"], plain["cross_entropy_shape"] / 2)
    torch.testing.assert_close(losses["cross_entropy_colour"], plain["cross_entropy_colour"] * 4)
    assert losses["log_sigma"].item() == pytest.approx((math.log(2.0) + math.log(0.25)) / 2)
    found = gradients(strategy, losses)
    shape, colour = (gradients(strategy, {"one": _plain(strategy, target)[task]}) for task in SPACE.classes)
    key = "backbone.stem.0.weight"
    torch.testing.assert_close(found[key], shape[key] / 2 + colour[key] * 4)
    # d/ds (exp(-s) L + s / 2) = 1/2 - exp(-s) L
    expected = torch.stack([0.5 - plain["cross_entropy_shape"] / 2, 0.5 - plain["cross_entropy_colour"] * 4])
    torch.testing.assert_close(found["log_variances"], expected.detach())


def _plain(strategy, target) -> dict[str, torch.Tensor]:
    """task -> its unweighted loss."""
    return {task: F.cross_entropy(logits, target.labels[task]) for task, logits in strategy(target.image).items()}


def test_pcgrad_projects_in_the_shared_layers_and_nowhere_else():
    torch.manual_seed(0)
    strategy = HardSharing(backbone(), SPACE, weighting="pcgrad").eval()
    with torch.no_grad():  # both tasks use the features alike and want the opposite of them
        for head in strategy.heads.values():
            head.weight.zero_()
            head.bias.zero_()
            head.weight[0] = 1.0
    target = batch(shape=torch.zeros(6, dtype=torch.int64), colour=torch.ones(6, dtype=torch.int64))
    one, two = (gradients(strategy, {"one": _plain(strategy, target)[task]}) for task in SPACE.classes)
    found = gradients(strategy, strategy.losses(target=target))
    shared = [key for key in found if key.startswith("backbone")]
    flat = [torch.cat([part[key].flatten() for key in shared]) for part in (one, two, found)]
    product = flat[0] @ flat[1]
    assert product < 0
    expected = (
        flat[0] - product / flat[1].square().sum() * flat[1] + flat[1] - product / flat[0].square().sum() * flat[0]
    )
    torch.testing.assert_close(flat[2], expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found["heads.shape.weight"], one["heads.shape.weight"])
    torch.testing.assert_close(found["heads.colour.weight"], two["heads.colour.weight"])


def test_pcgrad_without_conflict_is_the_sum_and_adds_to_what_is_there():
    torch.manual_seed(0)
    space = LabelSpace({"shape": ("a", "b"), "colour": ("a", "b")})
    strategy = HardSharing(backbone(), space, weighting="pcgrad").eval()
    strategy.heads["colour"].load_state_dict(strategy.heads["shape"].state_dict())
    labels = torch.arange(6) % 2
    losses = strategy.losses(target=batch(shape=labels, colour=labels))  # twice the same task
    found = gradients(strategy, losses)
    strategy.weighting = "equal"
    plain = gradients(strategy, strategy.losses(target=batch(shape=labels, colour=labels)))
    assert found.keys() == plain.keys()
    for key, value in plain.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-6)
    strategy.weighting = "pcgrad"
    strategy.backward(strategy.losses(target=batch(shape=labels, colour=labels)))
    for key, p in strategy.named_parameters():
        torch.testing.assert_close(p.grad, 2 * plain[key], rtol=1e-3, atol=1e-6)


def test_the_order_of_pcgrad_comes_from_torchs_generator():
    """Whose state is in the checkpoint: a resumed training projects as an unbroken one."""
    torch.manual_seed(0)
    space = LabelSpace(dict.fromkeys("abc", ("x", "y", "z")))
    strategy = HardSharing(backbone(), space, weighting="pcgrad").eval()
    target = Labelled(batch().image, {task: (torch.arange(6) + turn) % 3 for turn, task in enumerate("abc")})
    with torch.no_grad():  # the same features for contradicting answers
        for head in strategy.heads.values():
            head.load_state_dict(strategy.heads["a"].state_dict())

    def stem(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return gradients(strategy, strategy.losses(target=target))["backbone.stem.0.weight"]

    assert torch.equal(stem(0), stem(0))
    assert any(not torch.allclose(stem(0), stem(seed)) for seed in range(1, 8))


def _apart(strategy) -> None:
    """Gives every network weights of its own."""
    torch.manual_seed(5)
    with torch.no_grad():
        for p in strategy.copies.parameters():
            p.add_(0.1 * torch.randn_like(p))


def test_the_penalty_by_hand():
    space = LabelSpace({"a": ("x", "y"), "b": ("x", "y"), "c": ("x", "y")})
    strategy = SoftSharing(backbone(), space, l2=0.5)
    labels = {task: torch.zeros(4, dtype=torch.int64) for task in space.classes}
    target = Labelled(batch(4).image, labels)
    assert strategy.losses(target=target)["penalty"].item() == 0.0
    with torch.no_grad():  # the second network differs by 2 in one weight, the third by 3 in another
        strategy.copies[0].stem[0].weight[0, 0, 0, 0] += 2
        strategy.copies[1].stem[0].weight[1, 0, 0, 0] += 3
    # Half the squares of the pairs' distances 2, 3 and, between the two, the root of 2^2 + 3^2.
    assert strategy.losses(target=target)["penalty"].item() == pytest.approx(0.5 * (4 + 9 + 13) / 2, rel=1e-5)


@pytest.mark.parametrize("make", [lambda: SoftSharing(backbone(), SPACE, l2=0.0)], ids=["soft_sharing"])
def test_without_a_tie_the_networks_are_separate(make):
    _same_as_separate(make())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_identity_stitches_leave_the_networks_separate(mode):
    strategy = CrossStitchNetworks(backbone(), SPACE, own=1.0)
    assert len(strategy.units) == 4
    _same_as_separate(strategy, mode)


def _same_as_separate(strategy, mode: str = "train") -> None:
    _apart(strategy)
    alone = {
        task: FineTune(deepcopy(network), LabelSpace({task: SPACE.classes[task]})).train(mode == "train")
        for task, network in zip(SPACE.classes, strategy.networks(), strict=True)
    }
    strategy.train(mode == "train")
    target = batch()
    losses = strategy.losses(target=target)
    strategy.backward(losses)
    for (task, single), network in zip(alone.items(), strategy.networks(), strict=True):
        single.heads.load_state_dict({f"{task}.{k}": v for k, v in strategy.heads[task].state_dict().items()})
        loss = F.cross_entropy(single(target.image)[task], target.labels[task])
        loss.backward()
        torch.testing.assert_close(losses[f"cross_entropy_{task}"], loss)
        for p, q in zip(network.parameters(), single.backbone.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)
        for p, q in zip(network.buffers(), single.backbone.buffers(), strict=True):
            torch.testing.assert_close(p, q)


def test_stitching_a_pretrained_network_leaves_it_as_it_is():
    network = backbone().eval()
    image = batch().image
    strategy = CrossStitchNetworks(network, SPACE).eval()
    seen = strategy.lockstep.run(strategy.networks(), image, strategy._mix)
    for features in seen:
        torch.testing.assert_close(features, network(image))


def test_stitches_carry_a_task_to_the_others_network():
    torch.manual_seed(0)
    strategy = CrossStitchNetworks(backbone(), SPACE)
    _apart(strategy)
    found = gradients(strategy, {"one": strategy.losses(target=batch())["cross_entropy_shape"]})
    assert bool(found["copies.0.stem.0.weight"].abs().sum() > 0)
    assert all(bool(found[f"units.{place}.mixing"][1].abs() > 0) for place in range(4))


def test_a_backbone_that_cannot_be_stitched_is_refused():
    class Moody(SmallResNet):
        def forward(self, image):
            return super().forward(image if image.sum() > 0 else -image)

    with pytest.raises(ParamsError, match="'cross_stitch' cannot stitch this backbone: the steps of Moody"):
        CrossStitchNetworks(Moody(widths=(4, 4, 4), size=16), SPACE)
