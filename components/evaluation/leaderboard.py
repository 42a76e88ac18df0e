"""The leaderboard: what was found about every strategy in one row each, and as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

SHORT = {"target_labels": "labels", "descriptions": "descr."}
"""Needs as the table on a terminal names them: a hundred columns are not many."""
NEGATIVE = " [red](harm)[/]"
"""Marks negative transfer."""
LONG_NAME = 23  # characters: a longer name goes on in the next line of its cell


def rows(evaluation: Mapping, timings: Mapping[str, Mapping]) -> list[dict]:
    """Best first. `val` and `test` hold accuracy with the bounds of its interval, macro-F1, ECE and log loss."""
    return [
        {
            "strategy": row["strategy"],
            "family": row["family"],
            "needs": row["needs"],
            "val": row["val"],
            "test": row["test"],
            "train_time_s": timings[row["strategy"]]["train_time_s"],
            "parameters": row["parameters"],
            "seeds": row["seeds"],
            "negative_transfer": row["negative_transfer"] is not None,
            "chosen": row["strategy"] == evaluation["chosen"],
        }
        for row in evaluation["strategies"]
    ]


def table(leaderboard: list[dict]) -> Table:
    """At most 100 columns wide; macro-F1 is in the report."""
    grid = Table(title="Leaderboard: validation chooses, test reports", title_justify="left", expand=False)
    for heading, justify in (
        ("strategy", "left"),
        ("needs", "left"),
        ("val", "right"),
        ("test", "right"),
        ("interval", "right"),
        ("ECE", "right"),
        ("train", "right"),
    ):
        names = heading in ("strategy", "needs")  # may be long: they fold, the numbers stay whole
        wide = max((len(row["strategy"]) for row in leaderboard), default=0) if heading == "strategy" else 0
        grid.add_column(
            heading,
            justify=justify,  # type: ignore[arg-type]
            min_width=min(wide, LONG_NAME) or None,
            no_wrap=not names,
            overflow="fold" if names else "ellipsis",
        )
    for row in leaderboard:
        val, test = row["val"], row["test"]
        grid.add_row(
            f"[bold]{row['strategy']}[/]" if row["chosen"] else row["strategy"] + NEGATIVE * row["negative_transfer"],
            ", ".join(SHORT.get(need, need) for need in row["needs"]),
            f"{val['accuracy']:.1%}",
            f"{test['accuracy']:.1%}",
            f"{100 * test['low']:.1f} - {100 * test['high']:.1f}",
            f"{test['ece']:.3f}",
            f"{row['train_time_s']:.{0 if row['train_time_s'] >= 100 else 1}f} s",
        )
    harmed = [row["strategy"] for row in leaderboard if row["negative_transfer"]]
    if harmed:
        grid.caption = f"harm: negative transfer, worse than using no target image at all: {', '.join(harmed)}"
        grid.caption_justify = "left"
    return grid
