"""Mixed images: labels are shared exactly as the pixels are."""

from __future__ import annotations

import pytest
import torch

from components.data.augmentation.mixing import MIXES, cutmix, mixup

COUNT = 6


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(size: int = 12) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Image number i is filled with 1 in channel-free one-hot fashion: its label can be read off its pixels."""
    labels = torch.eye(COUNT)
    image = torch.arange(COUNT).float().view(-1, 1, 1, 1).expand(COUNT, 3, size, size).clone()
    return image, {"label": labels, "again": labels.flip(1)}


def test_mixup_blends_pixels_and_labels_by_one_share():
    image, labels = _batch()
    found, shares = mixup(image, labels, _generator(3))
    numbers = shares["label"] @ torch.arange(COUNT).float()
    torch.testing.assert_close(found, numbers.view(-1, 1, 1, 1).expand_as(found))
    torch.testing.assert_close(shares["again"], shares["label"].flip(1))
    torch.testing.assert_close(shares["label"].sum(1), torch.ones(COUNT))
    used = {round(value, 5) for value in shares["label"].flatten().tolist()} - {0.0, 1.0}
    assert len(used) <= 2  # the share and the rest


def test_cutmix_shares_labels_as_the_pixels_are():
    whole = []
    for seed in range(30):
        image, labels = _batch()
        found, shares = cutmix(image, labels, _generator(seed))
        assert torch.equal(image, _batch()[0])  # the batch itself is left alone
        for number in range(COUNT):
            counted = torch.bincount(found[number, 0].long().flatten(), minlength=COUNT) / 144
            torch.testing.assert_close(shares["label"][number], counted)
        torch.testing.assert_close(shares["again"], shares["label"].flip(1))
        whole.append(shares["label"].diagonal().min().item())
    assert min(whole) < 0.3
    assert max(whole) > 0.9


def test_cutmix_pastes_one_rectangle():
    image, labels = _batch()
    found, _ = cutmix(image, labels, _generator(1))
    changed = (found != image).any(1)
    one = changed[changed.flatten(1).any(1)][0].float()
    assert torch.linalg.matrix_rank(one) == 1
    edges = torch.diff(torch.nn.functional.pad(one.amax(0), (1, 1)))
    assert edges.abs().sum() == 2  # one piece


def test_mixup_s_share_is_drawn_from_beta_with_alpha_a_fifth():
    shares = []
    for seed in range(600):
        image, labels = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), {"label": torch.eye(2)}
        found, _ = mixup(image, labels, _generator(seed))
        value = float(found[0])
        if value:  # else its partner is the image itself, or the share is 1
            shares.append(value)
    # Of Beta(0.2, 0.2), whose variance is 1 / (4 (2 alpha + 1)) = 0.179 and mean 1/2.
    values = torch.tensor(shares)
    assert values.mean().item() == pytest.approx(0.5, abs=0.08)
    assert values.var().item() == pytest.approx(0.179, abs=0.03)


@pytest.mark.parametrize("name", MIXES)
def test_the_seed_decides(name):
    image, labels = _batch()
    once, again, other = (MIXES[name](image, labels, _generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(once[0], again[0])
    assert torch.equal(once[1]["label"], again[1]["label"])
    assert not torch.equal(once[0], other[0])
