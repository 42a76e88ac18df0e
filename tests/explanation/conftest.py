"""A strategy of the catalogue, prepared as it is before it answers, and the streams that it reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from components.data.streams import Streams
from components.strategies import catalogue
from components.strategies.base import Strategy


@pytest.fixture
def ready(toy, toy_tasks, make_strategy) -> Callable[[str], tuple[Strategy, Streams]]:
    def make(name: str) -> tuple[Strategy, Streams]:
        torch.manual_seed(0)
        strategy = make_strategy(name).eval()
        data = toy_tasks if catalogue.STRATEGIES[name].tasks == "all" else toy
        preprocess = strategy.backbone.preprocess
        streams = Streams(data, preprocess, batch_size=10, augment="none", seed=0, draw=strategy.sampling)
        with torch.no_grad():
            strategy.begin(streams)
            strategy.finish(streams)
        return strategy, streams

    return make
