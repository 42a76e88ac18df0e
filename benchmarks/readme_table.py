"""Rewrites a page's tables from what the last run left in reports/.

make run && python benchmarks/readme_table.py
make run STRATEGIES=all && python benchmarks/readme_table.py docs/strategies.md
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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


def routes() -> str:
    """Every admitted route of the bundle beside torch, on one thread or all, as `benchmark` measured them."""
    found = json.loads((ROOT / "reports/benchmark.json").read_text(encoding="utf-8"))
    admission = json.loads((ROOT / "bundle/bundle.json").read_text(encoding="utf-8"))["admission"]
    rows = {
        (row["route"], row["batch_size"]): row
        for row in (*found["measurements"], *found["references"])
        if row["from"] == "arrays"
    }
    one, many = (pick(size for _, size in rows) for pick in (min, max))
    lines = [
        f"| precision and provider | decisions as torch | test | batch {one}, CPU time | times torch "
        f"| batch {many}, images/s | times torch | file |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for route in dict.fromkeys(route for route, _ in rows):
        verdict = admission.get(route)
        cells = [f"`{route}`", f"{verdict['agreement']:.1%}" if verdict else "", f"{found['accuracy'][route]:.1%}"]
        for size in (one, many):
            row = rows[route, size]
            speed = row.get("over_torch")
            cells.append(f"{row['cpu_ms_per_image']:.2f} ms" if size == one else f"{row['images_per_s']:,.0f}")
            cells.append(f"{speed['ratio']:.1f}" if verdict and speed else "")
        cells.append(f"{rows[route, one]['size_mib']:.1f} MiB" if verdict else "")
        lines.append(f"| {' | '.join(cells)} |")
    threads = "one thread" if found["threads"] == 1 else f"{found['threads']} threads"
    return "\n".join([*lines, "", f"(The winner of the table above; {threads}, {found['machine']}.)"])


MARKED = {"results": table, "routes": routes}
"""Name of the marks in a page -> what stands between them. A page has the first, and may have the others."""


def main() -> None:
    path = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "README.md")
    text = path.read_text(encoding="utf-8")
    for name, make in MARKED.items():
        begin, end = f"<!-- {name}: benchmarks/readme_table.py -->", f"<!-- /{name} -->"
        if begin in text:
            pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
            text = pattern.sub(lambda _, begin=begin, end=end, make=make: f"{begin}\n{make()}\n{end}", text)
        elif name == "results":
            raise SystemExit(f"{path.name} must hold {begin} and {end}")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
