"""Whether a challenger becomes champion: a pure rule over evidence."""

from __future__ import annotations

from dataclasses import dataclass

from components.evaluation.intervals import Interval


@dataclass(frozen=True)
class Decision:
    """`promoted`, and why, in a sentence."""

    promoted: bool
    reason: str


def decide(gain: Interval | None, *, min_gain: float) -> Decision:
    """`gain`: the challenger's lead in test accuracy over the champion on the same images; None when there is no
    champion.

    The first model bootstraps. After that the whole interval must lie above `min_gain`: a lead that the test images
    cannot tell from chance changes nothing in production.
    """
    if gain is None:
        return Decision(True, "first champion: there was none to beat")
    lead = f"{100 * gain.value:+.2f} points on the same test images ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
    if gain.low > min_gain:
        return Decision(True, f"better than the champion by {lead}")
    return Decision(
        False, f"kept the champion: the challenger's lead is {lead}, not clearly above {100 * min_gain:g} points"
    )
