"""How long champion and challenger take, measured in turns on this machine, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from components.evaluation.intervals import Interval
from components.promotion.answers import Served
from components.speed import gate
from components.speed.timing import Clock, Variant, measure, ratio

SECONDS = 0.25
"""For each of the two. Their ratio is needed to a factor of two, which 30 turns tell on a busy machine."""


class Timed(NamedTuple):
    """Milliseconds of one image (medians), and how many times as fast the challenger is, with a 95 % interval."""

    challenger_ms: float
    champion_ms: float
    speed_up: Interval


def compare(challenger: Served, champion: Served, image: np.ndarray) -> Timed:
    """`image` uint8 [S, S, 3]: each gets it at its own size, as served; decoding is the same for both and not timed."""
    samples = measure(
        {
            "challenger": Variant(_call(challenger, image)),
            "champion": Variant(_call(champion, image)),
        },
        SECONDS,
    )
    both = {_clock(challenger), _clock(champion)}
    clock: Clock = "cpu" if both == {"cpu"} else "wall"
    found = ratio(samples["challenger"], samples["champion"], clock)
    own, other = (samples[name].figures(clock)["latency_ms"] for name in ("challenger", "champion"))
    return Timed(own, other, Interval(found.value, found.low, found.high))


def _call(served: Served, image: np.ndarray) -> Callable[[], object]:
    predictor = served.predictor
    batch = predictor.pixels(image)[None]
    names = [predictor.output("probabilities", task) for task in predictor.classes]
    return lambda: predictor.run(batch, names)


def _clock(served: Served) -> Clock:
    threads = served.predictor.model.selection.options.threads
    return "wall" if threads is None else gate.clock(served.route.provider, threads)
