"""What `graft init` says of the data that it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from components.data.listing import Listing
from components.data.split import SPLITS
from components.strategies import catalogue
from graft.console import grid
from graft.initial import offers
from graft.initial.headers import Sample
from graft.initial.images import Found
from graft.initial.offers import Facts
from graft.initial.starting import Start

MANY = 12
"""Classes up to here are listed one by one; of more, the largest and the smallest few."""
ENDS = 4
FEW = 10
"""Labelled images of a class, below which its figures say little."""
IMBALANCE = 10


def describe(out: Console, role: str, found: Found, sample: Sample) -> None:
    """One domain's images: how they lie, how many there are of what, and what is wrong with them."""
    options, listed = found.options, found.listing
    where = options.manifest or options.folder
    how = "one table" if options.manifest else options.layout or "every image below it"
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    facts.add_row(role, str(where))
    facts.add_row("layout", how)
    if found.domains:
        chosen = options.domains or found.domains
        facts.add_row("domains", f"{', '.join(chosen)} (of {', '.join(found.domains)})")
    facts.add_row(
        "images", f"{len(listed.images):,}" + (f" of {len(listed.classes)} classes" if listed.classes else "")
    )
    if listed.tasks:
        facts.add_row("tasks", ", ".join(("label", *listed.tasks)))
    if listed.columns:
        facts.add_row("metadata", ", ".join(listed.columns))
    groups = {image.group for image in listed.images} - {None}
    if groups:
        whole = "" if listed.problems.get("torn_groups") else ", none of which is split across parts"
        facts.add_row("groups", f"{len(groups):,}{whole}")
    facts.add_row("files", _files(sample))
    out.print(facts)
    if listed.classes:
        out.print(Padding(_classes(listed), (0, 0, 0, 2)))
    for note in found.notes:
        out.print(Text(note))
    for problem in problems(listed, sample):
        out.print(Text(f"! {problem}", style="yellow"))
    out.print()


def _files(sample: Sample) -> str:
    """Formats and sizes of those that opened."""
    if not sample.opened:
        return f"none of {sample.looked} opened"
    formats = ", ".join(f"{count} {name}" for name, count in sample.formats.items())
    (left, width, right), (low, height, high) = sample.widths, sample.heights
    spread = "" if (left, low) == (right, high) else f" (from {left} × {low} to {right} × {high})"
    return f"{formats}, of {sample.looked} looked at; typically {width} × {height} pixels{spread}"


def _classes(listed: Listing) -> Table:
    """Images by class and, where the data says, part."""
    counts = Counter((image.class_name, image.part) for image in listed.images if image.class_name)
    parts = [part for part in (*SPLITS, None) if any(found == part for _, found in counts)]
    totals = Counter(image.class_name for image in listed.images if image.class_name)
    names = list(listed.classes)
    table = grid("", "class", *([part or "by content" for part in parts] if parts != [None] else []), "images")
    table.title = None
    if len(names) > MANY:
        ranked = sorted(names, key=lambda name: (-totals[name], name))
        names = [*ranked[:ENDS], "", *ranked[-ENDS:]]
    for name in names:
        if not name:
            table.add_row(f"… {len(listed.classes) - 2 * ENDS} more", *([""] * (len(table.columns) - 1)))
            continue
        by_part = [f"{counts[name, part]:,}" for part in parts] if parts != [None] else []
        table.add_row(Text(name), *by_part, f"{totals[name]:,}")
    return table


def problems(listed: Listing, sample: Sample) -> list[str]:
    """A line for each kind of thing that is wrong or may disappoint."""
    found = []
    for kind, entries in listed.problems.items():
        if entries:
            found.append(f"{len(entries)} {kind.replace('_', ' ')}, such as {_short(entries[0])}")
    if sample.unreadable:
        found.append(
            f"{len(sample.unreadable)} of {sample.looked} images looked at do not open, such as "
            f"{sample.unreadable[0]}; prepare leaves them out and lists them"
        )
    totals = Counter(image.class_name for image in listed.images if image.class_name)
    if not totals:
        return found
    few = [name for name, count in totals.items() if count < FEW]
    if few:
        least = min(few, key=lambda name: (totals[name], name))
        found.append(
            f"{len(few)} class{'es have' if len(few) > 1 else ' has'} fewer than {FEW} images, such as {least!r} with "
            f"{totals[least]}: every part needs one of each class, and so few say little"
        )
    (largest, most), (smallest, fewest) = totals.most_common()[0], totals.most_common()[-1]
    if most > IMBALANCE * fewest:
        found.append(
            f"{largest!r} has {most:,} images and {smallest!r} {fewest:,}: with train.class_weights: balanced, or "
            "train.sampler: balanced, small classes weigh as much as large ones"
        )
    return found


def _short(entry: object) -> str:
    text = str(entry)
    return text if len(text) <= 120 else f"{text[:117]}…"


def strategies(out: Console, entries: Iterable[str], facts: Facts, comparison: Iterable[str]) -> None:
    """How many strategies the data allow, which not and why, and who competes to begin with."""
    names = list(entries)
    missing: dict[str, list[str]] = {}
    for name in names:
        for need in offers.lacks(name, _given(name, facts), facts)[:1]:
            missing.setdefault(need, []).append(name)
    refused = sum(len(group) for group in missing.values())
    out.print(Text(f"{len(names) - refused} of {len(names)} strategies can be compared on these data."))
    for need, group in missing.items():
        out.print(Padding(Text(f"Not {', '.join(group)}: without {offers.MISSING[need]}."), (0, 0, 0, 2)))
    chosen = list(comparison)
    out.print(Text(f"To begin with: {', '.join(chosen)}." + (_light(facts) if facts.light else "")))
    out.print(Text("Others: graft run --strategies NAME,NAME. What each one is: docs/strategies.md."))
    out.print()


def _light(facts: Facts) -> str:
    return " There is no GPU here, so only what trains little of the backbone."


def _given(name: str, facts: Facts) -> dict:
    """Few-shot episodes can be drawn from the target where there is no source."""
    known = catalogue.hyper_parameters(name)
    return {key: "target" for key in ("episodes_from", "pairs_from") if key in known and not facts.source}


def backbone(out: Console, start: Start) -> None:
    chosen = f"{start.name}, weights {start.weights} ({start.note})"
    out.print(Text(f"Backbone: {chosen}. Images are stored at {start.size} pixels."))
    out.print()


def diff(out: Console, text: str) -> None:
    """A unified diff in its usual colours; nothing is folded or marked up."""
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in text.splitlines():
        out.print(Text(line, style=styles.get(line[:1], "")), soft_wrap=True)
    out.print()
