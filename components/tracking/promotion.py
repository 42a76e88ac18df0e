"""Whether a challenger becomes champion: a pure rule over evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.evaluation.intervals import Interval


@dataclass(frozen=True)
class Decision:
    """`promoted`, and why, in a sentence."""

    promoted: bool
    reason: str


def decide(gain: Interval | None, *, min_gain: float, new_routes: Sequence[str] = ()) -> Decision:
    """`gain`: the challenger's lead in test accuracy over the champion on the same images; None when there is no
    champion. `new_routes`: those that the challenger has beyond the champion, where both hold the same model.

    The first model bootstraps. After that the whole interval must lie above `min_gain`: a lead that the test images
    cannot tell from chance changes nothing in production. The champion's own model, exported anew, can have no lead: it
    takes its place when it runs by further routes and is not clearly worse by the one that it is served by.
    """
    if gain is None:
        return Decision(True, "first champion: there was none to beat")
    lead = f"{100 * gain.value:+.2f} points on the same test images ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
    if gain.low > min_gain:
        return Decision(True, f"better than the champion by {lead}")
    if new_routes and gain.high >= 0:
        return Decision(True, f"the champion's own model, which now also runs as {', '.join(new_routes)}; {lead}")
    return Decision(
        False, f"kept the champion: the challenger's lead is {lead}, not clearly above {100 * min_gain:g} points"
    )
