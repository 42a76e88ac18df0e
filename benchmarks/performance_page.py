"""The measured parts of docs/performance.md: each stands between two marks and is replaced by whoever measured it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs/performance.md"
END = "<!-- /measured -->"


def replace(name: str, content: str, page: Path = PAGE) -> None:
    """Puts `content` into the place called `name`, which the page must have once."""
    begin = f"<!-- measured: {name} -->"
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(END)}", re.DOTALL)
    replaced, count = pattern.subn(lambda _: f"{begin}\n{content}\n{END}", text)
    if count != 1:
        raise SystemExit(f"{page.name} must hold {begin} … {END} once")
    page.write_text(replaced, encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown: the first column to the left, the others to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
