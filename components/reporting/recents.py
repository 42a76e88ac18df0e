"""Recent images on the page: how each strategy was judged on them, mostly without a label, and what to label first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.reporting import charts, competitors, pictures
from components.reporting.data_evidence import DRAWN
from components.reporting.evidence import Evidence
from components.reporting.page import Figure, percent


def section(evidence: Evidence) -> dict[str, Any] | None:
    """What the template shows; None where no images have come in of another kind than the test images."""
    told = evidence.evaluation.get("recent")
    if told is None:
        return None
    rows = [{"strategy": row["strategy"], **row["recent"]} for row in evidence.evaluation["strategies"]]
    marks = competitors.bars([(row["agreement"], row["low"], row["high"]) for row in rows])
    return {
        **told,
        "judged": list(zip(rows, marks, strict=True)),
        "figure": _answers(told),
        "images_in_doubt": [
            {
                **entry,
                "image": pictures.thumbnail(evidence, "recent", entry["row"]),
                "numbers": (entry["path"], entry["vote"], percent(entry["confidence"])),
            }
            for entry in told["doubtful"]
        ],
    }


def _answers(told: Mapping) -> Figure:
    """How many of the images the committee gives to each class."""
    counts = {name: round(share * told["images"]) for name, share in told["classes"].items()}
    shown = sorted(counts, key=lambda name: (-counts[name], name))[:DRAWN] if len(counts) > DRAWN else list(counts)
    title = "What the recent images are, by the votes"
    finding = (
        f"As diverse as {told['effective_classes']:.1f} classes of one size; the labelled training images are as "
        f"{told['expected_classes']:.1f}."
    )
    if len(shown) < len(counts):
        finding += f" Drawn are the {DRAWN} most frequent of {len(counts)}."
    chart = charts.stacked(
        [{"name": name, "counts": [counts[name]]} for name in shown],
        ["recent images"],
        x_label="images",
        title=title,
        description=finding,
    )
    rows = [(name, str(count), percent(told["classes"][name])) for name, count in counts.items()]
    return Figure(chart, title, finding, ("class", "images", "share %"), rows)
