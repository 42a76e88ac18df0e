"""What is shown as images: mistakes, explanations, features in the plane, near-duplicates and doubtful labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from components.reporting import scatter, thumbnails
from components.reporting.evidence import Evidence
from components.reporting.page import Figure, percent

DOMAINS = ("target", "source")
PAIRS, SUSPECTS = 24, 48
"""Images shown at most: more would make the page heavy, and audit.json has them all."""


def mistakes(evidence: Evidence) -> list[dict]:
    """The chosen model's wrong answers with an image each, in the order given: the most confident first."""
    return [
        {**entry, "image": thumbnail(evidence, "target", entry["row"]), "numbers": _answer(entry)}
        for entry in evidence.chosen["mistakes"]
    ]


def explained(evidence: Evidence) -> list[dict]:
    """The explained images with their heat maps laid over them."""
    if evidence.explanations["method"] is None:
        return []
    target = evidence.pixels["target"]
    return [
        {
            **entry,
            "image": thumbnail(evidence, "target", entry["row"]),
            "overlay": thumbnails.data_uri(thumbnails.overlay(target[entry["row"]], heat)),
            "numbers": _answer(entry),
        }
        for entry, heat in zip(evidence.explanations["images"], evidence.heat["cam"], strict=True)
    ]


def features(evidence: Evidence) -> list[Figure]:
    """Source and target features in the plane, one figure for each stage of adaptation."""
    figures = []
    for entry in evidence.explanations["embeddings"]:
        points, groups = evidence.heat[f"embedding/{entry['key']}"], evidence.heat["embedding/domain"]
        counts = {name: int(np.sum(groups == index)) for index, name in enumerate(DOMAINS)}
        finding = separation(entry["domain_accuracy"], compared=min(counts.values()) > 0)
        chart = scatter.plane(points, groups, DOMAINS, title=entry["title"], description=finding)
        told = "–" if entry["domain_accuracy"] is None else percent(entry["domain_accuracy"])
        rows = [(name, str(count), told) for name, count in counts.items() if count]
        columns = ("domain", "images drawn", "domains told apart %")
        figures.append(Figure(chart, entry["title"], f"{finding} ({entry['method']})", columns, rows))
    return figures


def separation(domain_accuracy: float | None, *, compared: bool) -> str:
    """How well a linear classifier tells the domains apart, in words; half of the answers are right by guessing.
    `compared`: whether images of both are there."""
    if domain_accuracy is None and compared:
        return "There are too few images to say how far the domains lie apart."
    if domain_accuracy is None:
        return "There are no source images to compare with."
    words = "the domains lie apart"
    if domain_accuracy < 0.6:
        words = "the domains are aligned"
    elif domain_accuracy < 0.8:
        words = "the domains overlap"
    return f"A linear classifier tells source from target in {percent(domain_accuracy)} % of cases: {words}."


def near_duplicates(evidence: Evidence) -> list[dict]:
    """Pairs of images that look alike, the most alike first; those across parts before those within one."""
    found = [entry for domain in evidence.audit["problems"].values() for entry in domain.get("near_duplicates", [])]
    found.sort(
        key=lambda entry: (not across(entry), -entry["similarity"], entry["kept"]["path"], entry["other"]["path"])
    )
    return [
        {
            **entry,
            "kept_image": thumbnail(evidence, entry["kept"]["domain"], entry["kept_row"]),
            "other_image": thumbnail(evidence, entry["other"]["domain"], entry["other_row"]),
            "numbers": (
                entry["kept"]["path"],
                entry["other"]["path"],
                f"{entry['kept']['split']}, {entry['other']['split']}",
                percent(entry["similarity"]),
            ),
        }
        for entry in found[:PAIRS]
    ]


def across(entry: Mapping) -> bool:
    """Whether a pair lies in two different parts of the data, so that one of them gives the other away."""
    return (entry["kept"]["domain"], entry["kept"]["split"]) != (entry["other"]["domain"], entry["other"]["split"])


def suspects(evidence: Evidence) -> Sequence[dict]:
    """The images whose labels are most likely wrong."""
    found = evidence.audit["label_suspects"]["suspects"]
    return [
        {
            **entry,
            "image": thumbnail(evidence, "target", entry["row"]),
            "numbers": (
                entry["path"],
                entry["split"],
                entry["label"],
                entry["suggestion"],
                f"{entry['given']:.3f}",
                f"{entry['suggested']:.3f}",
            ),
        }
        for entry in found[:SUSPECTS]
    ]


def thumbnail(evidence: Evidence, domain: str, row: int | None) -> str | None:
    """The data URI of a prepared image; None where the row is None, since it was not kept."""
    return None if row is None else thumbnails.data_uri(evidence.pixels[domain][row])


def _answer(entry: Mapping) -> tuple[str, ...]:
    return entry["path"], entry["label"], entry["answer"], percent(entry["confidence"])
