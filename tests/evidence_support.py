"""Evidence for tests of what is decided on it: a challenger that is better than the champion and breaks no limit, and
what of that a test changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from components.evaluation.intervals import Interval
from components.params import PromoteParams
from components.promotion.comparison import Difference
from components.promotion.evidence import Candidate, Evidence
from components.promotion.recents import Recent
from promotion_support import PROMOTE

CHALLENGER = Candidate(
    strategy="dan", bundle="b" * 64, route="int8@cpu", answered=1.0, accuracy=0.95, ece=0.03, latency_ms=0.5,
    size_mib=2.0, agreement=1.0,
)  # fmt: skip
CHAMPION = replace(CHALLENGER, strategy="fine_tune", bundle="a" * 64, accuracy=0.92, ece=0.02, latency_ms=0.6)
GOOD = Evidence(
    challenger=CHALLENGER,
    champion=CHAMPION,
    images=800,
    confidence=0.95,
    machine="2 cores of a CPU",
    lead=Interval(0.03, 0.01, 0.05),
    classes=(
        Difference("0", 80, 0.95, 0.9, Interval(0.05, -0.02, 0.12)),
        Difference("1", 80, 0.93, 0.94, Interval(-0.01, -0.09, 0.07)),
    ),
    slices=(Difference("ink thin", 200, 0.94, 0.92, Interval(0.02, -0.02, 0.06)),),
    ece_gain=Interval(0.01, -0.005, 0.025),
    speed_up=Interval(1.2, 1.1, 1.3),
)
RECENT = Recent(
    images=300, labelled=0, votes_from="run", challenger=0.97, champion=0.14, lead=Interval(0.83, 0.78, 0.87)
)


def evidence(**changes: Any) -> Evidence:
    """`challenger`, `champion`: fields of these to change, or None for the latter."""
    for name in ("challenger", "champion"):
        if isinstance(changes.get(name), dict):
            changes[name] = replace(getattr(GOOD, name), **changes[name])
    return replace(GOOD, **changes)


def limits(**changes: Any) -> PromoteParams:
    return PromoteParams(**{**PROMOTE, **changes})
