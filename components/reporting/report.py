"""The report: everything that a run found out, on one page for the manager and the engineer."""

from __future__ import annotations

from collections.abc import Mapping

from components.reporting import (
    competitors,
    data_evidence,
    histories,
    page,
    pictures,
    recents,
    routes,
    thumbnails,
    verdicts,
    winner,
)
from components.reporting.evidence import Evidence

FINDINGS = {
    "helps": ("good", "Transfer helps"),
    "no evidence": ("", "No evidence that transfer helps"),
    "harms": ("bad", "Transfer harms"),
    "unknown": ("", "Nothing to compare transfer with"),
}
ADAPTED = ("", "Adapted to recent images")
"""The badge of a run for recent images, in which training from scratch rarely competes."""
"""What the evaluation found about transfer -> style and words of the badge."""
OPEN_CURVES, FOLDED_FROM = 3, 7
"""Strategies whose learning curves are open at once; those of the others unfold, where there are many."""
CONTENTS = {
    "verdict": "Verdict",
    "leaderboard": "Leaderboard",
    "recent": "Recent images",
    "leads": "Real leads",
    "tradeoff": "Accuracy and latency",
    "winner": "The chosen model",
    "mistakes": "Mistakes",
    "training": "Learning curves",
    "features": "Features",
    "data": "Data",
    "routes": "Precisions and providers",
    "lineage": "Lineage",
}


def render(evidence: Evidence) -> str:
    """The page's text."""
    chosen, recent = evidence.chosen, recents.section(evidence)
    finding = evidence.evaluation["transfer"]["finding"]
    return page.render(
        "report.html.j2",
        contents={key: title for key, title in CONTENTS.items() if key != "recent" or recent is not None},
        recent=recent,
        evaluation=evidence.evaluation,
        leaderboard=evidence.leaderboard,
        benchmark=evidence.benchmark,
        bundle=evidence.bundle,
        audit=evidence.audit,
        explanations=evidence.explanations,
        chosen=chosen,
        classes=evidence.classes,
        finding=ADAPTED if recent is not None and finding == "unknown" else FINDINGS[finding],
        own_speed=verdicts.single(evidence.benchmark, evidence.benchmark["fastest"]),
        accuracy_bars=competitors.accuracy_bars(evidence.leaderboard),
        leads=competitors.leads(evidence.evaluation),
        all_pairs=competitors.all_pairs(evidence.evaluation),
        tradeoff=competitors.tradeoff(evidence),
        confusion=winner.confusion(chosen, evidence.classes),
        reliability=winner.reliability(chosen),
        per_class=winner.per_class(chosen),
        selective=winner.selective(chosen),
        slices=winner.slices(chosen),
        mistakes=pictures.mistakes(evidence),
        explained=pictures.explained(evidence),
        features=pictures.features(evidence),
        curves=histories.curves(evidence),
        open_curves=OPEN_CURVES if len(evidence.leaderboard) >= FOLDED_FROM else FOLDED_FROM,
        balance=[
            data_evidence.balance(domain, content)
            for domain, content in evidence.audit["domains"].items()
            if content["imbalance"] is not None  # of images that nobody has labelled there is nothing to draw
        ],
        near_duplicates=pictures.near_duplicates(evidence),
        near_duplicates_found=_count(evidence.audit["problems"], "near_duplicates"),
        suspects=pictures.suspects(evidence),
        routes=routes.routes(evidence.benchmark, evidence.bundle),
        routes_chart=routes.chart(evidence),
        timed=routes.measurements(evidence.benchmark),
        smooth=max(evidence.pixels["target"].shape[1:3]) > thumbnails.SMALL,
    )


def _count(problems: Mapping, kind: str) -> int:
    return sum(len(found.get(kind, [])) for found in problems.values())
