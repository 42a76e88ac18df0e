"""What a run leaves in Prefect for people: the leaderboard, the decision with every check, the state of the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from components import jsonfile, paths


def results(source: Path) -> None:
    """The leaderboard of the workspace that was run, and where its report lies."""
    rows = jsonfile.read(source / paths.LEADERBOARD)
    create_table_artifact(
        [
            {
                "strategy": f"{row['strategy']} (chosen)" if row["chosen"] else row["strategy"],
                "needs": ", ".join(row["needs"]),
                "validation": _accuracy(row["val"]),
                "test": _accuracy(row["test"]),
                "ms": _rounded(row["latency_ms"]),
                "MiB": _rounded(row["size_mib"]),
            }
            for row in rows
        ],
        key="leaderboard",
        description=jsonfile.read(source / paths.EVALUATION)["verdict"],
    )
    report = (source / paths.REPORT).resolve()
    create_link_artifact(link=report.as_uri(), link_text=str(report), key="report", description="The page of this run")


def decision(line: Mapping[str, Any]) -> None:
    """A line of the decision log."""
    create_markdown_artifact(decision_text(line), key="decision", description=line["reason"])


def decision_text(line: Mapping[str, Any]) -> str:
    """The same as Markdown, with every check that was made."""
    before = line.get("champion_before")
    champion = f"{before['strategy']} (version {before['version']})" if before else "none"
    head = [
        f"## {line['strategy']} (version {line['version']}): {line['decision']}",
        f"{line['reason']}. Decided by {line['by']}. Champion before: {champion}.",
    ]
    return "\n\n".join([*head, checks(line["checks"])])


def checks(made: Sequence[Mapping[str, Any]]) -> str:
    """The checks of a decision as a table of Markdown."""
    if not made:
        return "No check was made."
    rows = [f"| {check['name']} | {_verdict(check)} | {_cell(check['sentence'])} |" for check in made]
    return "\n".join(["| check | | what was found |", "| --- | --- | --- |", *rows])


def listed(made: Sequence[Mapping[str, Any]]) -> str:
    """The same as a list, which a narrow form does not cut off."""
    return "\n".join(f"- **{check['name']}** ({_verdict(check)}): {check['sentence']}" for check in made)


def drift(last: Mapping[str, Any], retraining: str) -> None:
    """The last check of the images that came in, and what follows from it."""
    create_markdown_artifact(drift_text(last, retraining), key="drift", description=last["sentence"])


def drift_text(last: Mapping[str, Any], retraining: str) -> str:
    """The same as Markdown, with every test."""
    parts = [f"## {last['sentence']}", f"{retraining} Page: `{last['page']}`"]
    if last["tests"]:
        rows = [
            f"| {test['name']} | {test['window']} | {test['p_adjusted']:.2g} | "
            f"{'**drifted**' if test['drifted'] else 'as usual'} |"
            for test in last["tests"]
        ]
        parts.append("\n".join(["| test | last images | p, corrected | |", "| --- | --- | --- | --- |", *rows]))
    return "\n\n".join(parts)


def _accuracy(scores: Mapping[str, Any]) -> str:
    return f"{100 * scores['accuracy']:.1f} % ({100 * scores['low']:.1f} to {100 * scores['high']:.1f})"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _verdict(check: Mapping[str, Any]) -> str:
    return "ok" if check["passed"] else "**failed**" if check["decides"] else "noted"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
