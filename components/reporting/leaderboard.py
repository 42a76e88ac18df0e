"""The leaderboard: what was found about every strategy in one row each, and as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

SHORT = {"target_labels": "labels", "descriptions": "descr."}
"""Needs as the table on a terminal names them: a hundred columns are not many."""
LONG_NAME = 23  # characters: a longer name goes on in the next line of its cell
WIDTH = 100  # columns
HARM = "(harm)"
COLUMNS = ("strategy", "needs", "val", "test", "interval", "tie", "ECE", "train")
RECENT = "recent"
"""Between needs and val, where there are recent images: agreement on them, which chooses then."""


def rows(
    evaluation: Mapping, timings: Mapping[str, Mapping], speeds: Mapping[str, Mapping], sizes: Mapping[str, float]
) -> list[dict]:
    """Best first. `val` and `test` are the evaluation's scores; `speeds` are benchmark.json's `strategies`, and `sizes`
    the MiB of the weights of those that it lacks. What was not measured is None."""
    return [
        {
            "strategy": row["strategy"],
            "family": row["family"],
            "needs": row["needs"],
            **({"recent": row["recent"]} if "recent" in row else {}),
            "val": row["val"],
            "test": row["test"],
            "letters": row["letters"],
            "tied_with_first": row["tied_with_first"],
            "worst_class": row["worst_class"],
            "train_time_s": timings[row["strategy"]]["train_time_s"],
            "latency_ms": speeds.get(row["strategy"], {}).get("latency_ms"),
            "size_mib": speeds.get(row["strategy"], {}).get("size_mib", sizes.get(row["strategy"])),
            "parameters": row["parameters"],
            "seeds": row["seeds"],
            "negative_transfer": row["negative_transfer"] is not None and row["negative_transfer"]["real"],
            "chosen": row["strategy"] == evaluation["chosen"],
        }
        for row in evaluation["strategies"]
    ]


def table(leaderboard: Sequence[Mapping], failed: Sequence[Mapping] = ()) -> Table:
    """At most 100 columns wide; what it leaves out is in the report. `failed`: the evaluation's list of that name."""
    recent = any(RECENT in row for row in leaderboard)
    columns = (*COLUMNS[:2], RECENT, *COLUMNS[2:]) if recent else COLUMNS
    cells = [_cells(row) for row in leaderboard]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    widths[0] = min(widths[0], LONG_NAME)
    widths[1] = min(widths[1], WIDTH - 1 - 3 * len(columns) - sum(widths) + widths[1])  # what the others leave
    choosing = "agreement on recent images" if recent else "validation"
    grid = Table(title=f"Leaderboard: {choosing} chooses, test reports", title_justify="left")
    for heading, width in zip(columns, widths, strict=True):
        if heading in ("strategy", "needs"):  # may be long: they fold, the numbers stay whole
            grid.add_column(heading, width=width, overflow="fold")
        else:
            grid.add_column(heading, width=width, no_wrap=True, justify="center" if heading == "tie" else "right")
    for row, (name, *others) in zip(leaderboard, cells, strict=True):
        shown = Text(name, style="bold" if row["chosen"] else "")
        shown.highlight_words([HARM], style="red")
        grid.add_row(shown, *others)
    grid.caption = Text("\n".join(_notes(leaderboard, failed)))
    grid.caption_justify = "left"
    return grid


def _cells(row: Mapping) -> list[str]:
    val, test, seconds = row["val"], row["test"], row["train_time_s"]
    return [
        row["strategy"] + f" {HARM}" * row["negative_transfer"],
        ", ".join(SHORT.get(need, need) for need in row["needs"]),
        *([f"{row[RECENT]['agreement']:.1%}"] if RECENT in row else []),
        f"{val['accuracy']:.1%}",
        f"{test['accuracy']:.1%}",
        f"{100 * test['low']:.1f} - {100 * test['high']:.1f}",
        "=" if row["tied_with_first"] and not row["chosen"] else "",
        f"{test['ece_calibrated']:.3f}",
        f"{seconds:.{0 if seconds >= 100 else 1}f} s",
    ]


def _notes(leaderboard: Sequence[Mapping], failed: Sequence[Mapping]) -> list[str]:
    """What the marks mean, and what has no column."""
    chosen = next((row["strategy"] for row in leaderboard if row["chosen"]), None)
    ties = [row["strategy"] for row in leaderboard if row["tied_with_first"] and not row["chosen"]]
    harmed = [row["strategy"] for row in leaderboard if row["negative_transfer"]]
    single = [row["strategy"] for row in leaderboard if row["seeds"] == 1]
    collapsed = [row["strategy"] for row in leaderboard if RECENT in row and row[RECENT]["collapsed"]]
    notes = []
    if collapsed:
        notes.append(f"answers few classes of the recent images, so it is shut out: {', '.join(collapsed)}")
    if ties:
        notes.append(f"=: no real lead of {chosen} over it on these test images")
    if harmed:
        notes.append(f"harm: negative transfer, worse than using no target image at all: {', '.join(harmed)}")
    if single:
        named = "every strategy" if len(single) == len(leaderboard) else ", ".join(single)
        notes.append(f"one seed only, so no spread between trainings is known: {named}")
    notes += [f"failed: {entry['strategy']}: {entry['reason']}" for entry in failed]
    return notes
