"""What commands print on: as wide as the terminal, and 100 columns where there is none."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 100


def console() -> Console:
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=WIDTH, highlight=False)


def grid(title: str, first: str, *others: str, folded: tuple[str, ...] = (), wide: tuple[str, ...] = ()) -> Table:
    """A table of figures: its first column to the left, the `others` to the right on one line each, but for those that
    are text and may be `folded` and those whose figures are too `wide` to stand on one."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column(first, no_wrap=True)
    for heading in others:
        if heading in folded:
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=heading not in wide)
    return table


def milliseconds(value: float) -> str:
    """Three digits."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"
