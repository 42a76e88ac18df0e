"""What of a strategy must be deployed: all that an answer reads, and nothing else."""

from __future__ import annotations

import pytest
import torch

from components.deployment.footprint import read_by, size_mib
from components.strategies import catalogue

IMAGE = torch.zeros(1, 3, 16, 16)
MIB = 2**20


def _bytes(module: torch.nn.Module) -> int:
    return sum(
        value.numel() * value.element_size()
        for key, value in module.state_dict().items()
        if not key.endswith("num_batches_tracked")  # counted while training only
    )


@pytest.mark.parametrize("name", ["fine_tune", "dann", "adda", "drcn"])
def test_what_only_training_asks_does_not_count(name, make_strategy):
    strategy = make_strategy(name)
    assert size_mib(strategy, IMAGE) * MIB == _bytes(strategy.backbone) + _bytes(strategy.heads)


@pytest.mark.parametrize("name", ["knn_probe", "prototypical", "matching"])
def test_what_images_are_compared_with_counts(name, make_strategy):
    assert size_mib(make_strategy(name), IMAGE) * MIB > _bytes(make_strategy(name).backbone)


@pytest.mark.parametrize("name", list(catalogue.STRATEGIES))
def test_the_rest_may_be_anything(name, make_strategy):
    """Every strategy's answer stays the same when all that does not count is overwritten."""
    torch.manual_seed(0)
    strategy = make_strategy(name).eval()
    image = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        before = strategy(image)
        read = {id(tensor) for tensor in read_by(strategy, image)}
        for tensor in (*strategy.parameters(), *strategy.buffers()):
            if id(tensor) not in read:
                tensor.fill_(float("nan") if tensor.is_floating_point() else 1)
        assert all(torch.equal(after, before[task]) for task, after in strategy(image).items())
