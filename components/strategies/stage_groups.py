"""A backbone's stages, gathered into a few groups: what rates and thawing count in."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from components.backbones.base import Backbone
from components.errors import ParamsError


def stage_groups(backbone: Backbone, groups: int) -> list[list[nn.Module]]:
    """Consecutive stages from input to output in at most `groups` groups, the earlier ones the larger by at most one.

    Howard & Ruder count layers in a network of five. Networks name between four and twenty stages: dividing the rate
    by 2.6 at each of twenty would freeze the first ones, so how many steps there are is a number of its own.
    """
    if groups < 1:
        raise ParamsError(f"groups is {groups}, but must be at least 1")
    stages = list(backbone.stages())
    count = min(groups, len(stages))
    size, larger = divmod(len(stages), count)
    ends = [number * size + min(number, larger) for number in range(count + 1)]
    return [stages[start:end] for start, end in pairwise(ends)]


def rates(backbone: Backbone, lr: float, *, groups: int, decay: float) -> list[dict]:
    """The optimizer's groups of the backbone, first stages first: each is `decay` times slower than what follows it,
    the last one than the head, whose rate is `lr`.

    Howard & Ruder, 2018, sec. 3.2: eta^(l-1) = eta^l / 2.6.
    """
    if decay <= 0:
        raise ParamsError(f"decay is {decay}, but must be positive: each group's rate is divided by it")
    parts = stage_groups(backbone, groups)
    return [
        {
            "params": [parameter for stage in part for parameter in stage.parameters()],
            "lr": lr / decay ** (len(parts) - number),
        }
        for number, part in enumerate(parts)
    ]
