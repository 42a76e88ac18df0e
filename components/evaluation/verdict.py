"""The comparison in two sentences, for a reader in a hurry; they say no more than the numbers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.evaluation.agreement import Judgement
from components.evaluation.comparison import BASELINE, Comparison

NAMED = 3
"""How many of those that share the first place are named; the others are counted."""


def verdict(comparison: Comparison, seeds: int, transfer: Mapping) -> str:
    """Which strategy won and whether that is clear; then whether transfer beat training from scratch."""
    chosen = comparison.ranked[0]
    test = comparison.scores[chosen]["test"]
    trained = f"mean of {seeds} seeds" if seeds > 1 else "one seed, so how much trainings differ is unknown"
    where = "the validation images" if comparison.recent is None else _recent(chosen, comparison.recent)
    first = (
        f"{chosen} was chosen on {where} and answers {test['accuracy']:.1%} of the test images correctly "
        f"({test['low']:.1%} to {test['high']:.1%}, {trained})"
    )
    # The comparison with the baseline was planned, and the second sentence is about it: it needs no correction.
    told_apart = {transfer["strategy"], transfer["over"]} if transfer["finding"] in ("helps", "harms") else set()
    tied = [name for name in comparison.ranked[1:] if comparison.tied_with_first(name) and {chosen, name} != told_apart]
    if tied:
        first += f", but cannot be told apart from {_listed(tied)}"
    ahead = [name for name in comparison.ranked[1:] if _is_ahead(comparison.pair(name, chosen))]
    if ahead:
        ranking = "validation" if comparison.recent is None else "agreement on the recent ones"
        first += f"; {_listed(ahead)}, which {ranking} ranked lower, did better on the test images"
    if comparison.recent is None:
        return f"{first}. {transfer['sentence']}"
    known = [] if transfer["finding"] == "unknown" else [transfer["sentence"]]
    return " ".join([f"{first}.", *_warnings(comparison.recent), *known])


def transfer(comparison: Comparison, kinds: Mapping[str, str], failed: Mapping[str, str], confidence: float) -> dict:
    """Did transfer beat training from scratch?

    `kinds`: name -> strategy of the catalogue, of those that were trained and, in `failed`, of the others. The strategy
    that validation chose, or the best transfer where that is training from scratch itself, against training from
    scratch on the test images. This one comparison was planned before any number was seen, so it is not corrected for
    the others; it shows where the interval excludes zero and the test is below its level, both.
    """
    chosen = comparison.ranked[0]
    baseline = next((name for name in comparison.ranked if kinds[name] == BASELINE), None)
    best = next((name for name in comparison.ranked if kinds[name] != BASELINE), None)
    if baseline is None or best is None:
        why = f"{BASELINE} does not compete"
        if baseline is None and BASELINE in failed.values():
            why = f"{next(name for name, kind in failed.items() if kind == BASELINE)} failed"
        elif best is None:
            why = "no transfer competes" if set(failed.values()) <= {BASELINE} else "every transfer failed"
        return {
            "finding": "unknown",
            "sentence": f"Whether transfer helps is unknown: {why}.",
            "strategy": best,
            "over": baseline,
            **dict.fromkeys(("difference", "low", "high", "p")),
        }
    pair = comparison.pair(best, baseline)
    clear = pair["p"] < 1 - confidence
    finding = "helps" if clear and pair["low"] > 0 else "harms" if clear and pair["high"] < 0 else "no evidence"
    ranking = "validation" if comparison.recent is None else "agreement"
    return {
        "finding": finding,
        "sentence": _sentence(finding, pair, "" if best == chosen else ranking),
        "strategy": best,
        "over": baseline,
        **{key: pair[key] for key in ("difference", "low", "high", "p")},
    }


def _recent(chosen: str, recent: Judgement) -> str:
    """The images that chose, and what they say of the chosen one."""
    standing, few = recent.standings[chosen], recent.labelled < recent.images
    labelled = f"{recent.labelled or 'none'} of them labelled" if few else "all labelled"
    does = "decides as the other strategies do on" if few else "is right on"
    value, low, high = standing.agreement
    return f"{recent.images} recent images, {labelled}, where it {does} {value:.1%} ({low:.1%} to {high:.1%}),"


def _warnings(recent: Judgement) -> list[str]:
    """What agreement cannot be trusted with."""
    if recent.all_collapsed:
        return [
            "Beware: every strategy answers few of the classes only, so either all of them fail on the recent images, "
            "or these are of few classes; label some to know."
        ]
    if recent.collapsed:
        return [f"Shut out, for answering few of the classes only: {_listed(recent.collapsed)}."]
    return []


def _is_ahead(pair: Mapping) -> bool:
    return pair["real"] and pair["difference"] > 0


def _sentence(finding: str, pair: Mapping, ranking: str) -> str:
    """`ranking`: by what the best transfer is the best, where it is not the chosen one."""
    points = f"{_signed(pair['difference'])} points ({_signed(pair['low'])} to {_signed(pair['high'])})"
    best = f"{pair['strategy']}, the best transfer by {ranking}," if ranking else pair["strategy"]
    where = f"the difference to training from scratch is {points} on the same test images"
    if finding == "helps":
        return f"Transfer helps: {best} beats training from scratch by {points} on the same test images."
    if finding == "harms":
        return f"Transfer harms: for {best.rstrip(',')}, {where}."
    return f"There is no evidence that transfer helps: for {best.rstrip(',')}, {where}."


def _signed(share: float) -> str:
    """In percentage points; with one digit more where that shows on which side of zero it lies."""
    return f"{100 * share:+.{1 if abs(share) >= 0.0005 else 2}f}"


def _listed(names: Sequence[str]) -> str:
    """a · a and b · a, b and c · a, b, c and 2 others"""
    more = len(names) - NAMED
    parts = [*names[:NAMED], f"{more} {'others' if more > 1 else 'other'}"] if more > 0 else list(names)
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
