"""Rewrites a page's result table from what the last run left in reports/.

make run && python benchmarks/readme_table.py
make run STRATEGIES=all && python benchmarks/readme_table.py docs/strategies.md
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: benchmarks/readme_table.py -->", "<!-- /results -->"


def table() -> str:
    board = json.loads((ROOT / "reports/leaderboard.json").read_text(encoding="utf-8"))
    evaluation = json.loads((ROOT / "reports/evaluation.json").read_text(encoding="utf-8"))
    machine = json.loads((ROOT / "reports/benchmark.json").read_text(encoding="utf-8"))["machine"]
    lines = [
        "| strategy | needs | val | test | 95 % interval | tie | ECE | training |",
        "|---|---|--:|--:|--:|:-:|--:|--:|",
    ]
    for row in board:
        test = row["test"]
        lines.append(
            f"| `{row['strategy']}` | {', '.join(row['needs']).replace('_', ' ')} | {row['val']['accuracy']:.1%} "
            f"| {test['accuracy']:.1%} | {test['low']:.1%} to {test['high']:.1%} "
            f"| {'=' if row['tied_with_first'] and not row['chosen'] else ''} | {test['ece_calibrated']:.3f} "
            f"| {row['train_time_s']:.0f} s |"
        )
    images = evaluation["images"]
    note = f"{evaluation['verdict']} ({images['val']} validation and {images['test']} test images; {machine}.)"
    return "\n".join([*lines, "", note])


def main() -> None:
    path = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "README.md")
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    replaced, count = pattern.subn(lambda _: f"{BEGIN}\n{table()}\n{END}", text)
    if count != 1:
        raise SystemExit(f"{path.name} must hold {BEGIN} and {END} once")
    path.write_text(replaced, encoding="utf-8")


if __name__ == "__main__":
    main()
