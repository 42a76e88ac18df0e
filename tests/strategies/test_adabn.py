"""The stored statistics are the target's, layer by layer, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from components.backbones.lenet import LeNet
from components.data.streams import Streams
from components.errors import ParamsError
from components.strategies.adabn import AdaBN, norms, sample
from components.types import TASK, LabelSpace


def _data(toy, strategy, batch_size: int = 20) -> Streams:
    return Streams(toy, strategy.backbone.preprocess, batch_size=batch_size, augment="none", seed=0)


def test_every_layer_s_input_is_standardised_over_the_target(toy, make_strategy):
    strategy = make_strategy("adabn").eval()
    data = _data(toy, strategy)
    strategy.finish(data)
    seen: dict[int, torch.Tensor] = {}
    for number, layer in enumerate(norms(strategy.backbone)):
        layer.register_forward_pre_hook(lambda module, given, number=number: seen.update({number: given[0]}))
    assert not any(layer.training for layer in strategy.modules())
    with torch.no_grad():
        strategy.backbone(torch.cat([batch.image for batch in data.batches("unlabelled")]))
    for number, layer in enumerate(norms(strategy.backbone)):
        # In evaluation mode, so what a layer reads already went through the adapted layers before it.
        torch.testing.assert_close(layer.running_mean, seen[number].mean((0, 2, 3)), rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(layer.running_var, seen[number].var((0, 2, 3)), rtol=1e-2, atol=1e-3)


def test_finish_can_be_repeated_and_moves_statistics_alone(toy, make_strategy):
    strategy = make_strategy("adabn").eval()
    before = {key: value.clone() for key, value in strategy.state_dict().items()}
    strategy.finish(_data(toy, strategy))
    once = {key: value.clone() for key, value in strategy.state_dict().items()}
    strategy.finish(_data(toy, strategy))
    assert all(torch.equal(value, once[key]) for key, value in strategy.state_dict().items())
    changed = {key.rsplit(".", 1)[1] for key in before if not torch.equal(before[key], once[key])}
    assert changed <= {"running_mean", "running_var", "num_batches_tracked"}
    assert "running_mean" in changed
    assert all(layer.momentum == 0.1 for layer in norms(strategy.backbone))


def test_the_sample_does_not_depend_on_batches_and_has_no_image_twice(toy, make_strategy):
    strategy = make_strategy("adabn")
    few, again = (sample(_data(toy, strategy, batch_size), 10) for batch_size in (7, 96))
    key = few.flatten(1).sum(1).sort().values
    torch.testing.assert_close(key, again.flatten(1).sum(1).sort().values)
    assert len(key.unique()) == 10
    assert len(sample(_data(toy, strategy), 10**6)) == len(toy.target.rows("train"))


def test_a_shift_of_the_target_s_colours_is_undone(make_strategy):
    """Target images that are the source's with another brightness and contrast: adapted answers are the source's."""
    strategy = make_strategy("adabn").eval()
    image = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    class Pass:
        def __init__(self, given):
            self.given = given

        def batches(self, stream):
            assert stream == "unlabelled"
            yield type("Batch", (), {"image": self.given})

    # Zero padding would see the shift at the border, so only the contrast changes.
    answers = []
    for scale in (1.0, 0.5):
        strategy.finish(Pass(scale * image))
        with torch.no_grad():
            answers.append(strategy(scale * image)[TASK])
    torch.testing.assert_close(*answers, rtol=1e-2, atol=1e-2)


def test_a_backbone_without_batch_norm_is_refused():
    with pytest.raises(ParamsError, match=r"LeNet.*source_only"):
        AdaBN(LeNet(16), LabelSpace({TASK: ("a", "b")}))
