"""Backbones beside one another for people: a table for a terminal, and a page with the picture, its numbers and what
follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from rich.table import Table
from rich.text import Text

from components.reporting import page, scatter
from components.reporting.page import Figure, milliseconds, percent, points, si

COLUMNS = ("backbone", "val %", "interval", "LogME", "ms", "img/s", "params")


def table(found: Mapping) -> Table:
    """At most 100 columns wide, the most accurate first; those that nothing beats in both accuracy and time are
    strong."""
    grid = Table(title="Backbones without training", title_justify="left")
    for heading in COLUMNS:
        grid.add_column(heading, justify="left" if heading == "backbone" else "right", no_wrap=heading != "backbone")
    for row in found["backbones"]:
        name, *cells = _cells(row, found["batch"])
        grid.add_row(Text(name, style="bold" if row["front"] else ""), *cells)
    return grid


def _cells(row: Mapping, batch: int) -> list[str]:
    val, latency = row["val"], row["latency"]
    return [
        row["label"],
        percent(val["accuracy"]),
        f"{percent(val['low'])} to {percent(val['high'])}",
        f"{row['log_me']:.3f}",
        milliseconds(latency["1"]["latency_ms"]),
        f"{latency[str(batch)]['images_per_s']:.0f}",
        si(row["parameters"]),
    ]


def verdict(found: Mapping) -> list[str]:
    """What follows, one sentence after the other."""
    rows: Sequence[Mapping[str, Any]] = found["backbones"]
    best, front = rows[0], [row["label"] for row in rows if row["front"]]
    asked = f"the {found['images']['val']} validation images"
    sentences = [f"{best['label']} tells the classes apart best: {_per_cent(best)} of {asked}."]
    if len(rows) > 1:
        sentences.append(
            f"Nothing is both faster and more accurate than {_listed(front, 'or')}."
            if len(front) > 1
            else "None of the others is faster."
        )
    for row in rows[1:]:
        if not row["front"]:
            continue
        low, high = row["behind"]["low"], row["behind"]["high"]
        words = (
            f"{row['label']} is {row['times_as_fast']['ratio']:.1f} times as fast and "
            f"{points(row['behind']['value']).removeprefix('+')} percentage points behind "
            f"({points(low)} to {points(high)})"
        )
        sentences.append(words + (", which these images cannot tell from chance." if low <= 0 else "."))
    by_evidence = max(rows, key=lambda row: row["log_me"])
    if by_evidence is not best:
        sentences.append(
            f"LogME, which looks at the training images alone, puts {by_evidence['label']} first "
            f"({by_evidence['log_me']:.3f} against {best['log_me']:.3f})."
        )
    enlarged = [row["label"] for row in rows if row["enlarged"]]
    if enlarged:
        sentences.append(
            f"Images are stored at {found['images']['size']} pixels, which is less than {_listed(enlarged, 'and')} "
            "would read: enlarged, they show these backbones less than they could see. A larger prepare.size says more."
        )
    return sentences


def conditions(found: Mapping) -> str:
    """What was asked and how, in a few sentences."""
    images = found["images"]
    sample = f"{images['train']} of {images['train_of']} labelled training images"
    if images["train"] == images["train_of"]:
        sample = f"all {images['train']} labelled training images"
    resized = any(row["resized"] for row in found["backbones"])
    return (
        f"A ridge probe learned from {sample} and answered {images['val']} of {images['val_of']} validation images, "
        f"with Wilson's {found['confidence']:.0%} interval; LogME is of the training images. Time is the median "
        f"{'CPU time' if found['clock'] == 'cpu' else 'latency'} of one image, and images per second of a batch of "
        f"{found['batch']}, by {found['engine']} on {found['device']} ({found['machine']})."
        + (
            f" Images stored at {images['size']} pixels were resized to what each backbone wants, which costs a little "
            "sharpness."
            if resized
            else ""
        )
    )


def advice(found: Mapping) -> str:
    """What to write into params.yaml, as it stands there."""
    return yaml.safe_dump(dict(found["advice"]), sort_keys=False).strip()


def render(found: Mapping) -> str:
    """The page, complete in itself."""
    figure, missing = _figure(found)
    return page.render(
        "backbones.html.j2",
        found=found,
        sentences=verdict(found),
        conditions=conditions(found),
        advice=advice(found),
        figure=figure,
        missing=missing,
    )


def _figure(found: Mapping) -> tuple[Figure, list[str]]:
    rows = found["backbones"]
    title = "Accuracy without training against the time for one image"
    drawn, missing = scatter.tradeoff(
        [
            {
                "name": row["label"],
                "x": row["latency"]["1"]["latency_ms"],
                "y": row["val"]["accuracy"],
                "low": row["val"]["low"],
                "high": row["val"]["high"],
                "chosen": index == 0,
                "other": False,
            }
            for index, row in enumerate(rows)
        ],
        x_label=f"median {'CPU time' if found['clock'] == 'cpu' else 'latency'} of one image in ms (logarithmic)",
        y_label="validation accuracy of the probe",
        title=title,
        description=verdict(found)[0],
        chosen="most accurate",
        other="",
    )
    columns = ("backbone", "validation %", "interval", "LogME", "ms", f"images/s, {found['batch']} at once",
               "parameters", "features", "leave-one-out %", "pixels", "weights", "on the front")  # fmt: skip
    numbers = [
        (
            *_cells(row, found["batch"]), str(row["features"]), percent(row["leave_one_out"]), str(row["input_size"]),
            row["weights"], "yes" if row["front"] else "",
        )
        for row in rows
    ]  # fmt: skip
    return Figure(drawn, title, "Vertical bars are intervals of the accuracy.", columns, numbers), missing


def _per_cent(row: Mapping) -> str:
    val = row["val"]
    return f"{percent(val['accuracy'])} % ({percent(val['low'])} to {percent(val['high'])})"


def _listed(names: Sequence[str], word: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
