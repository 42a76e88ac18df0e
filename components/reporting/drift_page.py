"""The monitor's finding as a page: whether recent images are still such as the champion was tested with, and what says
so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluation.intervals import wilson
from components.reporting import charts, histograms, page, thumbnails
from components.reporting.page import Figure, p_value, percent

BINS = 10
"""Of the histogram of confidences."""
CLASSES = 20
"""Classes shown at most: those whose share has changed most."""
CHECKS = 60
"""Checks shown at most, the last ones."""
FLOOR = 1e-4
"""Least p that is drawn: what lies below it would squeeze all else together."""
NAMES = ("reference", "recent")


@dataclass(frozen=True)
class Answers:
    """Of some images: label [N] places in the classes, confidence [N]."""

    label: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class Moved:
    """A recent image, uint8 [H, W, 3], and one of the reference with the same answer, None where there is none."""

    path: str
    time: str
    class_name: str
    confidence: float
    score: float
    image: np.ndarray
    reference: np.ndarray | None


def render(
    check: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    *,
    tests: Mapping[str, str],
    alpha: float,
    windows: Sequence[int],
    classes: Sequence[str],
    reference: Answers,
    recent: Answers,
    moved: Sequence[Moved],
    facts: Sequence[tuple[str, str]],
) -> str:
    """The page, complete in itself.

    `check`: as in .graft/monitor/last.json; `history`: the checks of the same champion up to this one, in their order;
    `tests`: what each test's effect means; `windows`: the sizes that are asked for; `recent`: the largest window;
    `facts`: names and values of what was compared.
    """
    shown, left_out = _shown(reference.label, recent.label, len(classes))
    return page.render(
        "drift.html.j2",
        check=check,
        badge=_badge(check),
        retrain=_retrain(check["retrain"]),
        figures=list(_figures(check)),
        tests=tests,
        alpha=alpha,
        least=min(windows),
        largest=len(recent.label),
        past=_past(history, alpha),
        confidence=_confidence(reference.confidence, recent.confidence) if check["tests"] else None,
        classes=_classes(reference.label, recent.label, classes, shown) if check["tests"] else None,
        left_out=left_out,
        moved=[_picture(entry) for entry in moved],
        smooth=any(max(entry.image.shape) > thumbnails.SMALL for entry in moved),
        facts=facts,
    )


def _badge(check: Mapping) -> tuple[str, str]:
    """Its style and its words."""
    if not check["checked"]:
        return "", "not checked"
    return ("bad", "drift") if check["drift"] else ("good", "no drift")


def _retrain(retrain: Mapping) -> str:
    return f"{'It may start a retraining' if retrain['allowed'] else 'It starts no retraining'}: {retrain['reason']}."


def _figures(check: Mapping) -> list[tuple[str, str, str]]:
    """Name, value and what stands below it."""
    found = [("recent images", str(check["images"]), f"of bundle {check['bundle'][:8]}")]
    if check["tests"]:
        least = min(check["tests"], key=lambda test: test["p_adjusted"])
        largest = max(check["windows"])
        means = check["confidence"]
        found += [
            ("smallest adjusted p", p_value(least["p_adjusted"]), f"{least['name']}, last {least['window']}"),
            ("mean confidence", f"{percent(means['window'])} %", f"{percent(means['reference'])} % in the reference"),
        ]
        found += [
            ("answers moved", f"{percent(test['effect'])} %", f"to other classes, p {p_value(test['p_adjusted'])}")
            for test in check["tests"]
            if test["name"] == "classes" and test["window"] == largest
        ]
    return found


def _past(history: Sequence[Mapping], alpha: float) -> Figure | None:
    """The smallest adjusted p of each window, check by check; None where there is none before this one."""
    checks = [check for check in history if check["tests"]][-CHECKS:]
    if len(checks) < 2:
        return None
    sizes = sorted({test["window"] for check in checks for test in check["tests"]})
    series: list[dict] = []
    for size in sizes:
        least = {
            number: min(found)
            for number, check in enumerate(checks, 1)
            if (found := [test["p_adjusted"] for test in check["tests"] if test["window"] == size])
        }
        drawn = [max(FLOOR, p) for p in least.values()]
        series.append(_line(f"last {size} images", list(least), drawn, emphasis=True))
    series.append(_line(f"drift below {alpha:g}", [1, len(checks)], [alpha, alpha], emphasis=False))
    alarms = sum(check["drift"] for check in checks)
    title = "Smallest adjusted p of each check"
    finding = f"{alarms} of the last {len(checks)} checks found drift; the last check stands at the right."
    chart = charts.lines(
        series,
        x_label="check",
        y_label="adjusted p (logarithmic)",
        title=title,
        description=finding,
        log_y=True,
        x_whole=True,
    )
    rows = []
    for check in reversed(checks):
        least = min(check["tests"], key=lambda test: test["p_adjusted"])
        name = f"{least['name']}, last {least['window']}"
        rows.append((check["until"] or check["time"], str(check["images"]), p_value(least["p_adjusted"]), name,
                     "drift" if check["drift"] else "no drift"))  # fmt: skip
    return Figure(chart, title, finding, ("time", "images", "smallest adjusted p", "of", "verdict"), rows)


def _line(name: str, x: list[int], y: list[float], *, emphasis: bool) -> dict:
    return {"name": name, "x": x, "y": y, "low": None, "high": None, "emphasis": emphasis}


def _confidence(reference: np.ndarray, recent: np.ndarray) -> Figure:
    low = min(0.9, np.floor(10 * min(reference.min(), recent.min())) / 10)  # one answer in two has no bin below 0.5
    edges = np.linspace(low, 1, BINS + 1)
    first, second = (np.histogram(np.clip(values, 0, 1), edges)[0] / len(values) for values in (reference, recent))
    difference = float(recent.mean() - reference.mean())
    direction = "as sure" if abs(difference) < 0.005 else f"{100 * abs(difference):.1f} points "
    if abs(difference) >= 0.005:
        direction += "surer" if difference > 0 else "less sure"
    finding = f"On recent images the model is on average {direction}{' as before' if abs(difference) < 0.005 else ''}."
    title = "Confidence of the answers"
    drawn = histograms.shares(
        edges.tolist(),
        dict(zip(NAMES, (first.tolist(), second.tolist()), strict=True)),
        x_label="confidence",
        y_label="share of the images",
        title=title,
        description=finding,
    )
    rows = [
        (f"{start:.2f} to {end:.2f}", percent(before), percent(now))
        for start, end, before, now in zip(edges, edges[1:], first, second, strict=False)
    ]
    return Figure(drawn, title, finding, ("confidence", "reference %", "recent %"), rows)


def _shown(reference: np.ndarray, recent: np.ndarray, count: int) -> tuple[list[int], int]:
    """The classes to show, in their order, and how many are left out."""
    if not len(recent):
        return [], 0
    change = np.abs(_shares(reference, count) - _shares(recent, count))
    kept = sorted(np.argsort(-change, kind="stable")[:CLASSES].tolist())
    return kept, count - len(kept)


def _shares(label: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(label, minlength=count) / max(1, len(label))


def _classes(reference: np.ndarray, recent: np.ndarray, names: Sequence[str], shown: Sequence[int]) -> Figure:
    before, now = _shares(reference, len(names)), np.bincount(recent, minlength=len(names))
    rows, texts = [], []
    for place in shown:
        bounds = wilson(int(now[place]), len(recent), confidence=0.95)
        rows.append({"name": names[place], "first": bounds.value, "low": bounds.low, "high": bounds.high,
                     "second": float(before[place])})  # fmt: skip
        interval = f"{percent(bounds.low)} to {percent(bounds.high)}"
        texts.append((names[place], percent(before[place]), percent(bounds.value), interval))
    most = max(rows, key=lambda row: abs(row["first"] - row["second"]))
    finding = (
        f"The share of {most['name']!r} has changed most: {percent(most['second'])} % in the reference, "
        f"{percent(most['first'])} % of the recent answers ({percent(most['low'])} to {percent(most['high'])} %)."
    )
    title = "Answers by class"
    drawn = charts.rates(rows, names=(NAMES[1], NAMES[0]), title=title, description=finding)
    return Figure(drawn, title, finding, ("class", "reference %", "recent %", "interval"), texts)


def _picture(entry: Moved) -> dict[str, Any]:
    return {
        "class_name": entry.class_name,
        "confidence": entry.confidence,
        "time": entry.time,
        "image": thumbnails.data_uri(entry.image),
        "reference": None if entry.reference is None else thumbnails.data_uri(entry.reference),
        "numbers": (entry.path, entry.time, entry.class_name, percent(entry.confidence), f"{entry.score:.3f}"),
    }
