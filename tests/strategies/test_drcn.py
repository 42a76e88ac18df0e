"""Two weighted terms that add up to one, and a reconstruction of the whole image from a corrupted one."""

from __future__ import annotations

import pytest
import torch

from components.backbones.lenet import LeNet
from components.errors import ParamsError
from components.strategies.drcn import DRCN
from components.types import TASK, Labelled, LabelSpace, Unlabelled

SPACE = LabelSpace({TASK: ("a", "b")})


def _losses(**given) -> tuple[DRCN, dict[str, torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    strategy = DRCN(LeNet(16), SPACE, **given)
    source, target = torch.rand(2, 4, 3, 16, 16) * 2 - 1  # in [-1, 1], as the network's mean and std of 1/2 make it
    terms = strategy.losses(Labelled(source, {TASK: torch.tensor([0, 1, 0, 1])}), Unlabelled(target))
    return strategy, terms, target


def test_the_reconstruction_is_the_mean_squared_error_of_the_picture():
    strategy, terms, target = _losses(trade_off=0.3, corruption=0.0)
    with torch.no_grad():
        made = strategy.decoder(strategy.backbone(target)).double()
    expected = 0.3 * (made - (target.double() + 1) / 2).square().mean()  # black is 0, white is 1
    assert terms["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_weights_of_both_terms_add_up_to_one():
    whole = _losses(trade_off=0.0, corruption=0.0)[1]["cross_entropy"].item()
    shared = _losses(trade_off=0.3, corruption=0.0)[1]["cross_entropy"].item()
    assert shared == pytest.approx(0.7 * whole, rel=1e-5)


def test_corruption_blackens_a_share_of_the_pixels_and_is_drawn_anew():
    torch.manual_seed(0)
    strategy = DRCN(LeNet(16), SPACE, corruption=0.4)
    image = torch.rand(20, 3, 16, 16) * 1.9 - 0.9
    corrupted = strategy.corrupted(image)
    black = (corrupted == -1).all(1)
    assert black.float().mean().item() == pytest.approx(0.4, abs=0.02)
    kept = ~black[:, None].expand_as(image)
    assert torch.equal(corrupted[kept], image[kept])
    assert not torch.equal(strategy.corrupted(image), corrupted)


def test_the_source_s_labels_do_not_move_the_decoder_nor_its_reconstruction_the_head():
    for term, untouched in (("cross_entropy", "decoder"), ("reconstruction", "heads")):
        strategy, terms, _ = _losses()
        terms[term].backward()
        touched = {key.split(".")[0] for key, p in strategy.named_parameters() if p.grad is not None}
        assert "backbone" in touched
        assert untouched not in touched


def test_a_share_above_one_is_refused():
    with pytest.raises(ParamsError, match=r"strategies\.drcn\.trade_off is 2\.0"):
        DRCN(LeNet(16), SPACE, trade_off=2.0)
