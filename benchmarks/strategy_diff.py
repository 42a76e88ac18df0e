"""Writes into CONTRIBUTING.md what adding a strategy takes, out of one that was added: `python
benchmarks/strategy_diff.py`. A test holds the page against the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
NAME = "bitfit"
MARKS = re.compile(r"(<!-- diff: benchmarks/strategy_diff.py -->\n).*?(<!-- /diff -->)", re.DOTALL)


def diff() -> str:
    """The two changes as git would show them."""
    file = f"components/strategies/{NAME}.py"
    added = (ROOT / file).read_text(encoding="utf-8").splitlines()
    catalogue = "components/strategies/catalogue.py"
    lines = (ROOT / catalogue).read_text(encoding="utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f'    "{NAME}": Entry('))
    return "\n".join(
        [
            "```diff",
            f"--- a/{catalogue}",
            f"+++ b/{catalogue}",
            f"@@ -{at},2 +{at},3 @@ STRATEGIES = {{",
            f" {lines[at - 1]}",
            f"+{lines[at]}",
            f" {lines[at + 1]}",
            "--- /dev/null",
            f"+++ b/{file}",
            f"@@ -0,0 +1,{len(added)} @@",
            *(f"+{line}" for line in added),
            "```",
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(
        MARKS.sub(lambda found: found[1] + diff() + found[2], PAGE.read_text(encoding="utf-8")), encoding="utf-8"
    )
