"""The section of a model card that tells how a version stood beside the champion when it was decided about: the figures
of both, and every check, passed or failed, with its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def beside_the_champion(checks: Sequence[Mapping], evidence: Mapping | None) -> str:
    """Markdown. `evidence`: the figures of both, or None where none could be had; `checks`: what was made of them."""
    lines = []
    if evidence is not None:
        told = f"Measured on {evidence['images']:,} test images and {evidence['machine']}"
        if evidence["champion"] is None:
            lines += [f"{told}; there was no champion to compare with.", ""]
        else:
            lines += [
                f"{told}, in the code that serves, both in one run.",
                "",
                f"- this version: {_candidate(evidence['challenger'])}",
                f"- the champion then, `{evidence['champion']['strategy']}`: {_candidate(evidence['champion'])}",
            ]
    for check in checks:
        outcome = "passed" if check["passed"] else "failed"
        lines.append(f"- {check['name']}, {outcome if check['decides'] else f'{outcome}, not asked for'}: "
                     f"{check['sentence']}")  # fmt: skip
    return "\n".join(["## Beside the champion", "", *lines])


def _candidate(found: Mapping) -> str:
    latency = "" if found["latency_ms"] is None else f", {found['latency_ms']:.2f} ms for one image"
    return (
        f"{found['accuracy']:.1%} right, calibration error {found['ece']:.3f}{latency} (`{found['route']}`), "
        f"{found['size_mib']:.2f} MiB"
    )
