"""Whether a challenger becomes champion: a pure rule over evidence.

1. The first model bootstraps: it has to answer, and to decide as the trained model does, since nothing else is there
   to be held against.
2. The champion's own bundle takes its place again, whatever a clock says today: nothing would change.
3. The challenger must be what was aimed for. 'better': the whole interval of its lead on the same test images lies
   above `min_gain`, so a lead that these images cannot tell from chance changes nothing in production. 'as_good': the
   whole interval lies above minus `margin` (non-inferiority: Blackwelder, 1982, Controlled Clinical Trials 3), from a
   model that is `min_speed_up` times as fast. The champion's own model, exported anew, can have no lead: it takes its
   place when it runs by further routes and is not clearly worse by the one that it is served by.
4. A challenger that was adapted to recent images is for those: there its lead must lie above `min_gain`, by the votes
   of the strategies that it competed with. On the labelled test images, which are of the kind that comes in no longer,
   it may lose `max_known_loss` of accuracy. That limit stands in the place of those for classes and slices: they guard
   what is in production against a hidden loss, and what is in production fails on the images that come in. Where the
   champion was itself adapted, to earlier images, the same limit holds on those.
5. A champion that was adapted is not given up for a model that does not know those images, however good it is on the
   others.
6. Guards: no class or slice, calibration, latency, size and parity beyond their limits.

A class, a slice, the calibration and the champion's recent images fail only where the loss is larger than its limit
*and* more than chance: of so few images the one without the other is common among equals. Of the known images there are
enough for the loss itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from components.promotion.guards import Check, answers, given, guards, parity, points

if TYPE_CHECKING:
    from components.params import PromoteParams
    from components.promotion.evidence import Evidence, Recent

SHOWN = 3
"""Failed checks that a reason tells; `checks` has all of them."""


@dataclass(frozen=True)
class Decision:
    """`promoted`, and why, in a sentence; `checks`: everything that was looked at."""

    promoted: bool
    reason: str
    checks: tuple[Check, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"promoted": self.promoted, "reason": self.reason, "checks": [check.to_dict() for check in self.checks]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Decision:
        return cls(content["promoted"], content["reason"], tuple(Check(**check) for check in content["checks"]))


def decide(evidence: Evidence, limits: PromoteParams) -> Decision:
    """All checks are made and told, whichever of them decides."""
    sound = (answers(evidence), parity(evidence, limits))
    if evidence.champion is None:
        return _verdict(sound, "first champion: there was none to beat", otherwise="there is no champion, but still")
    if evidence.same_bundle:
        checks = (*_aim(evidence, limits)[0], *guards(evidence, limits), *sound)
        return Decision(True, "it is the champion's own bundle", tuple(replace(one, decides=False) for one in checks))
    aims, won = _aim(evidence, limits)
    return _verdict((*aims, *guards(evidence, limits), *sound), won, otherwise="kept the champion:")


def _verdict(checks: tuple[Check, ...], won: str, *, otherwise: str) -> Decision:
    failed = [check.sentence for check in checks if check.decides and not check.passed]
    if not failed:
        return Decision(True, won, checks)
    more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
    return Decision(False, f"{otherwise} {'; '.join(failed[:SHOWN])}{more}", checks)


def _aim(evidence: Evidence, limits: PromoteParams) -> tuple[tuple[Check, ...], str]:
    """What the challenger has to be, and what to say when it is."""
    recent = evidence.recent
    if recent is not None and recent.votes_from == "run":
        return _adapted(evidence, recent, limits)
    aims, won = _on_the_test_images(evidence, limits)
    if recent is not None:
        aims = (*aims, _still_knows(recent))
    return aims, won


def _on_the_test_images(evidence: Evidence, limits: PromoteParams) -> tuple[tuple[Check, ...], str]:
    lead = given(evidence.lead)
    told = f"{points(lead)} on the same {evidence.images:,} test images"
    if evidence.new_routes:
        routes = ", ".join(evidence.new_routes)
        check = Check(
            "lead", lead.high >= 0, lead.high, 0.0,
            f"the champion's own model, which now also runs as {routes}; its lead is {told}"
            + ("" if lead.high >= 0 else ", so it is clearly worse by the route that it would be served by"),
        )  # fmt: skip
        return (check,), f"the champion's own model, which now also runs as {routes}; {told}"
    if limits.aim == "better":
        above = lead.low > limits.min_gain
        sentence = (
            f"the challenger's lead is {told}, {'' if above else 'not '}clearly above {100 * limits.min_gain:g} points"
        )
        ahead = "better than the champion by" if lead.low > 0 else "as close to the champion as min_gain asks:"
        return (Check("lead", above, lead.low, limits.min_gain, sentence),), f"{ahead} {told}"
    above, speed_up = lead.low > -limits.margin, given(evidence.speed_up)
    fast = speed_up.value >= limits.min_speed_up and speed_up.low > 1
    times = f"{speed_up.value:.2f} ({speed_up.low:.2f} to {speed_up.high:.2f}) times as fast"
    checks = (
        Check(
            "lead", above, lead.low, -limits.margin,
            f"the challenger's lead is {told}, so a loss of {100 * limits.margin:g} points is "
            f"{'' if above else 'not '}excluded",
        ),
        Check(
            "speed_up", fast, speed_up.value, limits.min_speed_up,
            f"it is {times}, {limits.min_speed_up:g} and more than chance are asked for",
        ),
    )  # fmt: skip
    return checks, f"as good as the champion, {told}, and {times}"


def _adapted(evidence: Evidence, recent: Recent, limits: PromoteParams) -> tuple[tuple[Check, ...], str]:
    gain, lead = recent.lead, given(evidence.lead)
    above, loss = gain.low > limits.min_gain, 0.0 - lead.value
    by_vote = (
        f"answers {recent.challenger:.1%} of {recent.images:,} recent images as "
        f"{_judges(recent)}, the champion {recent.champion:.1%}: {points(gain)}"
    )
    known = f"on the {evidence.images:,} labelled test images the challenger's lead is {points(lead)}"
    checks = (
        Check(
            "recent", above, gain.low, limits.min_gain,
            f"the challenger {by_vote}, {'' if above else 'not '}clearly above {100 * limits.min_gain:g} points",
        ),
        Check(
            "known", loss <= limits.max_known_loss, loss, limits.max_known_loss,
            f"{known}, and a loss of {100 * limits.max_known_loss:g} is allowed",
        ),
        Check(
            "collapsed", not recent.collapsed, None, None,
            "the challenger answers far fewer classes on the recent images than there are, so agreement proves nothing"
            if recent.collapsed else "its answers on the recent images are of as many classes as are expected",
        ),
    )  # fmt: skip
    if evidence.earlier is not None:
        checks = (*checks, _remembers(evidence.earlier, limits))
    return checks, f"adapted: it {by_vote}; {known}"


def _remembers(earlier: Recent, limits: PromoteParams) -> Check:
    """Images came in like the champion's before they came in like the challenger's, and may again."""
    lead, limit = earlier.lead, limits.max_known_loss
    loss = 0.0 - lead.value
    sentence = (
        f"the challenger's lead on the {earlier.images:,} earlier images that the champion was adapted to is "
        f"{points(lead)}, and a loss of {100 * limit:g} is allowed"
    )
    if loss > limit and lead.high >= 0:
        sentence += ", but these are too few images to call it more than chance"
    return Check("earlier", loss <= limit or lead.high >= 0, loss, limit, sentence)


def _judges(recent: Recent) -> str:
    if recent.labelled == recent.images:
        return "they are labelled"
    others = "the other strategies vote"
    return f"{others}, or their labels say where there are any ({recent.labelled:,})" if recent.labelled else others


def _still_knows(recent: Recent) -> Check:
    lead = recent.lead
    told = f"the challenger's lead on the {recent.images:,} images that the champion was adapted to is {points(lead)}"
    passed = lead.high >= 0
    return Check(
        "recent", passed, lead.high, 0.0,
        f"{told}, not clearly a loss" if passed
        else f"the champion was adapted to images that this one does not know: {told}",
    )  # fmt: skip
