"""What the data looks like: how many images of each class there are in each part, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping

from components.reporting import charts
from components.reporting.page import Figure

DRAWN = 30
"""Classes with a bar: of more, the largest and the smallest halves of this."""
PARTS = {
    "train_labelled": "train, labelled",
    "train_unlabelled": "train, without a label",
    "val": "validation",
    "test": "test",
}


def balance(domain: str, content: Mapping) -> Figure:
    """Images of each class by part."""
    counts = {}
    for name, split in content["classes"].items():
        labelled = split["train_labelled"]
        parts = {**split, "train_unlabelled": max(0, split["train"] - labelled)}
        counts[name] = [parts[part] for part in PARTS]
    names = list(counts)
    some = len(names) > DRAWN
    if some:
        ranked = sorted(names, key=lambda name: (-sum(counts[name]), name))
        names = ranked[: DRAWN // 2] + ranked[-DRAWN // 2 :]
    title = f"Images of the {domain} by class and part"
    finding = (
        f"{content['images']} images of {len(counts)} classes; the largest class has {content['imbalance']:.2f} times "
        "the images of the smallest."
    )
    if some:
        finding += f" Drawn are the {DRAWN // 2} largest and the {DRAWN // 2} smallest."
    labels = list(PARTS.values())
    chart = charts.stacked(
        [{"name": name, "counts": counts[name]} for name in names],
        labels,
        x_label="images",
        title=title,
        description=finding,
    )
    rows = [(name, *map(str, row), str(sum(row))) for name, row in counts.items()]
    return Figure(chart, title, finding, ("class", *labels, "all"), rows)
