"""report: everything found out so far -> leaderboard.json and index.html. Imports no torch."""

from __future__ import annotations

from components import jsonfile, paths, tensorfile
from components.data import prepared
from components.deployment import bundle
from components.reporting import leaderboard
from components.reporting.evidence import Evidence
from components.reporting.report import render
from components.stages.command import main, say


def report() -> None:
    """Joins the deterministic results with the measured times, and shows them."""
    evaluation, benchmark = jsonfile.read(paths.EVALUATION), jsonfile.read(paths.BENCHMARK)
    names = [row["strategy"] for row in evaluation["strategies"]]
    rows = leaderboard.rows(
        evaluation,
        timings={name: jsonfile.read(paths.TIMINGS / f"{name}.json") for name in names},
        speeds=benchmark["strategies"],
        sizes={name: (paths.MODELS / name / "model.safetensors").stat().st_size / 2**20 for name in names},
    )
    page = render(
        Evidence(
            evaluation=evaluation,
            leaderboard=rows,
            benchmark=benchmark,
            bundle=jsonfile.read(paths.BUNDLE / bundle.FILE),
            audit=jsonfile.read(paths.AUDIT),
            explanations=jsonfile.read(paths.EXPLANATIONS / "explanations.json"),
            heat=tensorfile.load(paths.EXPLANATIONS / "explanations.safetensors"),
            histories={name: jsonfile.read_lines(paths.MODELS / name / "history.jsonl") for name in names},
            best_seeds={name: jsonfile.read(paths.MODELS / name / "model.json")["best_seed"] for name in names},
            pixels={name: domain.pixels for name, domain in prepared.read(paths.PREPARED).domains.items()},
        )
    )
    jsonfile.write(paths.LEADERBOARD, rows)
    jsonfile.write_text(paths.REPORT, page)
    say(f"{paths.REPORT}: {len(rows)} strategies, {len(page.encode()) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(report)
