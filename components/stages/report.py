"""report: everything found out so far -> leaderboard.json and index.html. Imports no torch."""

from __future__ import annotations

from components import jsonfile, paths
from components.deployment import bundle
from components.evaluation import leaderboard
from components.evaluation.report import render
from components.stages.command import main, say


def report() -> None:
    """Joins the deterministic results with the measured times."""
    evaluation = jsonfile.read(paths.EVALUATION)
    names = [row["strategy"] for row in evaluation["strategies"]]
    rows = leaderboard.rows(evaluation, {name: jsonfile.read(paths.TIMINGS / f"{name}.json") for name in names})
    page = render(
        evaluation,
        rows,
        benchmark=jsonfile.read(paths.BENCHMARK),
        bundle=jsonfile.read(paths.BUNDLE / bundle.FILE),
        problems=jsonfile.read(paths.PREPARED / "problems.json"),
    )
    jsonfile.write(paths.LEADERBOARD, rows)
    jsonfile.write_text(paths.REPORT, page)
    say(f"{paths.REPORT}: {len(rows)} strategies")


if __name__ == "__main__":
    main(report)
